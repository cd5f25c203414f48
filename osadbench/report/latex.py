r"""LaTeX tables; the document needs the booktabs package and nothing else."""

from __future__ import annotations

from osadbench.report import wording
from osadbench.report.parts import Cell, Comparison, Report, Row, Table

__all__ = ["latex"]

_MARKS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
_SPECIAL = str.maketrans(
    {
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
)


def latex(report: Report) -> str:
    r"""Return one ``table`` environment for each table; best in bold, second underlined.

    Each setting's tests stand below its last table.
    """
    blocks = [f"% osadbench {report.version}; needs \\usepackage{{booktabs}}"]
    for _, tables, tests in wording.sections(report):
        blocks += [_table(report, table, []) for table in tables[:-1]]
        blocks.append(_table(report, tables[-1], tests))
    blocks += [f"% {note}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def _table(report: Report, table: Table, tests: list[Comparison]) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{_caption(report, table)}}}",
            f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            _line(["", *map(_escape, table.columns)]),
            r"\midrule",
            *map(_row, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *_below(table, tests),
            r"\end{table}",
        ]
    )


def _caption(report: Report, table: Table) -> str:
    what = (
        f"{table.dataset}, {wording.setting_text(table.setting)}: {wording.statistic_text(table)}"
    )
    how = f"{wording.engine_text(table.setting)}, osadbench {report.version}"
    marks = "Best in bold, second underlined"
    if any(wording.fraction(cell) for row in table.rows for cell in row.cells):
        marks += "; fractions are seeds done of those expected"
        marks += "" if report.allow_partial else ", and such cells are not marked"
    return f"{_escape(what)}; {_escape(how)}. {marks}."


def _below(table: Table, tests: list[Comparison]) -> list[str]:
    lines = [f"$^{{{i}}}$ {_escape(text)}" for i, text in enumerate(table.footnotes, 1)]
    lines += [f"Note: {_escape(note)}" for note in table.notes]
    if tests:
        lines.append(_escape(wording.comparison_heading(table.setting)))
        lines += [_escape(wording.comparison_text(test)) for test in tests]
    return [r"\par\footnotesize", *(f"{line}\\par" for line in lines)] if lines else []


def _row(row: Row) -> str:
    line = _line([_escape(row.name), *map(_cell, row.cells)])
    return f"\\midrule\n{line}" if row.aggregate else line


def _cell(cell: Cell) -> str:
    text = _MARKS[cell.mark] % wording.number(cell, r"\,$\pm$\,")
    if cell.mean is None:
        text = "--"
    small = f" {{\\scriptsize {wording.fraction(cell)}}}" if wording.fraction(cell) else ""
    notes = ",".join(map(str, cell.notes))
    return f"{text}{small}" + (f"$^{{{notes}}}$" if notes else "")


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _escape(text: str) -> str:
    return text.translate(_SPECIAL)
