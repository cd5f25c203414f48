from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_trees import write_category, write_image
from manifest_tools import split_all
from PIL import Image
from raw_trees_2 import counts, read, refusal, write_part, write_sdd, write_sdd2

from osadbench.datasets.masks import read_mask
from osadbench.datasets.sdd import Sdd
from osadbench.errors import DataError
from osadbench.images import decode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sdd(tmp_path / "sdd")


def test_images_are_cut_into_three_bands(root: Path) -> None:
    reading, problems = read(Sdd(root))
    assert problems == []
    assert counts(reading.manifest) == {"train/good": 9, "test/good": 3, "test/defect": 3}
    heights = {
        image: [
            reading.facts[path].size[1]
            for path in sorted(reading.facts, key=lambda path: int(path.split(",")[1]))
            if path.startswith(f"{image}#")
        ]
        for image in ("kos01/Part0.jpg", "kos01/Part1.jpg", "kos02/Part0.jpg")
    }
    # Cut at floor(H / 3) and floor(2 H / 3) for heights of 60, 61 and 62 rows.
    assert list(heights.values()) == [[20, 20, 20], [20, 20, 21], [20, 21, 21]]


def test_clean_bands_of_defective_images_are_normal(root: Path) -> None:
    by_path = Sdd(root).manifest().by_path
    classes = {path: record.class_name for path, record in by_path.items()}
    assert classes["kos01/Part1.jpg#xywh=0,0,20,20"] == "good"
    assert classes["kos01/Part1.jpg#xywh=0,20,20,20"] == "defect"
    assert classes["kos01/Part1.jpg#xywh=0,40,20,21"] == "good"
    # A crack in rows 40 and 41 of 62 is cut in two.
    assert classes["kos02/Part0.jpg#xywh=0,20,20,21"] == "defect"
    assert classes["kos02/Part0.jpg#xywh=0,41,20,21"] == "defect"
    assert by_path["kos02/Part0.jpg#xywh=0,0,20,20"].group == "kos02"


def test_bands_and_masks_are_slices(root: Path) -> None:
    dataset = Sdd(root)
    manifest = dataset.manifest()
    record = manifest.by_path["kos02/Part0.jpg#xywh=0,41,20,21"]
    whole = decode(root / "kos02" / "Part0.jpg")
    np.testing.assert_array_equal(dataset.images(manifest, [record.path])[0], whole[41:62])
    assert record.mask == "kos02/Part0_label.bmp#xywh=0,41,20,21"
    marked = read_mask(root, record.mask, Sdd.mask_threshold)
    # The label holds 1 where others hold 255.
    assert np.argwhere(marked).tolist() == [[0, 7], [0, 8]]
    assert all(r.mask is None for r in manifest.select(label=0))


def test_a_split_by_commutator(root: Path) -> None:
    torn = "have images in both train and test, as in the papers"
    assert any("commutators" in w and torn in w for w in read(Sdd(root))[0].warnings)
    normals = Sdd(root, split="group").manifest().select(label=0)
    tests = {r.group for r in normals if r.split == "test"}
    assert len(tests) == 1 and not tests & {r.group for r in normals if r.split == "train"}
    still = (
        "in both train and test, for anomalies are all tested on: split=group keeps only normals"
    )
    assert any(still in w for w in read(Sdd(root, split="group"))[0].warnings)


def test_the_folder_above_is_accepted(root: Path) -> None:
    assert Sdd(root.parent).root == root


def test_one_class_serves_the_general_protocol_only(root: Path) -> None:
    manifest = Sdd(root).manifest()
    assert manifest.known_classes == ("defect",)
    (split,) = split_all("general", manifest, shots=[1], pool=2)
    assert len(split.train_normals) == 9 and len(split.test) == 4
    with pytest.raises(DataError, match="sdd has 1 anomaly class, but hard needs 2 or more"):
        split_all("hard", manifest)


def test_the_counts_say_what_differs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (
        "unexpected numbers of images: test/defect 3 instead of 54, test/good 3 instead of 286, "
        "train/good 9 instead of 857; the expected numbers were derived, not counted: check the "
        "download"
    )
    assert expected in read(Sdd(root))[0].warnings
    assert read(Sdd(root, strict_counts=True))[1] == [expected]
    monkeypatch.setattr(Sdd, "counts", {"": {"train/good": 9, "test/good": 3, "test/defect": 3}})
    assert read(Sdd(root, strict_counts=True))[1] == []


def test_the_papers_print_another_number() -> None:
    found, printed = Sdd.counts[""], Sdd.paper_counts[""]
    # 399 images give 1197 bands, a quarter of the 1143 normal ones to test on.
    assert sum(found.values()) == 3 * 399
    assert (found["test/good"], found["test/defect"]) == printed[1:] == (286, 54)
    assert printed.normal_train == 594


def test_damage_is_reported(root: Path) -> None:
    (root / "kos01" / "Part0.jpg").write_bytes(b"")
    (root / "kos02" / "Part7_label.bmp").unlink()
    write_image(root / "kos50" / "Part3_label.bmp", size=(20, 61), mode="L")
    text = refusal(Sdd(root))
    assert text.startswith("3 problems in ") and "kos01/Part0.jpg cannot be read (" in text
    assert "Part7_label.bmp is gone" in text
    assert "kos50/Part3_label.bmp is 20x61 but its image is 20x62: get the dataset anew" in text


@pytest.mark.parametrize("place", ["", "KolektorSDD2"])
def test_kolektorsdd2_is_refused(tmp_path: Path, place: str) -> None:
    write_sdd2(tmp_path / place)
    text = refusal(Sdd(tmp_path))
    assert text.startswith(f"{tmp_path / place} is KolektorSDD2, another dataset: get KolektorSDD")


def test_the_release_of_boxes_is_refused_by_its_name(root: Path) -> None:
    boxes = root.with_name("KolektorSDD-boxes")
    shutil.copytree(root, boxes)
    wanted = f"{boxes} is the release of KolektorSDD whose masks are boxes: get KolektorSDD.zip"
    assert refusal(Sdd(boxes)).startswith(wanted)
    # Beside the right one it does no harm.
    assert Sdd(root.parent).root == root
    shutil.rmtree(root)
    assert refusal(Sdd(boxes.parent)).startswith(wanted)


def test_the_release_of_boxes_is_refused_by_its_masks(root: Path) -> None:
    for name, rows in (("kos01/Part1", range(20, 30)), ("kos02/Part0", range(30, 33))):
        label = root / f"{name}_label.bmp"
        pixels = np.asarray(Image.open(label)).copy()
        pixels[:] = 0
        pixels[list(rows), 4:9] = 255
        Image.fromarray(pixels).save(label)
    text = refusal(Sdd(root))
    assert "the masks are boxes, so it is another release: get KolektorSDD.zip, with fine" in text


def test_no_sdd_at_all(tmp_path: Path) -> None:
    assert refusal(Sdd(tmp_path)).startswith(
        f"no sdd in {tmp_path}: expected kosNN/PartM.jpg and kosNN/PartM_label.bmp, or the layout"
    )
    write_part(tmp_path / "kos01" / "Part0.jpg", 60, [], 0)
    assert "there is no readable anomalous image" in refusal(Sdd(tmp_path))


def test_the_layout_of_mvtec_ad(tmp_path: Path) -> None:
    write_category(tmp_path, classes={"defect": 3})
    found = counts(Sdd(tmp_path).manifest())
    assert found == {"train/good": 6, "test/good": 4, "test/defect": 3}
