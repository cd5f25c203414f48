r"""LaTeX tables; the document needs the booktabs package and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osadbench.report import wording
from osadbench.report.parts import Cell, Comparison, Report, Row, Table
from osadbench.report.tex import DAGGER, escape, floating, marked, table_row, tables_text, tabular
from osadbench.report.texts import ODD, ODD_LEGEND

__all__ = ["latex", "marks_text", "version_text"]


def latex(report: Report) -> str:
    r"""Return one ``table`` environment for each table; best in bold, second underlined.

    Each setting's tests stand below its last table; time and memory have a table of their own.
    """
    blocks: list[str] = []
    for _, tables, tests in wording.sections(report):
        blocks += [_table(report, table, []) for table in tables[:-1]]
        blocks.append(_table(report, tables[-1], tests))
    blocks += [_costs(report)] * bool(report.costs)
    return tables_text(blocks, report.version, report.notes)


def _table(report: Report, table: Table, tests: list[Comparison]) -> str:
    heads, rows = wording.grid(report, table)
    body = tabular(["", *heads], map(_row, rows))
    return floating(_caption(report, table), body, _below(table, tests))


def _costs(report: Report) -> str:
    heads, lines = wording.cost_lines(report)
    caption = f"{escape(wording.COSTS_HEADING.rstrip(':'))}."
    return floating(caption, tabular(heads, (table_row(map(escape, cells)) for cells in lines)))


def _caption(report: Report, table: Table) -> str:
    what = (
        f"{table.dataset}, {wording.setting_text(table.setting)}: {wording.statistic_text(table)}"
    )
    version = version_text(table.versions, report.version)
    how = f"{wording.engine_text(table.setting)}, {version}"
    cells = (cell for row in table.rows for cell in row.cells)
    marks = marks_text(cells, allow_partial=report.allow_partial)
    return f"{escape(what)}; {escape(how)}. {marks}."


def version_text(versions: Sequence[str], printing: str) -> str:
    """Return the version of osadbench that made the numbers, or else that of what prints them."""
    return f"osadbench {' and '.join(versions) or printing}"


def marks_text(cells: Iterable[Cell], *, allow_partial: bool = False) -> str:
    """Return what a caption says of the marks of some cells."""
    marks = "Best in bold, second underlined"
    found = list(cells)
    if any(map(wording.fraction, found)):
        marks += "; fractions are seeds done of those expected"
        marks += "" if allow_partial else ", and such cells are not marked"
    if any(cell.odd for cell in found):
        marks += f"; {ODD_LEGEND.replace(ODD, DAGGER)}"
    return marks


def _below(table: Table, tests: list[Comparison]) -> list[str]:
    texts = [f"$^{{{i}}}$ {escape(text)}" for i, text in enumerate(table.footnotes, 1)]
    texts += [f"Note: {escape(note)}" for note in table.notes]
    if tests:
        texts.append(escape(wording.comparison_heading(table.setting)))
        texts += [escape(wording.comparison_text(test)) for test in tests]
        texts += [escape(wording.EFFECT_LEGEND)] * any(test.result for test in tests)
    return texts


def _row(row: Row) -> str:
    text = table_row([escape(row.name), *map(_cell, row.cells)])
    return f"\\midrule\n{text}" if row.aggregate else text


def _cell(cell: Cell) -> str:
    text = marked(wording.number(cell, r"\,$\pm$\,"), cell.mark)
    if cell.mean is None:
        text = "--"
    small = f" {{\\scriptsize {wording.fraction(cell)}}}" if wording.fraction(cell) else ""
    notes = ",".join(map(str, cell.notes))
    text += DAGGER * cell.odd
    return f"{text}{small}" + (f"$^{{{notes}}}$" if notes else "")
