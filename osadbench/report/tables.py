"""From the records of one dataset under one setting to a table."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

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
from osadbench.report.parts import Cell, Row, Setting, Table
from osadbench.report.provenance import provenance_notes
from osadbench.types import Record

__all__ = ["DIGITS", "build_table"]

#: Digits that means are printed to, marked by and compared by, as in the papers.
DIGITS = 3


def build_table(
    setting: Setting,
    dataset: str,
    records: Sequence[Record],
    *,
    columns: Sequence[str],
    metric: str,
    allow_partial: bool,
    ambiguous: Collection[str] = (),
) -> Table:
    """Return the table of a dataset.

    Args:
        setting: What the records have in common.
        dataset: Name for the caption.
        records: All records of the dataset under the setting.
        columns: Labels in the order wanted; those without a record here are left out.
        metric: Key of the metric.
        allow_partial: Whether cells that lack seeds may be marked best or second.
        ambiguous: Datasets and categories of which the report has several manifests.

    Raises:
        StoreError: Two records claim the same method, row and seed.
    """
    cells = records_by_cell(records)
    labels = [label for label in columns if any(label == key[1] for key in cells)]
    seeds = sorted({record.seed for record in records})
    footnotes = footnotes_of(records, metric)
    names = sorted({record.row for record in records})
    rows = [
        Row(
            name,
            tuple(
                cell_of(label, cells.get((name, label), {}), len(seeds), metric, footnotes)
                for label in labels
            ),
        )
        for name in names
    ]
    if len(rows) > 1:
        values = {key: values_of(by_seed, metric) for key, by_seed in cells.items()}
        rows.append(_mean_row(names, labels, values, len(seeds)))
    marked = tuple(_mark(row, METRICS[metric].larger_is_better, allow_partial) for row in rows)
    facts = tuple(facts_of(label, [r for r in records if r.label == label]) for label in labels)
    manifests = {place_of(r): manifest_of(r) for r in sorted(records, key=place_of)}
    notes = [*column_notes(setting, facts), *_image_notes(manifests, ambiguous)]
    return Table(
        setting,
        dataset,
        metric,
        tuple(labels),
        tuple(seeds),
        marked,
        tuple(footnotes),
        (*notes, *provenance_notes(records)),
        facts,
        manifests,
    )


def _image_notes(manifests: Mapping[str, str], ambiguous: Collection[str]) -> list[str]:
    named = [
        f"{digest[:8] or 'unknown'} ({place})"
        for place, digest in manifests.items()
        if place in ambiguous
    ]
    if not named:
        return []
    return [f"images of manifest {', '.join(named)}; other tables have other images of that name"]


def _mean_row(
    names: Sequence[str],
    labels: Sequence[str],
    values: Mapping[tuple[str, str], Mapping[int, float]],
    expected: int,
) -> Row:
    """Return the mean over rows.

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
        members = [values.get((name, label), {}) for name in names]
        common = set.intersection(*map(set, members))
        per_seed = {seed: statistics.fmean(m[seed] for m in members) for seed in sorted(common)}
        whole = all(members)
        mean = statistics.fmean(statistics.fmean(m.values()) for m in members) if whole else None
        cells.append(Cell(label, mean, mean_and_std(per_seed)[1], len(per_seed), expected))
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
