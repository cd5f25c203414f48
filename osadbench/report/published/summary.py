"""How a paper's table and our results compare as a whole."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from osadbench.report.published.order import kendall_tau, same_order
from osadbench.report.published.parts import (
    ComparedCell,
    ComparedColumn,
    ComparedRow,
    Ranks,
    Summary,
)
from osadbench.report.tables import DIGITS

__all__ = ["ranks_of_row", "summarise"]


def summarise(columns: Sequence[ComparedColumn], rows: Sequence[ComparedRow]) -> Summary:
    """Return the counts, the mean absolute difference, and the order of the methods.

    Rows that are means over other rows count nothing, and cells that lack seeds are not compared.
    """
    own = [row for row in rows if not row.summed]
    cells = [cell for row in own for cell in row.cells if cell is not None]
    ours = [cell for cell in cells if cell.ours is not None]
    compared = [cell for cell in ours if cell.complete and cell.difference is not None]
    judged = [cell for cell in compared if cell.verdict]
    apart = [abs(cell.difference) for cell in compared if cell.difference is not None]
    shots = dict.fromkeys(c.cell_shots for c in columns if c.method and c.cell_shots)
    groups: list[int | None] = list(shots) or [None]
    return Summary(
        cells=len(ours),
        run=sum(cell.ours is not None and cell.ours.mean is not None for cell in ours),
        compared=len(compared),
        judged=len(judged),
        within=sum(cell.verdict == "within" for cell in judged),
        mean_difference=statistics.fmean(apart) if apart else None,
        ranks=tuple(r for r in (_ranks(columns, own, group) for group in groups) if r.rows),
    )


_Pairs = dict[int, tuple[float, float]]


def ranks_of_row(columns: Sequence[ComparedColumn], row: ComparedRow, shots: int | None) -> _Pairs:
    """Return what is ranked in a row, ours and published as printed, by the column's number."""
    return {
        j: (round(cell.ours.mean, DIGITS), cell.published)
        for j, (column, cell) in enumerate(zip(columns, row.cells, strict=True))
        if column.cell_shots in (None, shots) and cell is not None and _is_ranked(cell)
        # For the type checker: both are there where a cell is ranked.
        if cell.ours is not None and cell.ours.mean is not None and cell.published is not None
    }


def _is_ranked(cell: ComparedCell) -> bool:
    return cell.complete and cell.difference is not None


def _ranks(
    columns: Sequence[ComparedColumn], rows: Sequence[ComparedRow], shots: int | None
) -> Ranks:
    pairs = [found for row in rows if len(found := ranks_of_row(columns, row, shots)) > 1]
    taus = [kendall_tau(*_sides(found)) for found in pairs]
    known = [tau for tau in taus if tau is not None]
    return Ranks(
        shots=shots,
        rows=len(pairs),
        kept=sum(same_order(*_sides(found)) for found in pairs),
        mean_tau=statistics.fmean(known) if known else None,
        means_tau=_tau_of_means(pairs),
    )


def _sides(pairs: _Pairs) -> tuple[list[float], list[float]]:
    return [ours for ours, _ in pairs.values()], [theirs for _, theirs in pairs.values()]


def _tau_of_means(pairs: Sequence[_Pairs]) -> float | None:
    methods = sorted(set().union(*pairs))
    whole = [found for found in pairs if len(found) == len(methods)]
    if not whole:
        return None
    means = [
        [round(statistics.fmean(found[j][side] for found in whole), DIGITS) for j in methods]
        for side in (0, 1)
    ]
    return kendall_tau(*means)
