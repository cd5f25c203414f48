"""The order of a table's columns, and of its lines where another is asked for than of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from osadbench.experiments.order import methods_in_order
from osadbench.metrics import METRICS
from osadbench.report.parts import Cell, Table

__all__ = ["MEAN", "papers_order", "sort_columns", "sort_rows"]

#: Asks for the order of the means.
MEAN = "mean"


def papers_order(columns: Iterable[tuple[str, str]], papers: Sequence[str] = ()) -> list[str]:
    """Return labels in the order of the papers' main tables, then the others by name.

    Columns of one method stand together: first those of the papers, then the others by label.

    Args:
        columns: Labels, each with the name of its method.
        papers: Labels in the papers' order; empty for that of the tables that come along.
    """
    place = {label: index for index, label in enumerate(papers or methods_in_order())}
    last = len(place)
    methods: dict[str, int] = {}
    for label, index in place.items():
        methods.setdefault(label.partition("[")[0], index)

    def key(column: tuple[str, str]) -> tuple[int, str, int, str]:
        label, method = column
        return methods.get(method, last), method, place.get(label, last), label

    return list(dict.fromkeys(label for label, _ in sorted(set(columns), key=key)))


def sort_columns(table: Table) -> Table:
    """Return a table with its methods from the best mean to the worst, those without one last.

    The means are those of the mean row, or of the only row.
    """
    best = _best_first(table)
    last = table.rows[-1].cells
    order = sorted(range(len(last)), key=lambda index: best(last[index]))
    return replace(
        table,
        columns=tuple(table.columns[index] for index in order),
        facts=tuple(table.facts[index] for index in order),
        rows=tuple(
            replace(row, cells=tuple(row.cells[index] for index in order)) for row in table.rows
        ),
    )


def sort_rows(table: Table, label: str) -> Table:
    """Return a table with its rows from the best value of one method to its worst.

    Rows without a value come last, then the mean row. A table without the method stays as it is.
    """
    if label not in table.columns:
        return table
    best, index = _best_first(table), table.columns.index(label)
    rows = sorted(table.rows, key=lambda row: (row.aggregate, best(row.cells[index])))
    return replace(table, rows=tuple(rows))


def _best_first(table: Table) -> Callable[[Cell], tuple[bool, float]]:
    sign = -1 if METRICS[table.metric].larger_is_better else 1

    def key(cell: Cell) -> tuple[bool, float]:
        return cell.mean is None, 0.0 if cell.mean is None else sign * cell.mean

    return key
