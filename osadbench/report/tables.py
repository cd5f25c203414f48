"""From the records of one dataset under one setting to a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from osadbench.metrics import METRICS
from osadbench.report.cells import (
    cell_of,
    footnotes_of,
    lacking_in,
    mean_by_seed,
    mean_cell,
    records_by_cell,
    values_of,
)
from osadbench.report.facts import column_notes, facts_of
from osadbench.report.images import images_text, manifests_of
from osadbench.report.marks import mark_cells
from osadbench.report.parts import Cell, Row, Setting, Table
from osadbench.report.provenance import (
    Place,
    mixed_packages,
    mixtures_told,
    odd_places,
    origins_of,
    provenance_notes,
    versions_of,
)
from osadbench.report.wording import table_title
from osadbench.types import Record

__all__ = ["Options", "Part", "build_table", "finish_table"]


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
        record for place, found in cells.items() for record in lacking_in(found, values[place])
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
    members = {place: found.values() for place, found in cells.items()}
    return finish_table(table, values, members, records, options)


def finish_table(
    table: Table,
    values: Mapping[Place, Mapping[int, float]],
    members: Mapping[Place, Iterable[Record]],
    records: Sequence[Record],
    options: Options,
) -> Part:
    """Return a table with its mean row, its marks, and all that is to be said of its columns.

    Args:
        table: The table without them.
        values: Its values by row and label, then by seed.
        members: The records behind them, by row and label.
        records: All of these, each once.
        options: What all tables have in common.

    Raises:
        StoreError: The records are mixed.
    """
    origins = origins_of(records)
    title = table_title(table.dataset, table.setting)
    mixed = mixtures_told(title, origins, allow_mixed=options.allow_mixed)
    odd = odd_places(members, origins) if mixed else set()
    names, rows = [row.name for row in table.rows], [_told_apart(row, odd) for row in table.rows]
    by_seed = {
        label: mean_by_seed([values.get((name, label), {}) for name in names])
        for label in table.columns
    }
    if len(rows) > 1:
        cells = zip(*(row.cells for row in rows), strict=True)
        means = (
            replace(
                mean_cell(label, [cell.mean for cell in column], by_seed[label], len(table.seeds)),
                odd=any(cell.odd for cell in column),
            )
            for label, column in zip(table.columns, cells, strict=True)
        )
        rows.append(Row("mean", tuple(means), aggregate=True))
    larger_is_better = METRICS[options.metric].larger_is_better
    by_label: dict[str, list[Record]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    facts = tuple(facts_of(label, by_label[label]) for label in table.columns)
    manifests = manifests_of(records)
    images = images_text(manifests, options.ambiguous)
    notes = [
        *column_notes(table.setting, facts),
        *[f"{images}; other tables have other images of that name"] * bool(images),
        *mixed,
        *provenance_notes(origins, told=mixed_packages(origins)),
    ]
    whole = replace(
        table,
        rows=tuple(_marked(row, larger_is_better, options.allow_partial) for row in rows),
        notes=tuple(notes),
        facts=facts,
        manifests=manifests,
        versions=versions_of(origins),
        mixed=mixed,
    )
    return Part(whole, by_seed, records)


def _told_apart(row: Row, odd: Collection[Place]) -> Row:
    cells = (replace(cell, odd=(row.name, cell.label) in odd) for cell in row.cells)
    return replace(row, cells=tuple(cells))


def _marked(row: Row, larger_is_better: bool, allow_partial: bool) -> Row:
    cells = mark_cells(row.cells, larger_is_better=larger_is_better, allow_partial=allow_partial)
    return replace(row, cells=cells)
