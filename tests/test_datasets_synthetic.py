from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import osadbench.datasets.synthetic as synthetic
from osadbench.datasets import open_dataset
from osadbench.datasets.defects import DEFECTS
from osadbench.datasets.synthetic import Synthetic, SyntheticParams, draw_image
from osadbench.errors import CacheError, DataError, ParameterError
from osadbench.images import decode
from osadbench.registry import PROTOCOLS

SMALL: dict[str, Any] = {"size": 32, "n_train": 3, "n_test_normal": 2, "n_per_class": 2}
CLASSES = ("hole", "scratch", "specks", "stain")
CATEGORIES = ["disc", "grain", "weave"]
#: Digest of the pixels and masks of one disc of each class; new pixels need a new VERSION.
GOLDEN = "cd1e3d6259c72cbb86df3df9dc86557768137d5235ed71179e1e3a0555e02029"


def test_it_is_drawn_at_first_use_and_read_like_any_folder(tmp_path: Path) -> None:
    dataset, category = open_dataset("synthetic/weave", cache=tmp_path, **SMALL)
    assert category == "weave" and dataset.categories() == CATEGORIES
    assert not (tmp_path / "datasets").exists()
    manifest = dataset.manifest("weave")
    assert manifest.name == "synthetic/weave" and manifest.known_classes == CLASSES
    assert Counter(f"{r.split}/{r.class_name}" for r in manifest.records) == {
        "train/good": 3, "test/good": 2, **{f"test/{name}": 2 for name in CLASSES},
    }  # fmt: skip
    assert all((record.mask is not None) == bool(record.label) for record in manifest.records)
    images = dataset.images(manifest, [record.path for record in manifest.records])
    assert images[0].shape == (32, 32, 3)


def test_it_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Synthetic(cache=tmp_path, **SMALL).manifests()
    monkeypatch.setattr(synthetic, "draw_image", None)
    assert Synthetic(cache=tmp_path, **SMALL).manifests() == first
    (folder,) = (tmp_path / "datasets").iterdir()
    assert folder.name.startswith("synthetic-")


def test_a_seed_gives_the_same_pixels_everywhere() -> None:
    params = SyntheticParams(size=48, seed=7)
    hasher = hashlib.sha256()
    for class_name in ("good", *CLASSES):
        for image_or_mask in draw_image(params, "disc", "test", class_name, 0):
            hasher.update(image_or_mask.tobytes())
    assert hasher.hexdigest() == GOLDEN


@pytest.mark.parametrize("category", CATEGORIES)
def test_images_vary_and_seeds_differ(category: str) -> None:
    drawn = [
        draw_image(SyntheticParams(size=32, seed=seed), category, split, "good", index)[0]
        for seed in (0, 1)
        for split in ("train", "test")
        for index in (0, 1)
    ]
    for index, image in enumerate(drawn):
        for other in drawn[:index]:
            assert np.abs(image.astype(int) - other).mean() > 4


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("class_name", CLASSES)
def test_masks_are_exact(category: str, class_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SyntheticParams(size=96)
    with monkeypatch.context() as patch:
        defect = DEFECTS[class_name]
        patch.setattr(
            synthetic,
            "DEFECTS",
            {class_name: lambda *args: defect(*args)._replace(cover=np.zeros((96, 96)))},
        )
        clean, no_mask = draw_image(params, category, "test", class_name, 3)
    flawed, mask = draw_image(params, category, "test", class_name, 3)
    changed = (clean != flawed).any(axis=2)
    assert not no_mask.any() and mask.any() and mask.mean() < 0.15
    assert not (changed & ~mask).any()
    assert changed[mask].mean() > 0.9


def test_anomaly_classes_differ_in_area_and_tone() -> None:
    params = SyntheticParams()
    areas = {
        name: np.mean([draw_image(params, "grain", "test", name, i)[1].sum() for i in range(8)])
        for name in CLASSES
    }
    assert areas["specks"] < areas["scratch"] < areas["stain"]
    assert areas["specks"] < areas["hole"] < areas["stain"]
    image, mask = draw_image(params, "grain", "test", "hole", 0)
    assert image[mask].mean() < 0.7 * image[~mask].mean()


def test_difficulty_makes_defects_smaller_and_fainter() -> None:
    easy, difficult = SyntheticParams(difficulty=0.1), SyntheticParams(difficulty=1.0)
    for name in CLASSES:
        strong, large = draw_image(easy, "grain", "test", name, 0)
        faint, small = draw_image(difficult, "grain", "test", name, 0)
        assert small.sum() < large.sum()
        plain = ~(large | small)
        np.testing.assert_array_equal(strong[plain], faint[plain])


def test_both_protocols_have_room_with_the_defaults() -> None:
    params = SyntheticParams()
    assert params.n_per_class >= 10 and params.n_per_class * len(CLASSES) > 2 * 10


def test_the_protocols_take_it(tmp_path: Path) -> None:
    manifest = Synthetic(cache=tmp_path, **SMALL).manifest("disc")
    splits = list(PROTOCOLS.get("hard")().splits(manifest, seeds=[0], shots=[1]))
    assert [split.known_class for split in splits] == list(CLASSES)


def test_parameters_are_parsed_and_checked() -> None:
    assert Synthetic(size="64", difficulty="0.25").params == SyntheticParams(
        size=64, difficulty=0.25
    )
    with pytest.raises(ParameterError, match=r"synthetic.difficulty=0.*; .*synthetic.size=8"):
        Synthetic(difficulty=0.0, size=8)


def test_a_lost_image_is_noticed(tmp_path: Path) -> None:
    dataset = Synthetic(cache=tmp_path, **SMALL)
    dataset.manifest("disc")
    (dataset.root / "disc" / "train" / "good" / "000.png").unlink()
    with pytest.raises(DataError, match="train/good 2 instead of 3; delete .*drawn anew"):
        Synthetic(cache=tmp_path, **SMALL).manifest("disc")


def test_a_faster_process_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Synthetic(cache=tmp_path / "other", **SMALL).root
    dataset = Synthetic(cache=tmp_path, **SMALL)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        shutil.copytree(whole, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert len(dataset.manifest("disc").records) == 13
    assert [path.name for path in dataset.root.parent.iterdir()] == [dataset.root.name]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("in the way")
    with pytest.raises(CacheError, match="cannot write .*OSADBENCH_CACHE_DIR"):
        Synthetic(cache=tmp_path, **SMALL).manifest("disc")


def test_masks_on_disk_hold_0_and_255(tmp_path: Path) -> None:
    dataset = Synthetic(cache=tmp_path, **SMALL)
    for record in dataset.manifest("grain").select(label=1):
        assert record.mask is not None
        assert set(np.unique(decode(dataset.root / record.mask))) == {0, 255}
