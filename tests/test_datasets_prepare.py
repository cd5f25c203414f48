from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_trees import write_category, write_elpv, write_image
from PIL import Image
from raw_tools import Strips, write_strips

from osadbench import __version__
from osadbench.datasets import converting
from osadbench.datasets.check import check_dataset
from osadbench.datasets.converting import Written
from osadbench.datasets.elpv import UNSURE, Elpv
from osadbench.datasets.findings import Findings
from osadbench.datasets.folder import Folder
from osadbench.datasets.naming import portable_stems
from osadbench.datasets.prepare import prepare
from osadbench.datasets.reading import Reading
from osadbench.errors import DataError, UsageError
from osadbench.images import decode, file_digest
from osadbench.types import Manifest


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_strips(tmp_path / "raw")


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def members(manifest: Manifest) -> Counter[str]:
    return Counter(f"{record.split}/{record.class_name}" for record in manifest.records)


def manifest_of(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return values


# --- what is written ---


def test_the_files_and_what_they_show(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prepare(Strips(raw), out)
    assert (done.folder, done.images, done.is_new) == (out, 13, True)
    tests = {f"test/hole one/broken_hole_one_h{i}.png" for i in range(3)}
    tests |= {f"test/tear/broken_tear_t{i}.png" for i in range(2)}
    masks = {f"ground_truth/hole one/broken_hole_one_h{i}_mask.png" for i in range(3)}
    found = names(out)
    normals = {name for name in found if "/good/" in name}
    assert found == normals | tests | masks | {"manifest.json"}
    halves = {f"clean_s_{i}_0-{top}.png" for i in range(4) for top in (0, 8)}
    assert {Path(name).name for name in normals} == halves
    # JPEG, decoded once and for all; grey stays grey.
    for record in Strips(raw).manifest().records:
        written = next(i["path"] for i in manifest_of(out)["images"] if i["source"] == record.path)
        assert (decode(out / written) == decode(raw / record.path)).all()
    modes = {Image.open(out / name).mode for name in normals}
    assert modes == {"L"} and Image.open(out / min(tests)).mode == "RGB"


def test_png_files_are_copied(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    copied = tmp_path / "out" / "test" / "tear" / "broken_tear_t0.png"
    assert copied.read_bytes() == (raw / "broken" / "tear" / "t0.png").read_bytes()


def test_a_png_file_that_is_called_otherwise(raw: Path, tmp_path: Path) -> None:
    odd = raw / "broken" / "tear" / "t0.png"
    odd.rename(odd.with_suffix(".jpg"))
    prepare(Strips(raw), tmp_path / "out")
    copied = tmp_path / "out" / "test" / "tear" / "broken_tear_t0.png"
    assert copied.read_bytes() == odd.with_suffix(".jpg").read_bytes()


def test_masks_are_joined_and_black_and_white(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    mask = Image.open(tmp_path / "out/ground_truth/hole one/broken_hole_one_h0_mask.png")
    pixels = np.asarray(mask)
    assert mask.mode == "L" and pixels.shape == (8, 8)
    # 3 at the first pixel of one part, 9 at the third of the other; above 0 counts.
    assert np.flatnonzero(pixels == 255).tolist() == [0, 2]
    assert set(np.unique(pixels)) == {0, 255}


def test_masks_of_zero_and_one_in_the_layout_of_mvtec(tmp_path: Path) -> None:
    category = write_category(tmp_path / "raw" / "carpet")
    mask = category / "ground_truth" / "hole" / "000_mask.png"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(mask)
    prepare(Folder(tmp_path / "raw"), tmp_path / "out")
    # What has the layout keeps its names.
    written = np.asarray(Image.open(tmp_path / "out" / mask.relative_to(tmp_path / "raw")))
    assert (written == np.eye(8) * 255).all()
    assert names(tmp_path / "raw") == names(tmp_path / "out") - {"manifest.json"}


def test_the_manifest(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Strips(raw, split="group", on_duplicate="warn"), out)
    values = manifest_of(out)
    assert values["dataset"] == "strips" and values["licence"] == "made-up licence 1.0"
    assert values["citation"] == Strips.citation and values["source"] == Strips.source
    assert values["converter"]["version"] == 2
    assert values["converter"]["osadbench"] == __version__
    assert values["options"] == {"on_duplicate": "warn", "strict_counts": False, "split": "group"}
    assert values["split_seed"] == 42
    left_out = {"source": "broken/tear/unsure.png", "reason": "nobody knows what it shows"}
    assert values["exclusions"] == [left_out]
    assert any("1 image is left out" in warning for warning in values["warnings"])
    images = {image["source"]: image for image in values["images"]}
    assert len(images) == 13
    for record in Strips(raw, split="group").manifest().records:
        image = images[record.path]
        assert image["split"] == record.split and image["class"] == record.class_name
        assert image["group"] == record.group and image["source_mask"] == record.mask
        assert image["source_sha256"] == record.sha256
        assert image["sha256"] == file_digest(out / image["path"])
        assert image["size"] == (out / image["path"]).stat().st_size
        assert (image["mask"] is None) == (record.mask is None)


@pytest.mark.parametrize("split", ["paper", "group"])
def test_the_class_reads_the_same_train_and_test_sets(
    raw: Path, tmp_path: Path, split: str
) -> None:
    before = Strips(raw, split=split).manifest()
    prepare(Strips(raw, split=split), tmp_path / "out")
    after = Strips(tmp_path / "out").manifest()
    assert members(after) == members(before)
    assert after.known_classes == before.known_classes == ("hole one",)
    assert after.aliases == before.aliases
    sources = {i["path"]: i["source"] for i in manifest_of(tmp_path / "out")["images"]}
    moved = {(sources[r.path], r.split, r.class_name, r.mask is None) for r in after.records}
    assert moved == {(r.path, r.split, r.class_name, r.mask is None) for r in before.records}


def test_the_same_bytes_each_time(raw: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare(Strips(raw), tmp_path / name)
    one, two = (
        {n: (tmp_path / d / n).read_bytes() for n in names(tmp_path / d)} for d in ("one", "two")
    )
    assert one == two


def test_progress_is_told_by_files(raw: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def follow(done: Any, total: int) -> Any:
        for part in done:
            assert all(isinstance(one, Written) for one in part)
            seen.append((len(part), total))
            yield part

    prepare(Strips(raw), tmp_path / "out", follow=follow)
    assert Counter(seen) == {(2, 9): 4, (1, 9): 5}


def test_images_that_become_equal_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    carpet = write_category(tmp_path / "raw" / "carpet")
    image = Image.open(carpet / "train" / "good" / "000.png")
    image.save(carpet / "train" / "good" / "a.bmp")
    image.save(carpet / "test" / "good" / "b.tif")
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        prepare(Folder(tmp_path / "raw"), tmp_path / "out")
    (text,) = [r.getMessage() for r in caplog.records]
    assert "carpet/train/good/a.png" in text and "carpet/test/good/b.png" in text
    assert manifest_of(tmp_path / "out")["warnings"] == [text.partition("; or read")[0]]


# --- again ---


def test_what_is_whole_is_left_alone(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Strips(raw), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = prepare(Strips(raw), out)
    assert (again.images, again.is_new) == (13, False)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_again_without_reading(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(Strips(raw, cache=tmp_path / "cache"), tmp_path / "out")
    monkeypatch.setattr("osadbench.datasets.reading.decode", None)
    assert not prepare(Strips(raw, cache=tmp_path / "cache"), tmp_path / "out").is_new


@pytest.mark.parametrize(
    "change",
    [
        lambda out, raw: (out / "test" / "tear" / "broken_tear_t0.png").unlink(),
        lambda out, raw: (out / "test" / "tear" / "broken_tear_t0.png").write_bytes(b"cut"),
        lambda out, raw: next((out / "ground_truth").rglob("*.png")).unlink(),
        lambda out, raw: (out / "manifest.json").write_text("{}"),
        lambda out, raw: (out / "manifest.json").unlink(),
        lambda out, raw: write_image(raw / "clean" / "s 1.jpg", size=(8, 16)),
    ],
)
def test_what_is_not_the_same_is_refused_unless_forced(
    raw: Path, tmp_path: Path, change: Any
) -> None:
    out = tmp_path / "out"
    prepare(Strips(raw), out)
    change(out, raw)
    with pytest.raises(UsageError, match="is not empty, and not what would be written: .*--force"):
        prepare(Strips(raw), out)
    assert prepare(Strips(raw), out, force=True).is_new
    assert not prepare(Strips(raw), out).is_new
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}


def test_other_options_are_another_conversion(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    with pytest.raises(UsageError, match="not what would be written"):
        prepare(Strips(raw, split="group"), tmp_path / "out")


def test_an_empty_folder_is_taken(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare(Strips(raw), tmp_path / "out").is_new


# --- refused, or broken off: nothing is lost, nothing is left ---


@pytest.mark.parametrize("place", ["raw", "raw/out", "."])
def test_places_that_hold_the_dataset(raw: Path, tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError, match="overlap: name another by --out"):
        prepare(Strips(raw), tmp_path / place, force=True)
    assert len(Strips(raw).manifest().records) == 13


def test_places_that_hold_more(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    with pytest.raises(UsageError, match="holds more than a dataset"):
        prepare(Strips(raw), tmp_path / "work", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file: name a folder by --out"):
        prepare(Strips(raw), tmp_path / "file", force=True)


def test_a_full_disk(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(Strips(raw), tmp_path / "old")
    before = names(tmp_path / "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(converting, "_save", full)
    for out in ("new", "old"):
        with pytest.raises(DataError, match=r"cannot write .* \(No space left on device\): free"):
            prepare(Strips(raw), tmp_path / out, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "old"}
    assert names(tmp_path / "old") == before


def test_an_interruption(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(converting, "_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(Strips(raw), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}


def test_a_place_without_permission(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "locked").mkdir()
    # Permissions do not bind the user that containers run tests as.
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"\(Permission denied\): check its permissions, or name"):
        prepare(Strips(raw), tmp_path / "locked" / "out")


def test_a_place_below_a_file(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file/out \(Not a directory\): check its"):
        prepare(Strips(raw), tmp_path / "file" / "out")


def test_a_dataset_with_problems(raw: Path, tmp_path: Path) -> None:
    (raw / "broken" / "tear" / "t0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot read image"):
        prepare(Strips(raw), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}


def test_the_old_one_comes_back_if_the_new_one_cannot_be_named(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare(Strips(raw), out)
    before = names(out)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DataError, match="Permission denied"):
        prepare(Strips(raw), out, force=True)
    assert names(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}
    shutil.rmtree(out)


def test_a_link_stays_a_link(raw: Path, tmp_path: Path) -> None:
    try:
        (tmp_path / "out").symlink_to(tmp_path / "place", target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    for _ in range(2):
        assert prepare(Strips(raw), tmp_path / "out", force=True).folder == tmp_path / "out"
        assert (tmp_path / "out").is_symlink() and "manifest.json" in names(tmp_path / "place")
        assert {path.name for path in tmp_path.iterdir()} == {"raw", "out", "place"}
    assert not prepare(Strips(raw), tmp_path / "out").is_new


def test_what_a_killed_command_has_left_is_named(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = [tmp_path / f".o[u]t.{digit * 32}.{end}" for digit, end in (("0", "old"), ("a", "tmp"))]
    for path in (*left, tmp_path / ".o[u]t.abc.tmp", tmp_path / f".out.{'0' * 32}.tmp"):
        path.mkdir()
    told = f"{left[0]} and {left[1]}: left by a command that was killed, unless one is writing"
    for _ in range(2):
        caplog.clear()
        prepare(Strips(raw), tmp_path / "o[u]t")
        assert sum(record.getMessage().startswith(told) for record in caplog.records) == 1
    assert all(path.is_dir() for path in left)
    caplog.clear()
    prepare(Strips(raw), tmp_path / "other")
    assert not any("killed" in record.getMessage() for record in caplog.records)


def test_warnings_are_the_same_whether_it_is_written_or_found(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (raw / "clean" / "s 0.jpg").unlink()
    told = []
    for _ in range(2):
        caplog.clear()
        prepare(Strips(raw), tmp_path / "out")
        told.append([record.getMessage() for record in caplog.records])
    assert told[0] == told[1]
    for text in ("strips: 1 image is left out, such as", "strips: unexpected numbers of images: "):
        assert sum(line.startswith(text) for line in told[0]) == 1


# --- names ---


def test_names_are_portable() -> None:
    stems = portable_stems(
        [
            "kos01/Part0.jpg#xywh=0,413,500,413",
            "no/1 no.jpeg",
            "no/1_no.jpg",
            "NO/1_No.jpg",
            "con.png",
            "a:b/ü?.png",
            "...",
            f"{'x' * 300}.png",
            f"{'x' * 301}.png",
        ]
    )
    values = list(stems.values())
    assert values[:4] == ["kos01_Part0_0-413", "no_1_no", "no_1_no-2", "NO_1_No-3"]
    assert values[4:7] == ["_con", "a_b_", "image"]
    assert all(len(value) < 140 for value in values)
    assert len({value.lower() for value in values}) == len(values)


# --- what a copy says ---


def read(dataset: Folder) -> tuple[Reading, list[str]]:
    findings = Findings()
    return dataset.read("", findings), findings.problems


def test_a_copy_says_what_the_download_does(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    before, _ = read(Strips(raw))
    after, problems = read(Strips(tmp_path / "out"))
    assert problems == []
    assert after.exclusions == before.exclusions
    assert Counter(r.group for r in after.manifest.records) == Counter(
        r.group for r in before.manifest.records
    )
    for line in ("2 of 4 strips have images in both", "1 image is left out, such as broken/tear/"):
        assert any(w.startswith(line) for w in before.warnings), line
        assert any(w.startswith(line) for w in after.warnings), line
    text = check_dataset(Strips(tmp_path / "out"))
    assert "\n  groups: 4, 2 of them in both train and test\n" in text
    assert "\n  left out: broken/tear/unsure.png: nobody knows what it shows\n" in text


def test_groups_of_a_copy_change_no_digest(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    cache = tmp_path / "cache"
    grouped = Strips(tmp_path / "out", cache=cache).manifest()
    (tmp_path / "out" / "manifest.json").unlink()
    bare = Strips(tmp_path / "out", cache=cache).manifest()
    assert {r.group for r in bare.records} == {None} != {r.group for r in grouped.records}
    assert bare.digest == grouped.digest


def test_a_changed_file_of_a_copy_is_in_no_group(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    changed = next((tmp_path / "out" / "train" / "good").iterdir())
    write_image(changed, size=(8, 8), mode="L")
    records = Strips(tmp_path / "out").manifest().by_path
    groups = {path: record.group for path, record in records.items() if "/good/" in path}
    assert [path for path, group in groups.items() if group is None] == [
        f"train/good/{changed.name}"
    ]


@pytest.mark.parametrize("options", [{}, {"split": "group"}, {"on_duplicate": "drop"}])
def test_the_files_of_a_copy_are_those_that_were_written(
    raw: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    prepare(Strips(raw, **options), tmp_path / "out")
    reading, problems = read(Strips(tmp_path / "out", strict_counts=True))
    assert problems == [] and not any("manifest.json" in one for one in reading.warnings)
    (tmp_path / "out" / "test" / "tear" / "broken_tear_t0.png").unlink()
    (tmp_path / "out" / "ground_truth" / "hole one" / "broken_hole_one_h1_mask.png").unlink()
    write_image(tmp_path / "out" / "test" / "tear" / "broken_tear_t1.png")
    write_image(tmp_path / "out" / "test" / "tear" / "new.png")
    told = (
        "the files are not those that manifest.json lists: "
        "2 gone (test/tear/broken_tear_t0.png), 1 changed (test/tear/broken_tear_t1.png), "
        "1 added (test/tear/new.png); convert the dataset anew"
    )
    assert told in read(Strips(tmp_path / "out"))[0].warnings
    assert told in read(Strips(tmp_path / "out", strict_counts=True))[1]


def test_a_split_by_groups_of_a_copy(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "paper")
    prepare(Strips(raw, split="group"), tmp_path / "group")
    with pytest.raises(DataError, match="split=group needs the download, .* --split group") as told:
        Strips(tmp_path / "paper", split="group").manifest()
    assert "\n" not in str(told.value)
    for split in ("paper", "group"):
        reading, problems = read(Strips(tmp_path / "group", split=split, strict_counts=True))
        assert problems == []
        assert not any("strips have images" in warning for warning in reading.warnings)
    (tmp_path / "paper" / "manifest.json").unlink()
    with pytest.raises(DataError, match="split=group needs the download"):
        Strips(tmp_path / "paper", split="group").manifest()
    write_category(tmp_path / "mine")
    with pytest.raises(DataError, match="are a split already: drop split=group"):
        Folder(tmp_path / "mine", split="group").manifest()


def test_a_manifest_of_a_folder_says_nothing(raw: Path, tmp_path: Path) -> None:
    prepare(Strips(raw), tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    file.write_text(file.read_text().replace('"dataset": "strips"', '"dataset": "folder"'))
    reading, _ = read(Strips(tmp_path / "out"))
    assert reading.exclusions == () and {r.group for r in reading.manifest.records} == {None}
    file.write_text("{")
    reading, problems = read(Strips(tmp_path / "out"))
    assert problems == [] and reading.warnings[0].startswith("manifest.json cannot be read, which")


def test_what_is_left_out_by_definition(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_elpv(tmp_path / "elpv")
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        Elpv(root).manifest()
    assert not any("left out" in record.getMessage() for record in caplog.records)
    line = f"\n  left out by definition: 2 images, such as images/cell0014.png: {UNSURE}\n"
    assert line in check_dataset(Elpv(root))
    prepare(Elpv(root), tmp_path / "out")
    assert manifest_of(tmp_path / "out")["exclusions"] == [
        {"source": f"images/cell00{number}.png", "reason": UNSURE, "by_definition": True}
        for number in (14, 15)
    ]
    assert line in check_dataset(Elpv(tmp_path / "out"))
