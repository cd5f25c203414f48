from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_trees import write_category, write_image
from manifest_tools import split_all
from raw_trees_2 import counts, read, refusal, write_optical

from osadbench.datasets.findings import Findings
from osadbench.datasets.masks import read_mask
from osadbench.datasets.optical import Optical
from osadbench.errors import DataError

#: The normals as the public conversion meets them: flawed images come first in each part.
ORDER = [
    *(f"Class1/Train/{number:04d}.PNG" for number in (577, 578, 579)),
    *(f"Class1/Test/{number:04d}.PNG" for number in (2, 3, 4)),
    *(f"Class2/Train/{number:04d}.PNG" for number in (578, 579)),
    *(f"Class2/Test/{number:04d}.PNG" for number in (3, 4)),
    "Class10/Train/0577.PNG",
    "Class10/Test/0002.PNG",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_optical(tmp_path / "optical")


def edit_labels(root: Path, old: str, new: str, folder: str = "Class2/Train") -> None:
    path = root / folder / "Label" / "Labels.txt"
    text = path.read_bytes().decode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())


def test_textures_and_parts_are_pooled(root: Path) -> None:
    reading, problems = read(Optical(root))
    assert problems == []
    assert counts(reading.manifest) == {"train/good": 9, "test/good": 3, "test/defect": 8}
    assert {r.path for r in reading.manifest.select(label=0)} == set(ORDER)
    assert all(record.group is None for record in reading.manifest.records)


def test_normals_are_split_in_the_order_of_the_files(root: Path) -> None:
    found = [r.path for r in Optical(root).raw_images("", Findings()) if r.class_name == "good"]
    assert found == ORDER
    # The test quarter of twelve with the public scripts' seed: positions 0, 9 and 10. Sorted as
    # text, Class10 would come before Class2 and Test before Train.
    tests = {r.path for r in Optical(root).manifest().select(split="test", label=0)}
    assert tests == {ORDER[position] for position in (0, 9, 10)}


def test_doubled_folders_give_the_same(root: Path, tmp_path: Path) -> None:
    doubled = Optical(write_optical(tmp_path / "kaggle" / "upload", doubled=True))
    tests = {r.path for r in doubled.manifest().select(split="test", label=0)}
    assert {path.partition("/")[2] for path in tests} == {
        r.path for r in Optical(root).manifest().select(split="test", label=0)
    }
    assert Optical(tmp_path / "kaggle").root == doubled.root


def test_masks(root: Path) -> None:
    record = Optical(root).manifest().by_path["Class1/Train/0576.PNG"]
    assert record.class_name == "defect"
    assert record.mask == "Class1/Train/Label/0576_label.PNG"
    assert read_mask(root, record.mask, Optical.mask_threshold).sum() == 12
    pixels = Optical(root).images(Optical(root).manifest(), [record.path])[0]
    assert pixels.shape == (8, 8, 3) and (pixels[..., 0] == pixels[..., 2]).all()


def test_one_class_serves_the_general_protocol_only(root: Path) -> None:
    manifest = Optical(root).manifest()
    assert len(split_all("general", manifest, shots=[1], pool=2)) == 1
    with pytest.raises(DataError, match="optical has 1 anomaly class, but hard needs 2"):
        split_all("hard", manifest)


def test_the_counts_say_what_differs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "unexpected numbers of images: test/defect 8 instead of 2100, test/good 3 instead of 3500, "
        "train/good 9 instead of 10500; this is not the complete Optical: DAGM 2007, industrial "
        "optical inspection; get it anew"
    )
    assert expected in read(Optical(root))[0].warnings
    assert read(Optical(root, strict_counts=True))[1] == [expected]
    exact = {"": {"train/good": 9, "test/good": 3, "test/defect": 8}}
    monkeypatch.setattr(Optical, "counts", exact)
    assert read(Optical(root, strict_counts=True))[1] == []


@pytest.mark.parametrize("place", ["", "dagm"])
def test_the_first_release_is_refused(tmp_path: Path, place: str) -> None:
    write_image(tmp_path / place / "Class1" / "1.png")
    write_image(tmp_path / place / "Class1_def" / "1.png")
    text = refusal(Optical(tmp_path))
    assert text.startswith(f"{tmp_path / place} holds Class1_def, so it is DAGM 2007 as first rel")
    assert "where ClassC/{Train,Test}/NNNN.PNG" in text and "node/3616" in text


def test_wrong_lines_are_all_reported(root: Path) -> None:
    edit_labels(root, "576\t1\t0576.PNG\t0\t0576_label.PNG", "576\t1\t0576.PNG\t0")
    edit_labels(root, "577\t1", "577\tx")
    edit_labels(root, "0578.PNG", "../../../secret.PNG")
    edit_labels(root, "579\t0\t0579.PNG", "579 0 0579.PNG")
    edit_labels(root, "0004.PNG", "0003.PNG", "Class2/Test")
    edit_labels(root, "0001_label.PNG", "..\\..\\x.PNG", "Class2/Test")
    text = refusal(Optical(root))
    assert text.startswith("6 problems in ")
    for number in range(2, 6):
        wanted = f"Class2/Train/Label/Labels.txt, line {number} is not 'ID FLAG IMAGE X MASK': "
        assert wanted in text
    assert "Class2/Test/Label/Labels.txt, line 2 is not" in text
    assert "Class2/Test/Label/Labels.txt, line 5 is a repetition: " in text


def test_half_a_download_is_reported(root: Path) -> None:
    (root / "Class1" / "Test" / "Label" / "Labels.txt").unlink()
    (root / "Class2" / "Train" / "0578.PNG").unlink()
    (root / "Class10" / "Train" / "Label" / "0576_label.PNG").write_bytes(b"")
    text = refusal(Optical(root))
    assert text.startswith("3 problems in ")
    assert "Class1/Test/Label/Labels.txt cannot be read (" in text
    assert "0578.PNG is gone" in text and "cannot read image" in text


def test_masks_of_another_size_are_refused(root: Path) -> None:
    write_image(root / "Class10" / "Train" / "Label" / "0576_label.PNG", size=(8, 9), mode="L")
    assert "0576_label.PNG is 8x9 but its image is 8x8" in refusal(Optical(root))


def test_no_optical_at_all(tmp_path: Path) -> None:
    assert refusal(Optical(tmp_path)).startswith(
        f"no optical in {tmp_path}: expected ClassC/{{Train,Test}}/NNNN.PNG"
    )


def test_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"defect": 3})
    manifest = Optical(tmp_path).manifest()
    assert counts(manifest) == {"train/good": 6, "test/good": 4, "test/defect": 3}
    assert all(np.array(read_mask(tmp_path, str(r.mask))).any() for r in manifest.select(label=1))
