from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from manifest_tools import classes_of, make_manifest, protocol, split_all

from osadbench.errors import DataError, ParameterError, UsageError
from osadbench.types import Manifest

GOLDEN = Path(__file__).with_name("golden") / "splits.json"


def test_general_removes_the_pool_for_every_number_of_shots() -> None:
    manifest = make_manifest()
    one, ten = split_all("general", manifest)
    assert (one.shots, ten.shots) == (1, 10)
    assert one.test == ten.test and len(ten.test) == 6 + 30 - 10
    assert one.train_anomalies == ten.train_anomalies[:1] and len(ten.train_anomalies) == 10
    assert one.train_normals == ten.train_normals and len(one.train_normals) == 12
    assert one.known_class == "" and one.manifest_digest == manifest.digest
    assert one.row == "box" and one.protocol == "general"


def test_one_shot_alone_has_the_same_test_set() -> None:
    manifest = make_manifest()
    assert split_all("general", manifest, shots=[1]) == split_all("general", manifest)[:1]
    assert split_all("hard", manifest, shots=[1])[0] in split_all("hard", manifest)


@pytest.mark.parametrize("name", ["general", "contamination"])
def test_more_shots_than_the_pool_are_refused(name: str) -> None:
    manifest = make_manifest({"hole": 20, "crack": 40})
    message = rf"12 shots need a pool of as many .*, got 11: ask for {name}\[pool=12\]"
    with pytest.raises(UsageError, match=message):
        split_all(name, manifest, shots=[5, 12], pool=11)
    assert split_all(name, manifest, shots=[5, 12], pool=12)


def test_all_shots_of_a_pool_share_the_test_set() -> None:
    five, twelve = split_all("general", make_manifest(), shots=[12, 5], pool=12)
    assert len(twelve.train_anomalies) == 12 and twelve.test == five.test
    assert len(five.test) == 6 + 30 - 12


def test_the_pool_does_not_change_what_is_drawn() -> None:
    manifest = make_manifest()
    (small,) = split_all("general", manifest, shots=[3], pool=3)
    (large,) = split_all("general", manifest, shots=[3], pool=20)
    assert small.train_anomalies == large.train_anomalies
    assert set(large.test) < set(small.test)


def test_hard_takes_the_whole_known_class_out_of_the_test() -> None:
    manifest = make_manifest()
    splits = split_all("hard", manifest)
    assert [(s.known_class, s.shots) for s in splits] == [
        ("Hole", 1), ("Hole", 10), ("crack", 1), ("crack", 10), ("stain", 1), ("stain", 10),
    ]  # fmt: skip
    for one, ten in zip(splits[::2], splits[1::2], strict=True):
        assert one.test == ten.test
        assert one.train_anomalies == ten.train_anomalies[:1]
        assert classes_of(manifest, ten.train_anomalies) == {ten.known_class}
        assert ten.known_class not in classes_of(manifest, ten.test)
        assert len(ten.test) == 6 + 30 - len(manifest.select(class_name=ten.known_class))
    assert splits[0].row == "box/Hole"


def test_a_class_smaller_than_the_shots_gives_all_it_has() -> None:
    split = split_all("hard", make_manifest(), shots=[10], known_classes=["stain"])[0]
    assert split.shots == 10 and len(split.train_anomalies) == 4


@pytest.mark.parametrize("name", ["general", "hard"])
def test_train_and_test_share_nothing(name: str) -> None:
    manifest = make_manifest()
    for split in split_all(name, manifest, seeds=range(5)):
        train = [*split.train_normals, *split.train_anomalies]
        assert len({*train, *split.test}) == len(train) + len(split.test)
        assert not any(manifest.by_path[path].label for path in split.train_normals)
        assert all(manifest.by_path[path].label for path in split.train_anomalies)
        normals = {r.path for r in manifest.select(split="test", label=0)}
        assert normals <= set(split.test)
        assert list(split.test) == sorted(split.test)


@pytest.mark.parametrize("name", ["general", "hard", "contamination"])
def test_the_order_of_listing_and_asking_does_not_matter(name: str) -> None:
    first, second = make_manifest(shuffle=1), make_manifest(shuffle=2)
    assert first == second and first.digest == second.digest
    asked = split_all(name, first, seeds=[2, 0, 2], shots=[10, 1, 10])
    assert asked == split_all(name, second, seeds=[0, 2], shots=[1, 10])
    order = [(split.known_class, split.shots, split.seed) for split in asked]
    assert order == sorted(set(order))


@pytest.mark.parametrize("name", ["general", "hard", "contamination"])
def test_seeds_draw_apart(name: str) -> None:
    splits = split_all(name, make_manifest({"hole": 20, "crack": 20}), range(6), [4])
    drawn = [split.train_anomalies for split in splits]
    assert len(set(drawn)) == len(drawn)


def test_datasets_categories_and_classes_draw_apart() -> None:
    made = make_manifest({"hole": 20, "crack": 20})
    orders = set()
    for manifest in (made, replace(made, category="bag"), replace(made, dataset="other")):
        for split in split_all("hard", manifest, shots=[4]):
            orders.add(tuple(Path(path).stem for path in split.train_anomalies))
    assert len(orders) == 6


def test_seeds_cover_all_anomalies() -> None:
    manifest = make_manifest()
    drawn = {s.train_anomalies[0] for s in split_all("general", manifest, range(300), [1])}
    assert len(drawn) == 30


def test_known_classes_may_be_chosen_in_any_case_and_order() -> None:
    manifest = make_manifest()
    chosen = split_all("hard", manifest, shots=[1], known_classes=["STAIN", "hole", "Hole"])
    assert [split.known_class for split in chosen] == ["Hole", "stain"]
    assert split_all("hard", manifest, known_classes=[]) == split_all("hard", manifest)
    assert chosen == [s for s in split_all("hard", manifest, shots=[1]) if s.known_class != "crack"]


def test_unknown_known_classes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"made/box has no known class 'crak': did you mean crack"):
        split_all("hard", make_manifest(), known_classes=["crak"])
    manifest = make_manifest(known_classes=("Hole", "crack"))
    assert {split.known_class for split in split_all("hard", manifest)} == {"Hole", "crack"}
    with pytest.raises(UsageError, match="'stain': known: Hole, crack"):
        split_all("hard", manifest, known_classes=["stain"])


@pytest.mark.parametrize("name", ["general", "contamination"])
def test_some_protocols_have_no_known_class(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no known class, got crack: drop --known"):
        split_all(name, make_manifest(), known_classes=["crack"])


@pytest.mark.parametrize("name", ["general", "hard", "contamination"])
def test_wrong_requests(name: str) -> None:
    with pytest.raises(UsageError, match=r"expected 1 or more shots .* got 0"):
        split_all(name, make_manifest(), shots=[1, 0])
    with pytest.raises(UsageError, match="at least one seed"):
        split_all(name, make_manifest(), seeds=[])


def with_copies(manifest: Manifest, content: str, *copies: str) -> Manifest:
    """Return the manifest with some images' content in place of their own."""
    records = [
        replace(r, sha256=manifest.by_path[content].sha256) if r.path in copies else r
        for r in manifest.records
    ]
    return replace(manifest, records=tuple(records))


def test_copies_of_the_drawn_anomalies_leave_the_test_set() -> None:
    manifest = make_manifest()
    known, other = "box/test/crack/003.png", "box/test/stain/001.png"
    copied = with_copies(manifest, known, other)
    plain, split = (split_all("hard", m, known_classes=["crack"])[1] for m in (manifest, copied))
    assert set(plain.test) - set(split.test) == {other}
    assert split.train_anomalies == plain.train_anomalies
    for seed in range(20):
        one, ten = split_all("general", copied, seeds=[seed])
        drawn = {known, other} & set(ten.train_anomalies)
        assert one.test == ten.test
        assert len({known, other} & set(ten.test)) == (0 if drawn else 2)


def test_copies_of_normals_and_of_test_images_stay() -> None:
    manifest = make_manifest()
    train, test = "box/train/good/001.png", "box/test/good/002.png"
    first = with_copies(
        with_copies(manifest, train, test), "box/test/good/000.png", "box/test/good/001.png"
    )
    assert split_all("general", first)[0].test == split_all("general", manifest)[0].test


def test_nothing_but_copies_is_no_test_set() -> None:
    manifest = make_manifest({"hole": 3, "crack": 2})
    copies = ("box/test/crack/000.png", "box/test/crack/001.png")
    copied = with_copies(manifest, "box/test/hole/000.png", *copies)
    with pytest.raises(DataError, match="made/box has only normal images .* take the copies out"):
        split_all("hard", copied, shots=[1], known_classes=["hole"])


def test_parameters() -> None:
    assert protocol("general", pool="5").params.model_dump() == {"pool": 5}
    with pytest.raises(ParameterError, match=r"general\.pool=0"):
        protocol("general", pool=0)
    with pytest.raises(ParameterError, match="hard has no parameter 'pool'"):
        protocol("hard", pool=5)


def test_too_few_anomalies_for_general() -> None:
    manifest = make_manifest({"hole": 6, "crack": 4})
    with pytest.raises(DataError, match=r"has 10 anomalies.*such as general\[pool=5\]"):
        split_all("general", manifest, shots=[1])
    assert split_all("general", manifest, shots=[1], pool=5)
    with pytest.raises(DataError, match="a pool of 10 .*: ask for fewer shots"):
        split_all("general", manifest, shots=[1, 10], pool=5)


def test_hard_needs_two_classes() -> None:
    with pytest.raises(DataError, match="has 1 anomaly class, but hard needs 2 or more"):
        split_all("hard", make_manifest({"hole": 30}))
    with pytest.raises(DataError, match="no class that may be the known class"):
        split_all("hard", make_manifest(known_classes=("absent",)))


@pytest.mark.parametrize("name", ["general", "hard", "contamination"])
@pytest.mark.parametrize("missing", ["train", "test"])
def test_normals_are_needed(name: str, missing: str) -> None:
    manifest = make_manifest(train=0) if missing == "train" else make_manifest(test=0)
    with pytest.raises(DataError, match=f"made/box has no normal {missing} images"):
        split_all(name, manifest)


def test_golden_splits() -> None:
    """Published results rest on these digests: add new ones, never edit old ones."""
    manifest = make_manifest()
    golden = json.loads(GOLDEN.read_text())["made"]
    assert manifest.digest == golden["manifest"]
    digests = {
        f"{split.protocol} {split.known_class} {split.shots} {split.seed}": split.digest
        for name in ("general", "hard", "contamination")
        for split in split_all(name, manifest, seeds=[0, 1])
    }
    assert digests == golden["splits"]
