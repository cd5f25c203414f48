"""Which records belong in which cell of a paper's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from osadbench.experiments import (
    Column,
    Experiment,
    Member,
    RowSpec,
    has_cell,
    method_on,
    plain_name,
    protocol_of,
)
from osadbench.report.published.makes import Makes
from osadbench.types import Record

__all__ = ["Found", "Labels", "MemberRecords", "all_records", "choose", "find_records", "only"]

#: The records of one member of a row, such as one of the categories that it is the mean of.
MemberRecords = list[Record]
#: The records of each member, by the numbers of row and column.
Found = dict[tuple[int, int], list[MemberRecords]]
_Index = Mapping[tuple[str, str, str, str], Sequence[Record]]


@dataclass(frozen=True)
class Labels:
    """What records call the parts of an experiment.

    Attributes:
        method: From a preset and a method with its parameters to the label of its records.
        protocol: From a protocol with its parameters to its name in the records.
    """

    method: Callable[[str, str], str]
    protocol: Callable[[str], str]


def find_records(
    experiment: Experiment, rows: Sequence[RowSpec], records: Sequence[Record], labels: Labels
) -> Found:
    """Return the records of all cells that have a counterpart here, of all seeds.

    Several may be of one seed.

    Args:
        experiment: Says the columns.
        rows: Its rows.
        records: Results, in any order; those that are not of the table are left out.
        labels: What the records call methods and protocols.
    """
    index = _index(records)
    presets = sorted({record.preset for record in records})
    found: Found = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(experiment.columns):
            if column.method and has_cell(row, column):
                method = method_on(experiment, column, row.dataset)
                names = {preset: labels.method(preset, method) for preset in presets}
                protocol = labels.protocol(protocol_of(row, column))
                found[i, j] = [
                    _records_of(index, member, names, protocol, column) for member in row.members
                ]
    return found


def only(found: Found, keeps: Callable[[Record], bool]) -> Found:
    """Return those of the records that something keeps."""
    return {
        place: [list(filter(keeps, member)) for member in members]
        for place, members in found.items()
    }


def _index(records: Sequence[Record]) -> _Index:
    """Return records by protocol, dataset, category, and plain name of the known class."""
    index: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        place = (record.dataset, record.category, plain_name(record.known_class))
        index.setdefault((record.protocol, *place), []).append(record)
    return index


def _records_of(
    index: _Index,
    member: Member,
    labels: Mapping[str, str],
    protocol: str,
    column: Column,
) -> MemberRecords:
    """Return the records of one place that belong in a column, several for a seed among them.

    Args:
        index: All records; see :func:`_index`.
        member: The place.
        labels: The method's label under each preset.
        protocol: The protocol's name in the records.
        column: Says the shots, and the source of outliers where that is the point of the column.
    """
    classes = member.known_classes or ("",)
    keys = dict.fromkeys((protocol, member.dataset, member.category, name) for name in classes)
    return [
        record
        for key in keys
        for record in index.get(key, ())
        if record.label == labels[record.preset]
        # Without labels, results are the same for all shots.
        and record.shots in (0, column.cell_shots)
        and record.source == column.source
        and column.outliers in ("", record.outlier_source)
    ]


def choose(records: Sequence[Record], makes: Makes) -> MemberRecords:
    """Return the records to show: of one seed's, those that are done before those that are not.

    Where results of several makes are allowed, the one that is made most like the others, and of
    these the newest. Two of one make are both kept, for the table to refuse.
    """
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.seed, []).append(record)
    chosen: MemberRecords = []
    for found in by_seed.values():
        done = [record for record in found if record.status == "done"]
        best = min(map(makes.oddities, done or found))
        alike = [r for r in done or found if makes.oddities(r) == best]
        if makes.differences:
            alike = [max(alike, key=lambda r: (r.started, r.key))]
        chosen += alike if done else alike[:1]
    return chosen


def all_records(found: Found) -> list[Record]:
    """Return the records of all cells, each once."""
    records = (record for members in found.values() for member in members for record in member)
    return list({record.key: record for record in records}.values())
