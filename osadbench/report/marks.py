"""Which cells of a row are the best and the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from osadbench.report.parts import Cell
from osadbench.report.texts import DIGITS

__all__ = ["mark_cells"]


def mark_cells(
    cells: Sequence[Cell], *, larger_is_better: bool, allow_partial: bool = False
) -> tuple[Cell, ...]:
    """Return cells with the best and the second marked, by what is printed of their means.

    Cells that share the first place leave no second one; a number alone is not the best.

    Args:
        cells: The cells that are compared.
        larger_is_better: Whether larger means are better.
        allow_partial: Whether cells that lack seeds may be marked.
    """
    means = [
        round(cell.mean, DIGITS)
        if cell.mean is not None and (allow_partial or cell.n == cell.expected)
        else None
        for cell in cells
    ]
    ranked = sorted((m for m in means if m is not None), reverse=larger_is_better)
    if len(ranked) < 2:
        return tuple(cells)
    # In this order, a shared first place takes the second's mark.
    marks = {ranked[1]: "second", ranked[0]: "best"}
    return tuple(
        replace(cell, mark=marks.get(mean, "") if mean is not None else "")
        for cell, mean in zip(cells, means, strict=True)
    )
