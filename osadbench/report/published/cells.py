"""The cells of a paper's table: our result, the printed value, and what lies between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from osadbench.experiments import Column, Experiment, RowSpec, has_cell
from osadbench.metrics import METRICS
from osadbench.published import PublishedValue
from osadbench.report.cells import (
    cell_of,
    mean_by_seed,
    mean_cell,
    records_by_cell,
    values_of,
)
from osadbench.report.marks import mark_cells
from osadbench.report.parts import Cell
from osadbench.report.published.makes import Makes
from osadbench.report.published.members import Found, MemberRecords
from osadbench.report.published.parts import ComparedCell, ComparedRow
from osadbench.report.texts import DIGITS
from osadbench.types import Record

__all__ = ["Comparer", "index_values", "verdict"]

#: What a paper prints by setting, dataset, subset, method, shots, pseudo source and source.
ValueIndex = Mapping[tuple[str, str, str, str, int | None, str, str], PublishedValue]


def index_values(values: Iterable[PublishedValue]) -> ValueIndex:
    """Return what a paper prints by all that tells its values apart."""
    return {
        (v.setting, v.dataset, v.subset, v.method, v.shots, v.pseudo_source, v.source): v
        for v in values
    }


@dataclass(frozen=True)
class Comparer:
    """Makes the rows of one table.

    Attributes:
        experiment: Says its columns, metric and seeds.
        records: The records to show, one for a seed, of each member of each cell.
        footnotes: Reasons for missing results.
        values: What the paper prints; see :func:`index_values`.
        makes: How all results of the table were made.
    """

    experiment: Experiment
    records: Found
    footnotes: Sequence[str]
    values: ValueIndex
    makes: Makes

    def rows(self, specs: Sequence[RowSpec]) -> tuple[ComparedRow, ...]:
        """Return the rows with their cells."""
        parts = {(row.block.setting, row.dataset) for row in specs if row.subset}
        return tuple(
            ComparedRow(
                name=row.name,
                setting=row.block.setting,
                dataset=row.dataset,
                subset=row.subset,
                aggregate=row.aggregate,
                summed=row.aggregate and (row.block.setting, row.dataset) in parts,
                cells=self._marked(
                    self._cell(i, j, row, column) if has_cell(row, column) else None
                    for j, column in enumerate(self.experiment.columns)
                ),
            )
            for i, row in enumerate(specs)
        )

    def _marked(self, cells: Iterable[ComparedCell | None]) -> tuple[ComparedCell | None, ...]:
        """Mark the best and the second of our values, among those of the same task."""
        row = list(cells)
        better = METRICS[self.experiment.metric].larger_is_better
        for group in _alike(self.experiment.columns):
            ours = {j: cell for j in group if (cell := _ours_in(row[j])) is not None}
            marked = mark_cells(list(ours.values()), larger_is_better=better)
            for j, cell in zip(ours, marked, strict=True):
                found = row[j]
                row[j] = None if found is None else replace(found, ours=cell)
        return tuple(row)

    def _cell(self, i: int, j: int, row: RowSpec, column: Column) -> ComparedCell:
        value = self._value(row, column)
        members = self.records.get((i, j))
        if members is None:
            return _compared(None, value, mixed=False)
        mixed = any(self.makes.oddities(r) for m in members for r in m if r.status == "done")
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
        found = [_by_seed(member) for member in members]
        values = [values_of(by_seed, metric) for by_seed in found]
        cells = [
            cell_of(title, by_seed, own, expected, metric, self.footnotes)
            for by_seed, own in zip(found, values, strict=True)
        ]
        if len(cells) == 1:
            return cells[0]
        means = [cell.mean for cell in cells]
        return _with_reasons(mean_cell(title, means, mean_by_seed(values), expected), cells)


def _with_reasons(mean: Cell, members: Sequence[Cell]) -> Cell:
    """Return a mean over members, where it has no value with the reasons why they have none.

    A table may have no rows of theirs.
    """
    lacking = [member for member in members if member.mean is None]
    if not lacking:
        return mean
    return replace(
        mean,
        failed=max(member.failed for member in lacking),
        skipped=max(member.skipped for member in lacking),
        notes=tuple(sorted({note for member in lacking for note in member.notes})),
    )


def _ours_in(cell: ComparedCell | None) -> Cell | None:
    return None if cell is None else cell.ours


def _alike(columns: Sequence[Column]) -> list[list[int]]:
    """Return the numbers of the columns that have shots, source and protocol in common.

    Those of methods without labels go with the shots beside which they stand.
    """
    labelled = (column.cell_shots for column in columns if column.cell_shots)
    shots = next(labelled, None)
    groups: dict[tuple[int | None, str, str, str], list[int]] = {}
    for j, column in enumerate(columns):
        shots = column.cell_shots or shots
        key = (shots, column.source, column.protocol, column.setting)
        groups.setdefault(key, []).append(j)
    return list(groups.values())


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
    return ComparedCell(
        ours,
        value.mean,
        value.std,
        value.status,
        value.printed_mean,
        value.printed_std,
        value.note,
        difference=difference,
        verdict=judged,
        mixed=mixed,
    )


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
