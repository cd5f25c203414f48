from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import write_category
from manifest_tools import split_all
from raw_trees_2 import counts, read, refusal, write_brainmri

from osadbench.datasets.brainmri import SECOND, BrainMri
from osadbench.datasets.findings import Findings
from osadbench.errors import DataError

NORMALS = [
    "no/1 no.jpeg",
    "no/44no.jpg",
    "no/N26.JPG",
    "no/N3.jpg",
    "no/grey.jpg",
    "no/no 9.png",
    "no/no 98.jpg",
    "no/no.jpg",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_brainmri(tmp_path / "brainmri")


def test_one_of_the_two_copies_is_read(root: Path) -> None:
    dataset = BrainMri(root)
    reading, problems = read(dataset)
    assert problems == [] and dataset.root == root
    assert counts(reading.manifest) == {"train/good": 6, "test/good": 2, "test/defect": 5}
    assert [r.path for r in reading.manifest.select(label=0)] == NORMALS
    assert [r.path for r in reading.manifest.select(label=1)] == [
        "yes/Y1.jpg",
        "yes/Y2.JPG",
        "yes/Y3.JPG",
        "yes/Y4.png",
        "yes/Y5.jpg",
    ]


def test_the_second_copy_serves_where_it_is_the_only_one(root: Path) -> None:
    (root / "yes").rename(root / "tumours")
    dataset = BrainMri(root)
    assert len(dataset.manifest().records) == 13
    assert dataset.root == root / "brain_tumor_dataset"


def test_the_second_copy_is_left_out_with_the_reason(root: Path) -> None:
    findings = Findings()
    reading = BrainMri(root).read("", findings)
    assert [path.rpartition("/")[0] for path, _ in reading.omissions] == [
        *["brain_tumor_dataset/no"] * 8,
        *["brain_tumor_dataset/yes"] * 5,
    ]
    assert {reason for _, reason in reading.omissions} == {SECOND}
    assert not any("left out" in warning for warning in reading.warnings)


def test_normals_are_split_sorted(root: Path) -> None:
    # The test quarter of eight with the public scripts' seed: positions 1 and 5.
    tests = [r.path for r in BrainMri(root).manifest().select(split="test", label=0)]
    assert tests == ["no/44no.jpg", "no/no 9.png"]


def test_a_png_named_jpg_loses_its_alpha(root: Path) -> None:
    dataset = BrainMri(root)
    reading, _ = read(dataset)
    assert reading.facts["no/44no.jpg"].mode == "RGBA"
    assert dataset.images(reading.manifest, ["no/44no.jpg"])[0].shape == (8, 8, 3)
    assert "mode RGBA occurs in normal images only: it may give the label away" in reading.warnings


def test_copies_are_told(root: Path) -> None:
    assert "1 duplicate images inside train" in read(BrainMri(root))[0].warnings
    # A copy of a training image among those to test on, as the real folder has five.
    (root / "no" / "44no.jpg").write_bytes((root / "no" / "no.jpg").read_bytes())
    text = (
        "no/44no.jpg and no/no 98.jpg and no/no.jpg have the same content: an image must not stand "
        "in both train and test"
    )
    assert text in read(BrainMri(root))[0].warnings
    assert text in refusal(BrainMri(root, on_duplicate="error"))
    # Dropped before the split, which leaves a quarter of what is left to test on.
    dropped = BrainMri(root, on_duplicate="drop").manifest()
    assert counts(dropped) == {"train/good": 4, "test/good": 2, "test/defect": 5}
    assert len({record.sha256 for record in dropped.records}) == len(dropped.records)


def test_no_groups_are_known(root: Path) -> None:
    said = "of brainmri no source says which those are: drop split=group"
    assert said in refusal(BrainMri(root, split="group"))


def test_stray_files_are_told(root: Path) -> None:
    (root / "no" / "notes.pdf").write_bytes(b"x")
    warnings = read(BrainMri(root))[0].warnings
    assert "1 files are not read, such as no/notes.pdf" in warnings
    assert not any("Thumbs" in warning for warning in warnings)


def test_one_class_serves_the_general_protocol_only(root: Path) -> None:
    manifest = BrainMri(root).manifest()
    assert len(split_all("general", manifest, shots=[1], pool=2)) == 1
    with pytest.raises(DataError, match="brainmri has 1 anomaly class, but hard needs 2"):
        split_all("hard", manifest)


def test_the_counts_say_what_differs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "unexpected numbers of images: test/defect 5 instead of 155, test/good 2 instead of 25, "
        "train/good 6 instead of 73; this is not the complete Brain MRI images for brain tumor "
        "detection; get it anew"
    )
    assert expected in read(BrainMri(root))[0].warnings
    assert read(BrainMri(root, strict_counts=True))[1] == [expected]
    exact = {"": {"train/good": 6, "test/good": 2, "test/defect": 5}}
    monkeypatch.setattr(BrainMri, "counts", exact)
    assert read(BrainMri(root, strict_counts=True))[1] == []


def test_damage_is_reported(root: Path) -> None:
    (root / "no" / "N3.jpg").write_bytes(b"")
    (root / "yes" / "Y4.png").write_bytes((root / "yes" / "Y4.png").read_bytes()[:60])
    text = refusal(BrainMri(root))
    assert text.startswith("2 problems in ") and "N3.jpg" in text and "Y4.png" in text


def test_no_brainmri_at_all(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    assert refusal(BrainMri(tmp_path)) == (
        f"no brainmri in {tmp_path}: expected the folders no and yes with images, or the layout of "
        "MVTec AD; get https://www.kaggle.com/datasets/navoneel/"
        "brain-mri-images-for-brain-tumor-detection and unpack it"
    )
    (tmp_path / "yes").mkdir()
    text = refusal(BrainMri(tmp_path))
    assert "there is no readable normal image: get the dataset anew" in text


def test_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"defect": 3}, masks=False)
    found = counts(BrainMri(tmp_path).manifest())
    assert found == {"train/good": 6, "test/good": 4, "test/defect": 3}
