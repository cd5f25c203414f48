"""The figure of a sweep: each method's results over what changes, one panel for each dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from osadbench.errors import UsageError
from osadbench.experiments import Experiment
from osadbench.metrics import METRICS
from osadbench.params import parse_component
from osadbench.report.drawing import save_figure_file
from osadbench.report.published.parts import ComparedRow, ComparedTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure", "sweep_figure"]

SUFFIXES = (".pdf", ".png")
_PANELS_BESIDE = 4
_PANEL_INCHES = (2.5, 2.2)
#: One panel alone is wider, for the axis' name and the legend; an entry of that takes so much.
_LEAST_INCHES = 4.2
_ENTRY_INCHES = 1.05
#: Width of a dataset where methods are compared, and how far these stand apart, in datasets.
_ROW_INCHES, _APART = 0.7, 0.2
_MARKERS = "osD^vPX*"


class _Point(NamedTuple):
    """One result: where it stands, its mean, and its deviation or 0."""

    x: float
    mean: float
    std: float


def save_figure(table: ComparedTable, experiment: Experiment, path: Path) -> None:
    """Draw a sweep into a file.

    Args:
        table: The sweep with our results.
        experiment: The sweep.
        path: A file that ends in ``.pdf`` or ``.png``.

    Raises:
        UsageError: Another ending, an experiment that sweeps over nothing, nothing to draw, or a
            file that can't be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--figure expects a file that ends in .pdf or .png, got {path}")
    figure = sweep_figure(table, experiment)
    save_figure_file(figure, path, dpi=150)


def sweep_figure(table: ComparedTable, experiment: Experiment) -> Figure:
    """Return the figure: means with bars of one standard deviation.

    A figure of the papers that sweeps over nothing compares methods: a point for each on each
    dataset.

    Raises:
        UsageError: The experiment is a table, or has no results.
    """
    if not experiment.axis and not experiment.published:
        return _comparison_figure(table, experiment)
    if not experiment.axis:
        raise UsageError(f"{experiment.name} is a table and has no figure: drop --figure")
    rows = [(row, _series(row, experiment)) for row in table.rows]
    drawn = [(row, series) for row, series in rows if series]
    if not drawn:
        raise _nothing_to_draw(experiment)
    from matplotlib.figure import Figure

    beside = min(len(drawn), _PANELS_BESIDE)
    below = -(-len(drawn) // beside)
    wide, high = _PANEL_INCHES
    width = max(wide * beside + 0.4, _LEAST_INCHES)
    figure = Figure(figsize=(width, high * below + 0.9), layout="constrained")
    panels = figure.subplots(below, beside, squeeze=False)
    methods = list(dict.fromkeys(parse_component(c.method)[0] for c in experiment.columns))
    for i, panel in enumerate(panels.flat):
        if i >= len(drawn):
            panel.set_visible(False)
            continue
        _draw(panel, *drawn[i], methods)
    figure.supxlabel(experiment.axis, fontsize=9)
    figure.supylabel(f"{METRICS[experiment.metric].name}, mean±std", fontsize=9)
    if len(methods) > 1:
        handles = {label: h for p in panels.flat for h, label in zip(*_legend(p), strict=True)}
        beside = min(len(handles), int(width / _ENTRY_INCHES))
        figure.legend(
            handles.values(), handles, loc="outside upper center", ncols=beside, fontsize=8
        )
    return figure


def _nothing_to_draw(experiment: Experiment) -> UsageError:
    return UsageError(f"no results to draw: run osadbench run --table {experiment.name} first")


def _comparison_figure(table: ComparedTable, experiment: Experiment) -> Figure:
    """Return one panel with the methods' results on each dataset beside each other."""
    titles = [column.title for column in experiment.columns]
    found: dict[str, list[_Point]] = {}
    names: list[str] = []
    for row in table.rows:
        ours = [None if cell is None else cell.ours for cell in row.cells]
        if all(one is None or one.mean is None for one in ours):
            continue
        for j, one in enumerate(ours):
            if one is not None and one.mean is not None:
                x = len(names) + (j - (len(titles) - 1) / 2) * _APART
                found.setdefault(titles[j], []).append(_Point(x, one.mean, one.std or 0.0))
        names.append(row.name)
    if not found:
        raise _nothing_to_draw(experiment)
    from matplotlib.figure import Figure

    width = max(_ROW_INCHES * len(names) + 1, _LEAST_INCHES)
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    panel = figure.subplots()
    for name, points in found.items():
        _draw_points(panel, name, points, titles.index(name), line="none")
    panel.set_xticks(range(len(names)), names, rotation=30, ha="right")
    panel.set_xlim(-0.5, len(names) - 0.5)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3, linewidth=0.5)
    figure.supylabel(f"{METRICS[experiment.metric].name}, mean±std", fontsize=9)
    figure.legend(loc="outside upper center", ncols=len(found), fontsize=8)
    return figure


def _legend(panel: Any) -> tuple[list[Any], list[str]]:
    handles, labels = panel.get_legend_handles_labels()
    return handles, labels


def _series(row: ComparedRow, experiment: Experiment) -> dict[str, list[_Point]]:
    """Return the results of a row by method, in the order of the axis."""
    found: dict[str, list[_Point]] = {}
    for column, cell in zip(experiment.columns, row.cells, strict=True):
        ours = None if cell is None else cell.ours
        if column.x is not None and ours is not None and ours.mean is not None:
            name, _ = parse_component(column.method)
            found.setdefault(name, []).append(_Point(column.x, ours.mean, ours.std or 0.0))
    return {name: sorted(points) for name, points in found.items()}


def _draw_points(
    panel: Any, name: str, points: list[_Point], place: int, *, line: str = "solid"
) -> None:
    panel.errorbar(
        [point.x for point in points],
        [point.mean for point in points],
        yerr=[point.std for point in points],
        color=f"C{place}",
        marker=_MARKERS[place % len(_MARKERS)],
        markersize=3.5,
        linestyle=line,
        linewidth=1.2,
        elinewidth=1.2,
        capsize=2,
        label=name,
    )


def _draw(
    panel: Any, row: ComparedRow, series: dict[str, list[_Point]], methods: list[str]
) -> None:
    for name, points in series.items():
        place = methods.index(name)
        _draw_points(panel, name, points, place)
    panel.set_title(row.name, fontsize=9)
    panel.tick_params(labelsize=8)
    panel.set_xticks(sorted({point.x for points in series.values() for point in points}))
    panel.grid(alpha=0.3, linewidth=0.5)
