"""The files of a results folder: reading them, setting them aside, and what is wrong with them."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from osadbench.errors import DamagedRecordError, StoreError
from osadbench.files import writing_remedy
from osadbench.records import Pool, from_json
from osadbench.store.index import Stamp
from osadbench.types import Record

__all__ = [
    "AGAIN",
    "KEY",
    "ABANDONED_SECONDS",
    "File",
    "Listing",
    "leftovers",
    "list_cells",
    "parse_record",
    "read_file",
    "read_files",
    "rename_aside",
    "stamp_of",
    "unwritable",
]

#: A key, and with a suffix the name of a cell's file.
KEY = re.compile(r"[0-9a-f]{32}")
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_BYTES_AT_ONCE = 1 << 16
#: So many files are opened before they are read, far fewer than any system allows.
_AHEAD = 64
AGAIN = "osadbench run computes it anew"
#: No write takes this long: what is younger may be one that is under way.
ABANDONED_SECONDS = 3600


#: A file's bytes and its stamp just before they were read; None where there is no such file; or why
#: it cannot be read.
File = tuple[bytes, Stamp] | StoreError | None


class Listing(NamedTuple):
    """The files in a folder of cells.

    Attributes:
        keys: The keys of the records.
        scores: The keys, and what else stands in their place, of the files of scores.
        others: The names of all other files.
    """

    keys: set[str]
    scores: set[str]
    others: list[str]


def list_cells(folder: Path) -> Listing:
    """Return what is in a folder of cells; nothing where there is no such folder.

    Raises:
        StoreError: The folder cannot be read.
    """
    try:
        # A Path for each of a hundred thousand takes longer than to list them.
        names = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise StoreError(_unreadable(folder, error)) from error
    stems = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    keys = set(filter(KEY.fullmatch, stems))
    scores = {name.removesuffix(".npz") for name in names if name.endswith(".npz")}
    others = [name for name in names if not name.endswith((".json", ".npz"))]
    return Listing(keys, scores, [*others, *(f"{stem}.json" for stem in stems - keys)])


def stamp_of(path: str | Path) -> Stamp | None:
    """Return the stamp of a file, or None where there is none.

    Raises:
        StoreError: It cannot be looked up.
    """
    try:
        return _stamp(os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(_unreadable(path, error)) from error


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def read_file(path: str | Path) -> bytes | None:
    """Return a file's bytes, or None where there is none.

    Raises:
        StoreError: It cannot be read.
    """
    (found,) = read_files([path])
    if isinstance(found, StoreError):
        raise found
    return None if found is None else found[0]


def read_files(paths: Iterable[str | Path]) -> Iterator[File]:
    """Yield what is in each file; the disk fetches the next ones meanwhile."""
    opened: deque[tuple[str | Path, int | StoreError | None]] = deque()
    try:
        for path in paths:
            opened.append((path, _open(path)))
            if len(opened) > _AHEAD:
                yield _content(*opened.popleft())
        while opened:
            yield _content(*opened.popleft())
    finally:
        for _, descriptor in opened:
            if isinstance(descriptor, int):
                os.close(descriptor)


def _open(path: str | Path) -> int | StoreError | None:
    try:
        # A file object costs more than these few bytes, a hundred thousand times.
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        return StoreError(_unreadable(path, error))
    if hasattr(os, "posix_fadvise"):
        # Where it doesn't take advice, reading only takes longer.
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    return descriptor


def _content(path: str | Path, descriptor: int | StoreError | None) -> File:
    if not isinstance(descriptor, int):
        return descriptor
    try:
        stamp = _stamp(os.fstat(descriptor))
        parts = [os.read(descriptor, stamp[0] + 1)]
        # As many bytes as were told, and no more, are all there is.
        while parts[-1] and sum(map(len, parts)) != stamp[0]:
            parts.append(os.read(descriptor, _BYTES_AT_ONCE))
    except OSError as error:
        return StoreError(_unreadable(path, error))
    finally:
        os.close(descriptor)
    return b"".join(parts), stamp


def parse_record(folder: str | Path, key: str, data: bytes, pool: Pool | None = None) -> Record:
    """Return the record in a file's bytes; see :func:`osadbench.records.from_json`.

    Args:
        folder: The folder of the file, for messages.
        key: The record's key, which is the file's name.
        data: The file's bytes.
        pool: What records have in common.

    Raises:
        DamagedRecordError: It is not whole.
        OtherSchemaError: An osadbench with another layout of records wrote it.
    """
    try:
        return from_json(data, key, pool)
    except (ValueError, RecursionError) as error:
        path = Path(folder) / f"{key}.json"
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


def leftovers(folder: Path, listing: Listing) -> Iterator[str]:
    """Yield a line for each file that is neither a record nor its scores, sorted by name.

    What a run may be writing right now is none.
    """
    alone = (f"{stem}.npz" for stem in listing.scores - listing.keys)
    for name in sorted([*alone, *listing.others]):
        if name.endswith((".tmp", ".npz")) and _is_young(folder / name):
            continue
        if name.endswith(".tmp"):
            what = "a write was interrupted: delete it when nothing runs"
        elif ".json.damaged-" in name:
            what = "set aside as damaged: delete it once you have looked at it"
        elif name.endswith(".npz"):
            what = "scores without a record: delete them when nothing runs"
        elif name.endswith(".json"):
            what = "no record, its name is no key of 32 hex digits: move it elsewhere"
        else:
            continue
        yield f"{name}: {what}"


def _is_young(path: Path) -> bool:
    stamp = stamp_of(path)
    return stamp is None or time.time_ns() - stamp[1] < ABANDONED_SECONDS * 10**9


def unwritable(root: Path, error: OSError) -> str:
    """Return the line on a folder that cannot be written."""
    return (
        f"cannot write results in {root} ({error.strerror or error}): {writing_remedy(error)}, or "
        "name another folder by --output-dir"
    )


def _unreadable(path: str | Path, error: OSError) -> str:
    return f"cannot read {path} ({error.strerror or error}): check the file and its permissions"
