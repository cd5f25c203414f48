from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import write_category, write_image, write_mask
from manifest_tools import split_all
from raw_trees_1 import look, moved_into, refusal, write_magnetic_tile
from raw_trees_2 import counts

from osadbench.datasets.magnetic_tile import MagneticTile
from osadbench.datasets.masks import read_mask
from osadbench.errors import DataError

COUNTS = {
    "train/good": 6,
    "test/good": 2,
    "test/blowhole": 3,
    "test/break": 2,
    "test/crack": 2,
    "test/fray": 1,
    "test/uneven": 3,
}
NEAR = (
    "some images are near copies of others, of their own class or another: train and test may show "
    "the same tile"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_magnetic_tile(tmp_path / "magnetic-tile")


def test_masks_beside_the_images_are_no_images(root: Path) -> None:
    manifest = MagneticTile(root).manifest()
    assert counts(manifest) == COUNTS
    assert {Path(record.path).suffix for record in manifest.records} == {".jpg", ".JPG"}
    assert all(record.mask is None for record in manifest.select(label=0))
    assert manifest.known_classes == ("blowhole", "break", "crack", "fray", "uneven")


def test_normals_are_split_as_sorted(root: Path) -> None:
    # The test quarter of eight with the public scripts' seed: positions 1 and 5.
    tested = [r.path for r in MagneticTile(root).manifest().select(split="test", label=0)]
    folder = "MT_Free/Imgs"
    assert tested == [f"{folder}/exp0_num_47.jpg", f"{folder}/exp4_num_44.jpg"]


def test_only_bright_pixels_of_a_mask_are_marked(root: Path) -> None:
    record = MagneticTile(root).manifest().by_path["MT_Crack/Imgs/exp1_num_51.JPG"]
    assert record.mask == "MT_Crack/Imgs/exp1_num_51.png"
    # Of 255, 64 and 200 the edge is left out.
    marked = read_mask(root, record.mask, MagneticTile.mask_threshold)
    assert marked.flatten()[:4].tolist() == [True, False, True, False]


def test_an_anomaly_with_a_black_mask_stays_one(root: Path) -> None:
    reading, problems = look(MagneticTile(root))
    black = "MT_Uneven/Imgs/exp0_num_60.jpg"
    record = reading.manifest.by_path[black]
    assert (record.class_name, record.label, record.mask) == ("uneven", 1, None)
    assert problems == []
    assert (
        "1 masks mark no pixel, so their images count as anomalies without a mask: " + black
    ) in reading.warnings
    assert sum(r.mask is not None for r in reading.manifest.records) == 10


def test_near_copies_and_numbers_are_told(root: Path) -> None:
    warnings = look(MagneticTile(root))[0].warnings
    assert NEAR in warnings
    assert warnings[-1] == (
        "unexpected numbers of images: test/blowhole 3 instead of 115, test/break 2 instead of 85, "
        "test/crack 2 instead of 57, test/fray 1 instead of 32, test/good 2 instead of 238, "
        "test/uneven 3 instead of 103, train/good 6 instead of 714; this is not the complete "
        "Magnetic tile defects; get it anew"
    )
    assert "test/fray 1 instead of 32" in refusal(MagneticTile(root, strict_counts=True))


def test_the_expected_numbers_give_no_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MagneticTile, "counts", {"": COUNTS})
    warnings = look(MagneticTile(root))[0].warnings
    assert [warning for warning in warnings if "unexpected" in warning] == []


def test_declared_counts() -> None:
    declared = MagneticTile.counts[""]
    assert sum(declared.values()) == 1344
    assert declared["train/good"] + declared["test/good"] == 952
    # Test anomalies of the hard setting, by known class.
    anomalies = {name: n for name, n in declared.items() if not name.endswith("good")}
    left = [sum(anomalies.values()) - count for count in anomalies.values()]
    assert left == [277, 307, 335, 360, 289]


def test_the_hard_setting(root: Path) -> None:
    manifest = MagneticTile(root).manifest()
    splits = split_all("hard", manifest, shots=[1])
    assert [split.known_class for split in splits] == list(manifest.known_classes)
    (split,) = split_all("hard", manifest, shots=[1], known_classes=["MT_Fray"])
    assert split.known_class == "fray" and len(split.test) == 2 + 10


@pytest.mark.parametrize(
    "wrapper",
    ["Magnetic-tile-defect-datasets.-master", "Surface-Defect-Detection/Magnetic-Tile-Defect"],
)
def test_nested_copies_are_found(root: Path, wrapper: str) -> None:
    wrapped = moved_into(root, wrapper)
    dataset = MagneticTile(wrapped)
    assert dataset.root == wrapped / wrapper and counts(dataset.manifest()) == COUNTS


def test_the_converted_layout_is_accepted(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"MT_Crack": 2, "MT_Fray": 1})
    manifest = MagneticTile(tmp_path).manifest()
    assert counts(manifest) == {
        "train/good": 6,
        "test/good": 4,
        "test/MT_Crack": 2,
        "test/MT_Fray": 1,
    }


def test_missing_data_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no magnetic-tile in .*: expected MT_Free/Imgs, MT_Blow"):
        MagneticTile(tmp_path).manifest()


def test_a_missing_folder_shows_in_the_numbers(root: Path) -> None:
    (root / "MT_Crack").rename(root / "Crack")
    reading, problems = look(MagneticTile(root))
    assert problems == [] and "test/crack 0 instead of 57" in reading.warnings[-1]
    (root / "MT_Free").rename(root / "Free")
    assert "there is no readable normal image" in refusal(MagneticTile(root))


def test_files_without_their_pair_are_told(root: Path) -> None:
    folder = root / "MT_Break" / "Imgs"
    (folder / "exp0_num_50.png").unlink()
    write_mask(folder / "exp9_num_9.png")
    (folder / "notes.doc").write_text("?")
    reading, problems = look(MagneticTile(root))
    assert problems == []
    where = "1 files of MT_Break/Imgs are"
    assert f"{where} images without a mask, such as MT_Break/Imgs/exp0_num_50.jpg" in (
        reading.warnings
    )
    assert f"{where} masks without an image, such as MT_Break/Imgs/exp9_num_9.png" in (
        reading.warnings
    )
    assert f"{where} neither and not read, such as MT_Break/Imgs/notes.doc" in reading.warnings
    assert counts(reading.manifest) == COUNTS


def test_damaged_files_are_problems(root: Path) -> None:
    folder = root / "MT_Blowhole" / "Imgs"
    (folder / "exp0_num_80.jpg").write_bytes(b"")
    (folder / "exp1_num_81.png").write_bytes(b"\x89PNG")
    write_mask(folder / "exp2_num_82.png", size=(9, 8))
    text = refusal(MagneticTile(root))
    assert text.startswith("3 problems in ")
    assert "exp0_num_80.jpg" in text and "exp1_num_81.png" in text
    assert "MT_Blowhole/Imgs/exp2_num_82.png is 9x8 but its image is 8x8" in text


def test_a_normal_copy_of_an_anomaly_is_refused(root: Path) -> None:
    anomaly = root / "MT_Fray" / "Imgs" / "exp0_num_40.jpg"
    (root / "MT_Free" / "Imgs" / "exp0_num_40.jpg").write_bytes(anomaly.read_bytes())
    assert "an image must not be both normal and anomalous" in refusal(MagneticTile(root))


def test_sizes_may_differ(root: Path) -> None:
    folder = root / "MT_Fray" / "Imgs"
    write_image(folder / "exp0_num_40.jpg", size=(103, 20), mode="L")
    write_mask(folder / "exp0_num_40.png", size=(103, 20))
    reading, problems = look(MagneticTile(root))
    assert problems == [] and reading.facts["MT_Fray/Imgs/exp0_num_40.jpg"].size == (103, 20)
