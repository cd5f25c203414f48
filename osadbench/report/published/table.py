"""From records and a paper's values to the paper's table with our results in it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from osadbench.experiments import (
    Column,
    Experiment,
    RowSpec,
    experiment_rows,
    has_cell,
    method_on,
)
from osadbench.published import PublishedValue
from osadbench.report.cells import (
    cell_of,
    footnotes_of,
    mean_and_std,
    records_by_cell,
    values_of,
)
from osadbench.report.parts import Cell
from osadbench.report.published.makes import Makes, makes_of
from osadbench.report.published.members import MemberRecords, choose, index_records, records_of
from osadbench.report.published.notes import made_of, notes_of
from osadbench.report.published.parts import (
    ComparedCell,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
)
from osadbench.report.published.summary import summarise
from osadbench.report.tables import DIGITS
from osadbench.types import Record

__all__ = ["Labels", "build_published_table", "verdict"]

_ValueKey = tuple[str, str, str, str, int | None, str, str]


@dataclass(frozen=True)
class Labels:
    """What records call the parts of an experiment.

    Attributes:
        method: From a preset and a method with its parameters to the label of its records.
        protocol: From a protocol with its parameters to its name in the records.
    """

    method: Callable[[str, str], str]
    protocol: Callable[[str], str]


def build_published_table(
    experiment: Experiment,
    values: Sequence[PublishedValue],
    records: Sequence[Record],
    labels: Labels,
    *,
    allow_mixed: bool = False,
) -> ComparedTable:
    """Put our results beside the values of a paper, in the paper's rows and columns.

    Results without labelled anomalies (``shots`` 0) stand in the columns of all shots. A mean row
    has a value where all its members have one: the mean of their means, and the deviation over
    seeds of the mean over members.

    Args:
        experiment: The rows and columns.
        values: What the paper prints; empty where that is no data.
        records: Results, in any order; those that are not of the table are left out.
        labels: What the records call methods and protocols.
        allow_mixed: Whether results of several makes may stand together. Those of the most common
            one are taken first, and the others are marked.

    Raises:
        StoreError: Results of several presets, engine settings, weights, package versions, images
            or outliers, unless ``allow_mixed``; or two that claim the same cell.
    """
    rows = experiment_rows(experiment)
    found = _found(experiment, rows, records, labels)
    used = list({record.key: record for cell in found.values() for record in _flat(cell)}.values())
    makes = makes_of(used)
    if not allow_mixed:
        makes.refuse_mixed()
    chosen = {key: [choose(member, makes) for member in cell] for key, cell in found.items()}
    shown = list(
        {record.key: record for cell in chosen.values() for record in _flat(cell)}.values()
    )
    metric = experiment.metric
    lacking = [r for r in shown if r.status != "done" or metric not in r.metrics]
    footnotes = footnotes_of(lacking, metric)
    by_key = {_key_of(value): value for value in values}
    table = _Table(experiment, chosen, footnotes, by_key, makes)
    compared = table.rows(rows)
    columns = tuple(_column(experiment, column) for column in experiment.columns)
    return ComparedTable(
        name=experiment.name,
        title=experiment.title,
        source=experiment.source,
        metric=experiment.metric,
        seeds=experiment.seeds,
        made=made_of(shown, makes),
        columns=columns,
        rows=compared,
        summary=summarise(columns, compared),
        footnotes=tuple(footnotes),
        notes=notes_of(experiment, shown, makes, allow_mixed=allow_mixed),
        has_published=bool(values),
    )


_Found = dict[tuple[int, int], list[MemberRecords]]


def _flat(members: Sequence[MemberRecords]) -> Iterator[Record]:
    return (record for member in members for record in member)


def _found(
    experiment: Experiment,
    rows: Sequence[RowSpec],
    records: Sequence[Record],
    labels: Labels,
) -> _Found:
    """Return the records of each member of each cell, by the numbers of row and column."""
    index = index_records(records)
    presets = sorted({str(record.engine.get("preset", "")) for record in records})
    found: _Found = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(experiment.columns):
            if column.method and has_cell(row, column):
                method = method_on(experiment, column, row.dataset)
                names = {preset: labels.method(preset, method) for preset in presets}
                protocol = labels.protocol(column.protocol or row.block.protocol)
                found[i, j] = [
                    records_of(index, member, names, protocol, column, experiment.seeds)
                    for member in row.members
                ]
    return found


def _key_of(value: PublishedValue) -> _ValueKey:
    place = (value.setting, value.dataset, value.subset)
    return (*place, value.method, value.shots, value.pseudo_source, value.source)


def _column(experiment: Experiment, column: Column) -> ComparedColumn:
    reason = "" if column.method else experiment.reasons[column.published]
    shots = (column.shots, column.cell_shots)
    return ComparedColumn(column.title, column.published, *shots, column.method, reason)


@dataclass(frozen=True)
class _Table:
    """What the cells of one table are made from."""

    experiment: Experiment
    records: Mapping[tuple[int, int], Sequence[MemberRecords]]
    footnotes: Sequence[str]
    values: Mapping[_ValueKey, PublishedValue]
    makes: Makes

    def rows(self, rows: Sequence[RowSpec]) -> tuple[ComparedRow, ...]:
        """Return the rows with their cells."""
        parts = {(row.block.setting, row.dataset) for row in rows if row.subset}
        return tuple(
            ComparedRow(
                name=row.name,
                setting=row.block.setting,
                dataset=row.dataset,
                subset=row.subset,
                aggregate=row.aggregate,
                summed=row.aggregate and (row.block.setting, row.dataset) in parts,
                cells=tuple(
                    self._cell(i, j, row, column) if has_cell(row, column) else None
                    for j, column in enumerate(self.experiment.columns)
                ),
            )
            for i, row in enumerate(rows)
        )

    def _cell(self, i: int, j: int, row: RowSpec, column: Column) -> ComparedCell:
        value = self._value(row, column)
        members = self.records.get((i, j))
        if members is None:
            return _compared(None, value, mixed=False)
        mixed = any(self.makes.oddities(r) for r in _flat(members) if r.status == "done")
        return _compared(self._ours(column.title, members), value, mixed=mixed)

    def _value(self, row: RowSpec, column: Column) -> PublishedValue | None:
        setting = column.setting or row.block.setting
        # What is trained and tested on one category stands under that category as its source.
        source = column.source or (row.subset if column.setting else "")
        place = (setting, row.dataset, row.subset)
        key = (*place, column.published, column.shots, column.pseudo_source)
        return self.values.get((*key, source)) or self.values.get((*key, ""))

    def _ours(self, title: str, members: Sequence[MemberRecords]) -> Cell:
        metric, expected = self.experiment.metric, len(self.experiment.seeds)
        if len(members) == 1:
            found = _by_seed(members[0])
            values = values_of(found, metric)
            return cell_of(title, found, values, expected, metric, self.footnotes)
        return _mean_of(title, [values_of(_by_seed(m), metric) for m in members], expected)


def _mean_of(title: str, members: Sequence[Mapping[int, float]], expected: int) -> Cell:
    """Return the mean over members, given their values by seed, as reports do in their mean rows.

    The deviation is that of the mean over members from seed to seed, of the seeds that all have.
    """
    common = sorted(set.intersection(*map(set, members)))
    by_seed = {seed: statistics.fmean(member[seed] for member in members) for seed in common}
    whole = all(members)
    mean = statistics.fmean(statistics.fmean(m.values()) for m in members) if whole else None
    return Cell(title, mean, mean_and_std(by_seed)[1], len(by_seed), expected)


def _by_seed(member: MemberRecords) -> Mapping[int, Record]:
    return next(iter(records_by_cell(member).values()), {})


def _compared(ours: Cell | None, value: PublishedValue | None, *, mixed: bool) -> ComparedCell:
    if value is None:
        return ComparedCell(ours, mixed=mixed)
    difference, judged = None, ""
    if ours is not None and ours.mean is not None:
        difference = round(round(ours.mean, DIGITS) - value.mean, DIGITS)
        if ours.n == ours.expected:
            judged = verdict(difference, ours.std, value.std)
    return ComparedCell(ours, value.mean, value.std, value.status, difference, judged, mixed)


def verdict(difference: float, std: float | None, published_std: float | None) -> str:
    """Return whether two means lie within both spreads.

    The rule is ours: within where the absolute difference, as printed, is at most the sum of the
    two standard deviations, as printed. It asks whether the two intervals mean±std overlap; three
    runs on each side allow no finer test.

    Args:
        difference: Ours minus published, rounded as printed.
        std: Our standard deviation over seeds, or None.
        published_std: The paper's, or None.

    Returns:
        ``"within"``, ``"outside"``, or ``""`` where a spread is missing.
    """
    if std is None or published_std is None:
        return ""
    limit = round(round(std, DIGITS) + published_std, DIGITS)
    return "within" if abs(difference) <= limit else "outside"
