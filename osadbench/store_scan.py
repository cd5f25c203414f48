"""All records of a results folder at once, from its index where their files have not changed."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from osadbench.errors import StoreError
from osadbench.records import NewerRecordError
from osadbench.store_files import parse_record, read_file
from osadbench.store_index import INDEX_FILE, Entry, Stamp, read_index, write_index
from osadbench.types import Record

__all__ = ["INDEX_FROM", "SETTLED_SECONDS", "collector_paused", "scan_by_index"]

#: So many records have to be read from their own files before an index is worth a write.
INDEX_FROM = 500
#: A file that changed a moment ago may do so again within the same tick of its folder's clock, and
#: look the same. The coarsest clock, that of FAT, ticks every two seconds.
SETTLED_SECONDS = 5


def scan_by_index(root: Path, stamps: Mapping[str, Stamp]) -> tuple[list[Record], list[str]]:
    """Return the records that are whole, and a line for each other one.

    Files of scores need but be there.

    Args:
        root: The results folder. An index in it is used, and made or renewed where that pays.
        stamps: The stamps of the records' files by key, taken just before.

    Raises:
        NewerRecordError: There is a newer osadbench's record.
    """
    settled = time.time_ns() - SETTLED_SECONDS * 10**9
    known = read_index(root / INDEX_FILE)
    found: dict[str, Entry] = {}
    problems: list[str] = []
    pool: dict[bytes, Any] = {}
    n_new = 0
    for key, stamp in stamps.items():
        entry = known.get(key)
        if entry is None or entry.stamp != stamp:
            try:
                record = _read(root / "cells" / f"{key}.json", pool)
            except NewerRecordError:
                # What a folder of another time says as a whole must not be guessed from a part.
                raise
            except StoreError as error:
                problems.append(str(error))
                continue
            # None: another process has just set it aside.
            if record is None:
                continue
            entry = Entry(stamp, record)
            n_new += stamp.mtime_ns < settled
        found[key] = entry
    if n_new >= INDEX_FROM:
        lasting = {key: e for key, e in found.items() if e.stamp.mtime_ns < settled}
        write_index(root / INDEX_FILE, lasting)
    return [entry.record for entry in found.values()], problems


def _read(path: Path, pool: dict[bytes, Any]) -> Record | None:
    data = read_file(path)
    return None if data is None else parse_record(path, data, pool)


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
