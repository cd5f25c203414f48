from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_trees import write_category, write_image
from raw_tools import Strips, write_strips

from osadbench.datasets.check import check_dataset, check_folder
from osadbench.datasets.folder import Folder
from osadbench.errors import DataError


def test_the_text_for_one_category(tmp_path: Path) -> None:
    carpet = write_category(tmp_path / "carpet", classes={"hole": 9, "scratch": 8}, masks=False)
    write_image(carpet / "train" / "good" / "wide.png", size=(9, 8))
    (carpet / "test" / "cut").mkdir()
    alone = (
        "none, for cross-domain trains on one category and tests on another, but folder/carpet is "
        "the only one: ask for several categories of folder"
    )
    assert check_folder(tmp_path).splitlines() == [
        f"{tmp_path}: 1 category",
        "",
        "folder/carpet: 28 images",
        "  train/good         7",
        "  test/good          4",
        "  test/hole          9",
        "  test/scratch       8",
        "  known classes: all",
        "  sizes: 8x8 (27), 9x8 (1)",
        "  modes: RGB (28)",
        "  masks: 0 for 17 anomalies",
        "  duplicates: none",
        "  warning: test/cut holds no image",
        "  contamination, 1-shot: train 7 normal + 1 labelled, test 4 normal + 6 anomalous",
        "  contamination, 10-shot: train 7 normal + 10 labelled, test 4 normal + 6 anomalous",
        f"  cross-domain, 1-shot: {alone}",
        f"  cross-domain, 10-shot: {alone}",
        "  general, 1-shot: train 7 normal + 1 labelled, test 4 normal + 7 anomalous",
        "  general, 10-shot: train 7 normal + 10 labelled, test 4 normal + 7 anomalous",
        "  hard, 1-shot, known class hole: train 7 normal + 1 labelled, "
        "test 4 normal + 8 anomalous",
        "  hard, 1-shot, known class scratch: train 7 normal + 1 labelled, "
        "test 4 normal + 9 anomalous",
        "  hard, 10-shot, known class hole: train 7 normal + 9 labelled (the class has no more), "
        "test 4 normal + 8 anomalous",
        "  hard, 10-shot, known class scratch: train 7 normal + 8 labelled (the class has no more),"
        " test 4 normal + 9 anomalous",
    ]


def test_why_there_is_no_split(tmp_path: Path) -> None:
    write_category(tmp_path / "carpet", classes={"hole": 3})
    text = check_folder(tmp_path)
    assert "general, 1-shot: none, for folder/carpet has 3 anomalies" in text
    assert "such as general[pool=1]" in text
    assert "hard, 1-shot: none, for folder/carpet has 1 anomaly class" in text


def test_masks_duplicates_and_many_sizes(tmp_path: Path) -> None:
    carpet = write_category(tmp_path / "carpet")
    for width in range(9, 16):
        write_image(carpet / "train" / "good" / f"w{width}.png", size=(width, 8))
    image = carpet / "train" / "good" / "000.png"
    image.with_name("copy.png").write_bytes(image.read_bytes())
    text = check_folder(tmp_path)
    assert "masks: 6 for 6 anomalies" in text
    assert "duplicates: 1\n  warning: 1 duplicate images inside train" in text
    assert "8x8 (17), " in text and "and 3 others" in text


def test_classes_of_equal_splits_share_a_line(tmp_path: Path) -> None:
    write_category(tmp_path / "carpet")
    assert "hard, 1-shot, known class hole or scratch: train 6" in check_folder(tmp_path)


def test_categories_are_the_sources_of_each_other(tmp_path: Path) -> None:
    for name in ("carpet", "grid", "wood"):
        write_category(tmp_path / name)
    text = check_folder(tmp_path)
    assert "cross-domain, 1-shot, from grid or wood: train 6 normal + 1 labelled, test 4" in text
    assert "cross-domain, 1-shot, from carpet or grid: train 6" in text


def test_a_dataset_of_its_own_form(tmp_path: Path) -> None:
    text = check_dataset(Strips(write_strips(tmp_path)))
    for line in (
        "strips: 13 images",
        "  train/good          6",
        "  test/good           2",
        "  test/hole one       3",
        "  test/tear           2",
        "  train/test/anomalous: 6/2/5; papers 6/2/6",
        "  known classes: hole one (1 of 2)",
        "  sizes: 8x8 (13)",
        "  modes: L (8), RGB (3), RGBA (2)",
        "  masks: 3 for 5 anomalies",
        "  groups: 4, 2 of them in both train and test",
        "  warning: mode RGBA occurs in anomalous images only: it may give the label away",
        "  left out: broken/tear/unsure.png: nobody knows what it shows",
    ):
        assert f"\n{line}\n" in text, text
    assert "hard, 1-shot, known class hole one: train 6 normal + 1" in text
    assert "known class tear" not in text


def test_a_split_by_groups_keeps_them_whole(tmp_path: Path) -> None:
    text = check_dataset(Strips(write_strips(tmp_path), split="group"))
    assert "  groups: 4, 0 of them in both train and test\n" in text


def test_copies_and_what_they_lead_to(tmp_path: Path) -> None:
    root = write_strips(tmp_path)
    copy = root / "clean" / "s 0.jpg"
    copy.with_name("s 9.jpg").write_bytes(copy.read_bytes())
    text = check_dataset(Strips(root, on_duplicate="warn"))
    assert "  duplicates: 2\n" in text and "have the same content" in text
    text = check_dataset(Strips(root, on_duplicate="drop"))
    assert "  duplicates: none\n" in text and "2 duplicate images are left out" in text


def test_many_exclusions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osadbench.datasets.check.SHOWN", 2)
    root = write_strips(tmp_path)
    for name in "abcd":
        write_image(root / "broken" / name / "unsure.png")
    lines = [line for line in check_dataset(Strips(root)).splitlines() if "left out:" in line]
    assert lines == [
        "  left out: broken/a/unsure.png: nobody knows what it shows",
        "  left out: broken/b/unsure.png: nobody knows what it shows",
        "  left out: 3 more",
    ]


def test_problems_of_all_categories_come_together(tmp_path: Path) -> None:
    write_category(tmp_path / "bottle")
    np.save(tmp_path / "bottle" / "test" / "good" / "bad.npy", np.zeros(3))
    write_category(tmp_path / "carpet", train=0)
    with pytest.raises(DataError, match="2 problems in") as caught:
        check_folder(tmp_path)
    assert "\n  bottle: cannot read image" in str(caught.value)
    assert "\n  carpet: train/good is missing" in str(caught.value)


def test_later_runs_find_what_the_check_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_category(tmp_path / "data" / "carpet")
    check_folder(tmp_path / "data", tmp_path / "cache")
    monkeypatch.setattr("osadbench.datasets.reading.decode", None)
    dataset = Folder(tmp_path / "data", cache=tmp_path / "cache")
    assert len(dataset.manifest("carpet").records) == 16


def test_the_root_itself_may_be_the_category(tmp_path: Path) -> None:
    write_category(tmp_path)
    assert "\n\nfolder: 16 images\n" in check_folder(str(tmp_path))
