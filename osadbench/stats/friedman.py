"""The Friedman test of several methods over the same rows, and the ranks that it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError
from osadbench.stats.pairs import doubled_ranks

__all__ = ["FriedmanResult", "friedman_test", "rank_rows"]

_Matrix = Sequence[Sequence[float]] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class FriedmanResult:
    """What a Friedman test found.

    Attributes:
        n: Number of rows.
        mean_ranks: Mean rank of each method over the rows, 1 the best.
        chi2: Friedman's statistic, corrected for ties.
        p: Its p-value, by the chi-squared distribution with k - 1 degrees of freedom.
        f: Iman and Davenport's statistic; infinite where all rows rank the methods alike.
        p_f: Its p-value, by the F distribution with k - 1 and (k - 1)(n - 1) degrees of freedom.
        smallest_p: What no permutation test could give less of, so that neither p-value goes below.
            A row whose ties have sizes t has ``m = k! / prod(t!)`` arrangements, and it is the
            largest m over the product of all; without ties ``k! ** (1 - n)``, the probability that
            all rows rank the methods alike if there is no difference.
    """

    n: int
    mean_ranks: tuple[float, ...]
    chi2: float
    p: float
    f: float
    p_f: float
    smallest_p: float


def rank_rows(
    results: _Matrix, *, larger_is_better: bool = True, decimals: int | None = 3
) -> npt.NDArray[np.float64]:
    """Return the methods' ranks in each row, ties averaged: float64 ``(n, k)``, 1 the best.

    Args:
        results: ``(n, k)``: n rows, k methods.
        larger_is_better: Whether the largest value of a row has rank 1.
        decimals: Digits that results are rounded to first, as they are printed; None ranks them as
            they are.

    Raises:
        ContractError: It is no matrix with two or more methods and one or more rows, or a value is
            NaN or infinite.
    """
    try:
        matrix = np.asarray(results, dtype=np.float64)
    except ValueError:
        raise ContractError("expected a result of every method in every row, got gaps") from None
    if matrix.ndim != 2 or not len(matrix) or matrix.shape[1] < 2:
        raise ContractError(f"expected 1 or more rows of 2 or more methods, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ContractError("expected finite results to rank, got NaN or infinity")
    if decimals is not None:
        matrix = np.array([[round(float(x), decimals) for x in row] for row in matrix])
    signed = -matrix if larger_is_better else matrix
    return np.array([doubled_ranks(row)[0] / 2 for row in signed])


def friedman_test(
    results: _Matrix, *, larger_is_better: bool = True, decimals: int | None = 3
) -> FriedmanResult:
    """Test whether methods differ, by their ranks within the rows.

    Friedman's statistic is ``(k - 1) (sum_j R_j^2 - n C) / (A - C)`` with the rank sums
    ``R_j``, the sum ``A`` of all squared ranks and ``C = n k (k + 1)^2 / 4`` (Conover, Practical
    Nonparametric Statistics, 3rd ed., section 5.8). Without ties that is the form of Demsar
    (JMLR 7, 2006, section 3.2.2). Iman and Davenport's statistic, which Demsar recommends since
    the other is conservative, is ``(n - 1) chi2 / (n (k - 1) - chi2)``.

    Both distributions are approximations, and among many rows of which few are not tied they may
    give less than any arrangement of the ranks could: four rows that all prefer one of two methods,
    beside sixteen ties, .046 and .042, where the smallest possible p is .125. There p is the
    smallest possible one (ours). It is reached by the largest statistic at least: under another
    naming of the methods, the arrangement that gives it gives it again, and the namings take each
    row through all of its arrangements.

    Rows in which all methods are equal say nothing; where all rows are such, or there is but one
    row, p is 1 by rule.

    Args:
        results: ``(n, k)``: n rows, k methods; see :func:`rank_rows`.
        larger_is_better: Whether the largest value of a row has rank 1.
        decimals: Digits that results are rounded to first, or None.

    Raises:
        ContractError: As :func:`rank_rows`.
    """
    ranks = rank_rows(results, larger_is_better=larger_is_better, decimals=decimals)
    n, k = ranks.shape
    mean_ranks = tuple(float(mean) for mean in ranks.mean(axis=0))
    smallest = _smallest_p(ranks)
    # Ranks are halves: these sums have no rounding error.
    centre = n * k * (k + 1) ** 2 / 4
    spread = float((ranks**2).sum()) - centre
    if spread == 0:
        return FriedmanResult(n, mean_ranks, 0.0, 1.0, 0.0, 1.0, smallest)
    chi2 = (k - 1) * (float((ranks.sum(axis=0) ** 2).sum()) - n * centre) / spread
    room = n * (k - 1) - chi2
    f = (n - 1) * chi2 / room if room > 1e-9 else math.inf
    p, p_f = (max(value, smallest) for value in _p_values(chi2, f, n, k))
    return FriedmanResult(n, mean_ranks, chi2, p, f, p_f, smallest)


def _smallest_p(ranks: npt.NDArray[np.float64]) -> float:
    arrangements = [
        math.factorial(len(row)) // math.prod(map(math.factorial, doubled_ranks(row)[1].tolist()))
        for row in ranks
    ]
    return max(arrangements) / math.prod(arrangements)


def _p_values(chi2: float, f: float, n: int, k: int) -> tuple[float, float]:
    from scipy.special import chdtrc, fdtrc

    tail = 0.0 if math.isinf(f) else float(fdtrc(k - 1, (k - 1) * (n - 1), f))
    return float(chdtrc(k - 1, chi2)), tail
