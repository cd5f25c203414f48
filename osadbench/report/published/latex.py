r"""A paper's table as LaTeX; the document needs the booktabs package and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from osadbench.report.latex import marks_text, version_text
from osadbench.report.published.layout import Line, Panel, below, caption, panels
from osadbench.report.published.parts import ComparedTable
from osadbench.report.tex import DAGGER, escape, fitted, floating, marked, table_row, tables_text
from osadbench.report.texts import ODD

__all__ = ["latex"]

_SIGNS = {ODD: DAGGER, "‡": r"$^\ddagger$", "§": r"$^\S$"}
#: Lines of text that fit on one page.
_PAGE_LINES = 48


def latex(table: ComparedTable, *, published_only: bool = False) -> str:
    r"""Return LaTeX tables, for each number of shots one, a long one cut to pages.

    Of our values in a row, the best is in bold and the second underlined.
    """
    title = _caption(table, published_only=published_only)
    bodies = [
        _tabular(panel, lines)
        for panel in panels(table, published_only=published_only)
        for lines in _pages(panel.lines)
    ]
    blocks = []
    for i, body in enumerate(bodies, 1):
        tail = f" (continued, {i} of {len(bodies)})" if i > 1 else ""
        notes = below(table, published_only=published_only) if i == len(bodies) else []
        blocks.append(floating(f"{title}{tail}.", body, map(_text, notes)))
    return tables_text(blocks, table.version)


def _caption(table: ComparedTable, *, published_only: bool) -> str:
    what = caption(table, published_only=published_only)
    if published_only or not table.made:
        return escape(f"{what}; {version_text((), table.version)}")
    cells = (cell for row in table.rows for cell in row.cells if cell is not None)
    marks = marks_text(cell.ours for cell in cells if cell.ours is not None)
    made = escape(f"{what}, {version_text(table.versions, table.version)}")
    return f"{made}. Of our values in a row: {marks[0].lower()}{marks[1:]}"


def _pages(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Yield the lines by pages; a row stays on one."""
    page: list[Line] = []
    for line in lines:
        if line.first and len(page) > _PAGE_LINES - 3:
            yield page
            page = []
        page.append(line)
    if page:
        yield page


def _tabular(panel: Panel, lines: Sequence[Line]) -> str:
    rows = [
        [line.name.rpartition("/")[2], *[line.what] * panel.labelled, *line.texts] for line in lines
    ]
    left = 1 + panel.labelled
    height = max(map(len, panel.heads))
    # Titles stand on the line above the numbers, as far up as they are long.
    heads = [
        [""] * left + [(("",) * (height - len(head)) + head)[i] for head in panel.heads]
        for i in range(height)
    ]
    tabular = "\n".join(
        [
            f"\\begin{{tabular}}{{{'l' * left}{'r' * len(panel.heads)}}}",
            r"\toprule",
            *map(_line, heads),
            r"\midrule",
            *_body(lines, rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
    columns = zip(*heads, *rows, strict=True)
    return fitted(tabular, [max(map(len, column)) for column in columns])


def _body(lines: Sequence[Line], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows, with a line for each dataset that has several of them."""
    dataset = None
    for i, (line, row) in enumerate(zip(lines, rows, strict=True)):
        of, slash, _ = line.name.rpartition("/")
        if line.first and slash and of != dataset:
            yield from [r"\addlinespace"] * bool(i)
            yield f"\\multicolumn{{{len(row)}}}{{l}}{{\\textit{{{_text(of)}}}}} \\\\"
        dataset = of if line.first else dataset
        before = [""] * (len(row) - len(line.texts))
        yield _line(row, [*before, *(line.marks or [""] * len(line.texts))])


def _line(texts: Sequence[str], marks: Sequence[str] = ()) -> str:
    cells = zip(texts, marks or [""] * len(texts), strict=True)
    return table_row(_marked(*cell) for cell in cells)


def _marked(text: str, mark: str) -> str:
    """Return the text of a cell, its number marked, without what stands behind it."""
    if not mark:
        return _text(text)
    number = re.match(r"[\d.±]*", text)
    end = 0 if number is None else number.end()
    return marked(_text(text[:end]), mark) + _text(text[end:])


def _text(text: str) -> str:
    if text == "-":
        return "--"
    parts = re.split(f"([{''.join(_SIGNS)}])", text)
    return "".join(_SIGNS.get(part) or escape(part) for part in parts)
