"""From records to a report: what to show, what belongs together, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from osadbench.errors import UsageError, did_you_mean
from osadbench.metrics import metric_key
from osadbench.report.compare import compare
from osadbench.report.costs import costs_of
from osadbench.report.grouping import blocks_of, by_setting, shared, tell_apart
from osadbench.report.images import ambiguous_places, places_of
from osadbench.report.ordering import MEAN, papers_order, sort_columns, sort_rows
from osadbench.report.parts import Comparison, Report, Table
from osadbench.report.summary import by_dataset, by_protocol
from osadbench.report.tables import Options, build_table
from osadbench.report.texts import counted
from osadbench.types import SMOKE, Record

__all__ = ["GROUPINGS", "build_report"]

#: What a line of a table can be.
GROUPINGS = ("row", "dataset", "protocol", "method")
#: A column's label, and the name of its method.
_Label = tuple[str, str]


def build_report(
    records: Sequence[Record],
    *,
    metric: str = "auroc",
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    reference: str | None = None,
    group_by: str = "row",
    sort: str | None = None,
    include_smoke: bool = False,
    allow_partial: bool = False,
    allow_mixed: bool = False,
    costs: bool = False,
) -> Report:
    """Gather records into tables and tests.

    There is one table for each dataset, protocol, number of shots, engine settings and weights; for
    known classes of a dataset with categories, one for each category, as in the papers. Methods
    without labelled anomalies stand in the tables of all shots, and methods that don't use the
    engine's backbone in those of all its weights. Tests pair rows across the datasets that share
    the other four. Results on other images of the same name stand in tables of their own, with
    tests of their own.

    Grouped by dataset, there is one table for each protocol, number of shots, engine settings and
    weights, with a line for each dataset's mean; grouped by protocol, one for each engine settings
    and weights, with a line for the mean over the datasets of each protocol and number of shots.
    Tests then pair the datasets; protocols are not tested, since their images are the same.

    Args:
        records: Records in any order.
        metric: Key of :data:`osadbench.metrics.METRICS`, or ``"f1max"``.
        methods: Columns to show, in this order: labels, or names of methods, which stand for the
            label of that name or else for all labels of the method. None shows all, in the order of
            the papers' main tables, then the others by name.
        datasets: Names of datasets that come first, in this order; the others follow by name.
        reference: Column that the others are tested against; None means the first with a result.
        group_by: What a line of a table is, one of :data:`GROUPINGS`.
        sort: ``"mean"`` for methods from the best mean to the worst; or a method, for the rows from
            its best value to its worst. None leaves rows in the order of names, and methods in
            theirs.
        include_smoke: Whether to show results of the smoke preset, which are no measurements.
        allow_partial: Whether methods that lack seeds are tested and marked all the same.
        allow_mixed: Whether results of several versions of osadbench or of a package that computes,
            of several record schemas, or of several weights of a method's own backbone, may stand
            in one table; a note says so.
        costs: Whether to add time and memory by method.

    Raises:
        UsageError: An unknown metric, method, reference or grouping, or a reference or method to
            sort by of several columns.
        StoreError: Two records claim the same method, row and seed of one table, or they are mixed.
    """
    metric = metric_key(metric)
    if group_by not in GROUPINGS:
        raise UsageError(f"cannot group by {group_by!r}: {did_you_mean(group_by, GROUPINGS)}")
    records = tell_apart(records)
    labels = sorted({(record.label, record.method) for record in records})
    columns = _columns(labels, methods)
    base = _reference(labels, columns, reference) if reference is not None else None
    chosen = records if methods is None else [r for r in records if r.label in columns]
    smoke = {id(e) for e in shared(chosen, "engine") if e.get("preset") == SMOKE}
    hidden = set() if include_smoke else smoke
    shown = [r for r in chosen if id(r.engine) not in hidden] if hidden else chosen
    blocks = blocks_of(shown)
    options = Options(
        columns, metric, allow_partial, allow_mixed, ambiguous_places(places_of(blocks))
    )
    groups = _grouped(blocks, datasets, group_by, options)
    tests: list[Comparison] = []
    # The lines of protocols are of the same images again and again.
    for group in groups if group_by != "protocol" else ():
        tests += compare(group, columns, base, allow_partial=allow_partial)
    order = _order(sort, labels, columns)
    untested = any(test.result is None for test in tests) and not allow_partial
    notes = _notes(shown=len(shown), chosen=len(chosen), untested=untested)
    return Report(
        metric,
        tuple(order(table) for group in groups for table in group),
        tuple(tests),
        notes,
        allow_partial,
        costs_of(shown, columns) if costs else (),
        group_by,
    )


def _grouped(
    blocks: Sequence[Sequence[Record]], datasets: Sequence[str], group_by: str, options: Options
) -> list[list[Table]]:
    """Return the tables in groups that share a setting."""

    def place(name: str) -> tuple[int, str]:
        dataset = name.partition("/")[0]
        return datasets.index(dataset) if dataset in datasets else len(datasets), name

    groups = [
        [build_table(setting, name, members[name], options) for name in sorted(members, key=place)]
        for setting, members in by_setting(blocks)
    ]
    if group_by in ("dataset", "protocol"):
        merged = [by_dataset(parts[0].table.setting, parts, options) for parts in groups]
        merged = by_protocol(merged, options) if group_by == "protocol" else merged
        groups = [[part] for part in merged]
    return [[part.table for part in parts] for parts in groups]


def _order(
    sort: str | None, labels: Sequence[_Label], columns: Sequence[str]
) -> Callable[[Table], Table]:
    """Return what puts a table in the order asked for."""
    if sort is None:
        return lambda table: table
    if sort == MEAN:
        return sort_columns
    return partial(sort_rows, label=_reference(labels, columns, sort))


def _columns(labels: Sequence[_Label], methods: Sequence[str] | None) -> list[str]:
    """Return the labels to show, in order."""
    if methods is None:
        return papers_order(labels)
    return list(dict.fromkeys(label for name in methods for label in _named(labels, name)))


def _named(labels: Sequence[_Label], name: str) -> list[str]:
    """Return the label of a name, or else all labels of the method of that name."""
    if any(name == label for label, _ in labels):
        return [name]
    found = [label for label, method in labels if method == name]
    if not found:
        known = {name for pair in labels for name in pair}
        raise UsageError(f"no results of method {name!r}: {did_you_mean(name, known)}")
    return found


def _reference(labels: Sequence[_Label], columns: Sequence[str], name: str) -> str:
    """Return the one column that a name stands for."""
    found = _named([pair for pair in labels if pair[0] in columns], name)
    if len(found) > 1:
        raise UsageError(f"expected one column, got {name!r}, which is {' and '.join(found)}")
    return found[0]


def _notes(*, shown: int, chosen: int, untested: bool) -> tuple[str, ...]:
    notes = []
    if chosen > shown:
        left_out = f"{counted(chosen - shown, 'result')} of preset {SMOKE}"
        notes.append(f"left out {left_out}, which measures nothing (--include-smoke shows them)")
    if not chosen:
        notes.append("no results to show")
    if untested:
        notes.append("tests need all seeds of all rows; --allow-partial takes the rows there are")
    return tuple(notes)
