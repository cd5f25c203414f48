"""Which records stand in one table: those whose numbers may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from osadbench.params import canonical_json
from osadbench.report.parts import Setting
from osadbench.types import NO_WEIGHTS, Record, place_name

__all__ = [
    "blocks_of",
    "by_setting",
    "shared",
    "tell_apart",
    "with_source",
]

_Request = tuple[str, str, str, int, str]
_Key = tuple[str, int, str, str, str, int]


def shared(records: Iterable[Record], field: str) -> list[Any]:
    """Return the different objects that records share in a field; there are far fewer of them."""
    values = list(map(attrgetter(field), records))
    return list(dict(zip(map(id, values), values, strict=True)).values())


def tell_apart(records: Sequence[Record], *others: Sequence[Record]) -> list[Record]:
    """Return the records, with the outliers' source in a label that has met several in one place.

    A method's results with outliers of two sources are two columns; where each dataset has a source
    of its own, they are one.

    Args:
        records: The records.
        others: Sets of records that they are held against: a label that has met several sources in
            one place of any of them names its source here, too.
    """
    several = set().union(*map(_of_several_sources, (records, *others)))
    if not several:
        return list(records)
    return [
        replace(record, label=with_source(record.label, record))
        if record.label in several and record.outlier_source
        else record
        for record in records
    ]


def with_source(label: str, record: Record) -> str:
    """Return a label with the source of a record's outliers."""
    return f"{label} (outliers {record.outlier_source})"


def _of_several_sources(records: Sequence[Record]) -> set[str]:
    """Return the labels that have outliers of several sources in one place."""
    if not any(split.get("outliers") for split in shared(records, "split")):
        return set()
    sources: dict[tuple[str, ...], set[str]] = {}
    for record in records:
        place = (record.label, record.protocol, canonical_json(record.engine), record.place)
        sources.setdefault(place, set()).add(record.outlier_source)
    return {place[0] for place, found in sources.items() if len(found - {""}) > 1}


def blocks_of(records: Iterable[Record]) -> list[list[Record]]:
    """Return the records in blocks that share dataset, category, protocol, split and engine.

    What one record of a block says of these holds for all. A split is that of all methods, so of a
    hundred thousand records only some thousands have to be asked.
    """
    blocks: dict[tuple[object, ...], list[Record]] = {}
    for r in records:
        key = (id(r.split), id(r.engine), r.protocol, r.dataset, r.category, r.known_class != "")
        if (block := blocks.get(key)) is None:
            block = blocks[key] = []
        block.append(r)
    return list(blocks.values())


def by_setting(
    blocks: Sequence[Sequence[Record]],
) -> list[tuple[Setting, dict[str, Sequence[Record]]]]:
    """Return the settings in order, each with its tables' records by the name of the dataset.

    Protocol, preset and engine settings, those of the request, tell tables apart. So do other
    images of the same name (the digest of the manifest), shots and weights, but the last two not
    for every record:

    - Methods without labelled anomalies (``shots`` 0) stand in the tables of all shots that have
      their test images. Where there is no other method, the table has shots 0.
    - Methods without a backbone, or with one of their own, stand in the tables of all weights of
      the engine's backbone. Where no method uses that one, the table's weights are ``"none"``.

    Args:
        blocks: The records as :func:`blocks_of` returns them.
    """
    groups: dict[_Key, dict[str, Sequence[Record]]] = {}
    for (protocol, preset, engine, images, dataset), members in _by_request(blocks).items():
        for shots, weights, table in _tables(members):
            key = (protocol, shots, preset, engine, weights, images)
            groups.setdefault(key, {})[dataset] = table
    engines = {canonical_json(block[0].engine): block[0].engine for block in blocks}
    return [(_setting(key, engines), groups[key]) for key in sorted(groups)]


def _by_request(blocks: Sequence[Sequence[Record]]) -> dict[_Request, list[Record]]:
    """Return the records by protocol, preset, engine, images and name of the table's dataset."""
    places: dict[tuple[str, str, str], dict[str, list[Sequence[Record]]]] = {}
    for block in blocks:
        one = block[0]
        place = (one.protocol, canonical_json(one.engine), one.place)
        places.setdefault(place, {}).setdefault(one.manifest, []).append(block)
    found: dict[_Request, list[Record]] = {}
    for (protocol, engine, _), by_manifest in places.items():
        for images, manifest in enumerate(_newest_first(by_manifest)):
            for block in by_manifest[manifest]:
                one = block[0]
                name = place_name(one.dataset, one.category if one.known_class else "")
                key = (protocol, one.preset, engine, images, name)
                found.setdefault(key, []).extend(block)
    return found


def _newest_first(by_manifest: Mapping[str, Sequence[Sequence[Record]]]) -> list[str]:
    """Return manifests by their first results.

    Categories have manifests of their own and nothing says which belong together. By the first
    result of each, those of one run do.
    """
    if len(by_manifest) == 1:
        return list(by_manifest)
    started = {
        manifest: min(r.started for block in blocks for r in block)
        for manifest, blocks in by_manifest.items()
    }
    return sorted(by_manifest, key=lambda manifest: (-started[manifest], manifest))


def _tables(members: Sequence[Record]) -> Iterator[tuple[int, str, Sequence[Record]]]:
    """Yield shots, weights and records of each table of one dataset."""
    by_shots: dict[int, list[Record]] = {}
    for record in members:
        by_shots.setdefault(record.shots, []).append(record)
    unlabelled = by_shots.pop(0, [])
    placed: set[int] = set()
    for shots, labelled in sorted(by_shots.items()):
        for weights, table in _by_weights(labelled + _tested_alike(unlabelled, labelled), shots):
            if unlabelled:
                placed.update(map(id, table))
            yield shots, weights, table
    if any(id(r) not in placed for r in unlabelled):
        # Those whose weights no table has, with all that stand in every table.
        left = [r for r in unlabelled if not (r.uses_engine_backbone and id(r) in placed)]
        for weights, table in _by_weights(left, 0):
            yield 0, weights, table


def _tested_alike(unlabelled: Sequence[Record], labelled: Sequence[Record]) -> list[Record]:
    """Return the records without labels on the test images of those with some.

    More shots than a protocol's pool leave fewer anomalies to test on.
    """
    if not unlabelled:
        return []
    tested = {(r.place, r.row, r.seed): r.split.get("test_digest") for r in labelled}

    def fits(record: Record) -> bool:
        own = record.split.get("test_digest")
        return tested.get((record.place, record.row, record.seed), own) == own

    return [record for record in unlabelled if fits(record)]


def _by_weights(members: Sequence[Record], shots: int) -> list[tuple[str, Sequence[Record]]]:
    """Return weights and records of each table of one number of shots."""
    kinds = {(r.weights, id(r.departures)) for r in members}
    if len(kinds) == 1 and members[0].uses_engine_backbone:
        return [(members[0].weights, members)]
    used = [r for r in members if r.uses_engine_backbone]
    weights = {r.weights for r in used if r.shots == shots} or {r.weights for r in used}
    met: dict[str, set[str]] = {}
    for record in members:
        if not record.uses_engine_backbone:
            met.setdefault(record.label, set()).add(record.weights)
    tables: dict[str, list[Record]] = {}
    for record in members:
        if record.uses_engine_backbone:
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
