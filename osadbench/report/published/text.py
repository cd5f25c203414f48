"""A paper's table as text, for a terminal and as Markdown."""

from __future__ import annotations

from osadbench.report.published.layout import Part, below, caption, parts
from osadbench.report.published.parts import ComparedTable
from osadbench.report.sheets import wrapped

__all__ = ["markdown", "terminal"]


def terminal(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return the table for a terminal, the columns of each number of shots below each other."""
    blocks = [wrapped(caption(table, published_only=published_only))]
    for part in parts(table, published_only=published_only):
        blocks.append(_grid("simple", part, "\n", rules=True))
    under = [wrapped(text) for text in below(table, published_only=published_only)]
    return "\n\n".join([*blocks, "\n".join(under)]).rstrip() + "\n"


def markdown(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return the table as GitHub-flavoured Markdown."""
    blocks = [f"**{caption(table, published_only=published_only)}**"]
    for part in parts(table, published_only=published_only):
        blocks.append(_grid("github", part, "<br>", rules=False))
    blocks += below(table, published_only=published_only)
    return "\n\n".join(blocks) + "\n"


def _grid(form: str, part: Part, between: str, *, rules: bool) -> str:
    from tabulate import SEPARATING_LINE, tabulate

    heads = ["", *[""] * part.labelled, *map(between.join, part.heads)]
    rows: list[object] = []
    lines = part.lines
    for i, line in enumerate(lines):
        rows.append([line.name, *[line.what] * part.labelled, *line.texts])
        ends = i + 1 < len(lines) and lines[i + 1].first
        if rules and ends and (line.aggregate or lines[i + 1].aggregate):
            rows.append(SEPARATING_LINE)
    aligned = ["left"] * (1 + part.labelled) + ["right"] * len(part.heads)
    body = tabulate(rows, headers=heads, tablefmt=form, disable_numparse=True, colalign=aligned)
    return "\n".join(line.rstrip() for line in str(body).splitlines())
