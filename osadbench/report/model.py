"""From records to a report: what to show, what belongs together, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from osadbench.errors import UsageError, did_you_mean
from osadbench.metrics import METRICS
from osadbench.params import canonical_json
from osadbench.report.compare import compare
from osadbench.report.parts import Report, Setting, Table
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
) -> Report:
    """Gather records into tables and tests.

    There is one table for each dataset, protocol, number of shots, engine settings and weights; for
    known classes of a dataset with categories, one for each category, as in the papers. Tests pair
    rows across the datasets that share the other four.

    Args:
        records: Records in any order.
        metric: Key of :data:`osadbench.metrics.METRICS`.
        methods: Columns to show, in this order: labels, or names of methods, which stand for the
            label of that name or else for all labels of the method. None shows all, sorted.
        reference: Column that the others are tested against; None means the first.
        include_smoke: Whether to show results of the smoke preset, which are no measurements.
        allow_partial: Whether methods that lack seeds are tested and marked all the same.

    Raises:
        UsageError: An unknown metric, method or reference, or a reference of several columns.
        StoreError: Two records claim the same method, row and seed of one table.
    """
    if metric not in METRICS:
        raise UsageError(f"no metric {metric!r}: {did_you_mean(metric, METRICS)}")
    columns = _columns(records, methods)
    base = _reference(records, columns, reference) if reference is not None else None
    chosen = [record for record in records if record.label in columns]
    shown = [r for r in chosen if include_smoke or r.engine.get("preset") != _SMOKE]
    table_of = partial(build_table, columns=columns, metric=metric, allow_partial=allow_partial)
    tables: list[Table] = []
    tests = []
    for setting, members in _by_setting(shown):
        group = [
            table_of(setting, dataset, [r for r in members if _dataset(r) == dataset])
            for dataset in sorted(set(map(_dataset, members)))
        ]
        tables += group
        tests += compare(group, columns, base, allow_partial=allow_partial)
    untested = any(test.result is None for test in tests) and not allow_partial
    notes = _notes(shown=len(shown), chosen=len(chosen), untested=untested)
    return Report(metric, tuple(tables), tuple(tests), notes, allow_partial)


def _dataset(record: Record) -> str:
    named = record.category and record.known_class
    return f"{record.dataset}/{record.category}" if named else record.dataset


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


def _by_setting(records: Sequence[Record]) -> list[tuple[Setting, list[Record]]]:
    groups: dict[tuple[str, int, str, str, str], list[Record]] = {}
    for record in records:
        preset, engine = str(record.engine.get("preset", "")), canonical_json(record.engine)
        key = (record.protocol, record.shots, preset, engine, record.weights)
        groups.setdefault(key, []).append(record)
    engines = [group[0].engine for group in groups.values()]
    return [(_setting(groups[key][0], engines), groups[key]) for key in sorted(groups)]


def _setting(record: Record, engines: Sequence[Mapping[str, Any]]) -> Setting:
    engine = record.engine
    siblings = [other for other in engines if other.get("preset") == engine.get("preset")]
    changes = tuple(
        f"{key}={value}"
        for key, value in sorted(engine.items())
        if key != "backbone" and any(other.get(key) != value for other in siblings)
    )
    return Setting(
        protocol=record.protocol,
        shots=record.shots,
        preset=str(engine.get("preset", "")),
        backbone=str(engine.get("backbone", "")),
        weights=record.weights,
        engine=engine,
        changes=changes,
    )


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
