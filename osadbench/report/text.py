"""Wording and numbers that the formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from osadbench.metrics import METRICS
from osadbench.report.parts import Cell, Comparison, Report, Setting, Table
from osadbench.report.tables import DIGITS

__all__ = [
    "NO_RESULT",
    "engine_text",
    "fraction",
    "legend",
    "number",
    "sections",
    "setting_text",
    "statistic_text",
    "comparison_heading",
    "comparison_text",
]

NO_RESULT = "-"


def number(cell: Cell, plus_minus: str = "±") -> str:
    """Return ``mean±std``, the mean alone where there is no deviation, or a dash."""
    if cell.mean is None:
        return NO_RESULT
    mean = f"{cell.mean:.{DIGITS}f}"
    return mean if cell.std is None else f"{mean}{plus_minus}{cell.std:.{DIGITS}f}"


def fraction(cell: Cell) -> str:
    """Return ``done/expected`` where seeds are missing beside a number, else nothing."""
    return "" if cell.mean is None or cell.n == cell.expected else f"{cell.n}/{cell.expected}"


def setting_text(setting: Setting) -> str:
    """Return protocol and shots, such as ``hard protocol, 10 shots``."""
    plural = "" if setting.shots == 1 else "s"
    return f"{setting.protocol} protocol, {setting.shots} shot{plural}"


def statistic_text(table: Table) -> str:
    """Return what the numbers are, such as ``AUROC, mean±std over seeds 0, 1, 2``."""
    name = METRICS[table.metric].name
    if len(table.seeds) == 1:
        return f"{name}, seed {table.seeds[0]}"
    return f"{name}, mean±std over seeds {_seeds(table.seeds)}"


def engine_text(setting: Setting) -> str:
    """Return preset, backbone, weights and what else sets this engine apart."""
    parts = [f"preset {setting.preset}", setting.backbone, f"weights {_short(setting.weights)}"]
    return ", ".join([*parts, *setting.changes])


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
    if result is None:
        return f"{names}: not computed, {test.reason}"
    holm = "" if test.p_holm is None else f", Holm {_p(test.p_holm)}"
    rows = f"n = {result.n} row{'' if result.n == 1 else 's'}"
    equal = f", {result.n_zero} equal" if result.n_zero else ""
    how = ", normal approximation" if result.method == "approx" else ""
    least = f"smallest possible {_p(result.smallest_p).removeprefix('= ')}"
    return f"{names}: p {_p(result.p)}{holm} ({rows}{equal}{how}, {least})"


def legend(report: Report, marks: str) -> str:
    """Return the line that explains the signs, which starts with those of best and second."""
    who = "" if report.allow_partial else ", of cells with all seeds"
    return f"{marks} in the row{who}; 2/3: seeds done; {NO_RESULT}: no result"


def sections(report: Report) -> Iterator[tuple[Setting, list[Table], list[Comparison]]]:
    """Yield each setting with its tables and its tests."""
    for setting, tables in groupby(report.tables, key=lambda table: table.setting):
        yield setting, list(tables), [test for test in report.tests if test.setting == setting]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _short(weights: str) -> str:
    """Return an identity of weights with its digest cut to twelve digits."""
    kind, colon, digest = weights.partition(":")
    return f"{kind}{colon}{digest[:12]}"
