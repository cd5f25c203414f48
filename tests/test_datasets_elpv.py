from __future__ import annotations

import importlib.util
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from image_trees import write_elpv, write_image

from osadbench.datasets.elpv import Elpv
from osadbench.errors import DataError, UsageError
from osadbench.registry import PROTOCOLS
from osadbench.types import Manifest

GOLDEN = Path(__file__).with_name("golden") / "splits.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_elpv(tmp_path / "elpv")


def edit_labels(root: Path, old: str, new: str) -> None:
    labels = root / "labels.csv"
    text = labels.read_text()
    assert old in text
    labels.write_text(text.replace(old, new))


def problems(root: Path, strict_counts: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        Elpv(root, strict_counts=strict_counts).manifest()
    return str(caught.value)


def test_certain_cells_are_read_and_undecided_ones_left_out(root: Path) -> None:
    manifest = Elpv(root).manifest()
    counts = Counter((r.split, r.class_name, r.label) for r in manifest.records)
    assert counts == {
        ("train", "good", 0): 6,
        ("test", "good", 0): 2,
        ("test", "mono", 1): 3,
        ("test", "poly", 1): 3,
    }
    assert manifest.name == "elpv" and manifest.known_classes == ("mono", "poly")
    assert "images/cell0014.png" not in manifest.by_path


def test_normals_are_split_in_the_order_of_the_file(root: Path) -> None:
    # The test quarter of eight with the public scripts' seed: positions 1 and 5.
    tests = {r.path for r in Elpv(root).manifest().select(split="test", label=0)}
    assert tests == {"images/cell0001.png", "images/cell0005.png"}
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join(lines[::-1]))
    tests = {r.path for r in Elpv(root).manifest().select(split="test", label=0)}
    assert tests == {"images/cell0006.png", "images/cell0002.png"}


@pytest.mark.parametrize(
    "place", ["data", "src/elpv_dataset/data", "elpv-dataset-master/src/elpv_dataset/data"]
)
def test_nested_copies_are_found(root: Path, tmp_path: Path, place: str) -> None:
    write_elpv(tmp_path / "copy" / place)
    nested = Elpv(tmp_path / "copy").manifest()
    assert nested.by_path.keys() == Elpv(root).manifest().by_path.keys()


def test_the_data_folder_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSADBENCH_DATA_DIR", str(root.parent))
    assert Elpv().root == root


def test_missing_data_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = r'expected labels.csv .*; pip install "osadbench\[demo\]" brings it'
    with pytest.raises(DataError, match=f"no elpv in {tmp_path}: {expected}"):
        Elpv(tmp_path).manifest()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="elpv is not here: give its folder by --data-root DIR, or"):
        Elpv().manifest()


def test_there_are_no_categories(root: Path) -> None:
    assert Elpv(root).categories() == [""]
    with pytest.raises(UsageError, match="elpv has no categories here: drop '/mono'"):
        Elpv(root).manifest("mono")


def test_wrong_lines_are_all_reported(root: Path) -> None:
    edit_labels(root, "images/cell0000.png  0.0", "/etc/passwd  0.0")
    edit_labels(root, "images/cell0001.png", "images/../../secret.png")
    edit_labels(root, "images/cell0002.png  0.0", "images/cell0002.png  0.5")
    edit_labels(root, "images/cell0003.png  0.0  mono", "images/cell0003.png,0.0,mono")
    edit_labels(root, "images/cell0004.png  0.0  mono", "images/cell0004.png  0.0  thin")
    edit_labels(root, "images/cell0006.png", "images/cell0005.png")
    text = problems(root)
    assert text.startswith("6 problems in ")
    for number in range(1, 6):
        assert f"labels.csv, line {number} is not 'images/NAME.png PROBABILITY TYPE'" in text
    assert "line 7 is a repetition: 'images/cell0005.png  0.0  mono'; correct it" in text


def test_missing_and_damaged_images_are_reported(root: Path) -> None:
    (root / "images" / "cell0000.png").unlink()
    (root / "images" / "cell0009.png").write_bytes(b"")
    text = problems(root)
    assert "cell0000.png is gone" in text and "cannot read image" in text


def test_empty_labels(root: Path) -> None:
    (root / "labels.csv").write_text("\n")
    assert "there is no readable normal image: get the dataset anew" in problems(root)


def test_cells_of_one_kind_only(root: Path) -> None:
    lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join(line for line in lines if "  0.0 " in line))
    assert "there is no readable anomalous image" in problems(root)
    (root / "labels.csv").write_text("\n".join(lines[:1] + lines[8:]))
    assert "expected 2 or more normal images to split, got 1" in problems(root)


def test_a_normal_twin_of_a_defective_cell_is_refused(root: Path) -> None:
    (root / "images" / "cell0000.png").write_bytes((root / "images/cell0009.png").read_bytes())
    assert "an image must not be both normal and anomalous" in problems(root)


def test_unexpected_counts(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        Elpv(root).manifest()
    counts = "test/good 2 instead of 377, test/mono 3 instead of 313, test/poly 3 instead of 402"
    assert [r.getMessage() for r in caplog.records] == [
        f"elpv: unexpected numbers of images: {counts}, train/good 6 instead of 1131; "
        f"this is not the complete {Elpv.title}; get it anew"
    ]
    assert counts in problems(root, strict_counts=True)


def test_a_kept_manifest_needs_neither_sklearn_nor_reading(
    root: Path, tmp_path: Path, run_python: Callable[..., str]
) -> None:
    first = Elpv(root, cache=tmp_path / "cache").manifest()
    code = """
import sys
import osadbench.datasets.reading as reading
from pathlib import Path
from osadbench.datasets import open_dataset
reading.decode = reading.file_digest = None
dataset, _ = open_dataset("elpv", sys.argv[1], cache=sys.argv[2])
print(dataset.manifest().digest)
print([name for name in ("sklearn", "torch", "pandas", "scipy") if name in sys.modules])
"""
    assert run_python(code, str(root), str(tmp_path / "cache")).split() == [first.digest, "[]"]


def test_new_and_changed_images_are_noticed(root: Path, tmp_path: Path) -> None:
    first = Elpv(root, cache=tmp_path / "cache").manifest()
    write_image(root / "images" / "cell0000.png", size=(9, 9), mode="L")
    second = Elpv(root, cache=tmp_path / "cache").manifest()
    changed = {r.path for r in set(first.records) ^ set(second.records)}
    assert changed == {"images/cell0000.png"}
    edit_labels(root, "1.0  mono", "0.0  mono")
    assert len(Elpv(root, cache=tmp_path / "cache").manifest().select(class_name="mono")) == 0


@pytest.fixture(scope="module")
def elpv() -> Manifest:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package elpv-dataset is not installed")
    return Elpv(Path(spec.submodule_search_locations[0]), strict_counts=True).manifest()


def test_elpv_has_the_published_counts(elpv: Manifest) -> None:
    assert Counter(f"{r.split}/{r.class_name}" for r in elpv.records) == Elpv.counts[""]
    assert len({r.sha256 for r in elpv.records}) == 2223


def test_elpv_splits(elpv: Manifest) -> None:
    golden = json.loads(GOLDEN.read_text())["elpv"]
    assert elpv.digest == golden["manifest"]
    digests = {}
    for protocol in ("general", "hard"):
        for split in PROTOCOLS.get(protocol)().splits(elpv, seeds=[0, 1, 2], shots=[1, 10]):
            labels = Counter(elpv.by_path[path].label for path in split.test)
            anomalies = {"": 705, "mono": 402, "poly": 313}[split.known_class]
            assert labels == {0: 377, 1: anomalies}
            assert len(split.train_normals) == 1131
            assert len(split.train_anomalies) == split.shots
            digests[f"{protocol} {split.known_class} {split.shots} {split.seed}"] = split.digest
    assert digests == golden["splits"]
