"""Tests between the methods of one setting, paired by row as in the papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from osadbench.report.parts import Cell, Comparison, Table
from osadbench.report.texts import DIGITS
from osadbench.stats import holm_of_computed, rank_biserial, wilcoxon

__all__ = ["compare"]


def compare(
    tables: Sequence[Table], labels: Sequence[str], reference: str | None, *, allow_partial: bool
) -> list[Comparison]:
    """Test every method against the reference over the rows of all tables of a setting.

    Pairs are the means over seeds of the same row; mean rows take no part. Where several tests
    are computed under the setting, Holm's correction for their number stands beside each p-value.
    The effect size, of the same pairs, says what p does not: how much one side prevails.

    Args:
        tables: The tables of one setting.
        labels: Columns in their order.
        reference: Label to compare with; None means the first one that has a result.
        allow_partial: Whether to test methods that lack seeds or rows, over the rows that both
            have.
    """
    present = [label for label in labels if any(label in table.columns for table in tables)]
    base = reference or _first(tables, present)
    found = [_compare(tables, base, label, allow_partial) for label in present if label != base]
    p_values = [None if test.result is None else test.result.p for test in found]
    corrected = holm_of_computed(p_values)
    return [replace(test, p_holm=p) for test, p in zip(found, corrected, strict=True)]


def _first(tables: Sequence[Table], present: Sequence[str]) -> str:
    # Against a method that was skipped everywhere, nothing could be tested.
    with_result = {
        cell.label
        for table in tables
        for row in table.rows
        for cell in row.cells
        if cell.mean is not None
    }
    return next((label for label in present if label in with_result), present[0])


def _compare(
    tables: Sequence[Table], reference: str, method: str, allow_partial: bool
) -> Comparison:
    setting = tables[0].setting
    cells = {label: _cells(tables, label) for label in (reference, method)}
    rows = sorted({(t.dataset, row.name) for t in tables for row in t.rows if not row.aggregate})
    gaps = {label: sum(not _complete(cells[label].get(row)) for row in rows) for label in cells}
    if any(gaps.values()) and not allow_partial:
        lacking = [f"{label} lacks seeds in {gap}" for label, gap in gaps.items() if gap]
        reason = f"{' and '.join(lacking)} of {len(rows)} rows"
        return Comparison(setting, reference, method, None, reason=reason)
    ours, theirs = ({row: c.mean for row, c in cells[label].items()} for label in cells)
    pairs = [
        (a, b)
        for row in rows
        if (a := ours.get(row)) is not None and (b := theirs.get(row)) is not None
    ]
    if not pairs:
        return Comparison(setting, reference, method, None, reason="they share no row")
    values = [a for a, _ in pairs], [b for _, b in pairs]
    return Comparison(
        setting,
        reference,
        method,
        wilcoxon(*values, decimals=DIGITS),
        effect=rank_biserial(*values, decimals=DIGITS),
    )


def _complete(cell: Cell | None) -> bool:
    return cell is not None and cell.n == cell.expected


def _cells(tables: Sequence[Table], label: str) -> dict[tuple[str, str], Cell]:
    return {
        (table.dataset, row.name): cell
        for table in tables
        for row in table.rows
        if not row.aggregate
        for cell in row.cells
        if cell.label == label
    }
