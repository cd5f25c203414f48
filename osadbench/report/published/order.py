"""Whether two sets of results put methods in the same order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

__all__ = ["kendall_tau", "same_order"]


def _signs(a: Sequence[float], b: Sequence[float]) -> list[tuple[int, int]]:
    def sign(x: float, y: float) -> int:
        return (x > y) - (x < y)

    pairs = combinations(range(len(a)), 2)
    return [(sign(a[i], a[j]), sign(b[i], b[j])) for i, j in pairs]


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Kendall's rank correlation with its correction for ties (tau-b), -1 to 1.

    Args:
        a: Results of some methods.
        b: Other results of the same methods, in the same order.

    Returns:
        The correlation, or None where one of the two is all ties or has fewer than two results.
    """
    signs = _signs(a, b)
    untied_a, untied_b = (sum(pair[side] != 0 for pair in signs) for side in (0, 1))
    if not untied_a or not untied_b:
        return None
    return sum(x * y for x, y in signs) / math.sqrt(untied_a * untied_b)


def same_order(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether no two methods are ordered one way by ``a`` and the other way by ``b``."""
    return all(x * y >= 0 for x, y in _signs(a, b))
