"""All records of a results folder at once, from its index where their files have not changed."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from osadbench.errors import OtherSchemaError, StoreError, WorkerDiedError
from osadbench.records import Pool
from osadbench.store.files import parse_record, read_files, stamp_of
from osadbench.store.index import (
    INDEX_FILE,
    Index,
    Part,
    Stamp,
    joined,
    pack,
    read_index,
    unpack,
    write_index,
)
from osadbench.types import Record
from osadbench.workers import in_workers

__all__ = [
    "CALLS_PER_WORKER",
    "FILES_PER_WORKER",
    "INDEX_FROM",
    "SETTLED_SECONDS",
    "collector_paused",
    "scan_by_index",
]

#: So many records have to be read from their own files before an index is worth a write.
INDEX_FROM = 500
#: A file that changed a moment ago may do so again within the same tick of its folder's clock, and
#: look the same. The coarsest clock, that of FAT, ticks every two seconds.
SETTLED_SECONDS = 5
#: So many files are worth a process of its own to read them.
FILES_PER_WORKER = 5000
#: A worker that is held up leaves some of its files to another.
CALLS_PER_WORKER = 2

#: The stamp of no file, in place of one that may stand for two contents.
_UNSETTLED = (-1, -1, -1)

#: What the files of some keys hold: their records, and a line for each that cannot be used.
_Found = tuple[list[Part], list[str]]


def scan_by_index(root: Path, keys: Set[str]) -> tuple[Mapping[str, Record], list[str]]:
    """Return the records that are whole, by key, and a line for each other one.

    Files of scores are not looked at.

    Args:
        root: The results folder. An index in it is used, and made or renewed where that pays.
        keys: The keys of the records.

    Raises:
        OtherSchemaError: There is a record in a layout that is not read here.
        StoreError: A record's file cannot be looked up, or a process that read some died.
    """
    folder = str(root / "cells")
    settled = time.time_ns() - SETTLED_SECONDS * 10**9
    with collector_paused():
        known = read_index(root / INDEX_FILE)
        found = _unchanged(folder, keys, known)
        parts, problems = _read(folder, sorted(keys - found.keys()), settled)
        if sum(_n_settled(part) for part in parts) >= INDEX_FROM:
            write_index(root / INDEX_FILE, joined([*pack(found.values(), known.stamps), *parts]))
        pool: Pool = {}
        for part in parts:
            found |= {record.key: record for record in unpack(part, pool)}
    return found, problems


def _unchanged(folder: str, keys: Set[str], known: Index) -> dict[str, Record]:
    """Return the records whose files are still the ones that were indexed."""
    found = {}
    for (key, record), stamp in zip(known.records.items(), known.stamps.values(), strict=True):
        if key in keys and stamp_of(f"{folder}{os.sep}{key}.json") == stamp:
            found[key] = record
    return found


def _n_settled(part: Part) -> int:
    return int((part.stamps != _UNSETTLED).any(axis=1).sum())


def _read(folder: str, keys: Sequence[str], settled: int) -> _Found:
    """Return records from their own files, by several processes where that pays."""
    if len(keys) < 2 * FILES_PER_WORKER:
        return _read_some(folder, keys, settled)
    n_workers = max(1, min(_n_cores(), len(keys) // FILES_PER_WORKER))
    n_calls = CALLS_PER_WORKER * n_workers
    calls = [(folder, keys[start::n_calls], settled) for start in range(n_calls)]
    parts: list[Part] = []
    problems: list[str] = []
    try:
        for found, unusable in in_workers(_read_some, calls, n_workers):
            parts += found
            problems += unusable
    except WorkerDiedError as error:
        raise StoreError(
            f"a process that read records of {folder} died, perhaps for want of memory: free some "
            "and run the same command again"
        ) from error
    return parts, problems


def _n_cores() -> int:
    import joblib

    # Unlike that of os, it knows what a container or a job of a cluster may use.
    return int(joblib.cpu_count())


def _read_some(folder: str, keys: Sequence[str], settled: int) -> _Found:
    """Return records from their own files.

    Args:
        folder: The folder of the files.
        keys: The keys of the records.
        settled: Files that changed since, by nanoseconds, get the stamp of none.
    """
    records: list[Record] = []
    stamps: dict[str, Stamp] = {}
    problems: list[str] = []
    pool: Pool = {}
    paths = (f"{folder}{os.sep}{key}.json" for key in keys)
    with collector_paused():
        for key, file in zip(keys, read_files(paths), strict=True):
            try:
                if isinstance(file, StoreError):
                    raise file
                # None: another process has just set it aside.
                if file is not None:
                    data, stamp = file
                    records.append(parse_record(folder, key, data, pool))
                    stamps[key] = stamp if stamp[1] < settled else _UNSETTLED
            except OtherSchemaError:
                # What a folder of another time says as a whole must not be guessed from a part.
                raise
            except StoreError as error:
                problems.append(str(error))
        return pack(records, stamps), problems


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
