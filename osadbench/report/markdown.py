"""GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osadbench.report import wording
from osadbench.report.parts import Cell, Report, Row, Table
from osadbench.report.texts import ODD
from osadbench.report.texts import escape_markdown as escape

__all__ = ["markdown"]

_MARKS = {"best": "**", "second": "_", "": ""}


def markdown(report: Report) -> str:
    """Return the report as Markdown; the best of a row is bold, the second in italics."""
    blocks = []
    for setting, tables, tests in wording.sections(report):
        blocks += [_table(report, table) for table in tables]
        if tests:
            lines = [f"- {escape(wording.comparison_text(test))}" for test in tests]
            blocks.append("\n".join([escape(wording.comparison_heading(setting)), "", *lines]))
    if report.tables:
        blocks += wording.legend(report, "**Best** and _second_")
    if report.costs:
        blocks.append("\n\n".join([wording.COSTS_HEADING, _costs(report)]))
    blocks += [f"Note: {escape(note)}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def _table(report: Report, table: Table) -> str:
    heads, rows = wording.grid(report, table)
    caption = (
        f"**{escape(table.dataset)}, {escape(wording.setting_text(table.setting))}**: "
        f"{escape(wording.statistic_text(table))}; {escape(wording.engine_text(table.setting))}"
    )
    lines = [*_head(["", *map(escape, heads)]), *map(_row, rows)]
    footnotes = [f"\\[{i}\\] {escape(text)}" for i, text in enumerate(table.footnotes, 1)]
    below = footnotes + [f"Note: {escape(note)}" for note in table.notes]
    return "\n\n".join([caption, "\n".join(lines), *below])


def _costs(report: Report) -> str:
    heads, lines = wording.cost_lines(report)
    return "\n".join([*_head(heads), *(_line(map(escape, line)) for line in lines)])


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---", *("---:" for _ in cells[1:])])]


def _row(row: Row) -> str:
    name = escape(row.name)
    return _line([f"_{name}_" if row.aggregate else name, *map(_cell, row.cells)])


def _cell(cell: Cell) -> str:
    mark = _MARKS[cell.mark]
    number = f"{mark}{wording.number(cell)}{ODD * cell.odd}{mark}"
    notes = "".join(f"\\[{note}\\]" for note in cell.notes)
    return " ".join(part for part in (number, wording.fraction(cell), notes) if part)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
