"""How the results of one table were made, where that differs: what to refuse, and what to note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from osadbench.errors import StoreError
from osadbench.report.aspects import most_common, values_met
from osadbench.report.facts import short_weights
from osadbench.types import NO_WEIGHTS, Record

__all__ = [
    "Origin",
    "Origins",
    "Place",
    "origins_of",
    "mixed_packages",
    "mixtures",
    "mixtures_told",
    "odd_places",
    "provenance_notes",
    "versions_of",
]


class Origin(NamedTuple):
    """How a done record was made.

    Attributes:
        label: Its column.
        schema: Version of the layout of records.
        commit: The commit of osadbench, None where it is unknown.
        dirty: Whether the code had changes beyond it.
        precision: The precision that the backbone computed in, if that is recorded.
        has_backbone: Whether there was a backbone to compute.
        versions: Place of the versions of packages in :attr:`Origins.versions`.
        own_weights: The weights of a backbone of the method's own, ``""`` where it is the engine's.
    """

    label: str
    schema: int
    commit: str | None
    dirty: bool
    precision: str | None
    has_backbone: bool
    versions: int
    own_weights: str


class Origins(NamedTuple):
    """The origins of the records of one table.

    Attributes:
        counts: How many done records have each origin.
        rows: The rows of the records of each origin with weights of its own.
        versions: Versions by package.
    """

    counts: Counter[Origin]
    rows: Mapping[Origin, Collection[str]]
    versions: Mapping[int, Mapping[str, Any]]


#: The name of a row, and a label.
Place = tuple[str, str]
#: What is mixed, then its values, each with those that have it.
_Found = dict[str, dict[str, set[str]]]


def origins_of(records: Iterable[Record]) -> Origins:
    """Count the origins of the done records; there are far fewer of them than records."""
    counts: dict[tuple[object, ...], int] = {}
    versions: dict[int, Mapping[str, Any]] = {}
    rows: dict[Origin, set[str]] = {}
    for record in records:
        if record.status == "done":
            made = record.provenance
            # Thousands of records share a mapping.
            found = made.get("versions")
            versions[id(found)] = found or {}
            own = record.weights if record.has_own_backbone else ""
            origin = (
                record.label,
                record.schema,
                made.get("commit"),
                bool(made.get("dirty")),
                made.get("precision"),
                record.weights != NO_WEIGHTS,
                id(found),
                own,
            )
            counts[origin] = counts.get(origin, 0) + 1
            if own:
                rows.setdefault(Origin._make(origin), set()).add(record.row)
    return Origins(Counter({Origin._make(o): n for o, n in counts.items()}), rows, versions)


def mixtures(origins: Origins) -> list[str]:
    """Return what the results of one table mix, a line each; none in a proper table.

    A table's records share preset, engine settings and, where the engine's backbone is used, its
    weights. They may still come from several versions of osadbench, of the packages that it
    computes with, or of the layout of records, which may compute other numbers under the same name.
    And a method with a backbone of its own may have met several weights of it.
    """
    packages = mixed_packages(origins)
    versions: _Found = {f"versions of {package}": {} for package in packages}
    versions["record schemas"] = {}
    weights: _Found = {}
    for origin in origins.counts:
        for package in packages:
            version = str(origins.versions[origin.versions].get(package) or "unknown")
            found = versions[f"versions of {package}"]
            found.setdefault(version, set()).add(origin.label)
        versions["record schemas"].setdefault(str(origin.schema), set()).add(origin.label)
        if origin.own_weights:
            own = weights.setdefault(f"weights of {origin.label}", {})
            own.setdefault(short_weights(origin.own_weights), set()).update(origins.rows[origin])
    return list(_several({**versions, **weights}))


def mixed_packages(origins: Origins) -> list[str]:
    """Return the packages of which the results have several versions, osadbench first.

    For osadbench an unknown version is another one. A package without a version was not installed,
    so nothing was computed by it, or nobody wrote its version down; that is no other version.
    """
    met = list(origins.versions.values())
    mixed = []
    for package in sorted({"osadbench"}.union(*met), key=lambda name: (name != "osadbench", name)):
        named = {str(found.get(package) or "") for found in met}
        if len(named if package == "osadbench" else named - {""}) > 1:
            mixed.append(package)
    return mixed


def _several(found: _Found) -> Iterator[str]:
    for what, members in found.items():
        if len(members) > 1:
            parts = (f"{name} ({', '.join(sorted(who))})" for name, who in sorted(members.items()))
            yield f"{what}: {', '.join(parts)}"


def mixtures_told(title: str, origins: Origins, *, allow_mixed: bool) -> tuple[str, ...]:
    """Return the notes on what a table mixes, or refuse it.

    Args:
        title: What the table is, in words.
        origins: The origins of its records.
        allow_mixed: Whether it may mix anything.

    Raises:
        StoreError: It does and may not; the message says what differs and which columns have it.
    """
    found = mixtures(origins)
    if found and not allow_mixed:
        raise StoreError(
            f"the results of {title} mix {'; '.join(found)}: move the ones that do not belong into "
            "another folder, or let --allow-mixed show them with a note"
        )
    return tuple(f"the results mix {what}" for what in found)


def odd_places(members: Mapping[Place, Iterable[Record]], origins: Origins) -> set[Place]:
    """Return the places that have a result made otherwise than most, in what the results mix.

    Args:
        members: The results of one table by their places in it.
        origins: Their origins.
    """
    packages = mixed_packages(origins)

    def ways(record: Record) -> Iterator[tuple[str, str]]:
        yield "schema", str(record.schema)
        versions = record.provenance.get("versions") or {}
        for package in packages:
            # As in mixed_packages, of others than osadbench none is no other version.
            if (version := versions.get(package)) or package == "osadbench":
                yield package, str(version or "unknown")
        if record.has_own_backbone:
            yield f"weights of {record.label}", record.weights

    done = {place: [r for r in found if r.status == "done"] for place, found in members.items()}
    met = values_met(way for found in done.values() for record in found for way in ways(record))
    usual = {what: most_common(values) for what, values in met.items()}
    return {
        place
        for place, found in done.items()
        if any(usual[what] != value for record in found for what, value in ways(record))
    }


def provenance_notes(origins: Origins, *, told: Collection[str] = ()) -> tuple[str, ...]:
    """Return what differs between the results' commits, precisions and package versions.

    Args:
        origins: The origins of the records.
        told: Packages that other notes speak of.
    """
    commits = {str(origin.commit or "unknown")[:10] for origin in origins.counts}
    # Without a backbone there was no precision to choose.
    precisions = {
        str(origin.precision or "unknown")
        for origin in origins.counts
        if origin.precision or origin.has_backbone
    }
    notes = [_mixed("commits", commits), _mixed("precisions", precisions)]
    named = {name for found in origins.versions.values() for name in found}
    for package in sorted(named - {"osadbench", *told}):
        different = {str(found.get(package) or "unknown") for found in origins.versions.values()}
        notes.append(_mixed(f"versions of {package}", different))
    if dirty := sum(n for origin, n in origins.counts.items() if origin.dirty):
        total = origins.counts.total()
        notes.append(f"{dirty} of {total} results come from code with uncommitted changes")
    return tuple(note for note in notes if note)


def versions_of(origins: Origins) -> tuple[str, ...]:
    """Return the versions of osadbench that the results name, sorted."""
    named = {
        str(found["osadbench"]) for found in origins.versions.values() if found.get("osadbench")
    }
    return tuple(sorted(named))


def _mixed(what: str, values: Collection[str]) -> str | None:
    return f"the results mix {what}: {', '.join(sorted(values))}" if len(values) > 1 else None
