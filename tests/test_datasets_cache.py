from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from image_trees import write_category, write_image
from raw_trees_2 import write_brainmri

from osadbench.datasets.brainmri import BrainMri
from osadbench.datasets.folder import Folder
from osadbench.datasets.manifest_cache import load_reading
from osadbench.errors import CacheError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_category(tmp_path / "data" / "carpet")
    write_category(tmp_path / "data" / "bottle")
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "manifests").glob("*"))


def test_nothing_is_kept_without_a_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder(root).manifest("carpet")
    monkeypatch.setattr("osadbench.datasets.reading.decode", None)
    with pytest.raises(TypeError):
        Folder(root).manifest("carpet")


def test_a_manifest_is_read_once(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Folder(root, cache=cache).manifest("carpet")
    monkeypatch.setattr("osadbench.datasets.reading.decode", None)
    second = Folder(root, cache=cache).manifest("carpet")
    assert first == second and first.digest == second.digest
    assert [path.suffix for path in kept(cache)] == [".json"]


def test_warnings_come_back_once_for_each_dataset(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "carpet" / "test" / "cut").mkdir()
    for _ in range(2):
        dataset = Folder(root, cache=cache)
        dataset.manifest("carpet")
        dataset.manifest("carpet")
    assert [r.getMessage() for r in caplog.records] == [
        "folder/carpet: test/cut holds no image"
    ] * 2


def test_categories_options_and_roots_are_kept_apart(
    root: Path, cache: Path, tmp_path: Path
) -> None:
    Folder(root, cache=cache).manifests()
    Folder(root, cache=cache, on_duplicate="drop").manifest("carpet")
    write_category(tmp_path / "other" / "carpet")
    Folder(tmp_path / "other", cache=cache).manifest("carpet")
    assert len(kept(cache)) == 4


def test_changes_are_noticed(root: Path, cache: Path) -> None:
    dataset = Folder(root, cache=cache)
    first = dataset.manifest("carpet")
    image = write_image(root / "carpet" / "train" / "good" / "new.png")
    assert len(dataset.manifest("carpet").records) == len(first.records) + 1
    image.unlink()
    assert dataset.manifest("carpet") == first
    old = root / "carpet" / "train" / "good" / "000.png"
    times = os.stat(old)  # noqa: PTH116
    old.write_bytes(old.read_bytes() + b"more")
    os.utime(old, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert dataset.manifest("carpet").digest != first.digest


def test_a_rewritten_mask_is_noticed(root: Path, cache: Path) -> None:
    Folder(root, cache=cache).manifest("carpet")
    (root / "carpet" / "ground_truth" / "hole" / "000_mask.png").unlink()
    record = Folder(root, cache=cache).manifest("carpet").by_path["carpet/test/hole/000.png"]
    assert record.mask is None


@pytest.mark.parametrize("damage", ["cut", "changed", "other", "binary"])
def test_damaged_files_are_rebuilt(
    root: Path, cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = Folder(root, cache=cache).manifest("carpet")
    (path,) = kept(cache)
    text = path.read_text()
    stored = json.loads(text)
    stored["body"]["manifest"]["records"][0]["label"] = 1
    path.write_bytes(
        {
            "cut": text[:-20].encode(),
            "changed": json.dumps(stored).encode(),
            "other": b"[1, 2]",
            "binary": b"\xff\xfe\x00",
        }[damage]
    )
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        assert Folder(root, cache=cache).manifest("carpet") == first
    assert "was damaged" in caplog.text and "will be rebuilt" in caplog.text
    restored = load_reading(path)
    assert restored is not None and restored.manifest == first


def test_a_dataset_with_problems_is_not_kept(root: Path, cache: Path) -> None:
    (root / "carpet" / "train" / "good" / "bad.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(Exception, match="cannot read image"):
            Folder(root, cache=cache).manifest("carpet")
    assert kept(cache) == []


def test_a_cache_that_cannot_be_written_is_an_error(root: Path, cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(CacheError, match="cannot write the cache in .*OSADBENCH_CACHE_DIR"):
        Folder(root, cache=cache).manifest("carpet")


def test_files_behind_linked_folders_are_looked_at_too(tmp_path: Path, cache: Path) -> None:
    root = write_brainmri(tmp_path / "data")
    shutil.rmtree(root / "brain_tumor_dataset")
    root.joinpath("yes").rename(tmp_path / "store")
    try:
        root.joinpath("yes").symlink_to(tmp_path / "store", target_is_directory=True)
        # Links that lead back up have no end.
        root.joinpath("yes", "up").symlink_to(root, target_is_directory=True)
        root.joinpath("again").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    before = BrainMri(root, cache=cache).manifest()
    assert len(kept(cache)) == 1 and BrainMri(root, cache=cache).manifest() == before
    assert len(kept(cache)) == 1
    write_image(tmp_path / "store" / "Y1.jpg", size=(11, 12))
    changed = BrainMri(root, cache=cache).manifest()
    assert changed.digest != before.digest
    (tmp_path / "store" / "Y2.JPG").unlink()
    assert len(BrainMri(root, cache=cache).manifest().records) == len(before.records) - 1
