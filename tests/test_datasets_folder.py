from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_trees import write_category, write_image, write_mask
from PIL import Image

from osadbench.datasets.folder import Folder
from osadbench.errors import DataError, ParameterError, UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_category(tmp_path / "mvtec" / "carpet")
    return tmp_path / "mvtec"


def problems(root: Path, category: str = "carpet", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        Folder(root, **options).manifest(category)
    return str(caught.value)


def warnings(
    root: Path, caplog: pytest.LogCaptureFixture, category: str = "carpet", **options: Any
) -> list[str]:
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        Folder(root, **options).manifest(category)
    return [record.getMessage() for record in caplog.records]


def test_the_layout_is_read(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Folder(root)
    assert dataset.categories() == ["carpet"]
    manifest = dataset.manifest("carpet")
    assert manifest.name == "folder/carpet"
    assert len(manifest.select(split="train", class_name="good", label=0)) == 6
    assert len(manifest.select(split="test", class_name="good", label=0)) == 4
    assert manifest.known_classes == manifest.anomaly_classes == ("hole", "scratch")
    record = manifest.by_path["carpet/test/hole/001.png"]
    assert (record.label, record.split, record.group) == (1, "test", None)
    assert record.mask == "carpet/ground_truth/hole/001_mask.png"
    assert all(r.mask is None for r in manifest.records if not r.label)
    assert not caplog.records


def test_all_categories_come_in_order(root: Path) -> None:
    write_category(root / "bottle")
    (root / "notes").mkdir()
    assert [m.category for m in Folder(root).manifests()] == ["bottle", "carpet"]
    assert [m.category for m in Folder(root).manifests("carpet")] == ["carpet"]


def test_the_root_may_be_a_category_itself(root: Path) -> None:
    dataset = Folder(root / "carpet")
    assert dataset.categories() == [""]
    manifest = dataset.manifest()
    assert manifest.name == "folder"
    assert manifest.by_path["test/hole/000.png"].mask == "ground_truth/hole/000_mask.png"
    assert len(dataset.images(manifest, ["test/hole/000.png"])[0]) == 8


def test_the_same_images_elsewhere_give_the_same_manifest(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    first, second = Folder(root).manifest("carpet"), Folder(tmp_path / "copy").manifest("carpet")
    assert first == second and first.digest == second.digest


def test_extensions_in_any_case_are_read_and_system_files_ignored(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = root / "carpet" / "train" / "good"
    for name in ("a.PNG", "b.JPG", "c.jpeg", "d.bmp", "e.TIF", "f.tiff", "g.webp"):
        write_image(good / name)
    np.save(good / "h.npy", np.full((8, 8), 7, dtype=np.uint8))
    for name in (".DS_Store", "Thumbs.db", "list.txt", "labels.CSV", "._a.png"):
        (good / name).write_bytes(b"x")
    (root / "carpet" / "__MACOSX").mkdir()
    manifest = Folder(root).manifest("carpet")
    assert len(manifest.select(split="train")) == 14
    assert [r.getMessage() for r in caplog.records] == [
        "folder/carpet: mode npy uint8 occurs in normal images only: it may give the label away"
    ]


def test_other_files_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "carpet" / "train" / "good" / "deeper").mkdir()
    write_image(root / "carpet" / "train" / "good" / "deeper" / "000.png")
    (root / "carpet" / "test" / "hole" / "000.xml").write_text("x")
    write_image(root / "carpet" / "test" / "stray.png")
    (root / "carpet" / "validation").mkdir()
    (warning,) = warnings(root, caplog)
    assert warning == "folder/carpet: 4 files or folders are not read, such as validation"


def test_links_that_lead_in_circles_are_not_followed(root: Path) -> None:
    expected = Folder(root).manifest("carpet")
    carpet = root / "carpet"
    try:
        (carpet / "train" / "good" / "up").symlink_to(carpet, target_is_directory=True)
        (carpet / "loop").symlink_to(carpet, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    assert Folder(root).manifest("carpet") == expected
    (carpet / "train" / "good" / "self.png").symlink_to("self.png")
    assert "cannot read image" in problems(root)


def test_missing_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSADBENCH_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="folder needs a folder of images: give --data-root DIR"):
        Folder().categories()
    with pytest.raises(DataError, match="no folder .*absent"):
        Folder(tmp_path / "absent").categories()


def test_the_data_folder_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.rename(root.with_name("folder"))
    monkeypatch.setenv("OSADBENCH_DATA_DIR", str(root.parent))
    assert Folder().categories() == ["carpet"]


def test_a_root_one_level_off_is_explained(root: Path) -> None:
    with pytest.raises(DataError, match="one level down, .*mvtec holds carpet"):
        Folder(root.parent).categories()
    with pytest.raises(DataError, match="it is a part of the category .*carpet"):
        Folder(root / "carpet" / "train").categories()
    (root.parent / "empty" / "pictures").mkdir(parents=True)
    with pytest.raises(DataError, match="it holds pictures; give the folder of the categories"):
        Folder(root.parent / "empty").categories()


def test_unknown_categories(root: Path) -> None:
    with pytest.raises(UsageError, match=r"no category 'carpt': did you mean carpet\?"):
        Folder(root).manifest("carpt")
    with pytest.raises(UsageError, match="has 1 categories: name one, such as folder/carpet"):
        Folder(root).manifest()
    with pytest.raises(UsageError, match="no categories here: drop '/carpet'"):
        Folder(root / "carpet").manifest("carpet")


def test_unknown_options_are_all_reported() -> None:
    with pytest.raises(ParameterError, match=r"folder\.on_duplicate='never'"):
        Folder(on_duplicate="never")
    with pytest.raises(ParameterError, match="folder has no parameter 'speed'"):
        Folder(speed=3)


@pytest.mark.parametrize("name", ["train/good", "test/good"])
def test_missing_and_empty_normals(root: Path, name: str) -> None:
    shutil.rmtree(root / "carpet" / name)
    assert f"{name} is missing: put normal images there" in problems(root)
    (root / "carpet" / name).mkdir()
    assert f"{name} holds no usable image" in problems(root)


def test_train_holds_good_only(root: Path) -> None:
    write_image(root / "carpet" / "train" / "hole" / "000.png")
    assert "train/hole: train may hold the class good only; move" in problems(root)


def test_anomalies_are_needed(root: Path) -> None:
    shutil.rmtree(root / "carpet" / "ground_truth")
    for name in ("hole", "scratch"):
        shutil.rmtree(root / "carpet" / "test" / name)
        (root / "carpet" / "test" / name).mkdir()
    assert "test holds no anomaly: AUROC needs some" in problems(root)


def test_an_empty_class_is_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "carpet" / "test" / "cut").mkdir()
    assert warnings(root, caplog) == ["folder/carpet: test/cut holds no image"]
    assert Folder(root).manifest("carpet").known_classes == ("hole", "scratch")


def test_unreadable_images(root: Path) -> None:
    good = root / "carpet" / "train" / "good"
    (good / "000.png").write_bytes(b"")
    (good / "001.png").write_bytes((good / "001.png").read_bytes()[:60])
    np.save(good / "nan.npy", np.full((4, 4), np.nan))
    np.save(good / "object.npy", np.array([[None]]))
    np.save(good / "rank.npy", np.zeros(4))
    text = problems(root)
    assert text.startswith("5 problems in ")
    for name in ("000.png", "001.png", "nan.npy", "object.npy", "rank.npy"):
        assert f"{name} (" in text
    assert "replace the file or take it out" in text


def test_long_lists_of_problems_are_cut(root: Path) -> None:
    for index in range(25):
        (root / "carpet" / "train" / "good" / f"bad{index:02d}.png").write_bytes(b"")
    lines = problems(root).splitlines()
    assert lines[0].startswith("25 problems in ")
    assert len(lines) == 22 and lines[-1].strip() == "and 5 more"


def test_masks_may_be_absent(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "carpet" / "ground_truth" / "hole")
    assert warnings(root, caplog) == []
    masks = [r.mask for r in Folder(root).manifest("carpet").select(class_name="hole")]
    assert masks == [None, None, None]
    (root / "carpet" / "ground_truth" / "scratch" / "001_mask.png").unlink()
    assert warnings(root, caplog) == [
        "folder/carpet: 1 of 3 images of test/scratch have no mask, such as test/scratch/001.png"
    ]


def test_a_mask_may_have_the_plain_name_and_ones(root: Path) -> None:
    masks = root / "carpet" / "ground_truth" / "hole"
    (masks / "000_mask.png").unlink()
    write_mask(masks / "000.png", values=(1,))
    record = Folder(root).manifest("carpet").by_path["carpet/test/hole/000.png"]
    assert record.mask == "carpet/ground_truth/hole/000.png"


def test_wrong_masks(root: Path) -> None:
    masks = root / "carpet" / "ground_truth"
    write_mask(masks / "hole" / "000_mask.png", size=(9, 8))
    write_mask(masks / "hole" / "001_mask.png", values=(1, 2, 3))
    (masks / "hole" / "002_mask.png").write_bytes(b"")
    write_mask(masks / "hole" / "007_mask.png")
    write_mask(masks / "scratch" / "000.png")
    write_mask(masks / "cut" / "000_mask.png")
    text = problems(root)
    assert "hole/000_mask.png is 9x8 but its image is 8x8: a mask must have" in text
    assert "hole/001_mask.png holds 4 values up to 3: a mask must be binary" in text
    assert "002_mask.png (" in text
    assert "hole/007_mask.png has no image in test/hole" in text
    assert "scratch/000.png and ground_truth/scratch/000_mask.png are masks of one image" in text
    assert "ground_truth/cut has masks but there is no test/cut" in text


def test_one_stem_twice_leaves_the_mask_open(root: Path) -> None:
    write_image(root / "carpet" / "test" / "hole" / "000.bmp")
    assert "test/hole has 2 images named 000: their masks cannot be told apart" in problems(root)
    shutil.rmtree(root / "carpet" / "ground_truth")
    assert len(Folder(root).manifest("carpet").select(class_name="hole")) == 4


def test_masks_worth_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mask(root / "carpet" / "ground_truth" / "hole" / "000_mask.png", values=())
    write_mask(root / "carpet" / "ground_truth" / "good" / "000_mask.png")
    assert warnings(root, caplog) == [
        "folder/carpet: 1 masks in ground_truth/good are not used",
        "folder/carpet: 1 masks mark no pixel, such as ground_truth/hole/000_mask.png",
    ]


def copy(root: Path, source: str, target: str) -> None:
    shutil.copy(root / "carpet" / source, root / "carpet" / target)


def test_contradictory_duplicates(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "carpet" / "ground_truth")
    copy(root, "train/good/000.png", "test/good/copy.png")
    copy(root, "test/good/001.png", "test/hole/copy.png")
    text = problems(root)
    assert "train/good/000.png and test/good/copy.png have the same content" in text
    assert "an image must not stand in both train and test; take one away" in text
    assert "test/good/001.png and test/hole/copy.png have the same content" in text
    assert "an image must not be both normal and anomalous" in text

    assert len(warnings(root, caplog, on_duplicate="warn")) == 2
    assert len(Folder(root, on_duplicate="warn").manifest("carpet").records) == 18


def test_dropping_duplicates(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "carpet" / "ground_truth")
    copy(root, "train/good/000.png", "test/good/copy.png")
    copy(root, "test/good/001.png", "test/hole/copy.png")
    copy(root, "test/hole/000.png", "test/scratch/copy.png")
    paths = {
        path.removeprefix("carpet/")
        for path in Folder(root, on_duplicate="drop").manifest("carpet").by_path
    }
    assert "train/good/000.png" in paths and "test/hole/000.png" in paths
    gone = {"test/good/copy.png", "test/good/001.png", "test/hole/copy.png"}
    assert not paths & (gone | {"test/scratch/copy.png"}) and len(paths) == 15
    assert "folder/carpet: 4 duplicate images are left out" in [
        record.getMessage() for record in caplog.records
    ]


def test_duplicates_inside_a_split_are_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy(root, "train/good/000.png", "train/good/copy.png")
    copy(root, "train/good/000.png", "train/good/copy2.png")
    assert warnings(root, caplog) == ["folder/carpet: 2 duplicate images inside train"]


def test_a_mode_of_one_label_is_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(root / "carpet" / "train" / "good" / "alpha.png", mode="RGBA")
    write_image(root / "carpet" / "test" / "hole" / "002.png", mode="L")
    assert warnings(root, caplog) == [
        "folder/carpet: mode L occurs in anomalous images only: it may give the label away",
        "folder/carpet: mode RGBA occurs in normal images only: it may give the label away",
    ]


def test_sizes_that_separate_the_labels_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    carpet = write_category(tmp_path / "carpet", masks=False)
    for path in [*carpet.glob("test/hole/*"), *carpet.glob("test/scratch/*")]:
        write_image(path, size=(9, 9))
    (warning,) = warnings(tmp_path, caplog)
    assert "normal and anomalous images share no size" in warning


def test_deep_images_give_one_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train/good/000.png", "test/hole/000.png", "test/hole/001.png"):
        values = np.random.default_rng(len(name)).integers(0, 65536, (8, 8))
        Image.fromarray(values.astype(np.uint16)).save(root / "carpet" / name)
    copies = [text for text in warnings(root, caplog, on_duplicate="warn") if "scaled" in text]
    assert copies == ["folder/carpet: images of mode I;16 are scaled to 8 bits a channel"]


def test_images_come_by_path(root: Path) -> None:
    dataset = Folder(root)
    manifest = dataset.manifest("carpet")
    paths = ["carpet/test/hole/001.png", "carpet/train/good/000.png"]
    images = dataset.images(manifest, paths)
    assert images.identities == tuple(manifest.by_path[path].sha256 for path in paths)
    with pytest.raises(DataError, match="folder/carpet has no image 'absent.png'"):
        dataset.images(manifest, ["absent.png"])
