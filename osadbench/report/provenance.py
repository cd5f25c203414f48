"""Remarks on results that were made in different ways though they share a table."""

from __future__ import annotations

from collections.abc import Sequence

from osadbench.report.grouping import NO_WEIGHTS
from osadbench.types import Record

__all__ = ["provenance_notes"]


def provenance_notes(records: Sequence[Record]) -> tuple[str, ...]:
    """Return what differs between the done records' commits, precisions and package versions.

    Args:
        records: The records of one table.
    """
    done = [record for record in records if record.status == "done"]
    made = [record.provenance for record in done]
    # Without a backbone there may be no precision to choose.
    precise = [
        record.provenance
        for record in done
        if record.weights != NO_WEIGHTS or record.provenance.get("precision")
    ]
    notes = [
        _mixed("commits", [str(p.get("commit") or "unknown")[:10] for p in made]),
        _mixed("precisions", [str(p.get("precision") or "unknown") for p in precise]),
    ]
    versions = [p.get("versions") or {} for p in made]
    for package in sorted({name for found in versions for name in found}):
        found = [str(v.get(package) or "unknown") for v in versions]
        notes.append(_mixed(f"versions of {package}", found))
    dirty = sum(bool(p.get("dirty")) for p in made)
    if dirty:
        notes.append(f"{dirty} of {len(made)} results come from code with uncommitted changes")
    return tuple(note for note in notes if note)


def _mixed(what: str, values: Sequence[str]) -> str | None:
    different = sorted(set(values))
    return f"the results mix {what}: {', '.join(different)}" if len(different) > 1 else None
