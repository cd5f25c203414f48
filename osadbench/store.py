"""The results folder: one record and one file of scores per cell, written whole or not at all.

``cells/<key>.npz`` holds a cell's per-image scores and ``cells/<key>.json`` its record. The scores
are written first and the record last, each moved into place in one step, so that a record that can
be read is a finished cell; processes that share a folder need no lock. The record names the digest
of its scores, and what doesn't fit is reported as damaged rather than used.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from osadbench.cache import write_atomically
from osadbench.errors import StoreError
from osadbench.records import SCHEMA, from_json, to_frame, to_json
from osadbench.scores import ScoreTable
from osadbench.types import Record

__all__ = ["DamagedRecordError", "MergeReport", "ScoreTable", "Store", "to_frame"]

_KEY = re.compile(r"[0-9a-f]{32}")
#: No write takes this long: a temporary file of that age is what a killed process left.
ABANDONED_SECONDS = 3600
_AGAIN = "run the same command again to compute it anew"


class DamagedRecordError(StoreError):
    """A record, or its file of scores, that is not what was once written."""


@dataclass(frozen=True)
class MergeReport:
    """What :meth:`Store.merge` did with each record of the sources.

    Attributes:
        copied: Keys that were taken over.
        identical: Keys that both sides have with the same status and scores.
        kept: Keys of which this side is done, or neither is; its record was kept.
        conflicts: Keys done on both sides with other scores, and the source; this side was kept.
        problems: One line for each record of a source that could not be read.
    """

    copied: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: list[tuple[str, Path]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Cell(NamedTuple):
    record: Record
    data: bytes
    table: bytes | None


class Store:
    """A results folder.

    Every method may meet other processes that write to the same folder.

    Args:
        root: The folder; made at the first write. The records stand in ``cells/`` below it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.cells = self.root / "cells"

    def ensure_writable(self) -> None:
        """Make the folder and try a small file in it, before any work.

        What killed writes have left for more than an hour is removed.

        Raises:
            StoreError: It cannot be made or written.
        """
        probe = self.cells / f".probe.{uuid.uuid4().hex}.tmp"
        self._write(probe, b"osadbench")
        # By the folder's own clock, which on a network is not this machine's.
        limit = probe.stat().st_mtime - ABANDONED_SECONDS
        probe.unlink(missing_ok=True)
        for path in self.cells.glob(".*.tmp"):
            # Another process may be as quick.
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()

    def write(self, record: Record, scores: ScoreTable | None = None) -> Record:
        """Store a record in place of any earlier one of its key, and its scores before it.

        Args:
            record: The record; ``scores_sha256`` and ``schema`` are filled in here.
            scores: The scores of a done cell; None for any other status.

        Returns:
            The record as :meth:`read` will give it, tuples as lists.

        Raises:
            StoreError: The folder cannot be written, or holds a newer osadbench's record of the
                key; or the record is not one that could be read again (NaN, a value that JSON
                can't hold, a done cell without scores).
        """
        table = None if scores is None else scores.to_bytes()
        sha256 = None if table is None else hashlib.sha256(table).hexdigest()
        try:
            data = to_json(replace(record, scores_sha256=sha256, schema=SCHEMA))
            stored = from_json(data, record.key)
        except (ValueError, TypeError) as error:
            raise StoreError(f"record {record.key} cannot be stored: {error}") from error
        # Of what stands there already, only a newer osadbench's record is not ours to replace.
        with contextlib.suppress(DamagedRecordError):
            self.read(record.key)
        self._put(_Cell(stored, data, table))
        return stored

    def read(self, key: str) -> Record | None:
        """Return the record of a key, or None where there is none.

        Raises:
            DamagedRecordError: The record or its scores are damaged; see :meth:`set_aside`.
            StoreError: A newer osadbench wrote it, or the file cannot be read.
        """
        cell = self._load(key)
        return None if cell is None else cell.record

    def scores(self, key: str) -> ScoreTable:
        """Return the per-image scores of a done cell, checked against the record's digest.

        Raises:
            DamagedRecordError: The record or its scores are damaged.
            StoreError: The key has no record or no scores.
        """
        cell = self._load(key)
        if cell is None or cell.table is None:
            raise StoreError(f"no scores of cell {key} in {self.root}: only done cells have scores")
        return ScoreTable.from_bytes(cell.table)

    def keys(self) -> list[str]:
        """Return the keys that have a record, whole or not, sorted."""
        stems = (name.removesuffix(".json") for name in self._names() if name.endswith(".json"))
        return [stem for stem in stems if _KEY.fullmatch(stem)]

    def records(self) -> list[Record]:
        """Return the records that are whole, sorted by key; :meth:`problems` names the others."""
        return self._scan()[0]

    def problems(self) -> list[str]:
        """Return a line for each record that cannot be used, and for each leftover file."""
        names = self._names()
        present = frozenset(names)
        leftovers = (_leftover(name, present) for name in names)
        return self._scan()[1] + [line for line in leftovers if line is not None]

    def find(self, prefix: str) -> Record:
        """Return the one record whose key starts with a prefix of four or more digits.

        Raises:
            StoreError: The prefix is too short, fits none or several, or the record is damaged.
        """
        if len(prefix) < 4:
            raise StoreError(f"expected 4 or more digits of a key, got {prefix!r}")
        keys = [key for key in self.keys() if key.startswith(prefix.lower())]
        if len(keys) > 1:
            raise StoreError(f"{prefix!r} fits {len(keys)} cells, give more: {', '.join(keys)}")
        record = self.read(keys[0]) if keys else None
        if record is None:
            raise StoreError(f"no cell {prefix!r} in {self.root}: check the key and the folder")
        return record

    def set_aside(self, key: str) -> Path | None:
        """Rename a damaged record to ``<key>.json.damaged-1``, or the next number that is free.

        Returns:
            The new path; None where the record is whole or gone, since another process may have
            dealt with it.

        Raises:
            StoreError: A newer osadbench wrote the record, or the folder cannot be written.
        """
        try:
            self.read(key)
        except DamagedRecordError:
            try:
                return _rename_aside(self._path(key, ".json"))
            except OSError as error:
                raise StoreError(_unwritable(self.root, error)) from error
        return None

    def merge(self, sources: Sequence[str | Path]) -> MergeReport:
        """Take over the records of other results folders.

        A record is taken over where there is none here, only a damaged one, or one that is not done
        while the source's is. A done record here is never replaced.

        Raises:
            StoreError: A source is no results folder, found before anything is copied; or this
                folder cannot be written, or holds a newer osadbench's record of the same key.
        """
        stores = [_existing(Path(source)) for source in sources]
        self.ensure_writable()
        report = MergeReport()
        for store in stores:
            records, unusable = store._scan()
            report.problems.extend(f"{store.root}: {line}" for line in unusable)
            for record in records:
                self._take(store, record, report)
        return report

    def _take(self, source: Store, theirs: Record, report: MergeReport) -> None:
        key = theirs.key
        self.set_aside(key)
        mine = self.read(key)
        if mine is None or (theirs.status == "done" and mine.status != "done"):
            if (cell := source._load(key)) is not None:
                self._put(cell)
                report.copied.append(key)
        elif mine.status != theirs.status:
            report.kept.append(key)
        # Another build of zlib may have packed the same scores into other bytes.
        elif mine.scores_sha256 == theirs.scores_sha256 or self.scores(key) == source.scores(key):
            report.identical.append(key)
        else:
            report.conflicts.append((key, source.root))

    def _path(self, key: str, suffix: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreError(f"expected a key of 32 hex digits, got {key!r}")
        return self.cells / f"{key}{suffix}"

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.cells.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(_unreadable(self.cells, error)) from error

    def _load(self, key: str) -> _Cell | None:
        path, scores = self._path(key, ".json"), self._path(key, ".npz")
        if (data := _read(path)) is None:
            return None
        try:
            record = from_json(data, key)
        except ValueError as error:
            raise DamagedRecordError(f"record {path} is damaged ({error}): {_AGAIN}") from error
        if record.scores_sha256 is None:
            return _Cell(record, data, None)
        table = _read(scores)
        if table is None or hashlib.sha256(table).hexdigest() != record.scores_sha256:
            what = "are missing" if table is None else "do not fit the record's digest"
            raise DamagedRecordError(f"the scores {scores} {what}: {_AGAIN}")
        return _Cell(record, data, table)

    def _put(self, cell: _Cell) -> None:
        key = cell.record.key
        if cell.table is not None:
            self._write(self._path(key, ".npz"), cell.table)
        self._write(self._path(key, ".json"), cell.data)
        if cell.table is None:
            self._path(key, ".npz").unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_atomically(path, data)
        except OSError as error:
            raise StoreError(_unwritable(self.root, error)) from error

    def _scan(self) -> tuple[list[Record], list[str]]:
        records: list[Record] = []
        problems: list[str] = []
        for key in self.keys():
            try:
                record = self.read(key)
            except StoreError as error:
                problems.append(str(error))
                continue
            # None: another process has just set it aside.
            records += [] if record is None else [record]
        return records, problems


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(_unreadable(path, error)) from error


def _rename_aside(path: Path) -> Path | None:
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


def _leftover(name: str, names: frozenset[str]) -> str | None:
    stem, _, suffix = name.partition(".")
    if name.endswith(".tmp"):
        return f"{name}: a write was interrupted, or is under way: delete it when nothing runs"
    if ".json.damaged-" in name:
        return f"{name}: set aside as damaged: delete it once you have looked at it"
    if suffix == "npz" and f"{stem}.json" not in names:
        return f"{name}: scores without a record: delete them when nothing runs"
    if suffix == "json" and not _KEY.fullmatch(stem):
        return f"{name}: no record, its name is no key of 32 hex digits: move it elsewhere"
    return None


def _existing(root: Path) -> Store:
    store = Store(root)
    if not store.cells.is_dir():
        raise StoreError(f"expected a results folder, one with cells/ in it, got {root}")
    return store


def _unwritable(root: Path, error: OSError) -> str:
    return (
        f"cannot write results in {root} ({error.strerror or error}): free some space, or name "
        "another folder by --output-dir"
    )


def _unreadable(path: Path, error: OSError) -> str:
    return f"cannot read {path} ({error.strerror or error}): check the file and its permissions"
