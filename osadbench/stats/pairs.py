"""Paired results, their differences as printed, and ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError

__all__ = ["Values", "doubled_ranks", "printed_differences"]

Values = Sequence[float] | npt.NDArray[np.float64]


def printed_differences(a: Values, b: Values, decimals: int) -> npt.NDArray[np.float64]:
    """Return ``a - b`` of values rounded as they are printed, itself rounded: float64 ``(n,)``.

    Raises:
        ContractError: The lengths differ, or a value is NaN or infinite.
    """
    if len(a) != len(b):
        raise ContractError(f"expected results in pairs, got {len(a)} against {len(b)}")
    if not all(map(math.isfinite, [*a, *b])):
        raise ContractError("expected finite results to compare, got NaN or infinity")
    # Python's round, unlike NumPy's, agrees with what formatting prints.
    printed = (
        (round(float(x), decimals), round(float(y), decimals)) for x, y in zip(a, b, strict=True)
    )
    return np.array([round(x - y, decimals) for x, y in printed], dtype=np.float64)


def doubled_ranks(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return twice each value's average rank, a whole number, and the sizes of the ties.

    The smallest value has rank 1. The sizes are those of the groups of equal values, ascending.
    """
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (2 * np.cumsum(sizes) - sizes + 1)[place], sizes
