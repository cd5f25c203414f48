from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from osadbench.cache import ArrayCache, cache_dir
from osadbench.errors import CacheError
from osadbench.files import write_atomically

SHAPE = (2, 3)
Rows = dict[str, npt.NDArray[np.generic]]


def rows(*names: str) -> Rows:
    return {name: np.full(SHAPE, float(ord(name[-1])), np.float32) for name in names}


def fresh(folder: Path) -> ArrayCache:
    return ArrayCache(folder, SHAPE, np.float32)


def only(folder: Path, suffix: str) -> Path:
    (path,) = folder.glob(f"*{suffix}")
    return path


def assert_same(found: Rows, wanted: Rows) -> None:
    assert set(found) == set(wanted)
    for key, row in wanted.items():
        assert found[key].dtype == np.float32
        assert np.array_equal(found[key], row)


def test_round_trip_in_this_and_in_a_new_instance(tmp_path: Path) -> None:
    cache = fresh(tmp_path / "new" / "folder")
    assert cache.missing(["b", "a", "b"]) == ["b", "a"]
    cache.put(rows("a", "b"))
    cache.put(rows("c"))
    for reader in (cache, fresh(tmp_path / "new" / "folder")):
        assert reader.missing(["a", "x", "c", "x"]) == ["x"]
        assert_same(reader.get(["c", "a", "a", "x"]), rows("a", "c"))


def test_rows_are_cast_and_nothing_is_written_for_nothing(tmp_path: Path) -> None:
    cache = fresh(tmp_path / "cache")
    cache.put({})
    assert not (tmp_path / "cache").exists()
    cache.put({"a": np.ones(SHAPE, np.float64)})
    assert_same(cache.get(["a"]), {"a": np.ones(SHAPE, np.float32)})


def test_a_cache_without_a_shape_takes_what_there_is(tmp_path: Path) -> None:
    fresh(tmp_path).put(rows("a"))
    assert_same(ArrayCache(tmp_path, None, np.float32).get(["a"]), rows("a"))


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected rows of shape \(2, 3\), got \(3, 2\)"):
        fresh(tmp_path).put({"a": np.zeros((3, 2))})
    assert not list(tmp_path.iterdir())


def flip_last_byte(folder: Path) -> None:
    path = only(folder, ".npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate_array(folder: Path) -> None:
    path = only(folder, ".npy")
    path.write_bytes(path.read_bytes()[:-5])


def empty_array(folder: Path) -> None:
    only(folder, ".npy").write_bytes(b"")


def lose_array(folder: Path) -> None:
    only(folder, ".npy").unlink()


def pickled_array(folder: Path) -> None:
    np.save(only(folder, ".npy"), np.array([{}, {}], dtype=object), allow_pickle=True)


def other_shape(folder: Path) -> None:
    np.save(only(folder, ".npy"), np.zeros((2, 3, 2), np.float32))


def other_dtype(folder: Path) -> None:
    np.save(only(folder, ".npy"), np.zeros((2, *SHAPE), np.float64))


def too_few_rows(folder: Path) -> None:
    np.save(only(folder, ".npy"), np.zeros((1, *SHAPE), np.float32))


def truncate_index(folder: Path) -> None:
    path = only(folder, ".json")
    path.write_bytes(path.read_bytes()[:-3])


def index_of_another_kind(folder: Path) -> None:
    only(folder, ".json").write_text("[7]")


def index_without_checksums(folder: Path) -> None:
    only(folder, ".json").write_text('{"a": null, "b": null}')


def binary_index(folder: Path) -> None:
    only(folder, ".json").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "damage",
    [
        flip_last_byte,
        truncate_array,
        empty_array,
        lose_array,
        pickled_array,
        other_shape,
        other_dtype,
        too_few_rows,
        truncate_index,
        index_of_another_kind,
        index_without_checksums,
        binary_index,
    ],
)
def test_damage_is_logged_once_removed_and_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    fresh(tmp_path).put(rows("a", "b"))
    damage(tmp_path)  # type: ignore[operator]
    cache = fresh(tmp_path)
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        assert "b" not in cache.get(["a", "b"])
        assert cache.missing(["a", "b"]) == ["a", "b"]
    (record,) = caplog.records
    assert record.getMessage().endswith("was damaged and will be rebuilt")
    assert not list(tmp_path.iterdir())
    cache.put(rows("a", "b"))
    assert_same(fresh(tmp_path).get(["a", "b"]), rows("a", "b"))


def test_damage_in_one_shard_leaves_the_others(tmp_path: Path) -> None:
    fresh(tmp_path).put(rows("a", "b"))
    flip_last_byte(tmp_path)
    fresh(tmp_path).put(rows("c"))
    assert_same(fresh(tmp_path).get(["a", "b", "c"]), rows("c"))


def test_two_writers_of_the_same_rows_do_no_harm(tmp_path: Path) -> None:
    one, other = fresh(tmp_path), fresh(tmp_path)
    assert one.missing(["a", "b"]) == other.missing(["a", "b"]) == ["a", "b"]
    one.put(rows("a", "b"))
    other.put(rows("b", "a"))
    for cache in (one, other, fresh(tmp_path)):
        assert cache.missing(["a", "b"]) == []
        assert_same(cache.get(["a", "b"]), rows("a", "b"))


def test_a_running_reader_sees_what_another_writes(tmp_path: Path) -> None:
    reader = fresh(tmp_path)
    assert reader.get(["a"]) == {}
    fresh(tmp_path).put(rows("a"))
    assert_same(reader.get(["a"]), rows("a"))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from osadbench.cache import ArrayCache

folder, start = Path(sys.argv[1]), int(sys.argv[2])
cache = ArrayCache(folder, (2, 3), np.float32)
for number in range(start, start + 40):
    cache.put({f"k{n}": np.full((2, 3), n, np.float32) for n in (number, number + 1)})
    assert len(cache.get([f"k{number}", f"k{number + 1}"])) == 2
"""


def test_processes_write_and_read_at_the_same_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, str(start)], stderr=subprocess.PIPE) for start in (0, 20, 40)
    ]
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], errors
    assert errors == ["", "", ""]
    keys = [f"k{number}" for number in range(81)]
    found = fresh(tmp_path).get(keys)
    assert all((found[f"k{number}"] == number).all() for number in range(81))
    assert not list(tmp_path.glob("*.tmp"))
    assert len(list(tmp_path.glob("*.npy"))) == len(list(tmp_path.glob("*.json"))) == 120


@pytest.mark.parametrize("below", ["", "below"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    cache = fresh(file / below)
    assert cache.missing(["a"]) == ["a"]
    with pytest.raises(CacheError, match=r"cannot write the cache in .* OSADBENCH_CACHE_DIR"):
        cache.put(rows("a"))
    assert file.read_text() == "not a folder"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("osadbench.cache.write_atomically", full)
    with pytest.raises(CacheError, match="No space left on device"):
        fresh(tmp_path).put(rows("a"))
    assert not list(tmp_path.iterdir())


def test_the_index_names_the_rows_in_order(tmp_path: Path) -> None:
    fresh(tmp_path).put(rows("b", "a"))
    assert list(json.loads(only(tmp_path, ".json").read_text())) == ["b", "a"]


def test_write_atomically_replaces_a_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("osadbench.cache.os.fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_given_wins_over_the_environment_and_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OSADBENCH_CACHE_DIR", "from-environment")
    assert cache_dir("given") == Path("given")
    assert cache_dir() == Path("from-environment")
    monkeypatch.delenv("OSADBENCH_CACHE_DIR")
    assert cache_dir().name == "osadbench"
    assert cache_dir().is_absolute()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "check its permissions"),
        (errno.EPERM, "check its permissions"),
        (errno.EROFS, "check its permissions"),
        (errno.ENOTDIR, "check its path"),
        (errno.ENOENT, "check its path"),
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
    ],
)
def test_the_remedy_fits_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CacheError, match=rf"\(refused\): {remedy} or name another folder by OSAD"):
        fresh(tmp_path / "cache").put(rows("a"))
