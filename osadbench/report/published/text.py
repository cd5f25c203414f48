"""A paper's table as text, for a terminal and as Markdown."""

from __future__ import annotations

from dataclasses import replace

from osadbench.report.published.layout import Panel, below, caption, panels
from osadbench.report.published.parts import ComparedTable
from osadbench.report.texts import escape_markdown, wrapped

__all__ = ["markdown", "terminal"]


def terminal(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return the table for a terminal, the columns of each number of shots below each other."""
    blocks = [wrapped(caption(table, published_only=published_only))]
    for panel in panels(table, published_only=published_only):
        blocks.append(_grid("simple", panel, "\n", rules=True))
    under = [wrapped(text) for text in below(table, published_only=published_only)]
    return "\n\n".join([*blocks, "\n".join(under)]).rstrip() + "\n"


def markdown(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return the table as GitHub-flavoured Markdown."""
    blocks = [f"**{escape_markdown(caption(table, published_only=published_only))}**"]
    for panel in panels(table, published_only=published_only):
        blocks.append(_grid("github", _escaped(panel), "<br>", rules=False))
    blocks += map(escape_markdown, below(table, published_only=published_only))
    return "\n\n".join(blocks) + "\n"


def _escaped(panel: Panel) -> Panel:
    lines = (
        replace(
            line, name=escape_markdown(line.name), texts=tuple(map(escape_markdown, line.texts))
        )
        for line in panel.lines
    )
    heads = tuple(tuple(map(escape_markdown, head)) for head in panel.heads)
    return replace(panel, heads=heads, lines=tuple(lines))


def _grid(form: str, panel: Panel, between: str, *, rules: bool) -> str:
    from tabulate import SEPARATING_LINE, tabulate

    heads = ["", *[""] * panel.labelled, *map(between.join, panel.heads)]
    rows: list[object] = []
    lines = panel.lines
    for i, line in enumerate(lines):
        rows.append([line.name, *[line.what] * panel.labelled, *line.texts])
        ends = i + 1 < len(lines) and lines[i + 1].first
        if rules and ends and (line.aggregate or lines[i + 1].aggregate):
            rows.append(SEPARATING_LINE)
    aligned = ["left"] * (1 + panel.labelled) + ["right"] * len(panel.heads)
    body = tabulate(rows, headers=heads, tablefmt=form, disable_numparse=True, colalign=aligned)
    return "\n".join(line.rstrip() for line in str(body).splitlines())
