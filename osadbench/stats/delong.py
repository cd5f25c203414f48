"""Intervals of an AUROC, and of the difference of two on the same images, after DeLong.

Every image has a placement: an anomaly's is the share of the normals that score below it, ties
counting one half, and a normal's the share of the anomalies above it. The AUROC is the mean of
either, and their variances give its own (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).
They come out of ranks, without a table of all pairs (Sun and Xu, IEEE Signal Processing Letters 21,
2014). What a fit or a draw of labelled anomalies adds is not in it: other test images are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError
from osadbench.metrics import compute_metrics
from osadbench.stats.pairs import doubled_ranks
from osadbench.types import FloatArray

__all__ = ["AurocDifference", "AurocInterval", "auroc_difference", "auroc_interval"]

#: A variance below this is 0 with a rounding error: one image's placement moves it by far more.
_NO_VARIANCE = 1e-20


@dataclass(frozen=True)
class AurocInterval:
    """An AUROC with its confidence interval.

    Attributes:
        auroc: From 0 to 1.
        low: Lower limit, from 0 to 1.
        high: Upper limit, from 0 to 1.
        standard_error: By DeLong; 0 where all images are ranked right, or all wrong. By the
            bootstrap, the standard deviation of the resamples.
        method: ``"logit"``, ``"exact"`` (the standard error is 0), or ``"bootstrap"``.
    """

    auroc: float
    low: float
    high: float
    standard_error: float
    method: str


@dataclass(frozen=True)
class AurocDifference:
    """The difference of two AUROCs on the same images.

    Attributes:
        first: The first AUROC.
        second: The second one.
        difference: First minus second.
        low: Lower limit of the confidence interval.
        high: Upper limit.
        standard_error: Of the difference.
        p: Two-sided p-value.
        smallest_p: Smallest two-sided p-value that so many images could give if each were free to
            favour either side, ``2 ** (1 - n)``, or that so many resamples could; p does not go
            below.
        method: ``"delong"``, ``"equal"`` (both rank all images alike: p = 1 by rule), ``"limits"``
            (the standard error is 0 though they don't), or ``"bootstrap"``.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    standard_error: float
    p: float
    smallest_p: float
    method: str


def auroc_interval(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, level: float = 0.95
) -> AurocInterval:
    """Return an AUROC with DeLong's interval, taken on the logit scale so that it ends at 0 and 1.

    With the standard error s of the AUROC A, the logit's is ``s / (A (1 - A))`` by the delta method
    (Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2).

    Where all anomalies score above all normals, DeLong's variance is 0, and an interval of no
    length would claim too much. Its lower limit is then ``((1 - level) / 2) ** (1 / m)`` with m the
    smaller number of images of a class: m disjoint pairs of an anomaly and a normal are all ranked
    right with probability ``A ** m``. Ours; the same upside down for an AUROC of 0.

    Args:
        labels: ``(n,)``, 0 normal and 1 anomaly, two or more of each.
        scores: ``(n,)`` finite real numbers, larger = more anomalous.
        level: Of confidence, between 0 and 1.

    Raises:
        ContractError: As :func:`osadbench.metrics.compute_metrics`; or one image of a class, or a
            level out of range.
    """
    z = _quantile(level)
    auroc, anomalies, normals = placements(labels, scores)
    error = math.sqrt(_variance(anomalies, normals))
    if error == 0:
        low, high = _exact(auroc, min(len(anomalies), len(normals)), level)
        return AurocInterval(auroc, low, high, 0.0, "exact")
    logit, width = math.log(auroc / (1 - auroc)), z * error / (auroc * (1 - auroc))
    return AurocInterval(auroc, _expit(logit - width), _expit(logit + width), error, "logit")


def auroc_difference(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, *, level: float = 0.95
) -> AurocDifference:
    """Return the difference of two AUROCs on the same images, with DeLong's interval and test.

    The variance is that of the differences of the images' placements, which is DeLong's for
    correlated curves; the interval is ``difference -+ z s``, cut off at -1 and 1.

    Where both score vectors rank all images alike, p is 1 by rule. Where the variance is 0 though
    they don't, as with two perfect methods, the limits come from those of the two AUROCs as if they
    were independent (Newcombe's square-and-add), which is wider than they deserve.

    Args:
        labels: ``(n,)``, 0 normal and 1 anomaly, two or more of each.
        first: ``(n,)`` scores of one method, larger = more anomalous.
        second: ``(n,)`` scores of the other one on the same images in the same order.
        level: Of confidence, between 0 and 1.

    Raises:
        ContractError: As :func:`auroc_interval`; or the lengths differ.
    """
    z = _quantile(level)
    a, anomalies_a, normals_a = placements(labels, first)
    b, anomalies_b, normals_b = placements(labels, second)
    smallest = 2.0 ** (1 - len(anomalies_a) - len(normals_a))
    if same_order(first, second):
        return AurocDifference(a, b, 0.0, 0.0, 0.0, 0.0, 1.0, smallest, "equal")
    error = math.sqrt(_variance(anomalies_a - anomalies_b, normals_a - normals_b))
    if error == 0:
        low, high = _square_and_add(labels, first, second, level)
        p = smallest if a != b else 1.0
        return AurocDifference(a, b, a - b, low, high, 0.0, p, smallest, "limits")
    low, high = max(-1.0, a - b - z * error), min(1.0, a - b + z * error)
    p = max(math.erfc(abs(a - b) / error / math.sqrt(2)), smallest)
    return AurocDifference(a, b, a - b, low, high, error, p, smallest, "delong")


def placements(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[float, FloatArray, FloatArray]:
    """Return the AUROC, the placements of the anomalies and those of the normals, float64.

    Raises:
        ContractError: As :func:`auroc_interval`.
    """
    auroc = compute_metrics(labels, scores)["auroc"]
    truth, values = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    m, n = int(truth.sum()), int((~truth).sum())
    if min(m, n) < 2:
        raise ContractError(
            f"expected 2 or more images of each class for an interval, got {n} normal and {m} "
            "anomalous"
        )
    among_all, _ = doubled_ranks(values)
    below = (among_all[truth] - doubled_ranks(values[truth])[0]) / (2 * n)
    above = 1 - (among_all[~truth] - doubled_ranks(values[~truth])[0]) / (2 * m)
    return auroc, below, above


def same_order(first: npt.ArrayLike, second: npt.ArrayLike) -> bool:
    """Return whether two score vectors rank all images alike, ties included."""
    a, b = (np.asarray(scores, dtype=np.float64) for scores in (first, second))
    return bool(np.array_equal(doubled_ranks(a)[0], doubled_ranks(b)[0]))


def _variance(anomalies: FloatArray, normals: FloatArray) -> float:
    variance = float(anomalies.var(ddof=1) / len(anomalies) + normals.var(ddof=1) / len(normals))
    return 0.0 if variance < _NO_VARIANCE else variance


def _exact(auroc: float, m: int, level: float) -> tuple[float, float]:
    limit = ((1 - level) / 2) ** (1 / m)
    return (limit, 1.0) if auroc > 0.5 else (0.0, 1 - limit)


def _square_and_add(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, level: float
) -> tuple[float, float]:
    a, b = (auroc_interval(labels, scores, level=level) for scores in (first, second))
    difference = a.auroc - b.auroc
    down = math.hypot(a.auroc - a.low, b.high - b.auroc)
    up = math.hypot(a.high - a.auroc, b.auroc - b.low)
    return max(-1.0, difference - down), min(1.0, difference + up)


def check_level(level: float) -> None:
    """Raise a ContractError unless a level of confidence is between 0 and 1."""
    if not 0 < level < 1:
        raise ContractError(f"expected a level of confidence between 0 and 1, got {level:g}")


def _quantile(level: float) -> float:
    check_level(level)
    return NormalDist().inv_cdf((1 + level) / 2)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
