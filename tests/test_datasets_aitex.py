from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_trees import write_category
from manifest_tools import split_all
from raw_trees_2 import (
    counts,
    read,
    refusal,
    write_aitex,
    write_strip,
    write_strip_mask,
)

from osadbench.datasets.aitex import CLEAN, Aitex
from osadbench.datasets.findings import Findings
from osadbench.datasets.masks import read_mask
from osadbench.datasets.reading import Reading
from osadbench.images import decode
from osadbench.types import ImageRecord

PUBLISHED = Path(__file__).parent.parent / "results" / "published" / "dra_table2.csv"
MARKED = {
    "0003_002_00.png#xywh=0,0,256,256": "Broken_end",
    "0003_002_00.png#xywh=256,0,256,256": "Broken_end",
    "0044_019_04.png#xywh=768,0,256,256": "Fuzzyball",
    "0044_019_04.png#xywh=1280,0,256,256": "Fuzzyball",
    "0050_030_00.png#xywh=3840,0,256,256": "Nep",
    "0094_027_05.png#xywh=512,0,256,256": "Knots",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that no test changes."""
    return write_aitex(tmp_path_factory.mktemp("aitex"))


@pytest.fixture(scope="module")
def reading(tree: Path) -> Reading:
    found, problems = read(Aitex(tree))
    assert problems == []
    return found


@pytest.fixture
def root(tree: Path, tmp_path: Path) -> Path:
    """A tree to change."""
    return Path(shutil.copytree(tree, tmp_path / "aitex"))


def test_strips_are_cut_into_patches(reading: Reading) -> None:
    manifest = reading.manifest
    assert manifest.name == "aitex"
    # Three strips of 16 patches, a quarter of them to test on.
    assert counts(manifest) == {
        "train/good": 36,
        "test/good": 12,
        "test/Broken_end": 2,
        "test/Fuzzyball": 2,
        "test/Nep": 1,
        "test/Knots": 1,
    }
    found = {r.path: r.class_name for r in manifest.select(label=1)}
    assert found == {f"Defect_images/{path}": name for path, name in MARKED.items()}
    assert {reading.facts[r.path].size for r in manifest.records} == {(256, 256)}


def test_an_odd_name_is_normal_by_its_folder(reading: Reading) -> None:
    strip = "NODefect_images/2608691-202020u/0018_00_01.png"
    patches = [r for r in reading.manifest.records if r.group == strip]
    lefts = sorted(int(r.path.removeprefix(f"{strip}#xywh=").split(",")[0]) for r in patches)
    assert lefts == list(range(0, 4096, 256)) and {r.label for r in patches} == {0}


def test_a_patch_is_its_slice_of_the_strip(tree: Path, reading: Reading) -> None:
    path = "Defect_images/0044_019_04.png#xywh=768,0,256,256"
    images = Aitex(tree).images(reading.manifest, [path])
    whole = decode(tree / "Defect_images" / "0044_019_04.png")
    assert images[0].shape == (256, 256, 3)
    np.testing.assert_array_equal(images[0], whole[:, 768:1024])
    assert tuple(images[0][0, :3, 0]) == (101, 3, 1)


def test_masks_are_cut_alike_and_two_count_together(tree: Path, reading: Reading) -> None:
    by_path = reading.manifest.by_path
    record = by_path["Defect_images/0044_019_04.png#xywh=768,0,256,256"]
    assert record.mask == (
        "Mask_images/0044_019_04_mask1.png#xywh=768,0,256,256"
        "|Mask_images/0044_019_04_mask2.png#xywh=768,0,256,256"
    )
    marked = read_mask(tree, record.mask, Aitex.mask_threshold)
    assert np.argwhere(marked).tolist() == [[100, 32], [100, 33]]
    record = by_path["Defect_images/0003_002_00.png#xywh=256,0,256,256"]
    assert record.mask is not None and np.argwhere(read_mask(tree, record.mask)).tolist() == [
        [100, 0]
    ]


def test_what_is_left_out_and_why(reading: Reading) -> None:
    by_reason: dict[str, list[str]] = {}
    for path, reason in reading.exclusions:
        by_reason.setdefault(reason, []).append(path)
    # Of four strips with a usable mask: 14 + 14 + 15 + 14 of 15.
    assert [reason for _, reason in reading.omissions] == [CLEAN] * 57
    assert reading.omissions[0][0].startswith("Defect_images/0003_002_00.png#xywh=512")
    assert by_reason == {
        "it has no mask, so that its patches have no label": ["Defect_images/0100_025_08.png"],
        "its mask is black, so that its patches have no label": ["Defect_images/0106_010_03.png"],
        "it is narrower than 256 pixels": ["Defect_images/0094_027_05.png#xywh=3840,0,160,256"],
    }
    assert not any(CLEAN in warning for warning in reading.warnings)


def test_doubled_folders_give_the_same(reading: Reading, tmp_path: Path) -> None:
    doubled = Aitex(write_aitex(tmp_path / "archive" / "fabric", doubled=True)).manifest()
    inner = {
        r.path.replace("Defect_images/Defect_images/", "Defect_images/") for r in doubled.records
    }
    assert inner == set(reading.manifest.by_path)
    assert Aitex(tmp_path / "archive").root == tmp_path / "archive" / "fabric"


def test_a_split_by_strip(tree: Path, reading: Reading) -> None:
    torn = "3 of 7 strips have images in both train and test, as in the papers: split=group"
    assert any(warning.startswith(torn) for warning in reading.warnings)
    by_group, _ = read(Aitex(tree, split="group"))
    normals = by_group.manifest.select(label=0)
    tests = {r.group for r in normals if r.split == "test"}
    assert len(tests) == 1 and not tests & {r.group for r in normals if r.split == "train"}
    assert not any("strips" in warning for warning in by_group.warnings)


def test_blank_patches_can_be_dropped(tmp_path: Path) -> None:
    root = write_aitex(tmp_path, blank=(14, 15))
    assert len(Aitex(root).manifest().select(label=0)) == 48
    reading, problems = read(Aitex(root, drop_blank=True))
    assert problems == [] and len(reading.manifest.select(label=0)) == 44
    dropped = [path for path, reason in reading.exclusions if reason == "it is of one colour"]
    assert [path.partition("#")[2] for path in dropped[:2]] == [
        "xywh=3584,0,256,256",
        "xywh=3840,0,256,256",
    ]
    assert not any("unexpected numbers" in warning for warning in reading.warnings)


def test_blank_patches_in_train_and_test_are_told_or_refused(tmp_path: Path) -> None:
    root = write_aitex(tmp_path, blank=range(12))
    assert any("have the same content" in w for w in read(Aitex(root))[0].warnings)
    assert "have the same content" in refusal(Aitex(root, on_duplicate="error"))


def test_grey_edges_of_masks(root: Path) -> None:
    write_strip_mask(root / "Mask_images" / "0050_030_00_mask.png", (4095,), value=90)
    assert len(Aitex(root).manifest().select(class_name="Nep")) == 1
    reading, _ = read(Aitex(root, mask_above=127))
    assert not reading.manifest.select(class_name="Nep")
    assert (
        "Defect_images/0050_030_00.png",
        "its mask is black, so that its patches have no label",
    ) in (reading.exclusions)


def test_known_classes_and_the_published_names(root: Path) -> None:
    known = Aitex.known[""]
    for number, (stem, name) in enumerate(
        {
            "0060_010_00": "Broken_pick",
            "0061_022_00": "Cut_selvage",
            "0062_036_00": "Weft_crack",
        }.items()
    ):
        write_strip(root / "Defect_images" / f"{stem}.png", 200 + number)
        write_strip_mask(root / "Mask_images" / f"{stem}_mask.png", (5,))
        assert name in known
    manifest = Aitex(root).manifest()
    assert manifest.known_classes == known and "Knots" not in known
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    subsets = {row["subset"] for row in rows if row["dataset"] == "aitex" and row["subset"]}
    splits = split_all("hard", manifest, shots=[1], known_classes=sorted(subsets))
    assert {split.known_class for split in splits} == set(known) and len(subsets) == 6


def test_the_counts_say_what_differs(
    tree: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = [
        "Broken_pick",
        "Broken_yarn",
        "Contamination",
        "Crease",
        "Cut_selvage",
        "Warp_ball",
        "Weft_crack",
        "Weft_curling",
    ]
    expected = (
        "unexpected numbers of images: "
        f"{', '.join(f'test/{name} 0 instead of some' for name in absent)}, "
        "test/anomalies 6 instead of 183, test/good 12 instead of 564, train/good 36 instead of "
        "1692; the expected numbers were derived, not counted: check the download"
    )
    assert expected in reading.warnings
    assert read(Aitex(tree, strict_counts=True))[1] == [expected]
    exact = {"": {"train/good": 36, "test/good": 12, "test/*": 6}}
    monkeypatch.setattr(Aitex, "counts", exact)
    assert read(Aitex(tree, strict_counts=True))[1] == []


def test_140_strips_are_a_warning_only() -> None:
    records = [
        ImageRecord(f"{i:05d}", 0, "good", "test" if i < 560 else "train", "") for i in range(2240)
    ] + [ImageRecord(f"d{i:05d}", 1, "Nep", "test", "") for i in range(183)]
    findings = Findings()
    Aitex()._check_counts(records, "", findings)
    (warning,) = findings.warnings
    assert findings.problems == []
    assert "images: test/good 560 instead of 564, train/good 1680 instead of 1692; the" in warning


def test_damage_is_reported(root: Path) -> None:
    (root / "Defect_images" / "0003_002_00.png").write_bytes(b"")
    (root / "Mask_images" / "0050_030_00_mask.png").write_bytes(b"no image")
    write_strip_mask(root / "Mask_images" / "0044_019_04_mask1.png", (1,), width=4000)
    write_strip_mask(root / "Mask_images" / "0094_027_05_mask.png", (1,), width=4096)
    (root / "Defect_images" / "notes_030.png").write_bytes(b"")
    reading, problems = read(Aitex(root))
    assert [problem.split(" (")[0] for problem in problems[:1]] == [
        "Defect_images/0003_002_00.png cannot be read"
    ]
    assert "_mask1.png|Mask_images/0044_019_04_mask2.png differ in size" in problems[1]
    assert "cannot read image" in problems[2] and "0050_030_00_mask.png" in problems[2]
    assert problems[3] == (
        "Mask_images/0094_027_05_mask.png is 4096x256 but its image is 4000x256: get the dataset "
        "anew"
    )
    assert ("Defect_images/notes_030.png", "its name holds no known code of a defect") in (
        reading.exclusions
    )


def test_strips_of_another_height_are_refused(root: Path) -> None:
    strip = root / "NODefect_images" / "2306881-210020u" / "0001_000_00.png"
    write_category(root / "other")
    shutil.copy(next((root / "other" / "train" / "good").iterdir()), strip)
    assert "0001_000_00.png is 8x8: a strip is 256 pixels high; get the dataset anew" in refusal(
        Aitex(root)
    )


def test_a_missing_archive_is_named(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "Mask_images")
    text = refusal(Aitex(root))
    assert "there is no folder Mask_images: get NODefect_images.7z, Defect_images.7z" in text
    assert "there is no readable anomalous image" in text
    (tmp_path / "empty").mkdir()
    assert refusal(Aitex(tmp_path / "empty")).startswith(
        f"no aitex in {tmp_path / 'empty'}: expected NODefect_images/ROLL/NNNN_000_FF.png"
    )


def test_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"Nep": 3, "Knots": 2})
    manifest = Aitex(tmp_path).manifest()
    assert counts(manifest) == {
        "train/good": 6,
        "test/good": 4,
        "test/Nep": 3,
        "test/Knots": 2,
    }
    assert manifest.known_classes == ("Nep",)


def test_linked_rolls_are_read_but_not_round_and_round(root: Path, tmp_path: Path) -> None:
    before = Aitex(root).manifest()
    normals = root / "NODefect_images"
    (normals / "2608691-202020u").rename(tmp_path / "roll")
    try:
        (normals / "2608691-202020u").symlink_to(tmp_path / "roll", target_is_directory=True)
        (tmp_path / "roll" / "up").symlink_to(normals, target_is_directory=True)
        (normals / "up").symlink_to(normals, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    assert Aitex(root).manifest() == before
