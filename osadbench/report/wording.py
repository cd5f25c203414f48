"""Wording and numbers that the formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from osadbench.metrics import METRICS
from osadbench.report.facts import short_weights
from osadbench.report.parts import Cell, Comparison, Cost, Report, Row, Setting, Table
from osadbench.report.texts import (
    NO_RESULT,
    ODD_LEGEND,
    bare_p_text,
    counted,
    effect_text,
    mean_text,
    p_text,
)
from osadbench.types import NO_WEIGHTS

__all__ = [
    "COSTS_HEADING",
    "EFFECT_LEGEND",
    "cost_lines",
    "engine_text",
    "fraction",
    "full_title",
    "grid",
    "legend",
    "number",
    "sections",
    "setting_text",
    "statistic_text",
    "table_title",
    "comparison_heading",
    "comparison_text",
]

COSTS_HEADING = "Mean time of a cell, and the largest memory of its process:"
EFFECT_LEGEND = (
    "r: rank-biserial correlation, +1 if the first is larger in every row, -1 if smaller"
)


def number(cell: Cell, plus_minus: str = "±") -> str:
    """Return a cell's :func:`mean_text`."""
    return mean_text(cell.mean, cell.std, plus_minus)


def fraction(cell: Cell) -> str:
    """Return ``done/expected`` where seeds are missing beside a number, else nothing."""
    return "" if cell.mean is None or cell.n == cell.expected else f"{cell.n}/{cell.expected}"


def setting_text(setting: Setting) -> str:
    """Return protocol and shots, such as ``hard protocol, 10 shots``."""
    if not setting.protocol:
        return "all protocols"
    shots = counted(setting.shots, "shot") if setting.shots else "no labelled anomalies"
    return f"{setting.protocol} protocol, {shots}"


def table_title(dataset: str, setting: Setting) -> str:
    """Return what a table is of, such as ``elpv, hard protocol, 10 shots``."""
    return f"{dataset}, {setting_text(setting)}"


def statistic_text(table: Table) -> str:
    """Return what the numbers are, such as ``AUROC, mean±std over seeds 0, 1, 2``."""
    name = METRICS[table.metric].name
    if len(table.seeds) == 1:
        return f"{name}, seed {table.seeds[0]}"
    return f"{name}, mean±std over seeds {_seeds(table.seeds)}"


def engine_text(setting: Setting) -> str:
    """Return preset, backbone and weights where they are used, and what sets this engine apart."""
    parts = [f"preset {setting.preset}"]
    if setting.weights != NO_WEIGHTS:
        parts += [setting.backbone, f"weights {short_weights(setting.weights)}"]
    return ", ".join([*parts, *setting.changes])


def full_title(title: str, setting: Setting, images: str) -> str:
    """Return a title with :func:`engine_text` and which images there are, where that is said."""
    return ", ".join(filter(None, (title, engine_text(setting), images)))


def comparison_heading(setting: Setting) -> str:
    """Return the line above a setting's tests."""
    return (
        "Two-sided Wilcoxon signed-rank tests over the rows of "
        f"{setting_text(setting)}, preset {setting.preset}:"
    )


def comparison_text(test: Comparison) -> str:
    """Return one test in one line."""
    names = f"{test.reference} vs {test.method}"
    result = test.result
    if result is None or test.effect is None:
        return f"{names}: not computed, {test.reason}"
    holm = "" if test.p_holm is None else f", Holm {p_text(test.p_holm)}"
    rows = f"n = {counted(result.n, 'row')}"
    equal = f", {result.n_zero} equal" if result.n_zero else ""
    how = ", normal approximation" if result.method == "approx" else ""
    least = f"smallest possible {bare_p_text(result.smallest_p)}"
    found = f"r = {effect_text(test.effect)}, p {p_text(result.p)}{holm}"
    return f"{names}: {found} ({rows}{equal}{how}, {least})"


def grid(report: Report, table: Table) -> tuple[list[str], list[Row]]:
    """Return the heads of a table's columns, the first one's left out, and its lines.

    Where a line is a method, the table is turned.
    """
    if report.group_by != "method":
        return list(table.columns), list(table.rows)
    lines = [
        Row(label, tuple(row.cells[index] for row in table.rows))
        for index, label in enumerate(table.columns)
    ]
    return [row.name for row in table.rows], lines


def legend(report: Report, marks: str) -> list[str]:
    """Return the lines that explain the signs; the first starts with those of best and second."""
    who = "" if report.allow_partial else ", of cells with all seeds"
    line = "column" if report.group_by == "method" else "row"
    signs = f"{marks} in the {line}{who}; 2/3: seeds done; {NO_RESULT}: no result"
    cells = (cell for table in report.tables for row in table.rows for cell in row.cells)
    odd = [ODD_LEGEND] * any(cell.odd for cell in cells)
    return [signs, *odd, *[EFFECT_LEGEND] * any(test.result for test in report.tests)]


def cost_lines(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the lines of the table of costs; without presets if there is but one."""
    several = len({cost.preset for cost in report.costs}) > 1
    heads = ["method", "cells", "fit (s)", "score (s)", "memory (GiB)", "device"]
    lines = [[cost.preset] * several + _cost(cost) for cost in report.costs]
    return ["preset"] * several + heads, lines


def _cost(cost: Cost) -> list[str]:
    memory = None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / 2**30
    numbers = map(_decimal, (cost.fit_seconds, cost.score_seconds, memory))
    return [cost.label, str(cost.cells), *numbers, ", ".join(cost.devices) or NO_RESULT]


def _decimal(value: float | None) -> str:
    return NO_RESULT if value is None else f"{value:.{1 if value >= 100 else 2}f}"


def sections(report: Report) -> Iterator[tuple[Setting, list[Table], list[Comparison]]]:
    """Yield each setting with its tables and its tests."""
    for setting, tables in groupby(report.tables, key=lambda table: table.setting):
        yield setting, list(tables), [test for test in report.tests if test.setting == setting]


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
