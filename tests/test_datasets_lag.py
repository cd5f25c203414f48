from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import write_image
from manifest_tools import split_all
from raw_trees_2 import counts, read, refusal, write_brainmri, write_lag

from osadbench import datasets
from osadbench.datasets.brainmri import BrainMri
from osadbench.datasets.headct import HeadCt
from osadbench.datasets.lag import Lag
from osadbench.datasets.outliers import find_outliers
from osadbench.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_lag(tmp_path / "lag")


def test_photographs_are_read_and_no_maps(root: Path) -> None:
    reading, problems = read(Lag(root))
    assert problems == [] and reading.warnings == ()
    assert counts(reading.manifest) == {"train/good": 5}
    assert [record.path for record in reading.manifest.records] == [
        "non_glaucoma/image/0000.jpg",
        "non_glaucoma/image/0001.jpg",
        "non_glaucoma/image/0002.jpg",
        "suspicious_glaucoma/image/0003.jpg",
        "suspicious_glaucoma/image/0004.jpg",
    ]
    assert {record.label for record in reading.manifest.records} == {0}


def test_any_number_and_one_folder_will_do(root: Path) -> None:
    (root / "suspicious_glaucoma").rename(root / "apart")
    assert len(Lag(root, strict_counts=True).manifest().records) == 3


def test_other_places(root: Path, tmp_path: Path) -> None:
    assert Lag(root.parent).root == root
    # As DRA's public code keeps the sources of outliers.
    for number in range(3):
        write_image(tmp_path / "outliers" / "train" / "good" / f"{number}.png")
    assert counts(Lag(tmp_path / "outliers").manifest()) == {"train/good": 3}


@pytest.mark.parametrize("protocol", ["general", "hard"])
def test_it_is_no_target(root: Path, protocol: str) -> None:
    with pytest.raises(DataError, match="^lag has no normal test images: [^\n]+$"):
        split_all(protocol, Lag(root).manifest())


def test_it_is_a_source_of_outliers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(datasets._DATASETS, "lag", Lag)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", str(tmp_path))
    target = BrainMri(write_brainmri(tmp_path / "brainmri"))
    assert BrainMri.default_outliers == HeadCt.default_outliers == "lag"
    outliers = find_outliers("lag", target, target.manifest(), None)
    assert outliers.source == "lag" and outliers.dataset.root == root
    assert sorted(outliers.paths) == [record.path for record in Lag(root).manifest().records]
    assert outliers.images()[0].shape == (8, 8, 3)


def test_damage_and_empty_folders_are_reported(root: Path) -> None:
    (root / "non_glaucoma" / "image" / "0001.jpg").write_bytes(b"")
    assert "0001.jpg" in refusal(Lag(root))
    for image in root.glob("*/image/*.jpg"):
        image.unlink()
    assert refusal(Lag(root)) == f"{root}: there is no readable image: get the dataset anew"


def test_missing_data_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(Lag(tmp_path)) == (
        f"no lag in {tmp_path}: expected non_glaucoma/image/*.jpg and "
        "suspicious_glaucoma/image/*.jpg, or the layout of MVTec AD; ask its authors for it as "
        "https://github.com/smilell/AG-CNN says"
    )
    monkeypatch.delenv("OSADBENCH_DATA_DIR", raising=False)
    assert refusal(Lag()).startswith("lag is not here: give its folder by --data-root DIR, or put")
