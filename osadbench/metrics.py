"""Metrics of images' scores, and of one image's pixels, computed from ranks.

Every metric is read off one list of operating points: the numbers of true and false positives at
each distinct score, from the largest down. Tied scores share a point, so the order in which images
come cannot matter, and no score is rescaled, so any strictly increasing function of the scores
gives the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError, UsageError, did_you_mean
from osadbench.types import FloatArray

__all__ = ["METRICS", "PIXEL_AUROC", "Metric", "compute_metrics", "metric_key", "pixel_auroc"]

_Counts = npt.NDArray[np.int64]


class Metric(NamedTuple):
    """How a metric is shown and read.

    Attributes:
        name: Display name.
        larger_is_better: Whether a larger value is the better one.
    """

    name: str
    larger_is_better: bool


#: Key of the metric of score maps, which records hold only where a run was asked for it.
PIXEL_AUROC = "pixel_auroc"
#: The metrics by their keys in records.
METRICS: Mapping[str, Metric] = {
    "auroc": Metric("AUROC", True),
    "ap": Metric("average precision", True),
    "fpr95": Metric("FPR at 95% recall", False),
    "oracle_f1": Metric("F1 at the oracle threshold", True),
    PIXEL_AUROC: Metric("pixel AUROC", True),
}
#: Other names by which a user may ask for a metric.
_ALIASES = {"f1max": "oracle_f1"}


def compute_metrics(labels: npt.ArrayLike, scores: npt.ArrayLike) -> dict[str, float]:
    """Return all metrics of one vector of images' scores.

    * ``auroc``: area under the ROC curve; a tie between a normal and an anomaly counts one half.
    * ``ap``: average precision, the sum of the precisions at the distinct scores, each weighted by
      the recall gained there, without interpolation; as scikit-learn defines it.
    * ``fpr95``: false-positive rate at the largest threshold whose recall is 95 % or more, without
      interpolation (our choice; some authors interpolate between thresholds).
    * ``oracle_f1``, or F1max: best F1 over all thresholds. An oracle: the threshold is chosen on
      the very labels it is judged by.

    Args:
        labels: ``(n,)``, 0 normal and 1 anomaly.
        scores: ``(n,)`` finite real numbers, larger = more anomalous; read as float64.

    Returns:
        Values from 0 to 1 by the keys of :data:`METRICS`, without :data:`PIXEL_AUROC`.

    Raises:
        ContractError: Wrong shapes or types, labels other than 0 and 1 or of one class only, scores
            that are NaN or infinite, or scores that are all the same.
    """
    truth = _check_labels(labels)
    true_positives, false_positives = _operating_points(truth, _check_scores(scores, len(truth)))
    recall = true_positives / true_positives[-1]
    precision = true_positives / (true_positives + false_positives)
    # Whole numbers, so that 19 of 20 anomalies are 95 % without a rounding error.
    at_95 = int(np.argmax(20 * true_positives >= 19 * true_positives[-1]))
    f1 = 2 * true_positives / (true_positives + false_positives + true_positives[-1])
    return {
        "auroc": _auroc(true_positives, false_positives),
        "ap": float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        "fpr95": float(false_positives[at_95] / false_positives[-1]),
        "oracle_f1": float(f1.max()),
    }


def pixel_auroc(scores: npt.ArrayLike, mask: npt.ArrayLike) -> float | None:
    """Return the area under the ROC curve over the pixels of one anomalous image.

    DevNet, section 4.4, and its public code: each anomalous test image has a value of its own, and
    their mean is reported; normal images have none. The mask is brought to the map's size by the
    nearest pixel, which is ours; the public code has it at 448 pixels. A tie between a normal and
    an anomalous pixel counts one half, so that a constant map has 0.5.

    Args:
        scores: Score map ``(H, W)``, finite real numbers, larger = more anomalous.
        mask: ``(h, w)``; pixels above 0 are anomalous.

    Returns:
        0 to 1; None where the mask, in the map's size, marks no pixel or all of them.

    Raises:
        ContractError: Wrong ranks or types, or scores that are NaN or infinite.
    """
    found, marked = np.asarray(scores), np.asarray(mask)
    if found.ndim != 2 or not found.size or found.dtype.kind not in "iuf":
        got = f"{found.dtype} {found.shape}"
        raise ContractError(f"expected a score map of real numbers (H, W), got {got}")
    if marked.ndim != 2 or not marked.size or marked.dtype.kind not in "biuf":
        raise ContractError(f"expected a mask (h, w), got {marked.dtype} {marked.shape}")
    bad = int(np.count_nonzero(~np.isfinite(found)))
    if bad:
        raise ContractError(
            f"expected a finite score map, got {bad} of {found.size} pixels NaN or infinite"
        )
    truth = (_nearest(marked, found.shape) > 0).ravel().astype(np.int64)
    if not 0 < truth.sum() < truth.size:
        return None
    return _auroc(*_operating_points(truth, found.ravel().astype(np.float64)))


def _nearest(image: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a 2-d image in another size; each pixel is the one that its centre falls into."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for old, new in zip(image.shape, shape, strict=True)
    )
    resized: npt.NDArray[Any] = image[rows[:, None], columns]
    return resized


def metric_key(name: str) -> str:
    """Return the key of a metric by its key or its other name, such as ``f1max``.

    Raises:
        UsageError: There is no such metric.
    """
    key = _ALIASES.get(name, name)
    if key not in METRICS:
        raise UsageError(f"no metric {name!r}: {did_you_mean(name, [*METRICS, *_ALIASES])}")
    return key


def _operating_points(truth: _Counts, scores: FloatArray) -> tuple[_Counts, _Counts]:
    order = np.argsort(scores)[::-1]
    descending = scores[order]
    last_of_ties = np.append(np.flatnonzero(descending[1:] != descending[:-1]), len(scores) - 1)
    true_positives = np.cumsum(truth[order])[last_of_ties]
    return true_positives, last_of_ties + 1 - true_positives


def _auroc(true_positives: _Counts, false_positives: _Counts) -> float:
    # Twice the trapezoids' area in whole numbers of (anomaly, normal) pairs.
    before = np.concatenate(([0], true_positives[:-1]))
    area = int(np.sum(np.diff(false_positives, prepend=0) * (true_positives + before)))
    return area / (2 * int(true_positives[-1]) * int(false_positives[-1]))


def _check_labels(labels: npt.ArrayLike) -> _Counts:
    array: npt.NDArray[Any] = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise ContractError(f"expected labels of shape (n,), got {array.dtype} {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ContractError("expected labels of 0 (normal) and 1 (anomaly) only")
    if len(np.unique(array)) < 2:
        found = f"{len(array)} of class {int(array[0])}" if len(array) else "none"
        raise ContractError(f"expected labels of both classes, normal and anomaly, got {found}")
    return array.astype(np.int64)


def _check_scores(scores: npt.ArrayLike, n: int) -> FloatArray:
    array: npt.NDArray[Any] = np.asarray(scores)
    if array.shape != (n,) or array.dtype.kind not in "iuf":
        got = f"{array.dtype} {array.shape}"
        raise ContractError(f"expected {n} scores as real numbers ({n},), got {got}")
    values = array.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ContractError(f"expected finite scores, got {bad} of {n} NaN or infinite")
    if (values == values[0]).all():
        raise ContractError(
            f"expected scores that differ between images, got {n} times {values[0]:g}: "
            "a constant scorer has detected nothing"
        )
    return values
