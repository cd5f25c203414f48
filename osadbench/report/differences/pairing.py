"""Which cells of two sets of records belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from osadbench.errors import StoreError, UsageError
from osadbench.report.cells import CellPlace
from osadbench.types import Record, split_title

__all__ = ["Pair", "pair_records"]


@dataclass(frozen=True)
class Pair:
    """The records of one place, None where a side has none."""

    place: CellPlace
    first: Record | None
    second: Record | None


def pair_records(
    first: Sequence[Record], second: Sequence[Record], *, by_label: bool = True
) -> list[Pair]:
    """Return the pairs by protocol, dataset, row, shots, method and seed.

    Where a side has a method without labelled anomalies, its result, of 0 shots, is paired with the
    other side's of every number of shots.

    Args:
        first: Records of one side.
        second: Records of the other one.
        by_label: Whether a method is paired with itself; otherwise each side is of one method, and
            they are paired with each other.

    Raises:
        UsageError: A side has several records of one place that can be told apart.
        StoreError: A side has several that cannot.
    """
    sides = [_by_place(first, "A", by_label), _by_place(second, "B", by_label)]
    everywhere = {*sides[0], *sides[1]}
    labelled = {place._replace(shots=0) for place in everywhere if place.shots}
    pairs = []
    for place in sorted(everywhere):
        found = [side.get(place, side.get(place._replace(shots=0))) for side in sides]
        # A result of 0 shots that the other side lacks stands beside its results of others.
        if place.shots or None not in found or place not in labelled:
            pairs.append(Pair(place, *found))
    return pairs


def _by_place(records: Sequence[Record], name: str, by_label: bool) -> dict[CellPlace, Record]:
    found: dict[CellPlace, Record] = {}
    for record in sorted(records, key=attrgetter("label", "row", "seed", "key")):
        place = CellPlace.of(record, record.label if by_label else "")
        other = found.setdefault(place, record)
        if other is not record:
            what = f"{name} has several results of {record.label} on {split_title(record)}"
            if apart := _apart(record, other):
                raise UsageError(f"{what}: choose by @{' or @'.join(apart)}")
            raise StoreError(f"{what}, {other.key} and {record.key}: move one out of the store")
    return found


def _apart(record: Record, other: Record) -> list[str]:
    """Return what tells two records of one place apart, as it is typed, where that can be."""
    a, b = record.engine, other.engine
    if record.preset != other.preset:
        return [record.preset, other.preset]
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            return [f"{key}={a.get(key)}", f"{key}={b.get(key)}"]
    if record.manifest != other.manifest:
        return [f"manifest={one.manifest[:12]}" for one in (record, other)]
    if record.weights != other.weights:
        digests = (one.weights.rpartition(":")[2][:12] for one in (record, other))
        return [f"weights={digest}" for digest in digests]
    commits = [str(one.provenance.get("commit") or "")[:10] for one in (record, other)]
    return commits if all(commits) and commits[0] != commits[1] else []
