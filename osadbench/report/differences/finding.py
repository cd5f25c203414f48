"""Differences between two sets of results, cell by cell and over all rows."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from osadbench.errors import ContractError
from osadbench.report.cells import why_missing
from osadbench.report.differences.pairing import Pair, pair_records
from osadbench.report.differences.parts import (
    NO_SHARED_CELL,
    CellDifference,
    Differences,
    GroupTest,
    Side,
)
from osadbench.report.texts import DIGITS
from osadbench.scores import ScoreTable
from osadbench.stats import (
    auroc_difference,
    bootstrap_difference,
    holm_of_computed,
    rank_biserial,
    wilcoxon,
)
from osadbench.types import FloatArray, Record

__all__ = ["differences"]


def differences(
    first: Side,
    second: Side,
    *,
    by_label: bool = True,
    metric: str = "auroc",
    level: float = 0.95,
    bootstrap: bool = False,
    allow_partial: bool = False,
) -> Differences:
    """Compare two sides.

    Args:
        first: Side A.
        second: Side B.
        by_label: Whether methods are paired with themselves; see :func:`pair_records`.
        metric: Key of the metric.
        level: Confidence of the intervals, which are of the AUROC alone.
        bootstrap: Whether to draw the images anew instead of using DeLong's variance.
        allow_partial: Whether to test over the cells that both sides have where one lacks some.

    Raises:
        UsageError: A side has several records of one place that can be told apart.
        StoreError: A side has several that cannot, or scores are missing or damaged.
    """
    interval = bootstrap_difference if bootstrap else auroc_difference
    cells = []
    for pair in pair_records(first.records, second.records, by_label=by_label):
        cell, tables = _cell(pair, metric, first, second)
        if tables is not None and metric == "auroc":
            try:
                labels, one, other = tables
                cell = replace(cell, interval=interval(labels, one, other, level=level))
            except ContractError as error:
                cell = replace(cell, reason=f"no interval: {error}")
        cells.append(cell)
    tests = _with_holm(list(_tests(cells, allow_partial)))
    return Differences(first.name, second.name, metric, level, tuple(cells), tuple(tests))


_Aligned = tuple[FloatArray, FloatArray, FloatArray]


def _cell(
    pair: Pair, metric: str, first: Side, second: Side
) -> tuple[CellDifference, _Aligned | None]:
    """Return a cell without its interval, and labels and both scores where there are both."""
    first_value, second_value = _value(pair.first, metric), _value(pair.second, metric)
    cell = CellDifference(pair.place, "differs", first_value, second_value)
    if pair.first is None or pair.second is None or first_value is None or second_value is None:
        status = {(False, True): "only A", (True, False): "only B"}
        absent = first_value is None, second_value is None
        return replace(
            cell, status=status.get(absent, "neither"), reason=_lacking(pair, cell, metric)
        ), None
    aligned = _align(first.scores_of(pair.first.key), second.scores_of(pair.second.key))
    if aligned is None:
        return replace(cell, status="other images", reason="the test images differ"), None
    same = np.array_equal(aligned[1], aligned[2])
    return replace(cell, status="same" if same else "differs"), aligned


def _lacking(pair: Pair, cell: CellDifference, metric: str) -> str:
    sides = (("A", pair.first, cell.first), ("B", pair.second, cell.second))
    return "; ".join(
        f"{name}: {'no record' if record is None else why_missing(record, metric, ', ')}"
        for name, record, value in sides
        if value is None
    )


def _value(record: Record | None, metric: str) -> float | None:
    if record is None or record.status != "done":
        return None
    return record.metrics.get(metric)


def _align(first: ScoreTable, second: ScoreTable) -> _Aligned | None:
    """Return labels and both scores in the order of the first, None for other images or labels."""
    order = {path: index for index, path in enumerate(second.paths)}
    if len(order) != len(first.paths) or any(path not in order for path in first.paths):
        return None
    places = [order[path] for path in first.paths]
    if not np.array_equal(first.labels, second.labels[places]):
        return None
    return first.labels.astype(np.float64), first.scores, second.scores[places]


def _group(cell: CellDifference) -> tuple[str, int, str]:
    return cell.place.protocol, cell.place.shots, cell.place.label


def _tests(cells: Sequence[CellDifference], allow_partial: bool) -> Iterator[GroupTest]:
    for key, group in groupby(sorted(cells, key=_group), key=_group):
        taken = [cell for cell in group if cell.status != "neither"]
        test = GroupTest(*key)
        both = [cell for cell in taken if cell.status in ("same", "differs")]
        lacking = Counter(c.status for c in taken if c.status not in ("same", "differs"))
        if lacking and not allow_partial:
            gaps = ", ".join(f"{n} {status}" for status, n in sorted(lacking.items()))
            yield replace(test, reason=f"of {len(taken)} cells {gaps}")
        elif not both:
            yield replace(test, reason=NO_SHARED_CELL)
        else:
            yield _test(test, both)


def _test(test: GroupTest, cells: Sequence[CellDifference]) -> GroupTest:
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for cell in cells:
        if cell.first is not None and cell.second is not None:
            place = (cell.place.dataset, cell.place.row)
            rows.setdefault(place, []).append((cell.first, cell.second))
    a, b = (
        [statistics.fmean(pair[side] for pair in pairs) for pairs in rows.values()]
        for side in (0, 1)
    )
    return replace(
        test,
        result=wilcoxon(a, b, decimals=DIGITS),
        effect=rank_biserial(a, b, decimals=DIGITS),
        mean_difference=statistics.fmean(x - y for x, y in zip(a, b, strict=True)),
    )


def _with_holm(tests: Sequence[GroupTest]) -> list[GroupTest]:
    p_values = [None if test.result is None else test.result.p for test in tests]
    corrected = holm_of_computed(p_values)
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]
