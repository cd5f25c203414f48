from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from image_trees import write_category, write_image
from manifest_tools import split_all
from raw_trees_1 import look, moved_into, refusal, write_hyper_kvasir
from raw_trees_2 import counts

from osadbench.datasets.hyper_kvasir import OTHER_SPELLINGS, UPPER, HyperKvasir
from osadbench.errors import DataError

COUNTS = {
    "train/good": 7,
    "test/good": 3,
    "test/barretts": 1,
    "test/barretts-short-segment": 2,
    "test/esophagitis-a": 3,
    "test/esophagitis-b-d": 2,
}
LANDMARKS = "upper-gi-tract/anatomical-landmarks"
FINDINGS = "upper-gi-tract/pathological-findings"
PUBLISHED = Path(__file__).parent.parent / "results" / "published"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_hyper_kvasir(tmp_path / "hyper-kvasir")


def test_only_the_upper_tract_is_read(root: Path) -> None:
    manifest = HyperKvasir(root).manifest()
    assert counts(manifest) == COUNTS
    assert all(record.path.startswith("upper-gi-tract/") for record in manifest.records)
    normals = {record.path.split("/")[2] for record in manifest.select(label=0)}
    assert normals == {"pylorus", "retroflex-stomach", "z-line"}
    assert f"{LANDMARKS}/z-line/2f8a2c.JPG" in manifest.by_path


def test_normals_are_split_as_sorted(root: Path) -> None:
    # The test quarter of ten with the public scripts' seed: positions 8, 1 and 5.
    tested = {r.path for r in HyperKvasir(root).manifest().select(split="test", label=0)}
    assert tested == {
        f"{LANDMARKS}/pylorus/1f8a2c.jpg",
        f"{LANDMARKS}/retroflex-stomach/1f8a2c.jpg",
        f"{LANDMARKS}/z-line/2f8a2c.JPG",
    }


def test_both_spellings_give_the_same_split(root: Path, tmp_path: Path) -> None:
    spelling = {name: other for other, name in OTHER_SPELLINGS.items()}
    # The same images, whose content comes with their place.
    other = write_hyper_kvasir(tmp_path / "other", spelling)
    assert (other / LANDMARKS / "normal-z-line").is_dir()
    assert (other / FINDINGS / "short-segment-barretts").is_dir()
    first, second = HyperKvasir(root).manifest(), HyperKvasir(other).manifest()
    assert counts(second) == COUNTS
    for split in ("train", "test"):
        found = [{(r.class_name, r.sha256) for r in m.select(split=split)} for m in (first, second)]
        assert found[0] == found[1]


def test_every_published_subset_is_a_known_class(root: Path) -> None:
    with (PUBLISHED / "dra_table2.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "hyper-kvasir"]
    published = sorted({row["subset"] for row in rows} - {""})
    assert len(published) == 4
    manifest = HyperKvasir(root).manifest()
    splits = split_all("hard", manifest, shots=[1], known_classes=published)
    assert [split.known_class for split in splits] == list(manifest.anomaly_classes)
    official = split_all("hard", manifest, shots=[1], known_classes=["Oesophagitis B-D"])
    assert [split.known_class for split in official] == ["esophagitis-b-d"]


def test_declared_counts() -> None:
    declared = dict(HyperKvasir.counts[""])
    train, test = declared.pop("train/good"), declared.pop("test/good")
    assert (train, test, sum(declared.values())) == HyperKvasir.paper_counts[""]
    # Test anomalies of the hard setting, by known class.
    assert [757 - count for count in declared.values()] == [716, 704, 354, 497]


def test_a_difference_in_numbers_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = look(HyperKvasir(root))[0].warnings
    assert warning == (
        "unexpected numbers of images: test/barretts 1 instead of 41, test/barretts-short-segment "
        "2 instead of 53, test/esophagitis-a 3 instead of 403, test/esophagitis-b-d 2 instead of "
        "260, test/good 3 instead of 674, train/good 7 instead of 2021; this is not the complete "
        "Hyper-Kvasir: endoscopy of the upper digestive tract; get it anew"
    )
    assert "test/barretts 1 instead of 41" in refusal(HyperKvasir(root, strict_counts=True))
    monkeypatch.setattr(HyperKvasir, "counts", {"": COUNTS})
    assert look(HyperKvasir(root))[0].warnings == ()


@pytest.mark.parametrize(
    "wrapper", ["labeled-images", "hyper-kvasir-labeled-images/labeled-images"]
)
def test_nested_copies_are_found(root: Path, wrapper: str) -> None:
    wrapped = moved_into(root, wrapper)
    (wrapped / "segmented-images" / "images").mkdir(parents=True)
    dataset = HyperKvasir(wrapped)
    assert dataset.root == wrapped / wrapper and counts(dataset.manifest()) == COUNTS


def test_the_converted_layout_is_accepted(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"barretts": 2, "esophagitis-a": 1}, masks=False)
    manifest = HyperKvasir(tmp_path).manifest()
    assert manifest.known_classes == ("barretts", "esophagitis-a")
    assert manifest.aliases == (("oesophagitis-a", "esophagitis-a"),)


@pytest.mark.parametrize("part", ["segmented-images", "unlabeled-images", "labeled-videos"])
def test_other_parts_of_the_site_are_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / part / "images").mkdir(parents=True)
    text = rf"holds another part of Hyper-Kvasir \({part}\), but hyper-kvasir needs labeled-images/"
    for base in (tmp_path, tmp_path / part):
        with pytest.raises(DataError, match=text):
            HyperKvasir(base).manifest()


def test_the_lower_tract_alone_is_refused(root: Path) -> None:
    shutil.rmtree(root / "upper-gi-tract")
    with pytest.raises(DataError, match=r"another part of Hyper-Kvasir \(lower-gi-tract\), but"):
        HyperKvasir(root).manifest()


def test_the_older_kvasir_is_refused(tmp_path: Path) -> None:
    for name in ("esophagitis", "normal-pylorus", "polyps", "ulcerative-colitis"):
        (tmp_path / "kvasir-dataset-v2" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="kvasir-dataset-v2 holds the older Kvasir, but hyper-kva"):
        HyperKvasir(tmp_path).manifest()


def test_missing_data_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no hyper-kvasir in .*; get the labelled images from http"):
        HyperKvasir(tmp_path).manifest()


def test_other_folders_and_files_are_told(root: Path) -> None:
    write_image(root / FINDINGS / "polyps" / "0.jpg")
    (root / FINDINGS / "barretts" / "Thumbs.db").write_bytes(b"")
    (root / FINDINGS / "barretts" / "notes.doc").write_text("?")
    reading, problems = look(HyperKvasir(root))
    assert problems == [] and counts(reading.manifest) == COUNTS
    assert f"{FINDINGS}: no class of the papers, not read: polyps" in reading.warnings
    assert f"1 files are not read, such as {FINDINGS}/barretts/notes.doc" in reading.warnings


def test_missing_halves_and_damaged_files_are_problems(root: Path) -> None:
    (root / FINDINGS / "barretts" / "0f8a2c.jpg").write_bytes(b"\xff\xd8")
    assert "cannot read image" in refusal(HyperKvasir(root))
    shutil.rmtree(root / FINDINGS)
    assert "there is no readable anomalous image" in refusal(HyperKvasir(root))
    shutil.rmtree(root / LANDMARKS)
    assert "there is no readable normal image" in refusal(HyperKvasir(root))


def test_the_lower_tract_is_left_out_with_the_reason(root: Path) -> None:
    write_image(root / UPPER / "anatomical-landmarks" / "uvula" / "u.jpg")
    reading = look(HyperKvasir(root))[0]
    left_out = dict(reading.omissions)
    uvula = left_out.pop(f"{UPPER}/anatomical-landmarks/uvula/u.jpg")
    assert uvula == "its folder is no class of the papers"
    assert left_out and all(path.startswith("lower-gi-tract/") for path in left_out)
    assert set(left_out.values()) == {"the papers take images of the upper tract only"}
    assert not any("left out" in warning for warning in reading.warnings)
