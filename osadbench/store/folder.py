"""The results folder: one record and one file of scores per cell, written whole or not at all.

``cells/<key>.npz`` holds a cell's per-image scores and ``cells/<key>.json`` its record. The scores
are written first and the record last, each moved into place in one step, so that a record that can
be read is a finished cell; processes that share a folder need no lock. The record names the digest
of its scores, and what doesn't fit is reported as damaged rather than used.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from osadbench.errors import DamagedRecordError, StoreError
from osadbench.files import write_atomically
from osadbench.records import SCHEMA, by_place, from_json, to_json
from osadbench.scores import ScoreTable
from osadbench.store.files import (
    ABANDONED_SECONDS,
    AGAIN,
    KEY,
    leftovers,
    list_cells,
    parse_record,
    read_file,
    rename_aside,
    stamp_of,
    unwritable,
)
from osadbench.store.scan import scan_by_index
from osadbench.types import Record

__all__ = ["MergeReport", "Store"]

#: A record follows its scores as soon as the disk has them: later, whoever wrote them was killed.
_FOLLOWS_SECONDS = 1


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
            StoreError: The folder cannot be written, or holds a record of the key in a layout that
                is not read here; or the record is not one that could be read again (NaN, a value
                that JSON can't hold, a done cell without scores).
        """
        table = None if scores is None else scores.to_bytes()
        sha256 = None if table is None else hashlib.sha256(table).hexdigest()
        try:
            data = to_json(replace(record, scores_sha256=sha256, schema=SCHEMA))
            stored = from_json(data, record.key)
        except (ValueError, TypeError) as error:
            raise StoreError(f"record {record.key} cannot be stored: {error}") from error
        # Of what stands there already, only a record in another layout is not ours to replace.
        with contextlib.suppress(DamagedRecordError):
            self.read(record.key)
        self._put(_Cell(stored, data, table))
        return stored

    def read(self, key: str) -> Record | None:
        """Return the record of a key, or None where there is none.

        Raises:
            DamagedRecordError: The record or its scores are damaged; see :meth:`set_aside`.
            StoreError: It has a layout that is not read here, or the file cannot be read.
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
        return sorted(list_cells(self.cells).keys)

    def records(self, *, check_scores: bool = True) -> list[Record]:
        """Return the records that are whole, in the order of tables; see :meth:`scan`."""
        return self.scan(check_scores=check_scores)[0]

    def problems(self, *, check_scores: bool = True) -> list[str]:
        """Return a line for each record that cannot be used, and for each leftover file."""
        return self.scan(check_scores=check_scores)[1]

    def scan(self, *, check_scores: bool = True) -> tuple[list[Record], list[str]]:
        """Return the records that are whole, and a line for each other file.

        The records are sorted by protocol, dataset, category, shots, row, label, seed, then key.

        Args:
            check_scores: Whether to read all files of scores and compare their digests. Otherwise
                they need but be there, and records whose files have not changed come from the
                index, an ``index.npz`` that a folder of many records gets. Such records share what
                they have in common: change nothing inside them.

        Raises:
            StoreError: The folder cannot be read; or, without the check, holds a record in a layout
                that is not read here. With the check that is a line for each of them.
        """
        listing = list_cells(self.cells)
        if check_scores:
            found, problems = self._read_all(listing.keys)
        else:
            found, problems = scan_by_index(self.root, listing.keys)
            lacking = self._without_scores(found, listing.scores)
            problems += (str(_no_scores(self._path(key, ".npz"))) for key in lacking)
            found = {key: found[key] for key in found.keys() - lacking} if lacking else found
        problems = [*sorted(problems), *leftovers(self.cells, listing)]
        return sorted(found.values(), key=by_place), problems

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
            StoreError: The record has a layout that is not read here, or the folder cannot be
                written.
        """
        with contextlib.suppress(DamagedRecordError):
            self.read(key)
            return None
        path = self._path(key, ".json")
        try:
            if (aside := rename_aside(path)) is None:
                return None
            with contextlib.suppress(DamagedRecordError):
                # Whole: another process has put it there since.
                self._cell(key, aside.read_bytes())
                aside.replace(path)
                return None
        except OSError as error:
            raise StoreError(unwritable(self.root, error)) from error
        return aside

    def merge(self, sources: Sequence[str | Path]) -> MergeReport:
        """Take over the records of other results folders.

        A record is taken over where there is none here, only a damaged one, or one that is not done
        while the source's is. A done record here is never replaced.

        Raises:
            StoreError: A source is no results folder, found before anything is copied; or this
                folder cannot be written, or holds a record of the same key in a layout that is not
                read here.
        """
        stores = [_existing(Path(source)) for source in sources]
        self.ensure_writable()
        report = MergeReport()
        for store in stores:
            records, unusable = store.scan()
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
        if not KEY.fullmatch(key):
            raise StoreError(f"expected a key of 32 hex digits, got {key!r}")
        return self.cells / f"{key}{suffix}"

    def _load(self, key: str) -> _Cell | None:
        path = self._path(key, ".json")
        data = read_file(path)
        while data is not None:
            try:
                return self._cell(key, data)
            except DamagedRecordError:
                # Another process may have put the cell anew between the reads of its two files.
                again = read_file(path)
                if again == data and not _on_its_way(path):
                    raise
                data = again
        return None

    def _cell(self, key: str, data: bytes) -> _Cell:
        """Return the cell of a record's bytes, with the scores that stand there."""
        scores = self._path(key, ".npz")
        record = parse_record(self.cells, key, data)
        if record.scores_sha256 is None:
            return _Cell(record, data, None)
        if (table := read_file(scores)) is None:
            raise _no_scores(scores)
        if hashlib.sha256(table).hexdigest() != record.scores_sha256:
            raise DamagedRecordError(f"the scores {scores} do not fit the record's digest: {AGAIN}")
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
            raise StoreError(unwritable(self.root, error)) from error

    def _read_all(self, keys: Iterable[str]) -> tuple[Mapping[str, Record], list[str]]:
        records: dict[str, Record] = {}
        problems: list[str] = []
        for key in keys:
            try:
                record = self.read(key)
            except StoreError as error:
                problems.append(str(error))
                continue
            # None: another process has just set it aside.
            if record is not None:
                records[key] = record
        return records, problems

    def _without_scores(self, records: Mapping[str, Record], scored: Collection[str]) -> set[str]:
        """Return the keys of the done records whose scores are not there."""
        return {
            key
            for key in records.keys() - scored
            if records[key].scores_sha256 is not None
            # Those of a cell that was finished meanwhile are not in the listing.
            and not self._path(key, ".npz").exists()
        }


def _no_scores(path: Path) -> DamagedRecordError:
    return DamagedRecordError(f"the scores {path} are missing: {AGAIN}")


def _on_its_way(path: Path) -> bool:
    """Wait a moment where a record is to follow its new scores, and return whether it is."""
    record, scores = stamp_of(path), stamp_of(path.with_suffix(".npz"))
    if record is None or scores is None or scores[1] <= record[1]:
        return False
    if not 0 <= time.time_ns() - scores[1] < _FOLLOWS_SECONDS * 10**9:
        return False
    time.sleep(0.01)
    return True


def _existing(root: Path) -> Store:
    store = Store(root)
    if not store.cells.is_dir():
        raise StoreError(f"expected a results folder, one with cells/ in it, got {root}")
    return store
