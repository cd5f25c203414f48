"""The index of a results folder: its records once more, in one file that is read at once.

A shortcut and never the truth. An entry stands for a record's file of the same name, size and time
of last change; any other file is read itself. An index that is missing, damaged, of another version
or made elsewhere is as good as none, and one that cannot be written costs time only.

Records stand in parts whose members name the same metrics and the same items of provenance, so that
a part is a table. Its columns repeat themselves: each is kept as a list of its different values and
an array of places in that list, but for columns of floats, which are an array as they are.
"""

from __future__ import annotations

import io
import json
import logging
import marshal
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osadbench.cache import write_atomically
from osadbench.records import SCHEMA, make_record
from osadbench.types import Record

__all__ = ["INDEX_FILE", "Index", "Stamp", "read_index", "write_index"]

logger = logging.getLogger("osadbench")

#: Name of the file, beside the folder of the records.
INDEX_FILE = "index.npz"
_FIELDS = tuple(item.name for item in fields(Record))
#: Fields whose items are columns of their own, for their numbers seldom repeat.
_MEASURED = ("metrics", "provenance")
#: What an index of another layout, or of other records, differs in.
_LAYOUT = {"index": 2, "schema": SCHEMA, "fields": list(_FIELDS)}
_UNUSABLE = (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error)

#: What tells whether a file is still the one that was read: bytes, and nanoseconds of last change.
Stamp = tuple[int, int]
#: The names of a part's metrics and of its items of provenance.
_Shape = tuple[tuple[str, ...], ...]
_Arrays = dict[str, npt.NDArray[Any]]


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
        stamps = list(zip(arrays["size"].tolist(), arrays["mtime_ns"].tolist(), strict=True))
        records: list[Record] = []
        for number, part in enumerate(meta["parts"]):
            records += _unpacked(part["shape"], part["values"], arrays, f"{number}.")
        keys = [record.key for record in records]
        return Index(dict(zip(keys, stamps, strict=True)), dict(zip(keys, records, strict=True)))
    except FileNotFoundError:
        return Index({}, {})
    except _UNUSABLE as error:
        logger.debug("index %s is not used: %s", path, error)
        return Index({}, {})


def write_index(path: Path, index: Index) -> None:
    """Write an index in place of any earlier one; where that fails, nothing changes."""
    parts: dict[_Shape, list[Record]] = {}
    for record in index.records.values():
        shape = tuple(tuple(getattr(record, field)) for field in _MEASURED)
        parts.setdefault(shape, []).append(record)
    arrays: _Arrays = {}
    meta = []
    for number, (shape, members) in enumerate(parts.items()):
        meta.append({"shape": shape, "values": _pack(shape, members, arrays, f"{number}.")})
    stamps = [index.stamps[record.key] for members in parts.values() for record in members]
    arrays["size"] = np.array([size for size, _ in stamps], np.int64)
    arrays["mtime_ns"] = np.array([mtime_ns for _, mtime_ns in stamps], np.int64)
    text = json.dumps({"layout": _LAYOUT, "parts": meta})
    arrays["meta"] = np.frombuffer(text.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        logger.debug("index %s cannot be written: %s", path, error)


def _pack(
    shape: _Shape, members: Sequence[Record], arrays: _Arrays, prefix: str
) -> dict[str, list[Any]]:
    """Put a part's columns into the arrays; return the different values of those of places."""
    columns: dict[str, list[Any]] = {
        name: list(map(attrgetter(name), members)) for name in _FIELDS if name not in _MEASURED
    }
    for field, names in zip(_MEASURED, shape, strict=True):
        mappings = list(map(attrgetter(field), members))
        columns |= {f"{field}.{name}": list(map(itemgetter(name), mappings)) for name in names}
    values = {}
    for name, column in columns.items():
        if set(map(type, column)) == {float}:
            arrays[prefix + name] = np.array(column)
        else:
            places, values[name] = _different(column)
            arrays[prefix + name] = np.array(places, np.min_scalar_type(len(values[name])))
    return values


def _different(column: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Return, for each value of a column, its place among the different ones, and these."""
    kinds = set(map(type, column)) - {str, type(None)}
    if not kinds or kinds == {int} or kinds == {bool}:
        found = {value: place for place, value in enumerate(dict.fromkeys(column))}
        return list(map(found.__getitem__, column)), list(found)
    # Records share their parts, so that far fewer objects than records have to be looked into.
    own = dict(zip(map(id, column), column, strict=True))
    # Unlike ==, these bytes tell 1, 1.0 and True apart.
    digests = {identity: marshal.dumps(value, 2) for identity, value in own.items()}
    firsts = {digest: identity for identity, digest in reversed(digests.items())}
    order = {digest: place for place, digest in enumerate(firsts)}
    places = {identity: order[digest] for identity, digest in digests.items()}
    return [places[id(value)] for value in column], [own[firsts[digest]] for digest in order]


def _unpacked(
    shape: Sequence[Sequence[str]],
    values: Mapping[str, Sequence[Any]],
    arrays: Mapping[str, npt.NDArray[Any]],
    prefix: str,
) -> Iterable[Record]:
    """Return the records of a part; the inverse of :func:`_pack`."""

    def column(name: str) -> list[Any]:
        found: list[Any] = arrays[prefix + name].tolist()
        different = values.get(name)
        if different is None:
            return found
        if len(different) == 1:
            return list(different) * len(found)
        return list(map(different.__getitem__, found))

    n_records = len(arrays[f"{prefix}key"])
    columns = {name: column(name) for name in _FIELDS if name not in _MEASURED}
    for field, names in zip(_MEASURED, shape, strict=True):
        rows = zip(*(column(f"{field}.{name}") for name in names), strict=True)
        columns[field] = [dict(zip(names, row, strict=True)) for row in rows] or [
            {} for _ in range(n_records)
        ]
    ordered = [columns[name] for name in _FIELDS]
    return [make_record(zip(_FIELDS, row, strict=True)) for row in zip(*ordered, strict=True)]
