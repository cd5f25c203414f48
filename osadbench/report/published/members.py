"""The records of one place in a paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from osadbench.experiments import Column, Member, plain_name
from osadbench.report.published.makes import Makes
from osadbench.types import Record

__all__ = ["Index", "MemberRecords", "choose", "index_records", "records_of"]

MemberRecords = list[Record]
Index = Mapping[tuple[str, str, str, str], Sequence[Record]]


def index_records(records: Sequence[Record]) -> Index:
    """Return records by protocol, dataset, category, and plain name of the known class."""
    index: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        place = (record.dataset, record.category, plain_name(record.known_class))
        index.setdefault((record.protocol, *place), []).append(record)
    return index


def records_of(
    index: Index,
    member: Member,
    labels: Mapping[str, str],
    protocol: str,
    column: Column,
    seeds: Sequence[int],
) -> MemberRecords:
    """Return the records of one place that belong in a column, several for a seed among them.

    Args:
        index: All records; see :func:`index_records`.
        member: The place.
        labels: The method's label under each preset.
        protocol: The protocol's name in the records.
        column: Says the shots, and the source of outliers where that is the point of the column.
        seeds: Seeds of the table.
    """
    classes = member.known_classes or ("",)
    keys = dict.fromkeys((protocol, member.dataset, member.category, name) for name in classes)
    return [
        record
        for key in keys
        for record in index.get(key, ())
        if record.label == labels[str(record.engine.get("preset", ""))]
        # Without labels, results are the same for all shots.
        and record.shots in (0, column.cell_shots)
        and record.seed in seeds
        and _is_from(record, column.source)
        and _fits_outliers(record, column.outliers)
    ]


def _is_from(record: Record, source: str) -> bool:
    """Whether a record was trained on a source, or without one on the category it was tested on."""
    trained, arrow, _ = record.row.partition("->")
    return (trained if arrow else "") == source


def _fits_outliers(record: Record, source: str) -> bool:
    return not source or (record.split.get("outliers") or {}).get("source") == source


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
            alike = [max(alike, key=lambda r: (r.provenance.get("started") or 0.0, r.key))]
        chosen += alike if done else alike[:1]
    return chosen
