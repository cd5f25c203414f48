"""From the records of one dataset under one setting to a table."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from osadbench.metrics import METRICS
from osadbench.report.cells import (
    cell_of,
    footnotes_of,
    mean_and_std,
    records_by_cell,
    values_of,
)
from osadbench.report.facts import column_notes, facts_of
from osadbench.report.grouping import manifest_of, place_of
from osadbench.report.parts import DIGITS, Cell, Row, Setting, Table
from osadbench.report.provenance import (
    mixtures,
    origins_of,
    provenance_notes,
    refuse_mixtures,
    versions_of,
)
from osadbench.report.wording import setting_text
from osadbench.types import Record

__all__ = ["DIGITS", "Options", "Part", "build_table", "finish_table"]


@dataclass(frozen=True)
class Options:
    """What a report's tables have in common.

    Attributes:
        columns: Labels in the order wanted; a table leaves those without a record out.
        metric: Key of the metric.
        allow_partial: Whether cells that lack seeds may be marked best or second.
        allow_mixed: Whether results that :func:`~osadbench.report.provenance.mixtures` names may
            stand together; a note says so.
        ambiguous: Datasets and categories of which the report has several manifests.
    """

    columns: Sequence[str]
    metric: str
    allow_partial: bool = False
    allow_mixed: bool = False
    ambiguous: Collection[str] = ()


class Part(NamedTuple):
    """A table and what a table of tables needs of it.

    Attributes:
        table: The table; its last row is its mean, or its only one.
        by_seed: The last row's values by label and seed, of the seeds that all rows have.
        records: The records that it is made of.
    """

    table: Table
    by_seed: Mapping[str, Mapping[int, float]]
    records: Sequence[Record]


def build_table(
    setting: Setting, dataset: str, records: Sequence[Record], options: Options
) -> Part:
    """Return the table of a dataset, a line for each of its rows.

    Args:
        setting: What the records have in common.
        dataset: Name for the caption.
        records: All records of the dataset under the setting.
        options: What all tables have in common.

    Raises:
        StoreError: Two records claim the same method, row and seed, or they are mixed.
    """
    cells = records_by_cell(records)
    present = {label for _, label in cells}
    labels = [label for label in options.columns if label in present]
    seeds = sorted({seed for by_seed in cells.values() for seed in by_seed})
    values = {place: values_of(found, options.metric) for place, found in cells.items()}
    lacking = [
        record
        for place, found in cells.items()
        for seed, record in found.items()
        if seed not in values[place]
    ]
    footnotes = footnotes_of(lacking, options.metric)

    def cell(label: str, name: str) -> Cell:
        place = (name, label)
        found = (cells.get(place, {}), values.get(place, {}))
        return cell_of(label, *found, len(seeds), options.metric, footnotes)

    names = sorted({name for name, _ in cells})
    rows = [Row(name, tuple(cell(label, name) for label in labels)) for name in names]
    table = Table(
        setting,
        dataset,
        options.metric,
        tuple(labels),
        tuple(seeds),
        tuple(rows),
        footnotes=tuple(footnotes),
    )
    return finish_table(table, values, records, options)


def finish_table(
    table: Table,
    values: Mapping[tuple[str, str], Mapping[int, float]],
    records: Sequence[Record],
    options: Options,
) -> Part:
    """Return a table with its mean row, its marks, and all that is to be said of its columns.

    Args:
        table: The table without them.
        values: Its values by row and label, then by seed.
        records: All records behind it.
        options: What all tables have in common.

    Raises:
        StoreError: The records are mixed.
    """
    origins = origins_of(records)
    mixed = mixtures(origins)
    if not options.allow_mixed:
        refuse_mixtures(f"{table.dataset}, {setting_text(table.setting)}", mixed)
    names, rows = [row.name for row in table.rows], list(table.rows)
    by_seed = {label: _means(names, label, values) for label in table.columns}
    if len(rows) > 1:
        cells = zip(*(row.cells for row in rows), strict=True)
        means = {column[0].label: [cell.mean for cell in column] for column in cells}
        rows.append(_mean_row(table.columns, means, by_seed, len(table.seeds)))
    larger_is_better = METRICS[options.metric].larger_is_better
    by_label: dict[str, list[Record]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    facts = tuple(facts_of(label, by_label[label]) for label in table.columns)
    # Thousands of records share a split.
    splits = {(r.dataset, r.category, id(r.split)): r for r in records}.values()
    manifests = {place_of(r): manifest_of(r) for r in sorted(splits, key=place_of)}
    notes = [
        *column_notes(table.setting, facts),
        *_image_notes(manifests, options.ambiguous),
        *(f"the results mix {what}" for what in mixed),
        *provenance_notes(origins),
    ]
    whole = replace(
        table,
        rows=tuple(_mark(row, larger_is_better, options.allow_partial) for row in rows),
        notes=tuple(notes),
        facts=facts,
        manifests=manifests,
        versions=versions_of(origins),
    )
    return Part(whole, by_seed, records)


def _image_notes(manifests: Mapping[str, str], ambiguous: Collection[str]) -> list[str]:
    named = [
        f"{digest[:8] or 'unknown'} ({place})"
        for place, digest in manifests.items()
        if place in ambiguous
    ]
    if not named:
        return []
    return [f"images of manifest {', '.join(named)}; other tables have other images of that name"]


def _means(
    names: Sequence[str], label: str, values: Mapping[tuple[str, str], Mapping[int, float]]
) -> dict[int, float]:
    """Return a method's mean over rows for each seed that all rows have."""
    members = [values.get((name, label), {}) for name in names]
    if len(members) == 1:
        return dict(members[0])
    common = set.intersection(*map(set, members))
    return {seed: statistics.fmean([m[seed] for m in members]) for seed in sorted(common)}


def _mean_row(
    labels: Sequence[str],
    means: Mapping[str, Sequence[float | None]],
    by_seed: Mapping[str, Mapping[int, float]],
    expected: int,
) -> Row:
    """Return the mean over rows, given each label's means of the rows and means of the seeds.

    The papers don't say what the standard deviation in their mean rows is; neither the mean nor the
    root mean square of the members' ones gives it. It behaves like that of the mean over rows from
    run to run: in 197 of the 199 mean cells of DRA's Tables 1, 2 and 8, DevNet's Table 2 and AHL's
    Tables 7 and 8 it does not exceed the mean of the members' ones, and mostly it lies far below.
    So that is what stands here: each seed's mean over rows, then the standard deviation over the
    seeds that all rows have.

    A method without a value in some row has no mean: it would be one over other rows than its
    neighbours'.
    """
    cells = []
    for label in labels:
        known = [mean for mean in means[label] if mean is not None]
        mean = statistics.fmean(known) if len(known) == len(means[label]) else None
        std = mean_and_std(by_seed[label])[1]
        cells.append(Cell(label, mean, std, len(by_seed[label]), expected))
    return Row("mean", tuple(cells), aggregate=True)


def _mark(row: Row, larger_is_better: bool, allow_partial: bool) -> Row:
    means = [
        round(cell.mean, DIGITS)
        if cell.mean is not None and (allow_partial or cell.n == cell.expected)
        else None
        for cell in row.cells
    ]
    ranked = sorted((m for m in means if m is not None), reverse=larger_is_better)
    if len(ranked) < 2:
        return row
    # In this order, cells that share the first place leave no second one.
    marks = {ranked[1]: "second", ranked[0]: "best"}
    return replace(
        row,
        cells=tuple(
            replace(cell, mark=marks.get(mean, "") if mean is not None else "")
            for cell, mean in zip(row.cells, means, strict=True)
        ),
    )
