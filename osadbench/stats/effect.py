"""Sizes of effects."""

from __future__ import annotations

import numpy as np

from osadbench.stats.pairs import Values, doubled_ranks, printed_differences

__all__ = ["rank_biserial"]


def rank_biserial(a: Values, b: Values, *, decimals: int = 3) -> float:
    """Return the matched-pairs rank-biserial correlation of two methods' results.

    ``r = (W+ - W-) / (W+ + W-)`` with the rank sums of the positive and of the negative
    differences ``a - b``: the share of the ranks that speak for ``a`` less the share that speaks
    against it (Kerby, The simple difference formula, Comprehensive Psychology 3, 2014). It goes
    with the Wilcoxon test, so values are rounded as printed and zero differences are dropped, as
    there; ``|r| = 1 - 4 W / (n (n + 1))`` with that test's W and its n of non-zero differences.

    Args:
        a: Results of one method, one for each row.
        b: Results of the other one, in the same order.
        decimals: Digits that the results are printed to.

    Returns:
        From -1, where ``a`` is smaller in every row, to 1, where it is larger in every row; 0
        without a difference, or without a pair, by rule.

    Raises:
        ContractError: The lengths differ, or a value is NaN or infinite.
    """
    difference = printed_differences(a, b, decimals)
    nonzero = difference[difference != 0]
    if not len(nonzero):
        return 0.0
    ranks, _ = doubled_ranks(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())
