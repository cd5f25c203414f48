"""Plain tables with a title above and notes below, for reports that are no table of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from osadbench._version import __version__
from osadbench.report.tex import escape as escape_latex
from osadbench.report.tex import floating, long, table_row, tables_text, tabular
from osadbench.report.texts import NO_RESULT, wrapped
from osadbench.report.texts import escape_markdown as escape

__all__ = ["Sheet", "sheets_text"]

#: Lines that fit on a page below a title of some lines and above some notes.
_PAGE_LINES = 36


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: Line above it.
        heads: Heads of the columns.
        lines: The cells, as many in each line as there are heads. Empty where there is no table.
        notes: Lines below it.
        names: How many columns hold names, those on the left; the others hold numbers.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    names: int = 1


def sheets_text(sheets: Sequence[Sheet], format: str) -> str:
    """Return sheets as text that ends in a newline.

    Args:
        sheets: What to print.
        format: ``"terminal"``, 100 columns wide where the tables allow it, ``"markdown"``, or
            ``"latex"``, where a table that is longer than a page goes on on the next.
    """
    if format == "latex":
        packages = "booktabs,longtable" if any(map(_is_long, sheets)) else "booktabs"
        return tables_text([*map(_latex, sheets)], __version__, packages=packages)
    return "\n\n".join(map(_FORMATS[format], sheets)) + "\n"


def _terminal(sheet: Sheet) -> str:
    from tabulate import tabulate

    blocks = [wrapped(sheet.title)]
    if sheet.lines:
        body = tabulate(sheet.lines, headers=sheet.heads, tablefmt="simple", disable_numparse=True)
        blocks += ["", *(line.rstrip() for line in body.splitlines())]
    return "\n".join([*blocks, *[""] * bool(sheet.notes), *map(wrapped, sheet.notes)])


def _markdown(sheet: Sheet) -> str:
    blocks = [f"**{escape(sheet.title)}**"]
    if sheet.lines:
        rules = ["---"] * sheet.names + ["---:"] * (len(sheet.heads) - sheet.names)
        lines = [
            map(escape, sheet.heads),
            rules,
            *(map(escape, line) for line in sheet.lines),
        ]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if sheet.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in sheet.notes))
    return "\n\n".join(blocks)


def _latex(sheet: Sheet) -> str:
    caption, notes = f"{escape_latex(sheet.title)}.", map(escape_latex, sheet.notes)
    if not sheet.lines:
        return "\n".join(f"{text}\\par" for text in (caption, *notes))
    rows = (table_row(map(_latex_cell, line)) for line in sheet.lines)
    if _is_long(sheet):
        return long(caption, sheet.heads, rows, notes, names=sheet.names)
    return floating(caption, tabular(sheet.heads, rows, names=sheet.names), notes)


def _latex_cell(text: str) -> str:
    return "--" if text == NO_RESULT else escape_latex(text)


def _is_long(sheet: Sheet) -> bool:
    return len(sheet.lines) > _PAGE_LINES


_FORMATS: Mapping[str, Callable[[Sheet], str]] = {"terminal": _terminal, "markdown": _markdown}
