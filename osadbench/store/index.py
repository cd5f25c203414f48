"""The index of a results folder: its records once more, in one file that is read at once.

A shortcut and never the truth. An entry stands for a record's file of the same name, size and times
of last change; any other file is read itself. An index that is missing, damaged, of another version
or made elsewhere is as good as none, and one that cannot be written costs time only.

Records stand in parts whose members name the same metrics and the same items of provenance, so that
a part is a table. Its columns repeat themselves: each is kept as a list of its different values and
an array of places in that list, but for columns of floats, which are an array as they are.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import marshal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osadbench.files import write_atomically
from osadbench.records import PLACE, SCHEMA, Pool, make_record, pooled
from osadbench.types import Record

__all__ = [
    "INDEX_FILE",
    "Index",
    "Part",
    "Stamp",
    "joined",
    "pack",
    "read_index",
    "unpack",
    "write_index",
]

logger = logging.getLogger("osadbench")

#: Name of the file, beside the folder of the records.
INDEX_FILE = "index.npz"
_FIELDS = tuple(item.name for item in fields(Record))
#: Fields whose items are columns of their own, for their numbers seldom repeat.
_MEASURED = ("metrics", "provenance")
#: All fields, those of the records' order first, so that their values are sorted as records are.
_ORDER = (*PLACE, *(name for name in _FIELDS if name not in PLACE))
#: What an index of another layout, or of other records, differs in.
_LAYOUT = {"index": 4, "schema": SCHEMA, "fields": list(_FIELDS)}

#: What tells whether a file is still the one that was read: bytes, and nanoseconds of the last
#: change of its contents and of its entry, which unlike the former cannot be set.
Stamp = tuple[int, int, int]
#: The names of a part's metrics and of its items of provenance.
_Shape = Sequence[Sequence[str]]
_Arrays = dict[str, npt.NDArray[Any]]


class Part(NamedTuple):
    """Records that name the same metrics and the same items of provenance, as a table.

    Attributes:
        shape: The names of the metrics and of the items of provenance.
        values: The different values of each column but those of floats, by its name.
        columns: One item per record: a float, or a place among the column's different values.
        stamps: The stamps of the records' files, int64 (n, 3).
    """

    shape: _Shape
    values: Mapping[str, Sequence[Any]]
    columns: _Arrays
    stamps: npt.NDArray[np.int64]


class Index(NamedTuple):
    """Records, and the stamps of their files when they were read, both by key."""

    stamps: dict[str, Stamp]
    records: dict[str, Record]


def read_index(path: Path) -> Index:
    """Return what an index holds; nothing where there is no index that can be used.

    Records share what they have in common: change nothing inside them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta["layout"] != _LAYOUT:
            raise ValueError("another layout")
        index = Index({}, {})
        pool: Pool = {}
        for number, (shape, values) in enumerate(meta["parts"]):
            part = Part(shape, values, *_numbered(arrays, number))
            records = unpack(part, pool)
            keys = [record.key for record in records]
            index.stamps.update(zip(keys, zip(*part.stamps.T.tolist(), strict=True), strict=True))
            index.records.update(zip(keys, records, strict=True))
        return index
    except FileNotFoundError:
        return Index({}, {})
    except Exception as error:  # of damaged bytes, zipfile and NumPy raise nearly anything
        logger.debug("index %s is not used: %s", path, error)
        return Index({}, {})


def _numbered(
    arrays: Mapping[str, npt.NDArray[Any]], number: int
) -> tuple[_Arrays, npt.NDArray[Any]]:
    """Return the columns of a part by their names, and its stamps."""
    prefix = f"{number}."
    names = (name for name in arrays if name.startswith(prefix))
    columns = {name.removeprefix(prefix): arrays[name] for name in names}
    return columns, arrays[f"stamps.{number}"]


def write_index(path: Path, parts: Iterable[Part]) -> None:
    """Write an index in place of any earlier one; where that fails, nothing changes."""
    arrays: _Arrays = {}
    meta = []
    for number, part in enumerate(parts):
        arrays |= {f"{number}.{name}": column for name, column in part.columns.items()}
        arrays[f"stamps.{number}"] = part.stamps
        meta.append((part.shape, part.values))
    text = json.dumps({"layout": _LAYOUT, "parts": meta})
    arrays["meta"] = np.frombuffer(text.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    try:
        write_atomically(path, buffer.getvalue(), durable=False)
    except OSError as error:
        logger.debug("index %s cannot be written: %s", path, error)


def pack(records: Iterable[Record], stamps: Mapping[str, Stamp]) -> list[Part]:
    """Return records as parts; the quicker, the more of what is in them is the same object.

    Args:
        records: The records.
        stamps: The stamps of their files by key, and maybe others.
    """
    by_shape: dict[_Shape, list[Record]] = {}
    for record in records:
        shape = tuple(tuple(getattr(record, field)) for field in _MEASURED)
        by_shape.setdefault(shape, []).append(record)
    return [_packed(shape, members, stamps) for shape, members in by_shape.items()]


def _packed(shape: _Shape, members: Iterable[Record], stamps: Mapping[str, Stamp]) -> Part:
    # Sorted by place, those of one table lie close to each other in memory once they are unpacked.
    # Row by row, since to go through all records once for each column takes four times as long.
    rows = sorted(map(attrgetter(*_ORDER), members))
    given = dict(zip(_ORDER, zip(*rows, strict=True), strict=True))
    for field, names in zip(_MEASURED, shape, strict=True):
        measured = zip(*(items.values() for items in given.pop(field)), strict=True)
        given |= zip([f"{field}.{name}" for name in names], measured, strict=True)
    columns: _Arrays = {}
    values: dict[str, Sequence[Any]] = {}
    for name, column in given.items():
        if (kinds := set(map(type, column))) == {float}:
            columns[name] = np.array(column)
        else:
            places, values[name] = _different(column, kinds)
            columns[name] = np.array(places, np.min_scalar_type(len(values[name])))
    found = np.array([stamps[key] for key in given["key"]], np.int64)
    return Part(shape, values, columns, found)


def joined(parts: Iterable[Part]) -> list[Part]:
    """Return parts with those of one table in one, which names each different value once."""
    alike: dict[object, list[Part]] = {}
    for part in parts:
        # A column may be of floats here and of other things there.
        alike.setdefault((part.shape, frozenset(part.values)), []).append(part)
    return [members[0] if len(members) == 1 else _joined(members) for members in alike.values()]


def _joined(parts: Sequence[Part]) -> Part:
    first = parts[0]
    columns: _Arrays = {}
    values: dict[str, Sequence[Any]] = {}
    for name in first.columns:
        own = [part.columns[name] for part in parts]
        if name in first.values:
            met = [value for part in parts for value in part.values[name]]
            places, values[name] = _different(met, set(map(type, met)))
            starts = itertools.accumulate((len(part.values[name]) for part in parts), initial=0)
            moved = np.array(places, np.min_scalar_type(len(values[name])))
            own = [moved[start:][column] for start, column in zip(starts, own, strict=False)]
        columns[name] = np.concatenate(own)
    return Part(first.shape, values, columns, np.concatenate([part.stamps for part in parts]))


def _different(column: Sequence[Any], kinds: set[type]) -> tuple[Sequence[int], list[Any]]:
    """Return, for each value of a column, its place among the different ones, and these."""
    if not (kinds := kinds - {str, type(None)}) or kinds == {int} or kinds == {bool}:
        different = list(dict.fromkeys(column))
        if len(different) == 1:
            return [0] * len(column), different
        if len(different) == len(column):
            return range(len(column)), different
        found = {value: place for place, value in enumerate(different)}
        return list(map(found.__getitem__, column)), different
    # Records share their parts, so that far fewer objects than records have to be looked into.
    own = dict(zip(map(id, column), column, strict=True))
    # Unlike ==, these bytes tell 1, 1.0 and True apart.
    digests = {identity: marshal.dumps(value, 2) for identity, value in own.items()}
    firsts = {digest: identity for identity, digest in reversed(digests.items())}
    order = {digest: place for place, digest in enumerate(firsts)}
    places = {identity: order[digest] for identity, digest in digests.items()}
    return [places[id(value)] for value in column], [own[firsts[digest]] for digest in order]


def unpack(part: Part, pool: Pool) -> list[Record]:
    """Return the records of a part; they share what they have in common.

    Args:
        part: What :func:`pack` has made.
        pool: Parts that are unpacked with one pool, empty at first, share it too.

    Raises:
        LookupError, TypeError, ValueError: It is no such part.
    """
    n_records = len(part.columns["key"])
    columns = {name: _column(part, name, pool) for name in _FIELDS if name not in _MEASURED}
    for field, names in zip(_MEASURED, part.shape, strict=True):
        items = {name: _column(part, f"{field}.{name}", pool) for name in names}
        shared, varying, rows = _rows(items, n_records)
        # In the order of the names, whichever of them vary.
        whole = dict.fromkeys(names) | shared
        columns[field] = [whole | dict(zip(varying, row, strict=True)) for row in rows]
    shared, varying, rows = _rows(columns, n_records)
    return [make_record(shared, zip(varying, row, strict=True)) for row in rows]


def _column(part: Part, name: str, pool: Pool) -> Sequence[Any]:
    """Return the values of a column, or the one value of all records."""
    column = part.columns[name]
    different = part.values.get(name)
    if different is None:
        return column.tolist()  # type: ignore[no-any-return]
    if not {dict, list}.isdisjoint(map(type, different)):
        different = [pooled(value, pool) for value in different]
    if len(different) == 1:
        return different
    return list(map(different.__getitem__, column.tolist()))


def _rows(
    columns: Mapping[str, Sequence[Any]], n_rows: int
) -> tuple[dict[str, Any], list[str], Iterator[tuple[Any, ...]]]:
    """Return what all rows of a table have, the names of its other columns, and their rows.

    Most columns have one value, and to copy a mapping is far quicker than to make it.
    """
    shared = {name: column[0] for name, column in columns.items() if len(column) == 1}
    varying = [name for name, column in columns.items() if len(column) > 1]
    if not varying:
        return shared, varying, itertools.repeat((), n_rows)
    return shared, varying, zip(*(columns[name] for name in varying), strict=True)
