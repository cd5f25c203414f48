"""From records to a report: what to show, what belongs together, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from osadbench.errors import UsageError, did_you_mean
from osadbench.metrics import METRICS
from osadbench.report.compare import compare
from osadbench.report.costs import costs_of
from osadbench.report.grouping import ambiguous_places, by_setting, tell_apart
from osadbench.report.parts import Report, Table
from osadbench.report.tables import build_table
from osadbench.types import Record

__all__ = ["build_report"]

_SMOKE = "smoke"


def build_report(
    records: Sequence[Record],
    *,
    metric: str = "auroc",
    methods: Sequence[str] | None = None,
    reference: str | None = None,
    include_smoke: bool = False,
    allow_partial: bool = False,
    costs: bool = False,
) -> Report:
    """Gather records into tables and tests.

    There is one table for each dataset, protocol, number of shots, engine settings and weights; for
    known classes of a dataset with categories, one for each category, as in the papers. Methods
    without labelled anomalies stand in the tables of all shots, and methods that don't use the
    engine's backbone in those of all its weights. Tests pair rows across the datasets that share
    the other four. Results on other images of the same name stand in tables of their own, with
    tests of their own.

    Args:
        records: Records in any order.
        metric: Key of :data:`osadbench.metrics.METRICS`.
        methods: Columns to show, in this order: labels, or names of methods, which stand for the
            label of that name or else for all labels of the method. None shows all, sorted.
        reference: Column that the others are tested against; None means the first.
        include_smoke: Whether to show results of the smoke preset, which are no measurements.
        allow_partial: Whether methods that lack seeds are tested and marked all the same.
        costs: Whether to add time and memory by method.

    Raises:
        UsageError: An unknown metric, method or reference, or a reference of several columns.
        StoreError: Two records claim the same method, row and seed of one table.
    """
    if metric not in METRICS:
        raise UsageError(f"no metric {metric!r}: {did_you_mean(metric, METRICS)}")
    records = tell_apart(records)
    columns = _columns(records, methods)
    base = _reference(records, columns, reference) if reference is not None else None
    chosen = [record for record in records if record.label in columns]
    shown = [r for r in chosen if include_smoke or r.engine.get("preset") != _SMOKE]
    table_of = partial(
        build_table,
        columns=columns,
        metric=metric,
        allow_partial=allow_partial,
        ambiguous=ambiguous_places(shown),
    )
    tables: list[Table] = []
    tests = []
    for setting, members in by_setting(shown):
        group = [table_of(setting, name, members[name]) for name in sorted(members)]
        tables += group
        tests += compare(group, columns, base, allow_partial=allow_partial)
    untested = any(test.result is None for test in tests) and not allow_partial
    notes = _notes(shown=len(shown), chosen=len(chosen), untested=untested)
    spent = costs_of(shown, columns) if costs else ()
    return Report(metric, tuple(tables), tuple(tests), notes, allow_partial, spent)


def _columns(records: Sequence[Record], methods: Sequence[str] | None) -> list[str]:
    """Return the labels to show, in order."""
    if methods is None:
        return sorted({record.label for record in records})
    columns: dict[str, None] = {}
    for name in methods:
        columns.update(dict.fromkeys(_labels(records, name)))
    return list(columns)


def _labels(records: Sequence[Record], name: str) -> list[str]:
    labels = {record.label for record in records}
    if name in labels:
        return [name]
    found = sorted({record.label for record in records if record.method == name})
    if not found:
        known = labels | {record.method for record in records}
        raise UsageError(f"no results of method {name!r}: {did_you_mean(name, known)}")
    return found


def _reference(records: Sequence[Record], columns: Sequence[str], name: str) -> str:
    shown = [record for record in records if record.label in columns]
    found = _labels(shown, name)
    if len(found) > 1:
        raise UsageError(f"expected one reference, got {name!r}, which is {' and '.join(found)}")
    return found[0]


def _notes(*, shown: int, chosen: int, untested: bool) -> tuple[str, ...]:
    notes = []
    if chosen > shown:
        left_out = f"{chosen - shown} result{'' if chosen - shown == 1 else 's'} of preset {_SMOKE}"
        notes.append(f"left out {left_out}, which measures nothing (--include-smoke shows them)")
    if not chosen:
        notes.append("no results to show")
    if untested:
        notes.append("tests need all seeds of all rows; --allow-partial takes the rows there are")
    return tuple(notes)
