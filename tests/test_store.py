from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osadbench.errors import DamagedRecordError, PrecheckError, StoreError
from osadbench.files import write_atomically
from osadbench.records import to_frame
from osadbench.scores import ScoreTable
from osadbench.store import MergeReport, Store
from osadbench.store.files import read_file, rename_aside
from osadbench.types import Record

GOLDEN = Path(__file__).parent / "golden"
KEY = "0123456789abcdef" * 2
OTHER = "0123ffff" + "0" * 24


def make_record(key: str = KEY, **changes: Any) -> Record:
    record = Record(
        key=key,
        status="done",
        method="dra",
        label="dra[lr=0.01]",
        params={"lr": 0.01, "sizes": (3, 5)},
        engine={"preset": "frozen", "image_sizes": (320, 224)},
        weights="sha256:12",
        fit_seed=2**62,
        protocol="hard",
        dataset="elpv",
        category="",
        known_class="mono",
        shots=10,
        seed=0,
        row="mono",
        split={"digest": "ab", "train_anomalies": ["a.png"]},
        metrics={"auroc": 0.1 + 0.2, "auprc": 1.0},
        provenance={"versions": {"torch": "2.15"}, "fit_seconds": 1.5},
    )
    return dataclasses.replace(record, **changes)


def failed(key: str = KEY, **changes: Any) -> Record:
    return make_record(
        key, status="failed", metrics={}, reason="out of memory", traceback="a\nb", **changes
    )


def make_scores(shift: float = 0.0) -> ScoreTable:
    return ScoreTable(
        paths=("good/1.png", "crack/ß 2.png"),
        labels=np.array([0, 1], dtype=np.int8),
        classes=("good", "crack"),
        scores=np.array([1 / 3, 2.5]) + shift,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def record_file(store: Store, key: str = KEY) -> Path:
    return store.root / "cells" / f"{key}.json"


def edit(store: Store, key: str = KEY, **changes: Any) -> None:
    file = record_file(store, key)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **changes}))


def test_score_table_has_fixed_dtypes_and_equal_lengths() -> None:
    table = ScoreTable(("a", "b"), [0, 1], ("good", "x"), [1, 2])  # type: ignore[arg-type]
    assert table.labels.dtype == np.int8
    assert table.scores.dtype == np.float64
    assert table == ScoreTable(("a", "b"), table.labels, ("good", "x"), table.scores)
    assert table != make_scores()
    with pytest.raises(ValueError, match="expected columns of one length, got shapes"):
        ScoreTable(("a",), table.labels, ("good", "x"), table.scores)
    with pytest.raises(ValueError, match="expected columns of one length"):
        ScoreTable(("a",), table.labels[:1], ("x",), np.zeros((1, 1)))


@pytest.mark.parametrize("n", [0, 2])
def test_score_table_survives_bytes_bit_for_bit(n: int) -> None:
    whole = make_scores()
    table = ScoreTable(whole.paths[:n], whole.labels[:n], whole.classes[:n], whole.scores[:n])
    back = ScoreTable.from_bytes(table.to_bytes())
    assert back == table
    assert back.scores.tobytes() == table.scores.tobytes()
    assert back.labels.dtype == np.int8
    assert table.to_bytes() == back.to_bytes()


def test_write_then_read_gives_the_record_and_its_scores(store: Store) -> None:
    written = store.write(make_record(), make_scores())
    assert store.read(KEY) == written
    expected = make_record(
        params={"lr": 0.01, "sizes": [3, 5]},
        engine={"preset": "frozen", "image_sizes": [320, 224]},
        scores_sha256=hashlib.sha256(
            (store.root / "cells" / f"{KEY}.npz").read_bytes()
        ).hexdigest(),
    )
    assert written == expected
    assert store.scores(KEY) == make_scores()
    assert store.keys() == [KEY]
    assert store.problems() == []
    assert record_file(store).read_text().startswith('{\n "key": "0123')


def test_a_store_that_does_not_exist_is_empty(store: Store) -> None:
    assert store.read(KEY) is None
    assert (store.keys(), store.records(), store.problems()) == ([], [], [])
    assert not store.root.exists()
    with pytest.raises(StoreError, match="no scores of cell"):
        store.scores(KEY)


def test_a_failure_is_a_record_without_scores(store: Store) -> None:
    store.write(failed())
    record = store.read(KEY)
    assert record is not None
    assert (record.reason, record.traceback, record.scores_sha256) == (
        "out of memory",
        "a\nb",
        None,
    )
    with pytest.raises(StoreError, match="only done cells have scores"):
        store.scores(KEY)


def test_a_new_record_replaces_the_old_one_and_its_scores(store: Store) -> None:
    store.write(make_record(), make_scores())
    store.write(make_record(), make_scores(1.0))
    assert store.scores(KEY) == make_scores(1.0)
    store.write(failed())
    assert sorted(path.name for path in (store.root / "cells").iterdir()) == [f"{KEY}.json"]


def test_text_that_is_no_unicode_does_not_cost_the_record(store: Store) -> None:
    store.write(dataclasses.replace(failed(), reason="cannot read ä\udcff.png"))
    record = store.read(KEY)
    assert record is not None
    assert record.reason == "cannot read ä?.png"


@pytest.mark.parametrize(
    ("record", "scores", "message"),
    [
        (make_record(), None, "scores belong to done cells and only there, got 'done'"),
        (failed(), make_scores(), "scores belong to done cells and only there, got 'failed'"),
        (make_record(metrics={"auroc": float("nan")}), make_scores(), "not JSON compliant"),
        (failed(params={"x": np.float32(1)}), None, "not JSON serializable"),
        (failed(shots="10"), None, "shots: Input should be a valid integer"),
        (dataclasses.replace(failed(), status="ok"), None, "expected status done, failed or"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    store: Store, record: Record, scores: ScoreTable | None, message: str
) -> None:
    with pytest.raises(StoreError, match=f"record {KEY} cannot be stored: .*{message}"):
        store.write(record, scores)
    assert not store.root.exists()


@pytest.mark.parametrize("key", ["", "../" + "0" * 29, "0" * 31, "A" * 32])
def test_a_key_must_be_a_key(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="expected a key of 32 hex digits"):
        store.read(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"key": "0123', "Unterminated string"),
        ("\x00" * 40, "Expecting value"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ("{}", "expected a schema number, got None"),
        ('{"schema": 1}', "missing or unknown fields: category, dataset, engine"),
        ('{"schema": 1, "seed": NaN}', "it holds NaN"),
    ],
)
def test_damaged_records_are_reported_and_skipped(store: Store, text: str, message: str) -> None:
    store.write(make_record(OTHER), make_scores())
    store.write(make_record(), make_scores())
    record_file(store).write_text(text)
    with pytest.raises(
        DamagedRecordError,
        match=f"{KEY}.json is damaged .*{message}.*osadbench run",
    ):
        store.read(KEY)
    assert [record.key for record in store.records()] == [OTHER]
    (line,) = store.problems()
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "missing or unknown fields: extra"),
        ({"seed": "0"}, "seed: Input should be a valid integer"),
        ({"metrics": {"auroc": None}}, "metrics.auroc: Input should be a valid number"),
        ({"status": "running"}, "expected status done, failed or skipped, got 'running'"),
        ({"status": "failed"}, "scores belong to done cells and only there, got 'failed'"),
        ({"row": None}, "row: Input should be a valid string"),
        ({"schema": True}, "schema: Input should be a valid integer"),
        ({"split": {"seen_classes": 5}}, "split.seen_classes: expected list, got 5"),
        ({"split": {"outliers": "x"}}, "split.outliers: expected dict, got 'x'"),
        (
            {"provenance": {"started": "now"}},
            "provenance.started: expected float or int, got",
        ),
        ({"provenance": {"versions": []}}, "provenance.versions: expected dict, got "),
    ],
)
def test_records_of_a_wrong_form_are_damaged(
    store: Store, changes: dict[str, Any], message: str
) -> None:
    store.write(make_record(), make_scores())
    edit(store, **changes)
    with pytest.raises(DamagedRecordError, match=message):
        store.read(KEY)


def test_a_record_under_another_name_is_damaged(store: Store) -> None:
    store.write(failed())
    record_file(store).rename(record_file(store, OTHER))
    assert store.records() == []
    assert f"it holds the key {KEY}" in store.problems()[0]


def test_scores_that_are_missing_or_changed_make_the_record_damaged(store: Store) -> None:
    store.write(make_record(), make_scores())
    scores = store.root / "cells" / f"{KEY}.npz"
    data = scores.read_bytes()
    scores.write_bytes(data[:-1] + b"\x01")
    with pytest.raises(DamagedRecordError, match="do not fit the record's digest"):
        store.scores(KEY)
    scores.unlink()
    with pytest.raises(DamagedRecordError, match="are missing: osadbench run computes it anew"):
        store.read(KEY)
    assert store.records() == []
    assert len(store.problems()) == 1


@pytest.mark.parametrize(
    ("schema", "message"),
    [(2, "schema 2, newer than the 1 .*: upgrade"), (0, "schema 0, older than the 1 .*: take an")],
)
def test_a_record_in_another_layout_is_never_touched(
    store: Store, schema: int, message: str
) -> None:
    store.write(failed())
    edit(store, schema=schema, something_new=True)
    before = record_file(store).read_bytes()
    for action in (store.read, store.scores, store.set_aside):
        with pytest.raises(StoreError, match=message) as error:
            action(KEY)
        assert not isinstance(error.value, DamagedRecordError)
    with pytest.raises(StoreError, match=message):
        store.write(make_record(), make_scores())
    assert re.search(message, store.problems()[0])
    assert record_file(store).read_bytes() == before
    assert not (store.root / "cells" / f"{KEY}.npz").exists()


def test_set_aside_renames_and_never_overwrites(store: Store) -> None:
    store.write(make_record(), make_scores())
    assert store.set_aside(KEY) is None
    for number, text in enumerate(["first", "second"], start=1):
        record_file(store).write_text(text)
        aside = store.set_aside(KEY)
        assert aside == record_file(store).with_name(f"{KEY}.json.damaged-{number}")
    cells = store.root / "cells"
    assert (cells / f"{KEY}.json.damaged-1").read_text() == "first"
    assert (cells / f"{KEY}.json.damaged-2").read_text() == "second"
    assert store.set_aside(KEY) is None
    assert store.keys() == []
    store.write(make_record(), make_scores())
    assert store.scores(KEY) == make_scores()


def test_set_aside_gives_back_what_another_process_has_put_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(make_record(), make_scores())
    whole = record_file(store).read_bytes()
    record_file(store).write_text("damaged")

    def late(path: Path) -> Path | None:
        path.write_bytes(whole)
        return rename_aside(path)

    monkeypatch.setattr("osadbench.store.folder.rename_aside", late)
    assert store.set_aside(KEY) is None
    assert store.scores(KEY) == make_scores()
    assert store.problems() == []


def test_a_cell_that_is_put_anew_between_its_two_reads_is_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(make_record(), make_scores(0.25))
    anew = [make_scores()]

    def meanwhile(path: Path) -> bytes | None:
        if path.suffix == ".npz" and anew:
            monkeypatch.setattr("osadbench.store.folder.read_file", read_file)
            store.write(make_record(seed=1), anew.pop())
        return read_file(path)

    monkeypatch.setattr("osadbench.store.folder.read_file", meanwhile)
    assert store.scores(KEY) == make_scores()
    assert not anew


def test_a_record_is_waited_for_that_follows_its_scores(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    store.write(make_record(), make_scores(0.25))
    other.write(make_record(), make_scores())
    scores = store.cells / f"{KEY}.npz"
    write_atomically(scores, (other.cells / f"{KEY}.npz").read_bytes())
    whole = record_file(other).read_bytes()
    follow = threading.Timer(0.2, write_atomically, (record_file(store), whole))
    follow.start()
    assert store.set_aside(KEY) is None
    assert store.scores(KEY) == make_scores()
    follow.join()
    # Where none follows, the wait has an end.
    write_atomically(scores, b"others")
    with pytest.raises(DamagedRecordError, match="do not fit"):
        store.read(KEY)


def test_set_aside_of_a_record_that_vanishes_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(make_record(), make_scores())
    record_file(store).write_text("damaged")

    def vanish(path: Path, target: Path) -> Path:
        path.unlink()
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "replace", vanish)
    assert store.set_aside(KEY) is None
    assert sorted(path.name for path in (store.root / "cells").iterdir()) == [f"{KEY}.npz"]


def test_leftovers_are_problems_and_strangers_are_not(store: Store) -> None:
    store.write(make_record(), make_scores())
    cells = store.root / "cells"
    for name in (f".{KEY}.json.12.tmp", f"{OTHER}.npz", f"{OTHER}.json.damaged-1", "notes.json"):
        (cells / name).write_text("{}")
    (cells / "README.txt").write_text("ours")
    # What a run may be writing right now.
    assert not any(line.startswith((f".{KEY}", f"{OTHER}.npz")) for line in store.problems())
    for path in cells.iterdir():
        os.utime(path, (time.time() - 7200,) * 2)
    assert len(store.records()) == 1
    lines = store.problems()
    assert len(lines) == 4
    for part in ("a write was interrupted", "scores without a record", "set aside as damaged"):
        assert sum(part in line for line in lines) == 1
    assert any(line.startswith("notes.json: no record") for line in lines)


def test_the_record_is_written_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(make_record(), make_scores())
    written: list[str] = []

    def stop_before_the_record(path: Path, data: bytes) -> None:
        written.append(path.suffix)
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(path, data)

    monkeypatch.setattr("osadbench.store.folder.write_atomically", stop_before_the_record)
    with pytest.raises(KeyboardInterrupt):
        store.write(make_record(OTHER), make_scores())
    assert written == [".npz", ".json"]
    assert store.keys() == [KEY]
    assert store.read(OTHER) is None


def test_ensure_writable_makes_the_folder_and_leaves_nothing(store: Store) -> None:
    store.ensure_writable()
    assert list((store.root / "cells").iterdir()) == []


def test_ensure_writable_removes_what_killed_writes_left(store: Store) -> None:
    store.write(make_record(), make_scores())
    old, new = (store.cells / f".{KEY}.json.{name}.tmp" for name in ("1", "2"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3700,) * 2)
    kept = {path.name for path in store.cells.iterdir()} - {old.name}
    store.ensure_writable()
    assert {path.name for path in store.cells.iterdir()} == kept


@pytest.mark.parametrize("place", ["results", "results/cells", "results/below"])
def test_ensure_writable_refuses_a_file_in_the_way(tmp_path: Path, place: str) -> None:
    file = tmp_path / place.replace("below", "")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    root = tmp_path / place.removesuffix("/cells")
    with pytest.raises(StoreError, match="cannot write results in .*name another folder by"):
        Store(root).ensure_writable()
    assert file.read_text() == "mine"


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("no folder is read-only for this user")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match=r"cannot write results in .* \(Permission denied\)"):
            Store(tmp_path / "results").ensure_writable()
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_is_an_error_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"\(No space left on device\): free some space") as error:
        store.ensure_writable()
    assert isinstance(error.value, PrecheckError)
    with pytest.raises(StoreError, match="No space left"):
        store.write(make_record(), make_scores())
    assert list((store.root / "cells").iterdir()) == []


def test_a_folder_in_place_of_a_record_is_an_error(store: Store) -> None:
    record_file(store).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read .*check the file and its permissions"):
        store.read(KEY)
    assert len(store.problems()) == 1
    file = Store(store.root / "cells" / "file")
    file.root.write_text("")
    with pytest.raises(StoreError, match="cannot read"):
        file.keys()


def test_find_by_prefix(store: Store) -> None:
    store.write(make_record(), make_scores())
    store.write(failed(OTHER))
    assert store.find("01234").key == KEY
    assert store.find(OTHER.upper()).status == "failed"
    with pytest.raises(StoreError, match=f"'0123' fits 2 cells, give more: {KEY}, {OTHER}"):
        store.find("0123")
    with pytest.raises(StoreError, match="no cell 'ffff' in"):
        store.find("ffff")
    with pytest.raises(StoreError, match="expected 4 or more digits of a key, got '012'"):
        store.find("012")


def merged(tmp_path: Path, mine: Record | None, theirs: Record) -> tuple[MergeReport, Store]:
    """Merge one record over another; a done record gets scores shifted by its number of shots."""
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    for store, record in ((here, mine), (there, theirs)):
        if record is not None:
            done = record.status == "done"
            store.write(record, make_scores(record.shots) if done else None)
    return here.merge([there.root]), here


@pytest.mark.parametrize(
    ("mine", "theirs", "outcome", "shots"),
    [
        (None, make_record(shots=2), "copied", 2),
        (None, failed(shots=2), "copied", 2),
        (failed(shots=1), make_record(shots=2), "copied", 2),
        (make_record(shots=1), failed(shots=2), "kept", 1),
        (failed(shots=1), dataclasses.replace(failed(shots=2), status="skipped"), "kept", 1),
        (failed(shots=1), failed(shots=2), "identical", 1),
        (make_record(shots=1), make_record(shots=1, metrics={}), "identical", 1),
        (make_record(shots=1), make_record(shots=2), "conflicts", 1),
    ],
)
def test_merge_of_one_record(
    tmp_path: Path, mine: Record | None, theirs: Record, outcome: str, shots: int
) -> None:
    report, here = merged(tmp_path, mine, theirs)
    expected = MergeReport()
    getattr(expected, outcome).append((KEY, tmp_path / "there") if outcome == "conflicts" else KEY)
    assert report == expected
    record = here.read(KEY)
    assert record is not None
    assert record.shots == shots
    if record.status == "done":
        assert here.scores(KEY) == make_scores(shots)
    assert here.problems() == []
    again = here.merge([tmp_path / "there"])
    assert again.copied == []


def test_merge_compares_scores_where_their_files_differ(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    here.write(make_record(), make_scores())
    there.write(make_record(), make_scores())
    table = make_scores()
    np.savez(  # the same table, packed otherwise
        there.root / "cells" / f"{KEY}.npz",
        paths=np.array(table.paths),
        labels=table.labels,
        classes=np.array(table.classes),
        scores=table.scores,
    )
    packed = (there.root / "cells" / f"{KEY}.npz").read_bytes()
    edit(there, scores_sha256=hashlib.sha256(packed).hexdigest())
    assert here.merge([there.root]) == MergeReport(identical=[KEY])


def test_merge_replaces_what_is_damaged_here_and_skips_what_is_damaged_there(
    tmp_path: Path,
) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    here.write(make_record(), make_scores())
    record_file(here).write_text("damaged")
    there.write(make_record(), make_scores())
    there.write(failed(OTHER))
    record_file(there, OTHER).write_text("damaged")
    report = here.merge([there.root])
    assert report.copied == [KEY]
    assert len(report.problems) == 1
    assert report.problems[0].startswith(f"{there.root}: record ")
    assert here.keys() == [KEY]
    assert record_file(here).with_name(f"{KEY}.json.damaged-1").read_text() == "damaged"


def test_merge_copies_nothing_where_a_source_is_no_store(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    there.write(make_record(), make_scores())
    with pytest.raises(StoreError, match="expected a results folder, one with cells/ in it, got"):
        here.merge([there.root, tmp_path / "nowhere"])
    assert not here.root.exists()


def test_two_processes_need_no_lock(store: Store) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_store as t;"
        "s = t.Store(sys.argv[2]);"
        "[s.write(t.make_record(f'{i:032x}'), t.make_scores()) for i in range(40)]"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(store.root)]
    writers = [subprocess.Popen(command) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert store.problems() == []
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(store.records()) == 40
    assert store.problems() == []


def test_reading_a_thousand_records_is_quick(store: Store) -> None:
    store.write(make_record(), make_scores())
    text = record_file(store).read_text()
    for number in range(1000):
        key = f"{number:032x}"
        record_file(store, key).write_text(text.replace(KEY, key))
        shutil.copy(store.root / "cells" / f"{KEY}.npz", store.root / "cells" / f"{key}.npz")
    start = time.process_time()
    assert len(store.records()) == 1001
    assert time.process_time() - start < 1.0


def test_records_of_schema_1_can_be_read(store: Store) -> None:
    """The files were written once and stay as they are; only a new schema adds others."""
    (store.root / "cells").mkdir(parents=True)
    for suffix in (".json", ".npz"):
        source = GOLDEN / f"record_schema_1{suffix}"
        shutil.copy(source, store.root / "cells" / f"{KEY}{suffix}")
    record = store.read(KEY)
    assert record == make_record(
        params={"lr": 0.01, "sizes": [3, 5]},
        engine={"preset": "frozen", "image_sizes": [320, 224]},
        scores_sha256="0ccf0f87bbf6e9d7530955d26f988de00ccc671bdac482662d3feb4d212119e7",
    )
    assert store.scores(KEY) == make_scores()


def test_to_frame_has_one_row_per_record_and_flat_columns(store: Store) -> None:
    store.write(make_record(), make_scores())
    store.write(failed(OTHER))
    frame = to_frame(store.records())
    assert frame["key"].tolist() == [KEY, OTHER]
    assert frame["params.lr"].tolist() == [0.01, 0.01]
    assert frame["auroc"].tolist()[0] == 0.1 + 0.2
    assert frame["auroc"].isna().tolist() == [False, True]
    assert frame["provenance.versions.torch"].tolist() == ["2.15", "2.15"]
    empty = to_frame([])
    assert len(empty) == 0
    assert "status" in empty.columns
