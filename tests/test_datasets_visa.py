from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from image_trees import write_category, write_image, write_mask
from manifest_tools import split_all
from PIL import Image
from raw_trees_1 import look, moved_into, refusal, write_visa
from raw_trees_2 import counts

from osadbench.datasets.masks import read_mask
from osadbench.datasets.visa import FIELDS, SPLIT_FILE, Visa
from osadbench.errors import DataError

NORMAL, ANOMALY = "candle/Data/Images/Normal", "candle/Data/Images/Anomaly"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_visa(tmp_path / "visa")


def edit_split(root: Path, old: str, new: str) -> None:
    path = root / SPLIT_FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_objects_are_categories_and_the_file_splits_them(root: Path) -> None:
    dataset = Visa(root)
    assert dataset.categories() == ["candle", "pcb1"]
    manifest = dataset.manifest("candle")
    assert manifest.name == "visa/candle"
    assert counts(manifest) == {"train/good": 5, "test/good": 2, "test/bad": 3}
    tested = {record.path for record in manifest.select(split="test", label=0)}
    assert tested == {f"{NORMAL}/0001.JPG", f"{NORMAL}/0004.JPG"}
    assert counts(dataset.manifest("pcb1")) == counts(manifest)


def test_every_number_in_a_mask_is_anomalous(root: Path) -> None:
    manifest = Visa(root).manifest("candle")
    record = manifest.by_path[f"{ANOMALY}/002.JPG"]
    assert record.mask == "candle/Data/Masks/Anomaly/002.png"
    # One pixel each of the kinds 1, 3 and 7.
    assert read_mask(root, record.mask, Visa.mask_threshold).sum() == 3
    assert all((r.mask is not None) == bool(r.label) for r in manifest.records)


def test_all_anomalies_are_one_class(root: Path) -> None:
    manifest = Visa(root).manifest("candle")
    assert manifest.known_classes == manifest.anomaly_classes == ("bad",)
    with pytest.raises(DataError, match="use the protocol general"):
        split_all("hard", manifest)


def test_declared_counts() -> None:
    sums: Counter[str] = Counter()
    for expected in Visa.counts.values():
        sums.update(expected)
    assert len(Visa.counts) == 12
    assert sums == {"train/good": 8659, "test/good": 962, "test/bad": 1200}


def test_a_difference_in_numbers_is_told(root: Path) -> None:
    reading, problems = look(Visa(root), "pcb1")
    assert problems == []
    assert reading.warnings == (
        "unexpected numbers of images: test/bad 3 instead of 100, test/good 2 instead of 100, "
        "train/good 5 instead of 904; this is not the complete VisA: twelve kinds of objects; get "
        "it anew",
    )
    assert "test/bad 3 instead of 100" in refusal(Visa(root, strict_counts=True), "pcb1")


def test_the_expected_numbers_give_no_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"train/good": 5, "test/good": 2, "test/bad": 3}
    monkeypatch.setattr(Visa, "counts", {"candle": expected})
    assert look(Visa(root), "candle")[0].warnings == ()


@pytest.mark.parametrize("wrapper", ["VisA_20220922", "VisA_20220922/VisA_20220922"])
def test_nested_copies_are_found(root: Path, wrapper: str) -> None:
    wrapped = moved_into(root, wrapper)
    dataset = Visa(wrapped)
    assert dataset.root == wrapped / wrapper
    assert counts(dataset.manifest("candle")) == {"train/good": 5, "test/good": 2, "test/bad": 3}


@pytest.mark.parametrize("place", ["", "visa_pytorch", "VisA_pytorch/1cls"])
def test_the_converted_layout_is_accepted(tmp_path: Path, place: str) -> None:
    write_category(tmp_path / place / "candle", classes={"bad": 2})
    # The authors' script keeps greyscale masks of 0 and 255.
    dataset = Visa(tmp_path)
    assert dataset.root == tmp_path / place and dataset.categories() == ["candle"]
    manifest = dataset.manifest("candle")
    assert counts(manifest) == {"train/good": 6, "test/good": 4, "test/bad": 2}
    assert all(record.mask for record in manifest.select(label=1))


def test_the_raw_form_goes_before_a_converted_copy(root: Path) -> None:
    write_category(root / "visa_pytorch" / "candle", classes={"bad": 2})
    assert Visa(root).categories() == ["candle", "pcb1"]
    assert f"{NORMAL}/0001.JPG" in Visa(root).manifest("candle").by_path


def test_without_the_split_there_is_a_remedy(root: Path) -> None:
    (root / SPLIT_FILE).unlink()
    with pytest.raises(
        DataError, match=r"expected split_csv/1cls.csv beside the objects in .*: co"
    ):
        Visa(root).categories()


def test_missing_data_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no visa in .*; get VisA_20220922\.tar"):
        Visa(tmp_path).categories()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"{NORMAL}/0003.JPG", "/etc/passwd"),
        (f"{NORMAL}/0003.JPG", f"{NORMAL}/../../../../secret.JPG"),
        (f"{NORMAL}/0003.JPG", f"{NORMAL}\\0003.JPG"),
        (f"{NORMAL}/0003.JPG", f"{NORMAL}/deeper/0003.JPG"),
        (f"{NORMAL}/0003.JPG", "pcb1/Data/Images/Normal/0003.JPG"),
        (f"{NORMAL}/0003.JPG", f"{ANOMALY}/003.JPG"),
        ("candle,train,normal", "candle,validation,normal"),
        ("candle,train,normal", "candle,train,anomaly"),
        ("candle,train,normal", "candle,train,odd"),
        ("candle,test,anomaly", "candle,train,anomaly"),
        ("candle/Data/Masks/Anomaly/001.png", ""),
        ("candle/Data/Masks/Anomaly/001.png", "/etc/passwd"),
        ("candle/Data/Masks/Anomaly/001.png", "candle/Data/Masks/Anomaly/../001.png"),
        ("candle,train,normal", "candle,normal"),
    ],
)
def test_lines_that_lead_elsewhere_are_refused(root: Path, old: str, new: str) -> None:
    edit_split(root, old, new)
    _, problems = look(Visa(root), "candle")
    (problem,) = problems
    assert problem.startswith(f"{SPLIT_FILE}, line ")
    assert "is not 'object,split,label,image,mask' with files of candle/Data: 'candle," in problem
    assert problem.endswith("; get the file anew") and repr(new)[1:-1] in problem


def test_lines_of_other_objects_are_theirs(root: Path) -> None:
    edit_split(root, "pcb1/Data/Images/Normal/0003.JPG", "/etc/passwd")
    assert look(Visa(root), "candle")[1] == []
    assert "/etc/passwd" in refusal(Visa(root), "pcb1")


def test_a_repetition_is_refused(root: Path) -> None:
    edit_split(root, f"{NORMAL}/0003.JPG", f"{NORMAL}/0002.JPG")
    text = refusal(Visa(root), "candle")
    assert "is a repetition: 'candle,train,normal,candle/Data/Images/Normal/0002.JPG,'" in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "must begin with 'object,split,label,image,mask', got ''"),
        (b"image;split\n", "must begin with 'object,split,label,image,mask', got 'image;split'"),
        (b"\xff\xfe\x00", "cannot be read ("),
        (b'"' + 200_000 * b"x", "cannot be read ("),
    ],
)
def test_a_file_of_another_form_is_refused(root: Path, content: bytes, text: str) -> None:
    (root / SPLIT_FILE).write_bytes(content)
    problems = look(Visa(root), "candle")[1]
    assert problems[0].startswith(f"{SPLIT_FILE} {text}")
    assert problems[1] == "there is no readable normal image: get the dataset anew"


def test_missing_damaged_and_superfluous_files(root: Path) -> None:
    (root / NORMAL / "0000.JPG").unlink()
    (root / NORMAL / "0002.JPG").write_bytes(b"\xff\xd8")
    (root / "candle/Data/Masks/Anomaly/001.png").unlink()
    write_mask(root / "candle/Data/Masks/Anomaly/002.png", size=(9, 7))
    write_image(root / NORMAL / "9999.JPG")
    reading, problems = look(Visa(root), "candle")
    assert len(problems) == 4
    for text in ("0000.JPG is gone", "cannot read image", "001.png is gone", "002.png is 9x7"):
        assert any(text in problem for problem in problems)
    assert (
        f"1 images of {NORMAL.removesuffix('/Normal')} are not in {SPLIT_FILE} and not read, such "
        "as Normal/9999.JPG"
    ) in reading.warnings


def test_masks_may_be_colour_or_grey(root: Path) -> None:
    path = root / "candle/Data/Masks/Anomaly/000.png"
    Image.fromarray(np.full((8, 8, 3), 2, dtype=np.uint8)).save(path)
    assert look(Visa(root), "candle")[1] == []
    assert read_mask(root, "candle/Data/Masks/Anomaly/000.png", Visa.mask_threshold).all()


def test_a_byte_order_mark_does_no_harm(root: Path) -> None:
    path = root / SPLIT_FILE
    path.write_text("\ufeff" + path.read_text())
    assert look(Visa(root), "candle")[1] == []
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert next(csv.reader(file)) == FIELDS
