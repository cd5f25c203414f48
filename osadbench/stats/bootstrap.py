"""Intervals by drawing the test images anew, an alternative to DeLong's.

Normals and anomalies are drawn apart, each as many as there are, so that every resample has both.
A resample is a count for each image; from the counts in the order of the scores, its AUROC is a
running sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError
from osadbench.stats.delong import (
    AurocDifference,
    AurocInterval,
    check_level,
    placements,
    same_order,
)
from osadbench.types import FloatArray

__all__ = ["bootstrap_difference", "bootstrap_interval"]

_Counts = npt.NDArray[np.int64]
#: Resamples at a time, to bound the memory.
_CHUNK = 200


def bootstrap_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> AurocInterval:
    """Return an AUROC with the percentile interval of a stratified bootstrap over the images.

    Where all anomalies score above all normals, so they do in every resample: the interval has no
    length, and that of :func:`osadbench.stats.auroc_interval` is the better one.

    Args:
        labels: ``(n,)``, 0 normal and 1 anomaly, two or more of each.
        scores: ``(n,)`` finite real numbers, larger = more anomalous.
        level: Of confidence, between 0 and 1.
        resamples: Number of resamples, 100 or more.
        seed: Of the draws.

    Raises:
        ContractError: As :func:`osadbench.stats.auroc_interval`; or too few resamples.
    """
    _check(level, resamples)
    auroc, _, _ = placements(labels, scores)
    (drawn,) = _resampled(labels, [scores], resamples, seed)
    low, high = _limits(drawn, level)
    return AurocInterval(auroc, low, high, float(drawn.std(ddof=1)), "bootstrap")


def bootstrap_difference(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> AurocDifference:
    """Return the difference of two AUROCs with a percentile interval; each resample serves both.

    The p-value is twice the smaller share of the resamples on one side of 0, those on it and the
    observed one counted in (Davison and Hinkley, Bootstrap Methods, 1997, section 4.2), so that
    it cannot be smaller than ``2 / (resamples + 1)``.

    Args:
        labels: ``(n,)``, 0 normal and 1 anomaly, two or more of each.
        first: ``(n,)`` scores of one method, larger = more anomalous.
        second: ``(n,)`` scores of the other one on the same images in the same order.
        level: Of confidence, between 0 and 1.
        resamples: Number of resamples, 100 or more.
        seed: Of the draws.

    Raises:
        ContractError: As :func:`bootstrap_interval`; or the lengths differ.
    """
    _check(level, resamples)
    a, b = (placements(labels, scores)[0] for scores in (first, second))
    smallest = 2 / (resamples + 1)
    if same_order(first, second):
        return AurocDifference(a, b, 0.0, 0.0, 0.0, 0.0, 1.0, smallest, "equal")
    drawn_a, drawn_b = _resampled(labels, [first, second], resamples, seed)
    drawn = drawn_a - drawn_b
    low, high = _limits(drawn, level)
    # Equal AUROCs of a resample may differ by a rounding error.
    least = min(int((drawn <= 1e-12).sum()), int((drawn >= -1e-12).sum()))
    p = min(1.0, 2 * (least + 1) / (resamples + 1))
    error = float(drawn.std(ddof=1))
    return AurocDifference(a, b, a - b, low, high, error, p, smallest, "bootstrap")


def _check(level: float, resamples: int) -> None:
    check_level(level)
    if resamples < 100:
        raise ContractError(f"expected 100 or more resamples, got {resamples}")


def _limits(drawn: FloatArray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(
    labels: npt.ArrayLike, vectors: list[npt.ArrayLike], resamples: int, seed: int
) -> list[FloatArray]:
    """Return the AUROCs of the resamples for each vector of scores, float64 ``(resamples,)``."""
    truth = np.asarray(labels) == 1
    draws = list(_draws(truth, resamples, np.random.default_rng(seed)))
    return [
        np.concatenate([_aurocs(truth, scores, counts) for counts in draws])
        for scores in map(np.asarray, vectors)
    ]


def _draws(
    truth: npt.NDArray[np.bool_], resamples: int, random: np.random.Generator
) -> Iterator[_Counts]:
    """Yield how often each image is drawn, int64 ``(resamples of a chunk, n)``."""
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        counts = np.empty((rows, len(truth)), dtype=np.int64)
        for chosen in (truth, ~truth):
            size = int(chosen.sum())
            # Each row's images have numbers of their own, so that one count serves all rows.
            drawn = random.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
            found = np.bincount(drawn.ravel(), minlength=rows * size)
            counts[:, chosen] = found.reshape(rows, size)
        yield counts


def _aurocs(
    truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], counts: _Counts
) -> FloatArray:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    anomalies, normals = (
        np.add.reduceat(np.where(chosen, counts, 0)[:, order], starts, axis=1)
        for chosen in (truth, ~truth)
    )
    twice_below = 2 * np.cumsum(normals, axis=1) - normals
    wins = (anomalies * twice_below).sum(axis=1)
    return np.asarray(wins / (2 * int(truth.sum()) * int((~truth).sum())), dtype=np.float64)
