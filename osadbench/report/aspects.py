"""What results have in some aspects, and which of it is usual among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["most_common", "values_met"]


def values_met(aspects: Iterable[tuple[str, str]]) -> dict[str, Counter[str]]:
    """Count the values of each aspect, given aspects with a result's value."""
    met: dict[str, Counter[str]] = {}
    for aspect, value in aspects:
        met.setdefault(aspect, Counter())[value] += 1
    return met


def most_common(values: Counter[str]) -> str:
    """Return the value that most results have."""
    # The first by name of those that are equally common: no order of files may decide.
    return min(values, key=lambda value: (-values[value], value))
