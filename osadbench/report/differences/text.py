"""Differences between two sets of results as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from osadbench.errors import first_of
from osadbench.metrics import METRICS
from osadbench.report.cells import CellPlace
from osadbench.report.differences.parts import (
    NO_SHARED_CELL,
    CellDifference,
    Differences,
    GroupTest,
)
from osadbench.report.documents import csv_text, json_text
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.texts import DIGITS, bare_p_text, counted, effect_text, p_text

__all__ = ["render_differences"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
#: Cells that a note names.
_NAMED = 3
_INTERVAL = ("low", "high", "standard_error", "p", "smallest_p", "method")
_COLUMNS = (
    *CellPlace._fields,
    *("status", "metric", "first", "second", "difference"),
    *(f"interval_{name}" if name == "method" else name for name in _INTERVAL),
    "reason",
)


def render_differences(found: Differences, format: str, *, show_all: bool = False) -> str:
    """Return a comparison as text.

    Args:
        found: What :func:`osadbench.report.differences.differences` made.
        format: A key of :data:`osadbench.report.FORMATS`; ``"csv"`` has the cells alone.
        show_all: Whether terminal, Markdown and LaTeX list cells with the same scores, too.
    """
    if format == "json":
        return json_text(SCHEMA, **_document(found))
    if format == "csv":
        return csv_text((_line(cell, found.metric) for cell in found.cells), _COLUMNS)
    return sheets_text([_cells(found, show_all), _tests(found)], format)


def _document(found: Differences) -> dict[str, Any]:
    cells = [
        {**asdict(cell), "place": cell.place._asdict(), "difference": cell.difference}
        for cell in found.cells
    ]
    return {**asdict(found), "cells": cells}


def _line(cell: CellDifference, metric: str) -> dict[str, Any]:
    line = {
        **cell.place._asdict(),
        "status": cell.status,
        "metric": metric,
        "first": cell.first,
        "second": cell.second,
        "difference": cell.difference,
        "reason": cell.reason,
    }
    if cell.interval is not None:
        values = asdict(cell.interval)
        line |= {
            f"interval_{name}" if name == "method" else name: values[name] for name in _INTERVAL
        }
    return line


def _cells(found: Differences, show_all: bool) -> Sheet:
    title = f"{METRICS[found.metric].name} by cell; A: {found.first}; B: {found.second}"
    shown = [
        cell
        for cell in found.cells
        if cell.difference is not None and (show_all or cell.status != "same")
    ]
    heads = ("cell", "A", "B", "A - B", f"{found.level * 100:g} % interval", "p")
    lines = tuple((_name(cell.place), *_numbers(cell)) for cell in shown)
    return Sheet(title, heads, lines, tuple(_notes(found, shown)))


def _name(place: CellPlace) -> str:
    row = "" if place.row in (place.dataset, place.dataset.rpartition("/")[2]) else place.row
    shots = f"{place.shots}-shot" if place.shots else ""
    words = (place.label, place.dataset, place.protocol, row, shots, f"seed {place.seed}")
    return " ".join(word for word in words if word)


def _numbers(cell: CellDifference) -> tuple[str, ...]:
    values = (f"{cell.first:.{DIGITS}f}", f"{cell.second:.{DIGITS}f}")
    shown = (*values, f"{cell.difference:+.{DIGITS}f}")
    interval = cell.interval
    if interval is None:
        return (*shown, "-", "-")
    limits = f"{interval.low:+.{DIGITS}f} to {interval.high:+.{DIGITS}f}"
    return (*shown, limits, bare_p_text(interval.p))


def _notes(found: Differences, shown: Sequence[CellDifference]) -> Iterator[str]:
    cells = found.cells
    if not cells:
        yield "no cells to compare"
        return
    same = sum(cell.status == "same" for cell in cells)
    yield f"{same} of {len(cells)} cells have the very same scores"
    for status in ("only A", "only B", "other images", "neither"):
        names = [_name(cell.place) for cell in cells if cell.status == status]
        if names:
            what = "without a result on either side" if status == "neither" else status
            yield f"{len(names)} {what}: {first_of(names, _NAMED)}"
    if any(cell.interval for cell in shown):
        yield (
            "intervals and p are of other test images, with the fits as they are; p is not "
            "corrected for the number of cells"
        )
    yield from dict.fromkeys(
        cell.reason for cell in shown if cell.reason and cell.status == "differs"
    )


def _tests(found: Differences) -> Sheet:
    title = (
        "Two-sided Wilcoxon signed-rank tests of A against B over rows, by the means over seeds, "
        f"printed with {DIGITS} digits"
    )
    if found.cells and all(cell.status == "same" for cell in found.cells):
        return Sheet(title, (), (), ("no scores differ: p = 1 by rule",))
    return Sheet(title, (), (), tuple(map(_test, found.tests)))


def _test(test: GroupTest) -> str:
    shots = counted(test.shots, "shot")
    name = " ".join(word for word in (test.label, test.protocol, shots) if word)
    result = test.result
    if result is None or test.effect is None or test.mean_difference is None:
        helps = test.reason != NO_SHARED_CELL
        partial = "; --allow-partial takes what both have" if helps else ""
        return f"{name}: not computed, {test.reason}{partial}"
    holm = "" if test.p_holm is None else f", Holm {p_text(test.p_holm)}"
    equal = f", {result.n_zero} equal" if result.n_zero else ""
    how = ", normal approximation" if result.method == "approx" else ""
    return (
        f"{name}: mean difference {test.mean_difference:+.{DIGITS}f}, n = {result.n}{equal}, "
        f"W = {result.W:g}, p {p_text(result.p)}{holm}{how}, "
        f"rank-biserial {effect_text(test.effect)}, "
        f"smallest possible p {bare_p_text(result.smallest_p)}"
    )
