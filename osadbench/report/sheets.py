"""Plain tables with a title above and notes below, for reports that are no table of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from osadbench.report.texts import escape_markdown as escape
from osadbench.report.texts import wrapped

__all__ = ["Sheet", "sheets_text"]


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: Line above it.
        heads: Heads of the columns; the first column is of names, the others of numbers.
        lines: The cells, as many in each line as there are heads. Empty where there is no table.
        notes: Lines below it.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sheets_text(sheets: Sequence[Sheet], format: str) -> str:
    """Return sheets as text that ends in a newline.

    Args:
        sheets: What to print.
        format: ``"terminal"``, 100 columns wide where the tables allow it, or ``"markdown"``.
    """
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
        rules = ["---", *["---:"] * (len(sheet.heads) - 1)]
        lines = [
            map(escape, sheet.heads),
            rules,
            *(map(escape, line) for line in sheet.lines),
        ]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if sheet.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in sheet.notes))
    return "\n\n".join(blocks)


_FORMATS: Mapping[str, Callable[[Sheet], str]] = {"terminal": _terminal, "markdown": _markdown}
