"""Plain text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from osadbench.report.parts import Cell, Comparison, Report, Table
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

__all__ = ["terminal"]

_WIDTH = 100
_LONG_LABEL = 14
_SYMBOLS = {"best": "*", "second": "+", "": " "}
_CODES = {"best": "\033[1m", "second": "\033[4m"}
_RESET = "\033[0m"


def terminal(report: Report, *, color: bool = False) -> str:
    """Return the report as text, up to 100 columns wide for up to four methods.

    Args:
        report: What to print.
        color: Whether to mark by bold and underlined type (ANSI codes) instead of by signs.
    """
    blocks = []
    for setting, tables, tests in sections(report):
        blocks += [_table(table, color) for table in tables]
        if tests:
            blocks.append("\n".join([_wrap(comparison_heading(setting)), *map(_test, tests)]))
    if report.tables:
        marks = "bold: best, underlined: second" if color else "*: best, +: second"
        blocks.append(_wrap(legend(report, marks)))
    if report.notes:
        blocks.append("\n".join(_wrap(f"Note: {note}") for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _table(table: Table, color: bool) -> str:
    from tabulate import tabulate

    body = tabulate(
        _lines(table, color),
        headers=["", *map(_heading, table.columns)],
        tablefmt="simple",
        disable_numparse=True,
    )
    caption = [
        f"{table.dataset}, {setting_text(table.setting)}: {statistic_text(table)}",
        engine_text(table.setting),
    ]
    footnotes = [f"[{i}] {text}" for i, text in enumerate(table.footnotes, 1)]
    notes = [f"Note: {note}" for note in table.notes]
    stripped = "\n".join(line.rstrip() for line in body.splitlines())
    below = [_wrap(line) for line in footnotes + notes]
    return "\n".join([*map(_wrap, caption), "", stripped, *below])


def _lines(table: Table, color: bool) -> Iterator[object]:
    from tabulate import SEPARATING_LINE

    for row in table.rows:
        if row.aggregate:
            yield SEPARATING_LINE
        yield [row.name, *(_cell(cell, color) for cell in row.cells)]


def _cell(cell: Cell, color: bool) -> str:
    text = number(cell)
    if color and cell.mark:
        text = f"{_CODES[cell.mark]}{text}{_RESET}"
    elif not color:
        text += _SYMBOLS[cell.mark]
    notes = "".join(f"[{note}]" for note in cell.notes)
    return " ".join(part for part in (text, fraction(cell), notes) if part)


def _heading(label: str) -> str:
    if len(label) <= _LONG_LABEL:
        return label
    return label.replace("[", "\n[").replace(",", ",\n ")


def _test(test: Comparison) -> str:
    return _wrap(f"  {comparison_text(test)}", indent="    ")


def _wrap(text: str, indent: str = "  ") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
