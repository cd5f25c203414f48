"""What methods cost: time and memory over all results of a report."""

from __future__ import annotations

from collections.abc import Sequence

from osadbench.report.cells import measured
from osadbench.report.parts import Cost
from osadbench.types import Record

__all__ = ["costs_of"]


def costs_of(records: Sequence[Record], columns: Sequence[str]) -> tuple[Cost, ...]:
    """Return time and memory by preset, sorted, and by method, in the order of the columns.

    Methods of which neither time nor memory is recorded are left out.
    """
    cells: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status == "done":
            key = (record.preset, record.label)
            cells.setdefault(key, []).append(record)
    ordered = sorted(cells, key=lambda key: (key[0], columns.index(key[1])))
    costs = (_cost(*key, cells[key]) for key in ordered)
    return tuple(
        cost
        for cost in costs
        if (cost.fit_seconds, cost.score_seconds, cost.peak_memory_bytes) != (None, None, None)
    )


def _cost(preset: str, label: str, records: Sequence[Record]) -> Cost:
    devices = {record.provenance.get("device") for record in records} - {None}
    names = tuple(sorted(map(str, devices)))
    return Cost(preset, label, len(records), **measured(records), devices=names)
