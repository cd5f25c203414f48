"""Which records stand in one table: those whose numbers may be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from osadbench.params import canonical_json
from osadbench.report.parts import Setting
from osadbench.types import Record, place_name

__all__ = ["NO_WEIGHTS", "ambiguous_places", "by_setting", "manifest_of", "place_of", "tell_apart"]

_Request = tuple[str, str, str, int, str]
_Key = tuple[str, int, str, str, str, int]

#: What a record's weights are where the method uses no backbone.
NO_WEIGHTS = "none"


def tell_apart(records: Sequence[Record]) -> list[Record]:
    """Return the records, with the outliers' source in a label that has met several in one place.

    A method's results with outliers of two sources are two columns; where each dataset has a source
    of its own, they are one.
    """
    sources: dict[tuple[str, ...], set[str]] = {}
    for record in records:
        place = (record.label, record.protocol, canonical_json(record.engine), record.dataset)
        sources.setdefault((*place, record.category), set()).add(_source(record))
    several = {place[0] for place, found in sources.items() if len(found - {""}) > 1}
    return [
        replace(record, label=f"{record.label} (outliers {_source(record)})")
        if record.label in several and _source(record)
        else record
        for record in records
    ]


def _source(record: Record) -> str:
    return str((record.split.get("outliers") or {}).get("source", ""))


def by_setting(records: Sequence[Record]) -> list[tuple[Setting, dict[str, list[Record]]]]:
    """Return the settings in order, each with its tables' records by the name of the dataset.

    Protocol, preset and engine settings, those of the request, tell tables apart. So do other
    images of the same name (the digest of the manifest), shots and weights, but the last two not
    for every record:

    - Methods without labelled anomalies (``shots`` 0) stand in the tables of all shots that have
      their test images. Where there is no other method, the table has shots 0.
    - Methods without a backbone, or with one of their own, stand in the tables of all weights of
      the engine's backbone. Where no method uses that one, the table's weights are ``"none"``.
    """
    groups: dict[_Key, dict[str, list[Record]]] = {}
    for (protocol, preset, engine, images, dataset), members in _by_request(records).items():
        for shots, weights, table in _tables(members):
            key = (protocol, shots, preset, engine, weights, images)
            groups.setdefault(key, {})[dataset] = table
    engines = {canonical_json(record.engine): record.engine for record in records}
    return [(_setting(key, engines), groups[key]) for key in sorted(groups)]


def _by_request(records: Sequence[Record]) -> dict[_Request, list[Record]]:
    """Return the records by protocol, preset, engine, images and name of the table's dataset."""
    requested = [(_request(record), record) for record in records]
    started: dict[tuple[str, ...], dict[str, float]] = {}
    for request, record in requested:
        met = started.setdefault((*request, place_of(record)), {})
        manifest, start = manifest_of(record), record.provenance.get("started") or 0.0
        met[manifest] = min(start, met.get(manifest, start))
    # Categories have manifests of their own and nothing says which belong together. By the first
    # result of each, those of one run do.
    newest_first = {
        place: sorted(met, key=lambda manifest: (-met[manifest], manifest))
        for place, met in started.items()
    }
    found: dict[_Request, list[Record]] = {}
    for request, record in requested:
        manifests = newest_first[*request, place_of(record)]
        name = place_name(record.dataset, record.category if record.known_class else "")
        key = (*request, manifests.index(manifest_of(record)), name)
        found.setdefault(key, []).append(record)
    return found


def _request(record: Record) -> tuple[str, str, str]:
    preset = str(record.engine.get("preset", ""))
    return record.protocol, preset, canonical_json(record.engine)


def manifest_of(record: Record) -> str:
    """Return the digest of the images' manifest, ``""`` where none is recorded."""
    return str(record.split.get("manifest", ""))


def place_of(record: Record) -> str:
    """Return ``dataset/category``, or the dataset where there are no categories."""
    return place_name(record.dataset, record.category)


def ambiguous_places(records: Sequence[Record]) -> set[str]:
    """Return the datasets and categories that stand for images of several manifests."""
    manifests: dict[str, set[str]] = {}
    for record in records:
        manifests.setdefault(place_of(record), set()).add(manifest_of(record))
    return {place for place, found in manifests.items() if len(found) > 1}


def _tables(members: Sequence[Record]) -> Iterator[tuple[int, str, list[Record]]]:
    """Yield shots, weights and records of each table of one dataset."""
    placed: set[int] = set()
    for shots in sorted({r.shots for r in members if r.shots}):
        for weights, table in _by_weights(_of_shots(members, shots), shots):
            placed.update(map(id, table))
            yield shots, weights, table
    if any(id(r) not in placed for r in members):
        # Those without labels whose weights no table has, with all that stand in every table.
        left = [r for r in members if not r.shots and not (_is_own(r) and id(r) in placed)]
        for weights, table in _by_weights(left, 0):
            yield 0, weights, table


def _of_shots(members: Sequence[Record], shots: int) -> list[Record]:
    """Return the records of some shots, and of those without labels the ones on their test images.

    More shots than a protocol's pool leave fewer anomalies to test on.
    """
    labelled = [r for r in members if r.shots == shots]
    tested = {(place_of(r), r.row, r.seed): r.split.get("test_digest") for r in labelled}

    def fits(record: Record) -> bool:
        own = record.split.get("test_digest")
        return tested.get((place_of(record), record.row, record.seed), own) == own

    return [r for r in members if r.shots == shots or (not r.shots and fits(r))]


def _by_weights(members: Sequence[Record], shots: int) -> list[tuple[str, list[Record]]]:
    """Return weights and records of each table of one number of shots."""
    used = [r for r in members if _is_own(r)]
    weights = {r.weights for r in used if r.shots == shots} or {r.weights for r in used}
    met: dict[str, set[str]] = {}
    for record in members:
        if not _is_own(record):
            met.setdefault(record.label, set()).add(record.weights)
    tables: dict[str, list[Record]] = {}
    for record in members:
        if _is_own(record):
            places = weights & {record.weights}
        elif len(met[record.label]) > 1:
            # Random and trained weights of a method's own backbone: each goes with its kind.
            alike = {one for one in weights if _kind(one) == _kind(record.weights)}
            places = alike or {NO_WEIGHTS}
        else:
            places = weights or {NO_WEIGHTS}
        for place in places:
            tables.setdefault(place, []).append(record)
    return sorted(tables.items())


def _is_own(record: Record) -> bool:
    """Whether the record's weights are those of the engine's backbone."""
    return record.weights != NO_WEIGHTS and "backbone" not in record.departures


def _kind(weights: str) -> str:
    return weights.partition(":")[0]


def _setting(key: _Key, engines: Mapping[str, Mapping[str, Any]]) -> Setting:
    protocol, shots, preset, identity, weights, images = key
    engine = engines[identity]
    siblings = [other for other in engines.values() if other.get("preset") == engine.get("preset")]
    changes = tuple(
        f"{name}={value}"
        for name, value in sorted(engine.items())
        if name != "backbone" and any(other.get(name) != value for other in siblings)
    )
    backbone = str(engine.get("backbone", ""))
    return Setting(protocol, shots, preset, backbone, weights, engine, changes, images)
