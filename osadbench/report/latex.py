r"""LaTeX tables; the document needs the booktabs package and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from osadbench.report import wording
from osadbench.report.parts import Cell, Comparison, Report, Row, Table
from osadbench.report.texts import ODD, ODD_LEGEND

__all__ = ["DAGGER", "escape", "latex", "marked", "marks_text", "version_text"]

#: :data:`osadbench.report.texts.ODD` in LaTeX.
DAGGER = r"$^\dagger$"
_MARKS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"\,$\pm$\,",
    # Else a row that starts with a bracket would be read as an option of the rule above it.
    "[": "{[}",
    "]": "{]}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}
#: LaTeX gives up where more tables than these wait for a page of their own.
_FLOATS = 18
#: Letters of western Europe, without those that LaTeX's own fonts lack.
_LATIN = frozenset(one for one in map(chr, range(0xC0, 0x100)) if one.isalpha()) - set("ÐðÞþ")


def latex(report: Report) -> str:
    r"""Return one ``table`` environment for each table; best in bold, second underlined.

    Each setting's tests stand below its last table; time and memory have a table of their own.
    """
    blocks = [f"% osadbench {report.version}; needs \\usepackage{{booktabs}}"]
    for _, tables, tests in wording.sections(report):
        blocks += [_table(report, table, []) for table in tables[:-1]]
        blocks.append(_table(report, tables[-1], tests))
    blocks += [_costs(report)] * bool(report.costs)
    for place in range(len(blocks) - len(blocks) % _FLOATS, 1, -_FLOATS):
        blocks.insert(place, r"\clearpage")
    blocks += [f"% {note}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def _table(report: Report, table: Table, tests: list[Comparison]) -> str:
    heads, rows = wording.grid(report, table)
    return _float(_caption(report, table), ["", *heads], map(_row, rows), _below(table, tests))


def _costs(report: Report) -> str:
    heads, lines = wording.cost_lines(report)
    caption = f"{escape(wording.COSTS_HEADING.rstrip(':'))}."
    return _float(caption, heads, (_line([*map(escape, line)]) for line in lines))


def _float(
    caption: str, heads: Sequence[str], lines: Iterable[str], below: Iterable[str] = ()
) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            _line([*map(escape, heads)]),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            *below,
            r"\end{table}",
        ]
    )


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
    lines = [f"$^{{{i}}}$ {escape(text)}" for i, text in enumerate(table.footnotes, 1)]
    lines += [f"Note: {escape(note)}" for note in table.notes]
    if tests:
        lines.append(escape(wording.comparison_heading(table.setting)))
        lines += [escape(wording.comparison_text(test)) for test in tests]
        lines += [escape(wording.EFFECT_LEGEND)] * any(test.result for test in tests)
    return [r"\par\footnotesize", *(f"{line}\\par" for line in lines)] if lines else []


def _row(row: Row) -> str:
    line = _line([escape(row.name), *map(_cell, row.cells)])
    return f"\\midrule\n{line}" if row.aggregate else line


def _cell(cell: Cell) -> str:
    text = marked(wording.number(cell, r"\,$\pm$\,"), cell.mark)
    if cell.mean is None:
        text = "--"
    small = f" {{\\scriptsize {wording.fraction(cell)}}}" if wording.fraction(cell) else ""
    notes = ",".join(map(str, cell.notes))
    text += DAGGER * cell.odd
    return f"{text}{small}" + (f"$^{{{notes}}}$" if notes else "")


def marked(number: str, mark: str) -> str:
    """Return a number, in LaTeX, in bold for the mark ``"best"``, underlined for ``"second"``."""
    return _MARKS[mark] % number


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def escape(text: str) -> str:
    """Return text as LaTeX prints it; unknown characters become their code points."""
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(map(_character, text)))


def _character(one: str) -> str:
    """Return a character for pdfLaTeX, whose own fonts have Latin letters only."""
    if one in _SPECIAL:
        return _SPECIAL[one]
    return one if " " <= one <= "~" or one in _LATIN else f"{{[}}U+{ord(one):04X}{{]}}"
