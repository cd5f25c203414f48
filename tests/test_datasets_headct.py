from __future__ import annotations

from pathlib import Path

import pytest
from image_trees import write_category
from manifest_tools import split_all
from raw_trees_2 import counts, read, refusal, write_headct

from osadbench.datasets.headct import HeadCt
from osadbench.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_headct(tmp_path / "headct")


def edit_labels(root: Path, old: str, new: str) -> None:
    labels = root / "labels.csv"
    text = labels.read_text()
    assert old in text
    labels.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("doubled", [True, False])
def test_both_layouts(tmp_path: Path, doubled: bool) -> None:
    reading, problems = read(HeadCt(write_headct(tmp_path, doubled)))
    assert problems == []
    assert counts(reading.manifest) == {"train/good": 6, "test/good": 2, "test/defect": 4}
    folder = "head_ct/head_ct" if doubled else "head_ct"
    assert [r.path for r in reading.manifest.select(label=1)] == [
        f"{folder}/{number:03d}.png" for number in range(4)
    ]


def test_normals_are_split_in_the_order_of_the_file(root: Path) -> None:
    # The test quarter of eight with the public scripts' seed: positions 1 and 5.
    tests = {r.path for r in HeadCt(root).manifest().select(split="test", label=0)}
    assert tests == {"head_ct/head_ct/005.png", "head_ct/head_ct/009.png"}
    header, *lines = (root / "labels.csv").read_text().splitlines()
    (root / "labels.csv").write_text("\n".join([header, *lines[::-1]]))
    tests = {r.path for r in HeadCt(root).manifest().select(split="test", label=0)}
    assert tests == {"head_ct/head_ct/010.png", "head_ct/head_ct/006.png"}


def test_alpha_is_dropped_and_told(root: Path) -> None:
    dataset = HeadCt(root)
    reading, _ = read(dataset)
    assert "mode RGBA occurs in normal images only: it may give the label away" in reading.warnings
    images = dataset.images(reading.manifest, ["head_ct/head_ct/011.png"])
    assert images[0].shape == (12, 9, 3)


def test_copies_are_told(root: Path) -> None:
    images = root / "head_ct" / "head_ct"
    (images / "009.png").write_bytes((images / "008.png").read_bytes())
    warnings = read(HeadCt(root))[0].warnings
    assert any("008.png and head_ct/head_ct/009.png have the same content" in w for w in warnings)
    assert "have the same content" in refusal(HeadCt(root, on_duplicate="error"))


def test_one_class_serves_the_general_protocol_only(root: Path) -> None:
    manifest = HeadCt(root).manifest()
    assert len(split_all("general", manifest, shots=[1], pool=2)) == 1
    with pytest.raises(DataError, match="headct has 1 anomaly class, but hard needs 2"):
        split_all("hard", manifest)


def test_the_counts_say_what_differs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "unexpected numbers of images: test/defect 4 instead of 100, test/good 2 instead of 25, "
        "train/good 6 instead of 75; this is not the complete Head CT hemorrhage; get it anew"
    )
    assert expected in read(HeadCt(root))[0].warnings
    assert read(HeadCt(root, strict_counts=True))[1] == [expected]
    exact = {"": {"train/good": 6, "test/good": 2, "test/defect": 4}}
    monkeypatch.setattr(HeadCt, "counts", exact)
    assert read(HeadCt(root, strict_counts=True))[1] == []


def test_wrong_lines_are_all_reported(root: Path) -> None:
    edit_labels(root, "\n1,1", "\n../1,1")
    edit_labels(root, "\n2,1", "\n2,2")
    edit_labels(root, "\n6,0", "\n6")
    edit_labels(root, "\n8,0", "\n7,0")
    text = refusal(HeadCt(root))
    assert text.startswith("4 problems in ")
    assert "labels.csv, line 3 is not 'ID,0' or 'ID,1': '../1,1'; correct it" in text
    assert "labels.csv, line 4 is not" in text and "labels.csv, line 8 is not" in text
    assert "labels.csv, line 10 is a repetition: '7,0'; correct it" in text


@pytest.mark.parametrize("header", ["images/cell0001.png  1.0  mono", "number,bleeds", ""])
def test_another_file_of_that_name_is_refused(root: Path, header: str) -> None:
    edit_labels(root, "id, hemorrhage", header)
    assert f"labels.csv must begin with 'id, hemorrhage', not {header!r}: get" in refusal(
        HeadCt(root)
    )


def test_a_header_without_the_space(root: Path) -> None:
    edit_labels(root, "id, hemorrhage", "\ufeffid,hemorrhage")
    assert len(HeadCt(root).manifest().records) == 12


def test_damage_is_reported(root: Path) -> None:
    (root / "head_ct" / "head_ct" / "003.png").unlink()
    (root / "head_ct" / "head_ct" / "004.png").write_bytes(b"")
    text = refusal(HeadCt(root))
    assert "003.png is gone" in text and "004.png" in text
    (root / "labels.csv").write_bytes(b"\xff\xfe\x00")
    assert "labels.csv cannot be read (" in refusal(HeadCt(root))


def test_no_headct_at_all(root: Path, tmp_path: Path) -> None:
    assert HeadCt(tmp_path).root == root
    (root / "labels.csv").unlink()
    assert refusal(HeadCt(root)) == (
        f"no headct in {root}: expected labels.csv and head_ct/NNN.png, or the layout of MVTec AD; "
        "get https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage and unpack it"
    )


def test_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"defect": 3}, masks=False)
    found = counts(HeadCt(tmp_path).manifest())
    assert found == {"train/good": 6, "test/good": 4, "test/defect": 3}


def test_a_field_without_end_is_a_problem(root: Path) -> None:
    (root / "labels.csv").write_text('id, hemorrhage\n"' + 200_000 * "0")
    assert "labels.csv cannot be read (field larger than field limit" in refusal(HeadCt(root))
