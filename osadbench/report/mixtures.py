"""Results that must not stand in one table unasked: by another osadbench, with other weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from osadbench.errors import StoreError
from osadbench.report.facts import short_weights
from osadbench.types import Record

__all__ = ["mixtures", "refuse_mixtures"]

#: What is mixed, then its values, each with those that have it.
_Found = dict[str, dict[str, set[str]]]


def mixtures(records: Iterable[Record]) -> list[str]:
    """Return what the done records of one table mix, a line each; none in a proper table.

    A table's records share preset, engine settings and, where the engine's backbone is used, its
    weights. They may still come from several versions of osadbench, or of the layout of records,
    which may compute other numbers under the same name. And a method with a backbone of its own may
    have met several weights of it.
    """
    # Thousands of records share a mapping of versions.
    made: dict[tuple[int, int, str], Mapping[str, Any]] = {}
    weights: _Found = {}
    for record in records:
        if record.status == "done":
            found = record.provenance.get("versions")
            made[id(found), record.schema, record.label] = found or {}
            if record.departures and "backbone" in record.departures:
                own = weights.setdefault(f"weights of {record.label}", {})
                own.setdefault(short_weights(record.weights), set()).add(record.row)
    versions: _Found = {"versions of osadbench": {}, "record schemas": {}}
    for (_, schema, label), found in made.items():
        version = str(found.get("osadbench") or "unknown")
        versions["versions of osadbench"].setdefault(version, set()).add(label)
        versions["record schemas"].setdefault(str(schema), set()).add(label)
    return list(_several({**versions, **weights}))


def _several(found: _Found) -> Iterator[str]:
    for what, members in found.items():
        if len(members) > 1:
            parts = (f"{name} ({', '.join(sorted(who))})" for name, who in sorted(members.items()))
            yield f"{what}: {', '.join(parts)}"


def refuse_mixtures(title: str, found: Sequence[str]) -> None:
    """Raise where a table mixes anything.

    Args:
        title: What the table is, in words.
        found: What :func:`mixtures` returned.

    Raises:
        StoreError: It does; the message says what differs and which columns have it.
    """
    if found:
        raise StoreError(
            f"the results of {title} mix {'; '.join(found)}: move the ones that do not belong into "
            "another folder, or let --allow-mixed show them with a note"
        )
