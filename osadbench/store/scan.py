"""All records of a results folder at once, from its index where their files have not changed."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from osadbench.errors import StoreError
from osadbench.records import OtherSchemaError
from osadbench.store.files import parse_record, read_file
from osadbench.store.index import INDEX_FILE, Index, Stamp, read_index, write_index
from osadbench.types import Record

__all__ = ["INDEX_FROM", "SETTLED_SECONDS", "collector_paused", "scan_by_index"]

#: So many records have to be read from their own files before an index is worth a write.
INDEX_FROM = 500
#: A file that changed a moment ago may do so again within the same tick of its folder's clock, and
#: look the same. The coarsest clock, that of FAT, ticks every two seconds.
SETTLED_SECONDS = 5
#: Reading many small files is mostly waiting for the disk.
_READERS = 8
_FILES_AT_ONCE = 250

_Data = bytes | StoreError | None


def scan_by_index(
    root: Path, stamps: Mapping[str, Stamp]
) -> tuple[Mapping[str, Record], list[str]]:
    """Return the records that are whole, by key, and a line for each other one.

    Files of scores are not looked at.

    Args:
        root: The results folder. An index in it is used, and made or renewed where that pays.
        stamps: The stamps of the records' files by key, taken just before.

    Raises:
        OtherSchemaError: There is a record in a layout that is not read here.
    """
    settled = time.time_ns() - SETTLED_SECONDS * 10**9
    with collector_paused():
        known = read_index(root / INDEX_FILE)
        if stamps == known.stamps:
            return known.records, []
        found = {
            key: known.records[key]
            for key, stamp in stamps.items()
            if known.stamps.get(key) == stamp
        }
        read, problems = _read(root / "cells", [key for key in stamps if key not in found])
        found |= read
        if sum(stamps[key][1] < settled for key in read) >= INDEX_FROM:
            lasting = {key: stamps[key] for key in found if stamps[key][1] < settled}
            write_index(root / INDEX_FILE, Index(lasting, {key: found[key] for key in lasting}))
    return found, problems


def _read(folder: Path, keys: Sequence[str]) -> tuple[dict[str, Record], list[str]]:
    """Return records from their own files, and a line for each that cannot be used."""
    found: dict[str, Record] = {}
    problems: list[str] = []
    pool: dict[bytes, Any] = {}
    for key, data in _files(folder, keys):
        try:
            if isinstance(data, StoreError):
                raise data
            # None: another process has just set it aside.
            if data is not None:
                found[key] = parse_record(folder, key, data, pool)
        except OtherSchemaError:
            # What a folder of another time says as a whole must not be guessed from a part.
            raise
        except StoreError as error:
            problems.append(str(error))
    return found, problems


def _files(folder: Path, keys: Sequence[str]) -> Iterator[tuple[str, _Data]]:
    """Yield the keys, each with its file's bytes, None where it has vanished, or what failed."""
    waiting: deque[tuple[Sequence[str], Future[list[_Data]]]] = deque()
    with ThreadPoolExecutor(_READERS) as readers:
        for start in range(0, len(keys), _FILES_AT_ONCE):
            batch = keys[start : start + _FILES_AT_ONCE]
            waiting.append((batch, readers.submit(_contents, folder, batch)))
            # Reading stays that far ahead and no further, for what was read is in memory.
            if len(waiting) > 2 * _READERS:
                batch, contents = waiting.popleft()
                yield from zip(batch, contents.result(), strict=True)
        for batch, contents in waiting:
            yield from zip(batch, contents.result(), strict=True)


def _contents(folder: Path, keys: Sequence[str]) -> list[_Data]:
    contents: list[_Data] = []
    for key in keys:
        try:
            contents.append(read_file(f"{folder}{os.sep}{key}.json"))
        except StoreError as error:
            contents.append(error)
    return contents


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Make objects by the hundred thousand without Python's looking for garbage among them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
