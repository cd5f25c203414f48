"""The words and lines of a paper's table that its text formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from osadbench.metrics import METRICS
from osadbench.report.published.parts import (
    ComparedCell,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
    Ranks,
)
from osadbench.report.texts import DIGITS, ODD, ODD_LEGEND, counted, mean_text
from osadbench.report.wording import fraction, number

__all__ = ["Line", "Panel", "below", "caption", "panels"]

_LEGEND = (
    "diff: ours minus paper; =: within both spreads (|diff| is at most the sum of both standard "
    "deviations), !: outside; 2/3: seeds done; -: not run"
)
#: Signs of values that are not as the copy of the paper's text has them, and what they mean.
_STATUS = {
    "corrected": ("‡", "corrected: the copy of the paper's text that was used is damaged here"),
    "filled": ("§", "filled in from another table: that copy lost the value"),
}
_SIGNS = {"within": "=", "outside": "!", "": ""}
#: Columns beside each other; more are split into tables of equal width. A sweep's are narrower.
_WIDEST, _WIDEST_SWEEP = 7, 8
_LONG_TITLE = 12


@dataclass(frozen=True)
class Line:
    """One line of text.

    Attributes:
        name: Name of the row, on its first line.
        what: ``"ours"``, ``"paper"`` or ``"diff"``; ``""`` where each row is one line.
        texts: One for each column.
        first: Whether the row begins here.
        aggregate: Whether the row is a mean.
        marks: ``"best"``, ``"second"`` or ``""`` for each text; empty where none is marked.
    """

    name: str
    what: str
    texts: tuple[str, ...]
    first: bool
    aggregate: bool
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """Some columns of a table, as many as stand beside each other.

    Attributes:
        heads: Their titles in lines, the last one their shots where any are known.
        lines: All rows.
        labelled: Whether lines say what they are.
    """

    heads: tuple[tuple[str, ...], ...]
    lines: tuple[Line, ...]
    labelled: bool


def caption(table: ComparedTable, *, published_only: bool) -> str:
    """Return what the table is, such as ``DRA, Table 2 (dra-2): hard setting, ...``."""
    what = f"{table.source} ({table.name}): {table.title}; {METRICS[table.metric].name}"
    if published_only:
        return f"{what}, mean±std as printed"
    seeds = ", ".join(map(str, table.seeds))
    made = table.made or "no results here"
    return f"{what}, mean±std over seeds {seeds}; ours: {made}"


def panels(table: ComparedTable, *, published_only: bool) -> Iterator[Panel]:
    """Yield the table's columns in groups of what fits beside each other."""
    for indices in _groups(table):
        heads = tuple(_head(table.columns[j]) for j in indices)
        lines = [
            line
            for row in table.rows
            for line in _lines(table, row, indices, published_only=published_only)
        ]
        yield Panel(heads, tuple(lines), table.has_published and not published_only)


def _groups(table: ComparedTable) -> list[list[int]]:
    """Return the numbers of the columns by shots; those without stay with their neighbours."""
    if not table.has_published:
        return _sweep_groups(table.columns)
    groups: list[list[int]] = []
    shots: int | None = None
    for j, column in enumerate(table.columns):
        if not groups or (column.shots and shots and column.shots != shots):
            groups.append([])
            shots = None
        groups[-1].append(j)
        shots = column.shots or shots
    return [even for group in groups for even in _even(group, _WIDEST)]


def _sweep_groups(columns: Sequence[ComparedColumn]) -> list[list[int]]:
    """Return the numbers of a sweep's columns by method, or all together if it compares methods."""
    names = [column.method.partition("[")[0] for column in columns]
    by_method = [[j for j, name in enumerate(names) if name == one] for one in dict.fromkeys(names)]
    alone = max(map(len, by_method)) == 1
    groups = [list(range(len(columns)))] if alone else by_method
    return [even for group in groups for even in _even(group, _WIDEST_SWEEP)]


def _even(group: Sequence[int], widest: int) -> list[list[int]]:
    n_panels = -(-len(group) // widest)
    width = -(-len(group) // n_panels)
    return [list(group[start : start + width]) for start in range(0, len(group), width)]


def _head(column: ComparedColumn) -> tuple[str, ...]:
    long = len(column.title) > _LONG_TITLE
    title = column.title.rsplit(" ", 1) if long else [column.title]
    return (*title, counted(column.shots, "shot")) if column.shots else tuple(title)


def _lines(
    table: ComparedTable, row: ComparedRow, indices: Sequence[int], *, published_only: bool
) -> Iterator[Line]:
    cells = [row.cells[j] for j in indices]
    ours, paper = (tuple(map(text, cells)) for text in (_ours, _paper))
    if published_only:
        yield Line(row.name, "", paper, True, row.aggregate)
        return
    what = "ours" if table.has_published else ""
    yield Line(row.name, what, ours, True, row.aggregate, tuple(map(_mark, cells)))
    if not table.has_published:
        return
    yield Line("", "paper", paper, False, row.aggregate)
    if any(cell is not None and cell.difference is not None for cell in cells):
        yield Line("", "diff", tuple(map(_difference, cells)), False, row.aggregate)


def _mark(cell: ComparedCell | None) -> str:
    return "" if cell is None or cell.ours is None else cell.ours.mark


def _ours(cell: ComparedCell | None) -> str:
    if cell is None or cell.ours is None:
        return ""
    notes = "".join(f"[{note}]" for note in cell.ours.notes)
    text = number(cell.ours) + ODD * cell.mixed
    return " ".join(part for part in (text, fraction(cell.ours), notes) if part)


def _paper(cell: ComparedCell | None) -> str:
    if cell is None:
        return ""
    sign, _ = _STATUS.get(cell.status, ("", ""))
    return mean_text(cell.published, cell.published_std) + sign


def _difference(cell: ComparedCell | None) -> str:
    if cell is None or cell.difference is None:
        return ""
    return f"{cell.difference:+.{DIGITS}f} {_SIGNS[cell.verdict]}".rstrip()


def below(table: ComparedTable, *, published_only: bool) -> list[str]:
    """Return what stands below the table: legend, footnotes, notes, and how it compares.

    Below the paper's table alone stand the signs of changed values.
    """
    cells = [cell for row in table.rows for cell in row.cells if cell is not None]
    met = {cell.status for cell in cells}
    changed = [f"{sign}: {what}" for status, (sign, what) in _STATUS.items() if status in met]
    if changed:
        changed[-1] += " (-f csv has what it says, and why)"
    if published_only:
        return changed
    lines = [_LEGEND, *changed] if table.has_published else []
    lines += [ODD_LEGEND] * any(cell.mixed for cell in cells)
    lines += [f"[{i}] {text}" for i, text in enumerate(table.footnotes, 1)]
    lines += [f"Note: {note}" for note in table.notes]
    return [*lines, *_summary(table)]


def _summary(table: ComparedTable) -> Iterator[str]:
    found = table.summary
    if not found.cells:
        return
    yield f"{found.run} of {found.cells} cells have results here (without means over others)"
    if not table.has_published or found.mean_difference is None:
        return
    judged = f"{found.within} of {found.judged} within both spreads" if found.judged else ""
    what = f"{found.compared} compared with the paper: mean absolute difference "
    yield ", ".join(filter(None, [f"{what}{found.mean_difference:.{DIGITS}f}", judged]))
    yield from map(_ranks, found.ranks)


def _ranks(ranks: Ranks) -> str:
    who = f" with {counted(ranks.shots, 'shot')}" if ranks.shots else ""
    taus = [("mean over rows", ranks.mean_tau), ("of the methods' means", ranks.means_tau)]
    known = ", ".join(f"{name} {tau:.2f}" for name, tau in taus if tau is not None)
    tail = f"; Kendall's tau {known}" if known else ""
    return f"order of the methods{who} kept in {ranks.kept} of {ranks.rows} rows{tail}"
