from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_trees import write_category, write_image
from manifest_tools import split_all
from raw_trees_1 import NOVEL, crop, look, moved_into, refusal, write_crop, write_mastcam
from raw_trees_2 import counts

from osadbench.datasets.check import check_dataset
from osadbench.datasets.declaration import declaration, declaration_lines
from osadbench.datasets.inventory import look as find
from osadbench.datasets.mastcam import Mastcam
from osadbench.datasets.prepare import prepare
from osadbench.errors import DataError, ParameterError

COUNTS = {"train/good": 5, "test/good": 3} | {
    f"test/{name.replace(' ', '-')}": count for name, count in NOVEL.items()
}
PUBLISHED = (
    "bedrock",
    "broken_rock",
    "drill_hole",
    "drt",
    "dump_pile",
    "float",
    "meteorite",
    "scuff",
    "veins",
)


class Bomb:
    """What a pickled array would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the file was unpickled",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mastcam(tmp_path / "mastcam")


def test_the_folders_are_splits_and_classes(root: Path) -> None:
    manifest = Mastcam(root).manifest()
    assert counts(manifest) == COUNTS
    tops = Counter(record.path.split("/")[0] for record in manifest.records)
    assert tops == {"train_typical": 5, "test_typical": 3, "test_novel": 18}
    assert {record.class_name for record in manifest.select(split="train")} == {"good"}
    assert {record.mask for record in manifest.records} == {None}


def test_the_folder_of_all_is_excluded_with_the_reason(root: Path) -> None:
    reading, problems = look(Mastcam(root))
    assert problems == []
    assert reading.exclusions == ()
    left_out = [one for one in reading.omissions if "/all/" in one[0]]
    assert len(left_out) == 18
    path, reason = left_out[0]
    assert path.startswith("test_novel/all/mcam") and reason == (
        "all/ repeats the classes' own folders"
    )
    assert not any("left out" in warning for warning in reading.warnings)


def test_crops_that_the_papers_do_not_use_are_named(root: Path) -> None:
    omissions = dict(look(Mastcam(root))[0].omissions)
    unused = omissions["validation_typical/mcam00006_L0_sol0001_0.npy"]
    assert unused == "the papers do not use validation_typical"


def test_a_converted_copy_names_crops_in_two_classes(root: Path, tmp_path: Path) -> None:
    prepare(Mastcam(root), tmp_path / "copy")
    told = [w for w in look(Mastcam(root))[0].warnings if "of several classes" in w]
    assert len(told) == 1
    reading, problems = look(Mastcam(tmp_path / "copy"))
    assert problems == [] and told[0] in reading.warnings
    assert len(reading.omissions) == 18 + 1


def test_crops_in_two_classes_are_named(root: Path) -> None:
    reading, _ = look(Mastcam(root))
    assert (
        "1 crops stand in the folders of several classes: mcam00010_R0_sol0002_0.npy (bedrock and "
        "veins)"
    ) in reading.warnings
    assert "1 duplicate images inside test" in reading.warnings


def test_a_training_anomaly_has_no_copy_in_the_test_set(root: Path) -> None:
    manifest = Mastcam(root).manifest()
    (split,) = split_all("hard", manifest, shots=[10], known_classes=["bedrock"])
    assert len(split.train_anomalies) == 2
    tested = {manifest.by_path[path].class_name for path in split.test}
    assert tested >= {"good", "veins"} and "bedrock" not in tested
    assert len(split.test) == 3 + 18 - 2 - 1


def test_every_published_subset_is_a_known_class(root: Path) -> None:
    manifest = Mastcam(root).manifest()
    assert manifest.known_classes == Mastcam.known[""]
    assert set(manifest.anomaly_classes) - set(manifest.known_classes) == {"edge-cases", "other"}
    splits = split_all("hard", manifest, shots=[1], known_classes=PUBLISHED)
    assert [split.known_class for split in splits] == list(Mastcam.known[""])


def test_normals_and_the_total_of_anomalies_are_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, _ = look(Mastcam(root))
    warning = (
        "unexpected numbers of images: test/anomalies 18 instead of 451, test/bedrock 2 instead of "
        "11 or more, test/broken-rock 2 instead of 76 or more, "
    )
    remedy = (
        "test/good 3 instead of 426, test/meteorite 2 instead of 34 or more, test/veins 2 instead "
        "of 30 or more, train/good 5 instead of 9302; the expected numbers were derived, not "
        "counted: check the download"
    )
    (told,) = [text for text in reading.warnings if text.startswith(warning)]
    assert told.endswith(remedy) and "scuff" not in told
    assert told in refusal(Mastcam(root, strict_counts=True))
    declare_as_written(monkeypatch)
    assert not any("unexpected" in warning for warning in look(Mastcam(root))[0].warnings)


def declare_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare the numbers of the small download: two classes at their least, three unknown."""
    fewest = {name: 1 if number else None for name, number in Mastcam.fewest[""].items()}
    monkeypatch.setattr(Mastcam, "fewest", {"": {**fewest, "drt": 2, "veins": 2}})
    monkeypatch.setattr(
        Mastcam, "counts", {"": {"train/good": 5, "test/good": 3, "test/*": sum(NOVEL.values())}}
    )


def test_a_download_is_complete_though_no_source_counts_all_classes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare_as_written(monkeypatch)
    entry = find("mastcam", root.parent)
    assert (entry.state, entry.detail, entry.images) == ("complete", "", 26)
    assert entry.expected == {"": {"good": 8, "*": 18}}
    # What a class has more than its least stands in for nothing that the others lack.
    novel = root / "test_novel"
    next((novel / "drt").iterdir()).rename(novel / "scuff" / "moved.npy")
    entry = find("mastcam", root.parent)
    assert (entry.state, entry.detail) == ("differs", "1 instead of 2 or more drt")
    (novel / "scuff" / "moved.npy").unlink()
    entry = find("mastcam", root.parent)
    assert entry.detail == "17 instead of 18 anomalies, 1 instead of 2 or more drt"
    shutil.rmtree(novel / "drt")
    assert find("mastcam", root.parent).state == "incomplete"


def test_a_class_of_unknown_number_may_have_another_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare_as_written(monkeypatch)
    (root / "test_novel" / "edge cases").rename(root / "test_novel" / "edge")
    assert find("mastcam", root.parent).state == "complete"


@pytest.mark.parametrize("name", ["scuff", "other"])
def test_a_class_of_unknown_number_is_missed_in_the_total(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    declare_as_written(monkeypatch)
    shutil.rmtree(root / "test_novel" / name)
    entry = find("mastcam", root.parent)
    detail = f"17 instead of 18 anomalies, 0 instead of some {name}"
    assert (entry.state, entry.detail) == ("incomplete", detail)


def test_the_classes_that_no_source_counts_are_named(root: Path) -> None:
    line = "  no source gives the numbers of: edge-cases, other, scuff"
    assert f"\n{line}\n" in check_dataset(Mastcam(root))
    lines = list(declaration_lines(declaration(Mastcam)))
    assert "  expected: 9302/426/451" in lines and "  drt              -  111 or more" in lines
    assert "  scuff            -  no source gives its number" in lines
    note = "no source gives its number; not taken as known class"
    assert f"  edge-cases       -  {note}" in lines


@pytest.mark.parametrize("wrapper", ["data", "zenodo/3732485"])
def test_nested_copies_are_found(root: Path, wrapper: str) -> None:
    wrapped = moved_into(root, wrapper)
    assert Mastcam(wrapped).root == wrapped / wrapper
    assert counts(Mastcam(wrapped).manifest()) == COUNTS


def test_archives_unpacked_into_folders_of_their_names(root: Path) -> None:
    for name in ("train_typical", "test_typical", "test_novel"):
        moved_into(root / name, name)
    manifest = Mastcam(root).manifest()
    assert counts(manifest) == COUNTS
    assert manifest.records[0].path.startswith("test_novel/test_novel/bedrock/")


def test_the_first_three_bands_are_shown(root: Path) -> None:
    dataset = Mastcam(root)
    manifest = dataset.manifest()
    (path,) = [record.path for record in manifest.select(class_name="float")]
    values = np.load(root / path)
    np.testing.assert_array_equal(dataset.images(manifest, [path])[0], values[..., :3])


def test_the_order_of_the_official_notebook(root: Path, tmp_path: Path) -> None:
    plain = Mastcam(root, cache=tmp_path / "cache")
    shown = Mastcam(root, cache=tmp_path / "cache", bands="201")
    first, second = plain.manifest(), shown.manifest()
    paths = [record.path for record in first.records]
    assert paths == [record.path for record in second.records]
    hashes = [{record.sha256 for record in m.records} for m in (first, second)]
    assert not hashes[0] & hashes[1] and len(hashes[0]) == len(hashes[1]) == 25
    before, after = plain.images(first, paths), shown.images(second, paths)
    np.testing.assert_array_equal(after[3], before[3][..., [2, 0, 1]])
    for _ in range(2):
        resized = [images.resized(16, [0, 3]) for images in (before, after)]
        np.testing.assert_array_equal(resized[1], resized[0][..., [2, 0, 1]])
    assert (resized[0] != resized[1]).any()
    with pytest.raises(ParameterError, match=r"mastcam\.bands='210'"):
        Mastcam(root, bands="210")


def test_floats_of_0_to_255_are_rounded(root: Path) -> None:
    path = "test_typical/mcam99999_L0_sol0009_0.npy"
    values = crop(7).astype(np.float64) + 0.4
    write_crop(root / path, values)
    dataset = Mastcam(root)
    reading, problems = look(dataset)
    assert problems == [] and reading.facts[path].size == (64, 64)
    assert "images of mode npy float64 are scaled to 8 bits a channel" in reading.warnings
    shown = dataset.images(reading.manifest, [path])[0]
    np.testing.assert_array_equal(shown, crop(7)[..., :3])


@pytest.mark.parametrize("shape", [(64, 60, 6), (60, 64, 6), (64, 64, 2), (64, 64)])
def test_other_shapes_are_excluded(root: Path, shape: tuple[int, ...]) -> None:
    path = "train_typical/mcam99999_L0_sol0009_0.npy"
    write_crop(root / path, np.full(shape, 50, dtype=np.uint8))
    reading, problems = look(Mastcam(root))
    assert problems == [] and path not in reading.manifest.by_path
    reason = "its shape is not 64x64 with 3 or more bands"
    assert (path, reason) in reading.exclusions
    assert f"1 image is left out, such as {path}: {reason}" in reading.warnings


def broken(kind: str) -> npt.NDArray[Any]:
    if kind == "pickled":
        return np.array([Bomb()], dtype=object)
    values = crop(3).astype(np.float32)
    values[1, 1, 1] = {"nan": np.nan, "high": 256.0, "low": -1.0}[kind]
    return values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("pickled", "Object arrays cannot be loaded when allow_pickle=False"),
        ("nan", "the pixels hold NaN or infinity"),
        ("high", "pixels reach 256, above 255"),
        ("low", "pixels reach -1, below 0"),
    ],
)
def test_arrays_that_are_no_images_are_problems(root: Path, kind: str, text: str) -> None:
    write_crop(root / "test_novel" / "drt" / "mcam99999.npy", broken(kind))
    assert text in refusal(Mastcam(root))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text"])
def test_files_that_are_no_arrays_are_problems(root: Path, content: bytes) -> None:
    (root / "test_typical" / "mcam99999.npy").write_bytes(content)
    (problem,) = look(Mastcam(root))[1]
    assert "cannot read image" in problem and "mcam99999.npy" in problem


def test_other_files_are_told(root: Path) -> None:
    write_image(root / "test_novel" / "drt" / "preview.png")
    (root / "test_novel" / "drt" / ".DS_Store").write_bytes(b"")
    reading, problems = look(Mastcam(root))
    assert problems == [] and counts(reading.manifest) == COUNTS
    assert (
        "1 files of test_novel/drt are no arrays and not read, such as test_novel/drt/preview.png"
    ) in reading.warnings


def test_missing_archives_are_named(root: Path) -> None:
    shutil.rmtree(root / "test_typical")
    text = refusal(Mastcam(root))
    assert (
        "test_typical holds no usable .npy file: unpack test_typical.zip of https://zenodo" in text
    )
    shutil.rmtree(root / "test_novel")
    assert "there is no readable anomalous image" in refusal(Mastcam(root))


def test_crops_saved_as_pictures_are_another_release(root: Path) -> None:
    for path in (root / "train_typical").iterdir():
        write_image(path.with_suffix(".png"))
        path.unlink()
    text = refusal(Mastcam(root))
    assert "train_typical holds no usable .npy file" in text


def test_missing_data_name_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "train_typical.zip").write_bytes(b"PK")
    with pytest.raises(
        DataError, match=r"no mastcam in .*, but train_typical.zip lies there packed: unp"
    ):
        Mastcam(tmp_path).manifest()


def test_copies_in_train_and_test_are_a_warning(root: Path) -> None:
    typical = next((root / "train_typical").iterdir())
    shutil.copy(typical, root / "test_novel" / "float" / "copy.npy")
    reading, problems = look(Mastcam(root))
    assert problems == []
    assert any("must not be both normal and anomalous" in text for text in reading.warnings)
    assert "must not be both" in refusal(Mastcam(root, on_duplicate="error"))
    dropped = Mastcam(root, on_duplicate="drop").manifest()
    assert len(dropped.records) == 26 + 1 - 2 - 1


def test_the_official_loaders_filter(root: Path) -> None:
    train = root / "train_typical"
    write_crop(train / "mcam01052_L0_sol0009_0.npy", crop(101))
    write_crop(train / "mcam99990_L0_sol0009_0.npy", crop(102, bands=3))
    dark = crop(103)
    dark[:, -7:] = 9
    write_crop(train / "mcam99991_L0_sol0009_0.npy", dark)
    tenth = crop(104)
    # A tenth of the band exactly, which is not above a tenth.
    tenth[:, 0] = 9
    write_crop(train / "mcam99992_L0_sol0009_0.npy", tenth)
    assert len(Mastcam(root).manifest().select(split="train")) == 5 + 4
    reading, problems = look(Mastcam(root, official_filter=True))
    assert problems == [] and len(reading.manifest.select(split="train")) == 5 + 1
    reasons = {path[-24:]: reason for path, reason in reading.exclusions if "all/" not in path}
    assert list(reasons.values()) == [
        "the official loader leaves its sequence out",
        "the official loader asks for 6 bands",
        "it has a dark stripe at an edge, which the official loader leaves out",
    ]
    assert (
        "unexpected numbers of images: test/good 3 instead of 420, train/good 6 instead of 9124; "
        "the expected numbers were derived, not counted: check the download"
    ) in reading.warnings


def test_the_converted_layout_is_accepted(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"broken-rock": 2, "scuff": 1}, masks=False)
    manifest = Mastcam(tmp_path).manifest()
    assert manifest.known_classes == ("broken-rock", "scuff")
    text = refusal(Mastcam(tmp_path, official_filter=True))
    assert "official_filter needs the arrays of the download, not the layout of MVTec AD" in text
    write_image(tmp_path / "test" / "all" / "0.png")
    assert "test/all repeats the crops of the other classes" in refusal(Mastcam(tmp_path))


def test_novel_crops_that_are_still_packed(root: Path) -> None:
    shutil.rmtree(root / "test_novel")
    (root / "test_novel.zip").write_bytes(b"PK")
    told = refusal(Mastcam(root))
    assert "test_novel holds no usable .npy file: unpack test_novel.zip of https://zenodo" in told
    assert "\n  test_novel.zip lies there packed: unpack it" in told
