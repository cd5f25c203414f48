"""The index of a results folder: its records once more, in one file that is read at once.

A shortcut and never the truth. An entry stands for a record's file of the same name, size and time
of last change; any other file is read itself. An index that is missing, damaged, of another version
or made elsewhere is as good as none, and one that cannot be written costs time only.

Records repeat each other, so each field is kept as a list of its different values and, for each
record, a place in that list. The numbers of metrics and provenance, which seldom repeat, stand
apart in one long array.
"""

from __future__ import annotations

import io
import json
import logging
import marshal
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from osadbench.cache import write_atomically
from osadbench.records import SCHEMA, make_record
from osadbench.types import Record

__all__ = ["INDEX_FILE", "Entry", "Stamp", "read_index", "write_index"]

logger = logging.getLogger("osadbench")

#: Name of the file, beside the folder of the records.
INDEX_FILE = "index.npz"
_FIELDS = tuple(item.name for item in fields(Record))
#: Fields with numbers of each record's own.
_MEASURED = ("metrics", "provenance")
#: What an index of another layout, or of other records, differs in.
_LAYOUT = {"index": 1, "schema": SCHEMA, "fields": list(_FIELDS)}
_UNUSABLE = (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error)


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was read: bytes, and nanoseconds."""

    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """One record and the stamp of its file when it was read."""

    stamp: Stamp
    record: Record


def read_index(path: Path) -> dict[str, Entry]:
    """Return the entries of an index by key; none where there is no index that can be used.

    Records share what they have in common: change nothing inside them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta["layout"] != _LAYOUT:
            raise ValueError("another layout")
        columns = [_unpack(name, meta["values"][name], arrays) for name in _FIELDS]
        stamps = map(Stamp, arrays["size"].tolist(), arrays["mtime_ns"].tolist())
        records = [
            make_record(zip(_FIELDS, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        return {r.key: Entry(stamp, r) for stamp, r in zip(stamps, records, strict=True)}
    except FileNotFoundError:
        return {}
    except _UNUSABLE as error:
        logger.debug("index %s is not used: %s", path, error)
        return {}


def write_index(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write an index in place of any earlier one; where that fails, nothing changes."""
    stamps = [entry.stamp for entry in entries.values()]
    records = [entry.record for entry in entries.values()]
    arrays: dict[str, npt.NDArray[Any]] = {
        "size": np.array([stamp.size for stamp in stamps], np.int64),
        "mtime_ns": np.array([stamp.mtime_ns for stamp in stamps], np.int64),
    }
    values: dict[str, list[Any]] = {}
    for name in _FIELDS:
        column: Iterable[Any] = map(attrgetter(name), records)
        if name in _MEASURED:
            column, numbers = _apart(column)
            arrays[f"{name}.numbers"] = np.array(numbers)
        arrays[f"{name}.places"], values[name] = _different(column)
    meta = json.dumps({"layout": _LAYOUT, "values": values})
    arrays["meta"] = np.frombuffer(meta.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        logger.debug("index %s cannot be written: %s", path, error)


def _different(column: Iterable[Any]) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Return, for each value of a column, its place among the different ones, and these."""
    places: dict[Any, int] = {}
    different: list[Any] = []
    # Records share their parts, so most are known by their id.
    known: dict[int, int] = {}
    found = []
    for value in column:
        place = known.get(id(value))
        if place is None:
            # Unlike ==, these bytes tell 1, 1.0 and True apart.
            place = places.setdefault(marshal.dumps(value, 2), len(different))
            if place == len(different):
                different.append(value)
            known[id(value)] = place
        found.append(place)
    return np.array(found, np.int32), different


def _apart(column: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[int | float]]:
    """Return mappings with zeros for their numbers, equal ones shared, and all numbers in a row."""
    templates: dict[bytes, dict[str, Any]] = {}
    found, numbers = [], []
    for value in column:
        template = dict(value)
        for name, item in value.items():
            if _is_number(item):
                template[name] = type(item)(0)
                numbers.append(item)
        found.append(templates.setdefault(marshal.dumps(template, 2), template))
    return found, numbers


def _is_number(value: Any) -> bool:
    """Whether a value is a number that float64 holds to the last digit."""
    kind = type(value)
    return kind is float or (kind is int and -(2**53) <= value <= 2**53)


def _records(
    values: Mapping[str, Sequence[Any]], arrays: Mapping[str, npt.NDArray[Any]]
) -> Iterator[Record]:
    """Yield the records of an index, given the different values of each field."""
    constant = {
        name: values[name][0]
        for name in _FIELDS
        if len(values[name]) == 1 and name not in _MEASURED
    }
    names = [name for name in _FIELDS if name not in constant]
    columns = (_unpack(name, values[name], arrays) for name in names)
    for row in zip(*columns, strict=True):
        yield make_record({**constant, **dict(zip(names, row, strict=True))})


def _unpack(
    name: str, different: Sequence[Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> Iterator[Any]:
    """Return a field's values, one for each record."""
    column = map(different.__getitem__, arrays[f"{name}.places"].tolist())
    return _together(column, arrays[f"{name}.numbers"].tolist()) if name in _MEASURED else column


def _together(column: Iterable[Mapping[str, Any]], numbers: Iterable[float]) -> Iterator[Any]:
    """Yield mappings with their numbers; the inverse of :func:`_apart`."""
    left = iter(numbers)
    names: dict[int, tuple[list[str], list[str]]] = {}
    for template in column:
        if (found := names.get(id(template))) is None:
            own = [name for name, item in template.items() if _is_number(item)]
            whole = [name for name in own if type(template[name]) is int]
            found = names[id(template)] = (own, whole)
        value = dict(template)
        value.update(zip(found[0], left, strict=False))
        for name in found[1]:
            value[name] = int(value[name])
        yield value
