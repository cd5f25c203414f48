"""How a paper's table and our results compare as a whole."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import combinations

from osadbench.report.published.parts import ComparedColumn, ComparedRow, Ranks, Summary
from osadbench.report.texts import DIGITS

__all__ = ["kendall_tau", "same_order", "summarise"]


def summarise(columns: Sequence[ComparedColumn], rows: Sequence[ComparedRow]) -> Summary:
    """Return the counts, the mean absolute difference, and the order of the methods.

    Rows that are means over other rows count nothing, and cells that lack seeds are not compared.
    """
    own = [row for row in rows if not row.summed]
    cells = [cell for row in own for cell in row.cells if cell is not None]
    ours = [cell for cell in cells if cell.ours is not None]
    complete = [cell for cell in ours if cell.complete]
    differences = [abs(cell.difference) for cell in complete if cell.difference is not None]
    judged = [cell for cell in complete if cell.verdict]
    shots = dict.fromkeys(c.cell_shots for c in columns if c.method and c.cell_shots)
    groups: list[int | None] = list(shots) or [None]
    return Summary(
        cells=len(ours),
        run=sum(cell.ours is not None and cell.ours.mean is not None for cell in ours),
        compared=len(differences),
        judged=len(judged),
        within=sum(cell.verdict == "within" for cell in judged),
        mean_difference=statistics.fmean(differences) if differences else None,
        ranks=tuple(r for r in (_ranks(columns, own, group) for group in groups) if r.rows),
    )


_Pairs = dict[int, tuple[float, float]]


def _ranks(
    columns: Sequence[ComparedColumn], rows: Sequence[ComparedRow], shots: int | None
) -> Ranks:
    pairs = [found for row in rows if len(found := _ranked(columns, row, shots)) > 1]
    taus = [kendall_tau(*_sides(found)) for found in pairs]
    known = [tau for tau in taus if tau is not None]
    return Ranks(
        shots=shots,
        rows=len(pairs),
        kept=sum(same_order(*_sides(found)) for found in pairs),
        mean_tau=statistics.fmean(known) if known else None,
        means_tau=_tau_of_means(pairs),
    )


def _ranked(columns: Sequence[ComparedColumn], row: ComparedRow, shots: int | None) -> _Pairs:
    """Return what is ranked in a row, ours and published as printed, by the column's number."""
    return {
        j: (round(cell.ours.mean, DIGITS), cell.published)
        for j, (column, cell) in enumerate(zip(columns, row.cells, strict=True))
        if column.cell_shots in (None, shots) and cell is not None and cell.complete
        if cell.ours is not None and cell.ours.mean is not None and cell.published is not None
    }


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


def _signs(a: Sequence[float], b: Sequence[float]) -> list[tuple[int, int]]:
    def sign(x: float, y: float) -> int:
        return (x > y) - (x < y)

    pairs = combinations(range(len(a)), 2)
    return [(sign(a[i], a[j]), sign(b[i], b[j])) for i, j in pairs]
