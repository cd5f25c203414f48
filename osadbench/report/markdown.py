"""GitHub-flavoured Markdown."""

from __future__ import annotations

from osadbench.report.parts import Cell, Report, Row, Table
from osadbench.report.text import (
    comparison_heading,
    comparison_text,
    engine_text,
    fraction,
    legend,
    number,
    sections,
    setting_text,
    statistic_text,
)

__all__ = ["markdown"]

_MARKS = {"best": "**", "second": "_", "": ""}
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def markdown(report: Report) -> str:
    """Return the report as Markdown; the best of a row is bold, the second in italics."""
    blocks = []
    for setting, tables, tests in sections(report):
        blocks += [_table(table) for table in tables]
        if tests:
            lines = [f"- {_escape(comparison_text(test))}" for test in tests]
            blocks.append("\n".join([_escape(comparison_heading(setting)), "", *lines]))
    if report.tables:
        blocks.append(legend(report, "**Best** and _second_"))
    blocks += [f"Note: {_escape(note)}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    caption = (
        f"**{_escape(table.dataset)}, {_escape(setting_text(table.setting))}**: "
        f"{_escape(statistic_text(table))}; {_escape(engine_text(table.setting))}"
    )
    lines = [
        _line(["", *map(_escape, table.columns)]),
        _line(["---", *("---:" for _ in table.columns)]),
        *map(_row, table.rows),
    ]
    footnotes = [f"\\[{i}\\] {_escape(text)}" for i, text in enumerate(table.footnotes, 1)]
    below = footnotes + [f"Note: {_escape(note)}" for note in table.notes]
    return "\n\n".join([caption, "\n".join(lines), *below])


def _row(row: Row) -> str:
    name = _escape(row.name)
    return _line([f"_{name}_" if row.aggregate else name, *map(_cell, row.cells)])


def _cell(cell: Cell) -> str:
    mark = _MARKS[cell.mark]
    notes = "".join(f"\\[{note}\\]" for note in cell.notes)
    return " ".join(part for part in (f"{mark}{number(cell)}{mark}", fraction(cell), notes) if part)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return text.translate(_SPECIAL)
