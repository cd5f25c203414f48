from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from image_trees import write_category, write_image, write_mask
from raw_trees_1 import look, moved_into, refusal, write_mvtec
from raw_trees_2 import counts

from osadbench.datasets.masks import read_mask
from osadbench.datasets.mvtec import Mvtec
from osadbench.datasets.raw import PaperCounts
from osadbench.errors import DataError, UsageError
from osadbench.registry import PROTOCOLS

PUBLISHED = Path(__file__).parent.parent / "results" / "published"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mvtec(tmp_path / "mvtec")


def test_categories_and_classes(root: Path) -> None:
    dataset = Mvtec(root)
    assert dataset.categories() == ["carpet", "metal_nut", "toothbrush"]
    manifest = dataset.manifest("carpet")
    assert manifest.name == "mvtec/carpet"
    assert counts(manifest) == {
        "train/good": 4,
        "test/good": 2,
        "test/color": 2,
        "test/cut": 1,
        "test/metal_contamination": 2,
    }
    record = manifest.by_path["carpet/test/color/001.png"]
    assert record.mask == "carpet/ground_truth/color/001_mask.png"
    marked = read_mask(dataset.root, record.mask, Mvtec.mask_threshold)
    assert marked.shape == (8, 8) and marked.sum() == 1
    assert {r.mask for r in manifest.select(label=0)} == {None}


def test_the_papers_names_of_classes(root: Path) -> None:
    dataset = Mvtec(root)
    carpet = dataset.manifest("carpet")
    assert carpet.known_classes == ("color", "cut", "metal_contamination")
    assert carpet.aliases == (("metal", "metal_contamination"),)
    hard = PROTOCOLS.get("hard")()
    (split,) = hard.splits(carpet, seeds=[0], shots=[1], known_classes=["Metal"])
    assert split.known_class == "metal_contamination"
    assert dataset.manifest("metal_nut").aliases == ()
    with pytest.raises(UsageError, match="no known class 'metal'"):
        list(
            hard.splits(
                dataset.manifest("metal_nut"), seeds=[0], shots=[1], known_classes=["metal"]
            )
        )


def test_every_published_subset_is_a_known_class() -> None:
    with (PUBLISHED / "dra_table2.csv").open(newline="") as file:
        rows = [(row["dataset"], row["subset"]) for row in csv.DictReader(file) if row["subset"]]
    subsets = {name: {s for d, s in rows if d == name} for name in ("carpet", "metal_nut")}
    for category, published in subsets.items():
        assert {Mvtec.aliases.get(s, s) for s in published} == set(Mvtec.known[category])


def test_declared_counts_are_the_papers() -> None:
    with (PUBLISHED / "datasets.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["paper"], r["dataset"]) == ("dra", "mvtec")]
    numbers = ("normal_train", "normal_test", "anomalies", "n_classes")
    printed = {row["subset"]: tuple(int(row[name]) for name in numbers) for row in rows}
    total = printed.pop("")
    assert Mvtec.counts.keys() == Mvtec.paper_counts.keys() == printed.keys()
    for category, expected in Mvtec.counts.items():
        anomalies = [n for name, n in expected.items() if not name.endswith("/good")]
        found = (expected["train/good"], expected["test/good"], sum(anomalies), len(anomalies))
        assert found == printed[category]
        assert Mvtec.paper_counts[category] == PaperCounts(*found[:3])
    sums: Counter[str] = Counter()
    for values in printed.values():
        sums.update(dict(zip(numbers, values, strict=True)))
    assert tuple(sums[name] for name in numbers) == total == (3629, 467, 1258, 73)


def test_a_difference_in_numbers_is_told(root: Path) -> None:
    reading, problems = look(Mvtec(root), "metal_nut")
    (warning,) = reading.warnings
    assert warning == (
        "unexpected numbers of images: test/bent 2 instead of 25, test/color 0 instead of 22, "
        "test/flip 1 instead of 23, test/good 2 instead of 22, test/scratch 0 instead of 23, "
        "train/good 3 instead of 220; the expected numbers were derived, not counted: check the "
        "download"
    )
    assert problems == []
    strict = Mvtec(root, strict_counts=True)
    assert "test/flip 1 instead of 23" in refusal(strict, "metal_nut")


def test_the_expected_numbers_give_no_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"train/good": 3, "test/good": 1, "test/defective": 2}
    monkeypatch.setattr(Mvtec, "counts", {"toothbrush": expected})
    assert look(Mvtec(root), "toothbrush")[0].warnings == ()


@pytest.mark.parametrize("wrapper", ["mvtec_anomaly_detection", "mvtec-ad/mvtec_anomaly_detection"])
def test_nested_copies_are_found(root: Path, wrapper: str) -> None:
    wrapped = moved_into(root, wrapper)
    assert Mvtec(wrapped).root == wrapped / wrapper
    assert Mvtec(wrapped).categories() == ["carpet", "metal_nut", "toothbrush"]


def test_the_data_folder_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSADBENCH_DATA_DIR", str(root.parent))
    assert Mvtec().root == root


def test_missing_data_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"no mvtec in .*get mvtec_anomaly_detection.tar.xz from ht"
    ):
        Mvtec(tmp_path).categories()
    monkeypatch.delenv("OSADBENCH_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="mvtec is not here: give its folder by --data-root DIR"):
        Mvtec().categories()


def test_one_category_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=rf"give {root} and name mvtec/carpet") as caught:
        Mvtec(root / "carpet").categories()
    assert "carpet is one category" in str(caught.value)


@pytest.mark.parametrize(
    ("mark", "release"),
    [
        ("pushpins/test/logical_anomalies", "MVTec LOCO AD"),
        ("bagel/train/good/rgb", "MVTec 3D-AD"),
        ("can/test_public", "MVTec AD 2"),
    ],
)
def test_other_datasets_of_mvtec_are_refused(tmp_path: Path, mark: str, release: str) -> None:
    (tmp_path / mark).mkdir(parents=True)
    with pytest.raises(DataError, match=f"is {release}, for there is {mark}, but mvtec is"):
        Mvtec(tmp_path).categories()


def test_categories_have_to_be_named(root: Path) -> None:
    with pytest.raises(UsageError, match="mvtec has 3 categories: name one, such as mvtec/carpet"):
        Mvtec(root).manifest()
    with pytest.raises(UsageError, match="no category 'carpets': did you mean carpet"):
        Mvtec(root).manifest("carpets")


def test_images_without_a_mask_are_told(root: Path) -> None:
    (root / "carpet" / "ground_truth" / "color" / "001_mask.png").unlink()
    warnings = look(Mvtec(root), "carpet")[0].warnings
    assert "1 of 2 images of test/color have no mask, such as test/color/001.png" in warnings


def test_faults_are_problems(root: Path) -> None:
    carpet = root / "carpet"
    write_mask(carpet / "ground_truth" / "cut" / "000_mask.png", size=(9, 9))
    write_image(carpet / "train" / "hole" / "000.png")
    (carpet / "test" / "color" / "000.png").write_bytes(b"")
    text = refusal(Mvtec(root), "carpet")
    assert text.startswith(f"3 problems in {carpet}:")
    assert "000_mask.png is 9x9 but its image is 8x8" in text
    assert "train/hole: train may hold the class good only" in text
    assert "cannot read image" in text


def test_a_copy_in_train_and_test_is_refused_unless_asked_otherwise(root: Path) -> None:
    train = root / "carpet" / "train" / "good" / "000.png"
    (root / "carpet" / "test" / "good" / "000.png").write_bytes(train.read_bytes())
    assert "an image must not stand in both train and test" in refusal(Mvtec(root), "carpet")
    dropped = Mvtec(root, on_duplicate="drop").manifest("carpet")
    assert "carpet/test/good/000.png" not in dropped.by_path


def test_a_category_of_your_own_may_stand_among_them(root: Path) -> None:
    write_category(root / "rug")
    reading, problems = look(Mvtec(root), "rug")
    assert problems == [] and reading.warnings == ()
    assert reading.manifest.known_classes == ("hole", "scratch")
