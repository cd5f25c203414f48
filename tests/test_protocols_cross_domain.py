from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from manifest_tools import make_manifest, protocol, split_all

from osadbench.errors import DataError, ParameterError, UsageError
from osadbench.splitfile import read_splits, write_splits
from osadbench.types import Manifest, Split

GOLDEN = Path(__file__).with_name("golden") / "splits.json"


@pytest.fixture
def box() -> Manifest:
    return make_manifest()


@pytest.fixture
def others() -> list[Manifest]:
    return [
        make_manifest({"rip": 11, "spot": 5}, category="bag", train=9),
        make_manifest({"dent": 13}, category="jar", train=7),
    ]


def split_among(
    target: Manifest,
    others: Sequence[Manifest],
    seeds: Sequence[int] = (0,),
    shots: Sequence[int] = (1, 10),
    **params: object,
) -> list[Split]:
    made = protocol("cross-domain", **params)
    return list(made.splits_among(target, others, seeds=seeds, shots=shots))


def test_each_other_category_is_a_source(box: Manifest, others: list[Manifest]) -> None:
    splits = split_among(box, [*others[::-1], box, others[0]], seeds=[1, 0, 1])
    assert [(s.row, s.shots, s.seed) for s in splits] == [
        (f"{source}->box", shots, seed)
        for source in ("bag", "jar")
        for shots in (1, 10)
        for seed in (0, 1)
    ]
    assert {(s.protocol, s.dataset, s.category, s.known_class) for s in splits} == {
        ("cross-domain", "made", "box", "")
    }
    assert len({split.digest for split in splits}) == 8


def test_it_trains_on_the_source_and_tests_all_of_the_target(
    box: Manifest, others: list[Manifest]
) -> None:
    one, ten = split_among(box, others)[:2]
    bag = others[0]
    assert one.adaptation == ten.adaptation and ten.adaptation is not None
    assert (ten.adaptation.source, ten.adaptation.epochs) == ("bag", 10)
    assert ten.adaptation.source_digest == bag.digest and ten.manifest_digest == box.digest
    normals = [r.path for r in bag.select(split="train", label=0)]
    assert list(ten.train_normals) == normals and len(normals) == 9
    assert {bag.by_path[path].label for path in ten.train_anomalies} == {1}
    assert len(ten.train_anomalies) == 10 and one.train_anomalies == ten.train_anomalies[:1]
    assert list(ten.adaptation.normals) == [r.path for r in box.select(split="train", label=0)]
    assert one.test == ten.test == tuple(r.path for r in box.select(split="test"))


def test_the_labelled_anomalies_are_those_of_the_sources_general_setting(
    box: Manifest, others: list[Manifest]
) -> None:
    splits = split_among(box, others[:1], range(4), [10])
    general = split_all("general", others[0], range(4), [10])
    assert [s.train_anomalies for s in splits] == [s.train_anomalies for s in general]
    assert len({split.train_anomalies for split in splits}) == 4


def test_copies_of_the_sources_anomalies_are_not_tested(
    box: Manifest, others: list[Manifest]
) -> None:
    content = others[0].select(label=1)[-1].sha256
    copy = "box/test/Hole/002.png"
    records = tuple(replace(r, sha256=content) if r.path == copy else r for r in box.records)
    bag, jar = split_among(replace(box, records=records), others, shots=[1])
    assert copy in jar.test and set(jar.test) - set(bag.test) == {copy}


def test_copies_of_the_sources_normals_are_not_tested(
    box: Manifest, others: list[Manifest]
) -> None:
    trained = others[0].select(split="train", label=0)[-1]
    tested = others[0].select(split="test", label=0)[-1]
    copies = {"box/test/good/001.png": trained, "box/test/good/002.png": tested}
    records = tuple(
        replace(r, sha256=copies[r.path].sha256) if r.path in copies else r for r in box.records
    )
    bag, jar = split_among(replace(box, records=records), others, shots=[1])
    # Of the source's test images nothing is learned.
    assert set(jar.test) - set(bag.test) == {"box/test/good/001.png"}


def test_parameters(box: Manifest, others: list[Manifest]) -> None:
    three = split_among(box, others, epochs="3")[0]
    assert three.adaptation is not None and three.adaptation.epochs == 3
    assert three.digest != split_among(box, others)[0].digest
    with pytest.raises(ParameterError, match=r"cross-domain\.epochs=0"):
        protocol("cross-domain", epochs=0)


def test_the_digest_covers_the_source(box: Manifest, others: list[Manifest]) -> None:
    (split,) = split_among(box, others[:1], shots=[1])
    (first, *rest) = others[0].records
    # A test image of the source is in no list of the split, but in its manifest.
    changed = replace(others[0], records=(replace(first, sha256="0" * 64), *rest))
    (other,) = split_among(box, [changed], shots=[1])
    assert other.train_normals == split.train_normals and other.digest != split.digest


def test_one_category_is_not_enough(box: Manifest) -> None:
    message = (
        "cross-domain trains on one category and tests on another, but made/box is the only one: "
        "ask for several categories of made"
    )
    with pytest.raises(DataError, match=message):
        split_among(box, [box])
    with pytest.raises(DataError, match=message):
        split_all("cross-domain", box)


def test_sources_that_are_too_small(box: Manifest, others: list[Manifest]) -> None:
    message = (
        "made/jar has 7 normal training images and 13 anomalies, too few to train on with 14 "
        "shots: ask for fewer shots, or leave it out"
    )
    with pytest.raises(DataError, match=message):
        split_among(box, others, shots=[14])
    bare = make_manifest(category="lid", train=0)
    with pytest.raises(DataError, match="made/lid has 0 normal training images"):
        split_among(box, [bare])


def test_wrong_requests(box: Manifest, others: list[Manifest]) -> None:
    made = protocol("cross-domain")
    with pytest.raises(UsageError, match="cross-domain has no known class, got crack"):
        list(made.splits_among(box, others, seeds=[0], shots=[1], known_classes=["crack"]))
    with pytest.raises(UsageError, match=r"expected 1 or more shots .* got 0"):
        split_among(box, others, shots=[0])
    with pytest.raises(DataError, match="made/box has no normal test images"):
        split_among(make_manifest(test=0), others)


def test_other_protocols_leave_other_categories_out(box: Manifest, others: list[Manifest]) -> None:
    among = protocol("hard").splits_among(
        box, others, seeds=[0], shots=[1], known_classes=["crack"]
    )
    assert list(among) == split_all("hard", box, shots=[1], known_classes=["crack"])


def test_splits_on_disk_keep_the_source(
    box: Manifest, others: list[Manifest], tmp_path: Path
) -> None:
    splits = tuple(split_among(box, others))
    labelled = tuple(("cross-domain[epochs=3]", split) for split in splits)
    write_splits(tmp_path / "splits.json", labelled)
    assert read_splits(tmp_path / "splits.json") == labelled
    with pytest.raises(TypeError, match="unexpected keyword argument 'more'"):
        values = splits[0].to_dict()
        values["adaptation"]["more"] = 1
        Split.from_dict(values)


def test_other_splits_have_no_word_of_it(box: Manifest) -> None:
    (split,) = split_all("general", box, shots=[1])
    assert split.adaptation is None and "adaptation" not in split.to_dict()
    assert Split.from_dict(split.to_dict()) == split


def test_golden_splits(box: Manifest, others: list[Manifest]) -> None:
    """Published results rest on these digests: add new ones, never edit old ones."""
    golden = json.loads(GOLDEN.read_text())["cross-domain"]
    splits = split_among(box, others, seeds=[0, 1])
    assert {f"{s.row} {s.shots} {s.seed}": s.digest for s in splits} == golden
