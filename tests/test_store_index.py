"""The index of a results folder: quick, and never believed against the files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_tools import record as report_record

from osadbench.errors import StoreError
from osadbench.scores import ScoreTable
from osadbench.store import Store, files, index, scan
from osadbench.store.index import INDEX_FILE, Index, joined, pack, read_index, unpack, write_index
from osadbench.types import Record

N = 6
SCORES = ScoreTable(("a", "b"), np.array([0, 1], np.int8), ("good", "x"), np.array([0.0, 1.0]))


def key_of(number: int) -> str:
    return f"{number:032x}"


def made(number: int, auroc: float = 0.5) -> Record:
    """Return a record of a key; every third one is a failure."""
    changes: dict[str, Any] = {"key": key_of(number), "fit_seed": 2**62 + number, "traceback": None}
    if number % 3:
        return report_record("dra", "mono", number, auroc, **changes)
    return report_record(status="failed", seed=number, reason="no luck", **changes)


def put(store: Store, number: int, auroc: float = 0.5, age: float = 60) -> Path:
    """Write a record as if that many seconds ago."""
    record = made(number, auroc)
    store.write(record, SCORES if record.status == "done" else None)
    path = store.cells / f"{key_of(number)}.json"
    then = time.time_ns() - int(age * 1e9)
    os.utime(path, ns=(then, then))
    return path


@pytest.fixture(name="store")
def store_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A folder of a few records, and an index worth its write from the first one on."""
    monkeypatch.setattr(scan, "INDEX_FROM", 1)
    store = Store(tmp_path / "results")
    for number in range(N):
        put(store, number)
    return store


@pytest.fixture(name="opened")
def opened_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that a quick scan has read, as it goes on."""
    names: list[str] = []

    def watched(paths: Iterable[str]) -> Iterator[files.File]:
        for path in paths:
            names.append(Path(path).name)
            yield from files.read_files([path])

    monkeypatch.setattr(scan, "read_files", watched)
    return names


def quick(store: Store) -> list[Record]:
    return store.records(check_scores=False)


def test_records_from_the_index_are_those_of_the_files(store: Store, opened: list[str]) -> None:
    first = quick(store)
    assert len(opened) == N
    again = quick(store)
    assert len(opened) == N, "nothing was read again"
    assert again == first == store.records()
    # Equal numbers of another type, or mappings in another order, would print otherwise.
    texts = [[json.dumps(asdict(record)) for record in found] for found in (again, store.records())]
    assert texts[0] == texts[1]


def test_records_stand_in_the_order_of_tables(tmp_path: Path) -> None:
    store = Store(tmp_path)
    # Of two datasets, two rows, two methods and two seeds, with keys in the opposite order.
    places = [(d, r, m, s) for d in ("a", "b") for r in ("x", "y") for m in "mn" for s in (2, 10)]
    for number, (dataset, row, method, seed) in enumerate(reversed(places)):
        store.write(report_record(method, row, seed, dataset=dataset, key=key_of(number)), SCORES)
    for check in (True, False):
        records = store.records(check_scores=check)
        assert [(r.dataset, r.row, r.method, r.seed) for r in records] == places


def test_a_small_folder_gets_no_index(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, 1)
    assert len(quick(store)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_a_changed_record_is_seen(store: Store, opened: list[str]) -> None:
    quick(store)
    opened.clear()
    path = put(store, 1, auroc=0.9, age=30)
    assert [r.metrics["auroc"] for r in quick(store) if r.key == key_of(1)] == [0.9]
    assert opened == [path.name]


def test_a_change_that_keeps_size_and_time_is_seen(store: Store) -> None:
    quick(store)
    path = store.cells / f"{key_of(1)}.json"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"auroc": 0.5', b'"auroc": 0.7'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [r.metrics["auroc"] for r in quick(store) if r.key == key_of(1)] == [0.7]


def test_an_added_and_a_removed_record_are_seen(store: Store) -> None:
    quick(store)
    put(store, 7)
    assert key_of(7) in {record.key for record in quick(store)}
    for suffix in (".json", ".npz"):
        (store.cells / f"{key_of(1)}{suffix}").unlink()
    assert key_of(1) not in {record.key for record in quick(store)}
    assert quick(store) == store.records()


def test_a_change_of_the_same_size_within_a_tick_of_the_clock_is_seen(store: Store) -> None:
    path = put(store, 1, auroc=0.5, age=0)
    quick(store)
    stamp = path.stat()
    put(store, 1, auroc=0.6, age=0)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    assert [r.metrics["auroc"] for r in quick(store) if r.key == key_of(1)] == [0.6]


def test_a_record_from_the_future_is_read_itself(store: Store, opened: list[str]) -> None:
    path = put(store, 1, age=-3600)
    quick(store)
    opened.clear()
    quick(store)
    assert opened == [path.name]


def test_damage_after_indexing_is_seen(store: Store) -> None:
    quick(store)
    path = store.cells / f"{key_of(1)}.json"
    path.write_text("{")
    records, problems = store.scan(check_scores=False)
    assert len(records) == N - 1
    assert [f"{path} is damaged" in line for line in problems] == [True]
    (store.cells / f"{key_of(2)}.npz").unlink()
    records, problems = store.scan(check_scores=False)
    assert len(records) == N - 2
    assert any("are missing: osadbench run computes it anew" in line for line in problems)
    assert records == store.records()


def test_changed_scores_are_found_by_the_check_and_where_they_are_read(store: Store) -> None:
    (store.cells / f"{key_of(1)}.npz").write_bytes(b"others")
    assert len(quick(store)) == N
    assert store.problems(check_scores=False) == []
    assert len(store.records()) == N - 1
    assert "do not fit the record's digest" in store.problems()[0]
    with pytest.raises(StoreError, match="do not fit the record's digest"):
        store.scores(key_of(1))


def test_a_newer_record_stops_a_quick_scan_with_one_line(store: Store) -> None:
    quick(store)
    path = store.cells / f"{key_of(1)}.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "schema": 2}))
    with pytest.raises(StoreError, match=f"record {key_of(1)} has schema 2, newer than the 1"):
        store.scan(check_scores=False)
    assert len(store.records()) == N - 1


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def in_the_directory(offset: int, value: int) -> Callable[[Path], object]:
    """Return what puts a byte into the first entry of the directory of a file's archive."""

    def spoil(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\1\2") + offset] = value
        path.write_bytes(data)

    return spoil


def of_another_layout(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes())
    meta["layout"]["index"] += 1
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)


def of_a_lost_column(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    del arrays[next(name for name in arrays if name.endswith(".metrics.auroc"))]
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no index"),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: np.savez(path, other=np.zeros(3)),
        lambda path: np.savez(path, meta=np.array([object()]), allow_pickle=True),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.write_bytes(path.read_bytes().replace(b",), }", b",(, }")),
        in_the_directory(8, 1),
        in_the_directory(10, 99),
        flip,
        of_another_layout,
        of_a_lost_column,
    ],
    ids=[
        *("empty", "text", "cut", "foreign", "pickle", "folder", "header", "encrypted", "packing"),
        *("flipped", "layout", "column"),
    ],
)
def test_an_index_that_cannot_be_used_is_ignored(
    store: Store, spoil: Callable[[Path], object]
) -> None:
    expected = quick(store)
    spoil(store.root / INDEX_FILE)
    assert read_index(store.root / INDEX_FILE) == Index({}, {})
    assert store.scan(check_scores=False) == (expected, [])


def test_the_index_of_another_folder_says_nothing(tmp_path: Path, store: Store) -> None:
    quick(store)
    other = Store(tmp_path / "other")
    for number in range(N):
        put(other, number, auroc=0.75, age=90)
    shutil.copy(store.root / INDEX_FILE, other.root / INDEX_FILE)
    assert quick(other) == other.records()
    assert {record.metrics["auroc"] for record in quick(other) if record.metrics} == {0.75}


def test_a_folder_that_cannot_be_written_works_without_an_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes, *, durable: bool) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(index, "write_atomically", refuse)
    assert store.scan(check_scores=False) == (store.records(), [])
    assert not (store.root / INDEX_FILE).exists()


def test_a_read_only_folder_works(store: Store) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("no folder is read-only for this user")
    store.root.chmod(0o555)
    try:
        assert store.scan(check_scores=False) == (store.records(), [])
        assert [path.name for path in store.root.iterdir()] == ["cells"]
    finally:
        store.root.chmod(0o755)


def test_two_processes_index_one_folder(store: Store) -> None:
    code = (
        "import sys; from osadbench.store import Store, scan\n"
        "scan.INDEX_FROM = 1\n"
        "for _ in range(20):\n"
        "    (Store(sys.argv[1]).root / 'index.npz').unlink(missing_ok=True)\n"
        "    assert len(Store(sys.argv[1]).records(check_scores=False)) >= 6\n"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.root)], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    number = N
    while any(reader.poll() is None for reader in readers):
        put(store, number)
        number += 1
        assert quick(store) == store.records()
        time.sleep(0.05)
    assert [(r.wait(), r.stderr.read() if r.stderr else b"") for r in readers] == [(0, b"")] * 2
    assert store.scan(check_scores=False) == (store.records(), [])
    assert [path.name for path in store.root.glob(".*")] == []


def test_numbers_keep_their_type_and_their_last_digit(tmp_path: Path) -> None:
    odd = {"whole": 5, "real": 5.0, "tiny": 5e-324, "huge": 2**60, "large": -(2**70), "yes": True}
    record = replace(made(1), provenance={**odd, "none": None, "versions": {"n": 1}})
    other = replace(made(2), params={"lr": 1}, metrics={}, provenance={})
    third = replace(made(3), params={"lr": 1.0}, metrics={"ap": 1 / 3, "auroc": 0.1 + 0.2})
    records = {r.key: r for r in (record, other, third)}
    stamps = {key: (1, 2 + place, 3) for place, key in enumerate(records)}
    write_index(tmp_path / INDEX_FILE, pack(records.values(), stamps))
    back = read_index(tmp_path / INDEX_FILE)
    assert back == Index(stamps, records)
    assert [repr(back.records[key]) for key in records] == list(map(repr, records.values()))


def test_equal_numbers_of_several_types_stay_apart_in_one_column(tmp_path: Path) -> None:
    odd: list[Any] = [1, True, 1.0, 0, False, -0.0, 0.0, None, "1", 1, True]
    records = {key_of(n): replace(made(n), provenance={"x": x}) for n, x in enumerate(odd)}
    parts = pack(records.values(), dict.fromkeys(records, (1, 2, 3)))
    write_index(tmp_path / INDEX_FILE, parts)
    back = read_index(tmp_path / INDEX_FILE)
    assert [repr(back.records[key].provenance["x"]) for key in records] == list(map(repr, odd))


def test_parts_of_several_readers_become_one_of_each_shape() -> None:
    # In some parts the column is of floats alone, in others of several kinds.
    odd: list[Any] = [1.0, 2.0, 1, True, 1.0, 2, "1", None]
    records = [replace(made(3 * n + 1), provenance={"x": x, "n": [1]}) for n, x in enumerate(odd)]
    records += [replace(made(3 * n + 1), key=key_of(100 + n), metrics={}) for n in range(4)]
    stamps = {record.key: (place, place, place) for place, record in enumerate(records)}
    apart = [part for one in records for part in pack([one], stamps)]
    halves = [*pack(records[::2], stamps), *pack(records[1::2], stamps)]
    for parts in (apart, halves):
        whole = joined(parts)
        # Columns of floats alone stay apart from those of the same name with other things in them.
        assert len(whole) <= 3
        pool: dict[bytes, Any] = {}
        back = {record.key: record for part in whole for record in unpack(part, pool)}
        assert {key: repr(one) for key, one in back.items()} == {r.key: repr(r) for r in records}
        found = [tuple(stamp) for part in whole for stamp in part.stamps.tolist()]
        assert dict(zip(back, found, strict=True)) == stamps
        assert len({id(record.provenance["n"]) for record in list(back.values())[:3]}) == 1


def test_an_index_is_renewed_once_enough_has_changed(
    store: Store, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(store)
    monkeypatch.setattr(scan, "INDEX_FROM", 3)
    for count, reread in ((1, 1), (2, 2), (3, 3), (3, 0)):
        for number in range(10, 10 + count):
            if not (store.cells / f"{key_of(number)}.json").exists():
                put(store, number)
        opened.clear()
        quick(store)
        assert len(opened) == reread


@pytest.fixture(name="crowd")
def crowd_fixture(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The folder, when every two of its files are worth a process."""
    monkeypatch.setattr(scan, "FILES_PER_WORKER", 2)
    monkeypatch.setattr(scan, "_n_cores", lambda: 3)
    return store


def test_several_processes_read_what_one_does(crowd: Store, opened: list[str]) -> None:
    expected = crowd.records()
    put(crowd, 7, age=0)
    (crowd.cells / f"{key_of(2)}.json").write_text("{")
    records, problems = crowd.scan(check_scores=False)
    assert opened == [], "all was read elsewhere"
    assert records == crowd.records()
    assert len(records) == len(expected)
    assert len(problems) == 1
    assert quick(crowd) == records
    # What may still change was not indexed, nor what is damaged.
    assert sorted(opened) == [f"{key_of(2)}.json", f"{key_of(7)}.json"]


def test_a_newer_record_stops_all_processes_with_one_line(crowd: Store) -> None:
    path = crowd.cells / f"{key_of(1)}.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "schema": 2}))
    with pytest.raises(StoreError, match=f"record {key_of(1)} has schema 2, newer than the 1"):
        crowd.scan(check_scores=False)


def _die(folder: str, keys: list[str], settled: int) -> None:
    os._exit(9)


def test_a_reader_that_dies_is_an_error_of_one_line(
    crowd: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_read_some", _die)
    with pytest.raises(StoreError, match="a process that read records of .* died"):
        crowd.scan(check_scores=False)
