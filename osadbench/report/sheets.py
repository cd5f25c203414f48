"""Plain tables with a title above and notes below, for reports that are no table of results."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osadbench._version import __version__

__all__ = [
    "Sheet",
    "as_documents",
    "as_lines",
    "effect_text",
    "p_text",
    "sheets_text",
    "wrapped",
]

_WIDTH = 100
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


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


def as_lines(lines: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return CSV with a head, one line for each mapping; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_documents(schema: int, **parts: Any) -> str:
    """Return one JSON document with its layout's version and osadbench's.

    A number that is not finite is null.
    """
    document = {**parts, "schema": schema, "version": __version__}
    return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def p_text(value: float) -> str:
    """Return ``= 0.031``, or ``< 0.001`` where it is smaller."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def effect_text(value: float) -> str:
    """Return ``+0.78``, and ``+0.00`` for all that is rounded to zero."""
    return f"{value:+z.2f}"


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a text in lines of 100 columns, none of which ends within ``p = 0.5``.

    Args:
        text: One paragraph.
        indent: What the second and later lines begin with.
    """
    held = re.sub(r" (?=[=<] )|(?<= [=<]) ", "\u00a0", text)
    lines = textwrap.fill(
        held, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace("\u00a0", " ")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _terminal(sheet: Sheet) -> str:
    from tabulate import tabulate

    blocks = [wrapped(sheet.title)]
    if sheet.lines:
        body = tabulate(sheet.lines, headers=sheet.heads, tablefmt="simple", disable_numparse=True)
        blocks += ["", *(line.rstrip() for line in body.splitlines())]
    return "\n".join([*blocks, *[""] * bool(sheet.notes), *map(wrapped, sheet.notes)])


def _markdown(sheet: Sheet) -> str:
    blocks = [f"**{_escape(sheet.title)}**"]
    if sheet.lines:
        rules = ["---", *["---:"] * (len(sheet.heads) - 1)]
        lines = [map(_escape, sheet.heads), rules, *(map(_escape, line) for line in sheet.lines)]
        blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if sheet.notes:
        blocks.append("\n".join(f"- {_escape(note)}" for note in sheet.notes))
    return "\n\n".join(blocks)


def _escape(text: str) -> str:
    return text.translate(_SPECIAL)


_FORMATS: Mapping[str, Callable[[Sheet], str]] = {"terminal": _terminal, "markdown": _markdown}
