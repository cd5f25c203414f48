"""From records and a paper's values to the paper's table with our results in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from osadbench.experiments import Column, Experiment, experiment_rows
from osadbench.published import PublishedValue
from osadbench.report.cells import footnotes_of
from osadbench.report.provenance import origins_of, versions_of
from osadbench.report.published.cells import Comparer, index_values
from osadbench.report.published.images import DeclaredImages, image_notes
from osadbench.report.published.makes import makes_of
from osadbench.report.published.members import Labels, all_records, choose, find_records, only
from osadbench.report.published.notes import left_out_notes, made_of, notes_of, tested_notes
from osadbench.report.published.parts import ComparedColumn, ComparedTable
from osadbench.report.published.summary import summarise
from osadbench.types import SMOKE, Record

__all__ = ["build_published_table", "usual_records"]


def build_published_table(
    experiment: Experiment,
    values: Sequence[PublishedValue],
    records: Sequence[Record],
    labels: Labels,
    *,
    allow_mixed: bool = False,
    include_smoke: bool = False,
    declared: Mapping[str, DeclaredImages] = {},
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
        include_smoke: Whether to show results of the smoke preset, which are no measurements.
        declared: By dataset or ``dataset/category``, the images that it has by its declaration. A
            note says which results are of others.

    Raises:
        StoreError: Results of several presets, engine settings, weights, package versions, images
            or outliers, unless ``allow_mixed``; or two that claim the same cell.
    """
    rows = experiment_rows(experiment)
    everything = find_records(experiment, rows, records, labels)
    measured = only(everything, lambda r: include_smoke or r.preset != SMOKE)
    found = only(measured, lambda r: r.seed in experiment.seeds)
    makes = makes_of(all_records(found))
    if not allow_mixed:
        makes.refuse_mixed()
    chosen = {key: [choose(member, makes) for member in cell] for key, cell in found.items()}
    shown, metric = all_records(chosen), experiment.metric
    lacking = [r for r in shown if r.status != "done" or metric not in r.metrics]
    footnotes = footnotes_of(lacking, metric)
    compared = Comparer(experiment, chosen, footnotes, index_values(values), makes).rows(rows)
    done = [record for record in shown if record.status == "done"]
    n_smoke = len(all_records(everything)) - len(all_records(measured))
    notes = (
        *notes_of(experiment, shown, makes, allow_mixed=allow_mixed),
        *tested_notes(all_records(found), shown, makes),
        *left_out_notes(experiment, all_records(measured), n_smoke),
        *image_notes(done, declared),
    )
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
        notes=notes,
        has_published=bool(values),
        versions=versions_of(origins_of(done)),
    )


def usual_records(
    experiment: Experiment, records: Sequence[Record], labels: Labels
) -> list[Record]:
    """Return the finished results of a table that are made as most of them are.

    Args:
        experiment: The rows and columns.
        records: Results, in any order; those that are not of the table are left out.
        labels: What the records call methods and protocols.
    """
    everything = find_records(experiment, experiment_rows(experiment), records, labels)
    found = [r for r in all_records(everything) if r.seed in experiment.seeds]
    makes = makes_of(found)
    return [r for r in found if r.status == "done" and not makes.oddities(r)]


def _column(experiment: Experiment, column: Column) -> ComparedColumn:
    reason = "" if column.method else experiment.reasons[column.published]
    shots = (column.shots, column.cell_shots)
    return ComparedColumn(column.title, column.published, *shots, column.method, reason)
