"""The Wilcoxon signed-rank test between two methods.

The test is written out here, because importing ``scipy.stats`` takes longer than a whole report
may; the tests of this module hold it against SciPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osadbench.stats.pairs import Values, doubled_ranks, printed_differences

__all__ = ["WilcoxonResult", "wilcoxon"]

#: Sizes up to which SciPy's ``method="auto"`` takes the exact distribution: without ties and zeros
#: among the differences, and with them.
_EXACT_WITHOUT_TIES, _EXACT_WITH_TIES = 50, 13


@dataclass(frozen=True)
class WilcoxonResult:
    """What a Wilcoxon signed-rank test found.

    Attributes:
        n: Number of pairs.
        n_zero: Pairs without a difference; they are dropped.
        W: Smaller one of the rank sums of the positive and of the negative differences.
        p: Two-sided p-value.
        smallest_p: Smallest two-sided p-value that as many non-zero differences could give; p does
            not go below.
        method: ``"exact"``, ``"approx"`` (normal approximation) or ``"all-zero"`` (p = 1 by rule).
    """

    n: int
    n_zero: int
    W: float
    p: float
    smallest_p: float
    method: str


def wilcoxon(a: Values, b: Values, *, decimals: int = 3) -> WilcoxonResult:
    """Test two-sided whether paired results differ, as the DevNet and DRA papers do.

    The values are rounded as they are printed, and so are their differences: the papers' p-values
    come out only that way, since float noise would break ties. The rest is what SciPy 1.17's
    ``wilcoxon(a - b)`` does by default: zero differences are dropped (``zero_method="wilcox"``),
    no continuity correction, the exact distribution for up to 50 pairs without ties or zeros and
    for up to 13 pairs with them, else the normal approximation. That one, among many rows of which
    few differ, may give less than any choice of signs could: four equal differences in twenty rows
    .046, where the smallest possible p is .125. There p is the smallest possible one (ours).

    Without a difference, or without a pair, p is 1 by rule (SciPy may give NaN).

    Args:
        a: Results of one method, such as means over seeds, one for each row.
        b: Results of the other one, in the same order.
        decimals: Digits that the results are printed to.

    Raises:
        ContractError: The lengths differ, or a value is NaN or infinite.
    """
    difference = printed_differences(a, b, decimals)
    nonzero = difference[difference != 0]
    n, n_zero = len(difference), len(difference) - len(nonzero)
    if not len(nonzero):
        return WilcoxonResult(n, n_zero, 0.0, 1.0, 1.0, "all-zero")
    ranks, tie_sizes = doubled_ranks(np.abs(nonzero))
    positive = int(ranks[nonzero > 0].sum())
    doubled_w = min(positive, int(ranks.sum()) - positive)
    without_ties = not n_zero and tie_sizes.max() == 1
    exact = n <= (_EXACT_WITHOUT_TIES if without_ties else _EXACT_WITH_TIES)
    p = _exact_p(doubled_w, ranks) if exact else _approximate_p(doubled_w / 2, tie_sizes)
    smallest = 2.0 ** (1 - len(nonzero))
    method = "exact" if exact else "approx"
    return WilcoxonResult(n, n_zero, doubled_w / 2, max(p, smallest), smallest, method)


def _exact_p(doubled_w: int, ranks: npt.NDArray[np.int64]) -> float:
    """Return the two-sided p-value over all choices of signs, each as likely as the others."""
    ways = np.zeros(int(ranks.sum()) + 1, dtype=np.int64)
    ways[0] = 1
    for rank in ranks:
        ways[rank:] += ways[:-rank].copy()
    return min(1.0, int(ways[: doubled_w + 1].sum()) * 2.0 ** (1 - len(ranks)))


def _approximate_p(w: float, tie_sizes: npt.NDArray[np.int64]) -> float:
    n = int(tie_sizes.sum())
    variance = n * (n + 1) * (2 * n + 1) / 24 - int((tie_sizes**3 - tie_sizes).sum()) / 48
    z = (w - n * (n + 1) / 4) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))
