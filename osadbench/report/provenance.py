"""Remarks on results that were made in different ways though they share a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from osadbench.report.grouping import NO_WEIGHTS
from osadbench.types import Record

__all__ = ["provenance_notes", "versions_of"]


def provenance_notes(records: Sequence[Record]) -> tuple[str, ...]:
    """Return what differs between the done records' commits, precisions and package versions.

    Args:
        records: The records of one table.
    """
    kinds: Counter[tuple[str, str | None, int, bool]] = Counter()
    versions: dict[int, Mapping[str, Any]] = {}
    for record in records:
        if record.status == "done":
            made = record.provenance
            # Thousands of records share a mapping of versions.
            found = made.get("versions")
            versions[id(found)] = found or {}
            kinds[_commit(made), _precision(record), id(found), bool(made.get("dirty"))] += 1
    commits = {commit for commit, *_ in kinds}
    precisions = {precision for _, precision, *_ in kinds if precision}
    notes = [_mixed("commits", commits), _mixed("precisions", precisions)]
    # Those of osadbench itself are noted as mixtures.
    for package in sorted({name for v in versions.values() for name in v} - {"osadbench"}):
        different = {str(found.get(package) or "unknown") for found in versions.values()}
        notes.append(_mixed(f"versions of {package}", different))
    if dirty := sum(n for (*_, dirty), n in kinds.items() if dirty):
        total = kinds.total()
        notes.append(f"{dirty} of {total} results come from code with uncommitted changes")
    return tuple(note for note in notes if note)


def versions_of(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the versions of osadbench that the done records name, sorted."""
    # Thousands of records share a mapping.
    made = [record.provenance for record in records if record.status == "done"]
    versions = {id(v): v for p in made if (v := p.get("versions"))}
    return tuple(sorted({str(v["osadbench"]) for v in versions.values() if v.get("osadbench")}))


def _commit(made: Mapping[str, Any]) -> str:
    return str(made.get("commit") or "unknown")[:10]


def _precision(record: Record) -> str | None:
    """Return the precision; None where there was none to choose, for want of a backbone."""
    precision = record.provenance.get("precision")
    return str(precision or "unknown") if precision or record.weights != NO_WEIGHTS else None


def _mixed(what: str, values: Collection[str]) -> str | None:
    return f"the results mix {what}: {', '.join(sorted(values))}" if len(values) > 1 else None
