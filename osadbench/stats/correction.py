"""Corrections for testing several times."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm", "holm_of_computed"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979, step-down), in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        corrected[index] = largest
    return corrected


def holm_of_computed(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the corrected p-values of the tests that were computed, in the order given.

    None stands for a test that was not; where fewer than two were, nothing is corrected.
    """
    computed = [p for p in p_values if p is not None]
    corrected = iter(holm(computed))
    return [None if p is None or len(computed) < 2 else next(corrected) for p in p_values]
