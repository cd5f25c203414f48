"""Nemenyi's test after Friedman's: which mean ranks are too close to tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from osadbench.errors import ContractError

__all__ = ["indistinguishable", "nemenyi_difference"]


def nemenyi_difference(n: int, k: int, *, alpha: float = 0.05) -> float:
    """Return the critical difference of mean ranks.

    ``q sqrt(k (k + 1) / (6 n))``, where q is the upper quantile of the studentised range of k
    groups with infinite degrees of freedom, over the root of 2 (Nemenyi 1963; Demsar, JMLR 7, 2006,
    section 3.2.2 and Table 5a). Two methods differ at level ``alpha``, corrected for all pairs,
    where their mean ranks are at least that far apart.

    Args:
        n: Number of rows, 1 or more.
        k: Number of methods, 2 or more.
        alpha: Level, between 0 and 1.

    Raises:
        ContractError: One of them is out of range.
    """
    if n < 1 or k < 2 or not 0 < alpha < 1:
        raise ContractError(
            f"expected 1 or more rows, 2 or more methods and a level between 0 and 1, got {n}, "
            f"{k} and {alpha:g}"
        )
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(k * (k + 1) / (6 * n))


def indistinguishable(mean_ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """Return the groups of methods whose mean ranks are less than a critical difference apart.

    Args:
        mean_ranks: One for each method.
        difference: The critical difference.

    Returns:
        Indices into ``mean_ranks`` by rank, the best first: the largest groups of two or more, none
        inside another one. A bar of the diagram each.
    """
    order = sorted(range(len(mean_ranks)), key=lambda index: mean_ranks[index])
    groups: list[tuple[int, ...]] = []
    reached = 0
    for start, first in enumerate(order):
        end = start
        while end < len(order) and mean_ranks[order[end]] - mean_ranks[first] < difference:
            end += 1
        if end > reached and end - start > 1:
            groups.append(tuple(order[start:end]))
            reached = end
    return groups
