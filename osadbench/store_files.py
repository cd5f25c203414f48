"""The files of a results folder: reading them, setting them aside, and what is wrong with them."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from osadbench.errors import StoreError
from osadbench.records import from_json
from osadbench.store_index import Stamp
from osadbench.types import Record

__all__ = [
    "AGAIN",
    "KEY",
    "DamagedRecordError",
    "leftovers",
    "list_cells",
    "parse_record",
    "read_file",
    "rename_aside",
    "unwritable",
]

#: A key, and with a suffix the name of a cell's file.
KEY = re.compile(r"[0-9a-f]{32}")
AGAIN = "run the same command again to compute it anew"


class DamagedRecordError(StoreError):
    """A record, or its file of scores, that is not what was once written."""


def list_cells(folder: Path) -> tuple[frozenset[str], dict[str, Stamp]]:
    """Return the names of all files in a folder of cells, and the stamps of the records by key.

    Raises:
        StoreError: The folder cannot be read.
    """
    names: list[str] = []
    stamps: dict[str, Stamp] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                stem = entry.name[:-5]
                if entry.name.endswith(".json") and KEY.fullmatch(stem):
                    try:
                        found = entry.stat()
                    except FileNotFoundError:
                        # Another process has set it aside since it was listed.
                        continue
                    stamps[stem] = Stamp(found.st_size, found.st_mtime_ns)
    except FileNotFoundError:
        return frozenset(), {}
    except OSError as error:
        raise StoreError(_unreadable(folder, error)) from error
    return frozenset(names), stamps


def read_file(path: Path) -> bytes | None:
    """Return a file's bytes, or None where there is none.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(_unreadable(path, error)) from error


def parse_record(path: Path, data: bytes, pool: dict[bytes, Any] | None = None) -> Record:
    """Return the record in a file's bytes; see :func:`osadbench.records.from_json`.

    Raises:
        DamagedRecordError: It is not whole.
        NewerRecordError: A newer osadbench wrote it.
    """
    try:
        return from_json(data, path.stem, pool)
    except ValueError as error:
        raise DamagedRecordError(f"record {path} is damaged ({error}): {AGAIN}") from error


def rename_aside(path: Path) -> Path | None:
    """Rename a file to ``<name>.damaged-1`` or the next free number; None where it has vanished."""
    for number in itertools.count(1):
        target = path.with_name(f"{path.name}.damaged-{number}")
        with contextlib.suppress(FileExistsError):
            # An empty file claims the name first: a bare rename would overwrite.
            target.touch(exist_ok=False)
            break
    try:
        return path.replace(target)
    except FileNotFoundError:
        target.unlink()
        return None


def leftovers(names: frozenset[str], keys: Collection[str]) -> Iterator[str]:
    """Yield a line for each file that is neither a record nor its scores, sorted by name.

    Args:
        names: All files of the folder.
        keys: Keys that have a record.
    """
    expected = {f"{key}{suffix}" for key in keys for suffix in (".json", ".npz")}
    for name in sorted(names - expected):
        if name.endswith(".tmp"):
            what = "a write was interrupted, or is under way: delete it when nothing runs"
        elif ".json.damaged-" in name:
            what = "set aside as damaged: delete it once you have looked at it"
        elif name.endswith(".npz"):
            what = "scores without a record: delete them when nothing runs"
        elif name.endswith(".json"):
            what = "no record, its name is no key of 32 hex digits: move it elsewhere"
        else:
            continue
        yield f"{name}: {what}"


def unwritable(root: Path, error: OSError) -> str:
    """Return the line on a folder that cannot be written."""
    return (
        f"cannot write results in {root} ({error.strerror or error}): free some space, or name "
        "another folder by --output-dir"
    )


def _unreadable(path: Path, error: OSError) -> str:
    return f"cannot read {path} ({error.strerror or error}): check the file and its permissions"
