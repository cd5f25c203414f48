"""Plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from osadbench.report import wording
from osadbench.report.parts import Cell, Comparison, Report, Row, Table
from osadbench.report.texts import ODD, wrapped

__all__ = ["terminal"]

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
    for setting, tables, tests in wording.sections(report):
        blocks += [_table(report, table, color) for table in tables]
        if tests:
            blocks.append(
                "\n".join([wrapped(wording.comparison_heading(setting)), *map(_test, tests)])
            )
    if report.tables:
        marks = "bold: best, underlined: second" if color else "*: best, +: second"
        blocks.append("\n".join(map(wrapped, wording.legend(report, marks))))
    if report.costs:
        blocks.append("\n\n".join([wording.COSTS_HEADING, _grid(*wording.cost_lines(report))]))
    if report.notes:
        blocks.append("\n".join(wrapped(f"Note: {note}") for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _grid(heads: Sequence[str], lines: Iterable[object]) -> str:
    from tabulate import tabulate

    body = tabulate(lines, headers=heads, tablefmt="simple", disable_numparse=True)
    return "\n".join(line.rstrip() for line in body.splitlines())


def _table(report: Report, table: Table, color: bool) -> str:
    heads, rows = wording.grid(report, table)
    body = _grid(["", *map(_heading, heads)], _lines(rows, color))
    caption = [
        f"{table.dataset}, {wording.setting_text(table.setting)}: {wording.statistic_text(table)}",
        wording.engine_text(table.setting),
    ]
    footnotes = [f"[{i}] {text}" for i, text in enumerate(table.footnotes, 1)]
    notes = [f"Note: {note}" for note in table.notes]
    below = [wrapped(line) for line in footnotes + notes]
    return "\n".join([*map(wrapped, caption), "", body, *below])


def _lines(rows: Iterable[Row], color: bool) -> Iterator[object]:
    from tabulate import SEPARATING_LINE

    for row in rows:
        if row.aggregate:
            yield SEPARATING_LINE
        yield [row.name, *(_cell(cell, color) for cell in row.cells)]


def _cell(cell: Cell, color: bool) -> str:
    text = wording.number(cell) + ODD * cell.odd
    if color and cell.mark:
        text = f"{_CODES[cell.mark]}{text}{_RESET}"
    elif not color:
        text += _SYMBOLS[cell.mark]
    notes = "".join(f"[{note}]" for note in cell.notes)
    return " ".join(part for part in (text, wording.fraction(cell), notes) if part)


def _heading(label: str) -> str:
    if len(label) <= _LONG_LABEL:
        return label
    return label.replace("[", "\n[").replace(",", ",\n ")


def _test(test: Comparison) -> str:
    return wrapped(f"  {wording.comparison_text(test)}", indent="    ")
