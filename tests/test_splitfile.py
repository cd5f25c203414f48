from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from osadbench.errors import DataError
from osadbench.splitfile import read_splits, write_splits
from osadbench.types import Split


def make_split(seed: int = 0, **changes: Any) -> Split:
    split = Split(
        protocol="hard",
        dataset="folder",
        category="nut",
        known_class="größer",
        shots=2,
        seed=seed,
        manifest_digest="ab" * 32,
        train_normals=("train/good/1.png", "train/good/2.png"),
        train_anomalies=("test/größer/2.png", "test/größer/1.png"),
        test=("test/good/1.png", "test/hole/1.png"),
    )
    return dataclasses.replace(split, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "splits.json"
    write_splits(path, [("hard", make_split(0)), ("hard[known=1]", make_split(1))])
    return path


def edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_splits_come_back_as_they_were(file: Path) -> None:
    splits = read_splits(file)
    assert splits == (("hard", make_split(0)), ("hard[known=1]", make_split(1)))
    assert [split.digest for _, split in splits] == [make_split(n).digest for n in (0, 1)]
    assert splits[0][1].train_anomalies == ("test/größer/2.png", "test/größer/1.png")


def test_the_file_can_be_read_by_other_programs(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["format"] == 2
    assert [split["label"] for split in content["splits"]] == ["hard", "hard[known=1]"]
    assert content["splits"][1]["digest"] == make_split(1).digest
    assert content["splits"][1]["test"] == ["test/good/1.png", "test/hole/1.png"]


def test_a_file_is_replaced_as_a_whole(file: Path) -> None:
    write_splits(file, [("hard", make_split(5))])
    assert read_splits(file) == (("hard", make_split(5)),)
    assert [path.name for path in file.parent.iterdir()] == ["splits.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["splits"][0]["test"].pop(),
        lambda content: content["splits"][0].update(seed=7),
        lambda content: content["splits"][0].update(digest="0" * 64),
        lambda content: content["splits"][0]["train_anomalies"].reverse(),
        lambda content: content["splits"][0].update(label="general"),
    ],
    ids=["path", "seed", "digest", "order", "label"],
)
def test_a_change_by_hand_is_found(file: Path, change: Any) -> None:
    edit(file, change)
    with pytest.raises(DataError, match="1 splits of .*splits.json do not match their digests"):
        read_splits(file)


def test_another_format_is_refused(file: Path) -> None:
    edit(file, lambda content: content.update(format=1))
    with pytest.raises(DataError, match="splits.json has format 1, expected 2: make it anew"):
        read_splits(file)


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "{}", "7", '{"format": 2}', '{"format": 2, "splits": [{}]}', "\udcff"],
)
def test_what_is_no_file_of_splits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="other.json is no file of splits .*make one with osad"):
        read_splits(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["splits"][0].pop("test"),
        lambda content: content["splits"][0].update(more=1),
        lambda content: content["splits"][0].pop("digest"),
        lambda content: content["splits"][0].update(label="hard[rate]"),
        lambda content: content.update(splits=7),
    ],
    ids=["missing field", "unknown field", "no digest", "label of no form", "no list"],
)
def test_a_split_of_another_form(file: Path, change: Any) -> None:
    edit(file, change)
    with pytest.raises(DataError, match="is no file of splits"):
        read_splits(file)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read splits .*no.json \(No such file"):
        read_splits(tmp_path / "no.json")
    with pytest.raises(DataError, match=r"cannot write .* \(.*\): name another file"):
        write_splits(tmp_path, [("hard", make_split())])
