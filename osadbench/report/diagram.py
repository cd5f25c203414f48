"""Critical-difference diagrams: mean ranks on a line, bars over what Nemenyi cannot tell apart.

The layout (Demsar, JMLR 7, 2006, Figure 1, with the best on the left) is worked out once, in
centimetres, and drawn by matplotlib or written as TikZ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from osadbench.errors import UsageError
from osadbench.report.drawing import save_figure_file, writing
from osadbench.report.tex import escape
from osadbench.stats import indistinguishable

__all__ = ["SUFFIXES", "Diagram", "as_tikz", "save_diagram"]

#: What :func:`save_diagram` writes, by the end of the file's name.
SUFFIXES = (".pdf", ".png", ".tex")

#: Lengths in centimetres: the axis, from one label or bar to the next, from the labels to the axis.
_AXIS, _LINE, _BAR, _SIDE = 9.0, 0.5, 0.2, 0.5
_THIN, _THICK = 0.6, 2.4


@dataclass(frozen=True)
class Diagram:
    """What a diagram shows.

    Attributes:
        names: The methods.
        mean_ranks: One for each, from 1, the best, to the number of methods.
        difference: Critical difference of mean ranks.
    """

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    difference: float


class _Line(NamedTuple):
    """Points that are joined, in centimetres, and the width of the stroke in points."""

    points: tuple[tuple[float, float], ...]
    width: float


class _Text(NamedTuple):
    """A text; ``anchor`` is the side or corner of it that stands at the point, as TikZ has it."""

    x: float
    y: float
    anchor: str
    text: str


_Part = _Line | _Text

#: The anchors by matplotlib's names of the alignments.
_ALIGNMENTS = {
    "mid west": ("left", "center"),
    "mid east": ("right", "center"),
    "south": ("center", "bottom"),
    "south west": ("left", "bottom"),
}


def save_diagram(diagram: Diagram, path: str | Path) -> None:
    """Write a diagram as PDF, as PNG, or as TikZ that compiles by itself.

    Args:
        diagram: What to draw.
        path: File to write; its name ends in one of :data:`SUFFIXES`. Folders are made.

    Raises:
        UsageError: The name ends otherwise, there are fewer than two methods, or the file cannot be
            written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a diagram's file to end in {', '.join(SUFFIXES)}, got {target}")
    if len(diagram.names) < 2:
        raise UsageError(f"expected 2 or more methods to draw, got {len(diagram.names)}")
    if target.suffix.lower() == ".tex":
        with writing(target):
            target.write_text(as_tikz(diagram), encoding="utf-8")
    else:
        _draw(list(_parts(diagram)), target)


def as_tikz(diagram: Diagram) -> str:
    """Return a LaTeX document of class ``standalone`` that holds the diagram alone."""
    lines = [_tikz(part) for part in _parts(diagram)]
    head = [r"\documentclass[tikz,border=2mm]{standalone}", r"\begin{document}"]
    body = [r"\begin{tikzpicture}[x=1cm,y=1cm]", *lines, r"\end{tikzpicture}"]
    return "\n".join([*head, *body, r"\end{document}", ""])


def _tikz(part: _Part) -> str:
    if isinstance(part, _Text):
        place = f"({part.x:.3f},{part.y:.3f})"
        return rf"\node[anchor={part.anchor},inner sep=0pt] at {place} {{{escape(part.text)}}};"
    path = " -- ".join(f"({x:.3f},{y:.3f})" for x, y in part.points)
    return rf"\draw[line width={part.width}pt] {path};"


def _draw(parts: Sequence[_Part], path: Path) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spots = [
        spot
        for part in parts
        for spot in (part.points if isinstance(part, _Line) else [(part.x, part.y)])
    ]
    (left, right), (low, high) = ((min(side), max(side)) for side in zip(*spots, strict=True))
    # The size is that of the lines; texts beside them are measured at the end.
    with matplotlib.rc_context({"font.size": 10}):
        figure = Figure(figsize=((right - left) / 2.54, (high - low) / 2.54))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(low, high))
        axes.set_axis_off()
        for part in parts:
            if isinstance(part, _Line):
                xs, ys = zip(*part.points, strict=True)
                axes.plot(xs, ys, "k", lw=part.width, solid_capstyle="butt", clip_on=False)
            else:
                across, up = _ALIGNMENTS[part.anchor]
                axes.text(part.x, part.y, part.text, ha=across, va=up, parse_math=False)
        save_figure_file(figure, path, dpi=200, bbox_inches="tight", pad_inches=0.08)


def _parts(diagram: Diagram) -> Iterator[_Part]:
    ends = len(diagram.names)
    yield from _axis(ends)
    yield from _ruler(diagram.difference, ends)
    bars = list(_bars(diagram))
    yield from bars
    depth = min((bar.points[0][1] for bar in bars), default=-_BAR) - 0.4
    order = sorted(range(ends), key=lambda index: diagram.mean_ranks[index])
    best = order[: (ends + 1) // 2]
    yield from _labels(diagram, best, depth, left=True)
    # From the outside in on both sides, so that no line crosses another.
    yield from _labels(diagram, order[: len(best) - 1 : -1], depth, left=False)


def _x(rank: float, ends: int) -> float:
    return (rank - 1) / (ends - 1) * _AXIS


def _axis(ends: int) -> Iterator[_Part]:
    yield _Line(((0.0, 0.0), (_AXIS, 0.0)), _THIN)
    for rank in range(1, ends + 1):
        yield _Line(((_x(rank, ends), 0.0), (_x(rank, ends), 0.15)), _THIN)
        yield _Text(_x(rank, ends), 0.2, "south", str(rank))
        if rank < ends:
            yield _Line(((_x(rank + 0.5, ends), 0.0), (_x(rank + 0.5, ends), 0.08)), _THIN)


def _ruler(difference: float, ends: int) -> Iterator[_Part]:
    """Yield the critical difference as a length beside the axis' scale."""
    length, y = _x(1 + difference, ends), 1.0
    yield _Line(((0.0, y), (length, y)), _THIN)
    for x in (0.0, length):
        yield _Line(((x, y - 0.1), (x, y + 0.1)), _THIN)
    yield _Text(0.0, y + 0.15, "south west", f"critical difference {difference:.2f}")


def _bars(diagram: Diagram) -> Iterator[_Line]:
    ends = len(diagram.names)
    # The right end of each level so far; a bar goes to the first level where there is room.
    levels: list[float] = []
    for group in indistinguishable(diagram.mean_ranks, diagram.difference):
        left, right = (_x(diagram.mean_ranks[index], ends) for index in (group[0], group[-1]))
        level = next((i for i, end in enumerate(levels) if end < left - 0.3), len(levels))
        levels[level : level + 1] = [right + 0.07]
        y = -_BAR * (level + 1)
        yield _Line(((left - 0.07, y), (right + 0.07, y)), _THICK)


def _labels(
    diagram: Diagram, indices: Sequence[int], depth: float, *, left: bool
) -> Iterator[_Part]:
    edge, gap, anchor = (-_SIDE, 0.1, "mid east") if left else (_AXIS + _SIDE, -0.1, "mid west")
    for place, index in enumerate(indices):
        rank = diagram.mean_ranks[index]
        x, y = _x(rank, len(diagram.names)), depth - _LINE * place
        yield _Line(((x, 0.0), (x, y), (edge, y)), _THIN)
        shown = (diagram.names[index], f"{rank:.2f}")
        yield _Text(edge - gap, y, anchor, "  ".join(shown if left else shown[::-1]))
