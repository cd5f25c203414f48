"""Pixel AUROC: over a split's images, in a run, and what becomes of cells that lack it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from cli_tools import DATA, FEW, TOYS, Cli, cli_fixture, contents  # noqa: F401
from image_trees import write_category, write_mask
from PIL import Image
from raw_tools import Strips, write_strips
from report_tools import record

from osadbench import localisation
from osadbench.cache import cache_dir
from osadbench.datasets import open_dataset
from osadbench.datasets.folder import Folder
from osadbench.errors import ContractError, DataError
from osadbench.localisation import Localisation, is_localised, localise
from osadbench.method import Method
from osadbench.params import parse_component
from osadbench.store import Store
from osadbench.types import Float32Array, ImageRecord, Manifest, Record, Split

#: Reds and mask of each anomaly: values of 3/4 and 2.5/3, then an empty and a full mask.
HOLES = (
    ((4, 3, 2, 1), (255, 0, 255, 0)),
    ((1, 1, 0, 0), (1, 0, 0, 0)),
    ((9, 0, 0, 0), (0, 0, 0, 0)),
    ((9, 0, 0, 0), (255, 255, 255, 255)),
)

MAPS = (
    TOYS
    + '''

@register_method("maps")
class Maps(Mean):
    """Says of each pixel how far it is from grey."""

    def score_maps(self, X):
        images = (X[index].astype(np.float32) for index in range(len(X)))
        return [np.abs(image - 128).sum(axis=2) for image in images]


@register_method("broken")
class Broken(Mean):
    """Has score maps, but none for the last image."""

    def score_maps(self, X):
        return [np.zeros(X[index].shape[:2], np.float32) for index in range(len(X) - 1)]


@register_method("fickle")
class Fickle(Raises):
    """Has score maps, and works only where the variable TOY_WORKS is set."""

    score_maps = Maps.score_maps
'''
)


class Red(Method):
    """Takes an image's red for its score map."""

    def fit(self, X: Any, y: Any) -> Any:
        return self

    def score(self, X: Any) -> Any:
        raise NotImplementedError

    def score_maps(self, X: Any) -> list[Float32Array]:
        assert len(X) <= localisation.BATCH
        return [X[index][..., 0].astype(np.float32) for index in range(len(X))]


class NoMaps(Method):
    """Scores images only."""

    fit = Red.fit
    score = Red.score


def write_pixels(path: Path, reds: Sequence[int], salt: int) -> None:
    """Write an image of 2x2 pixels; its blue makes it differ from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((2, 2, 3), salt, np.uint8)
    pixels[..., 0] = np.reshape(reds, (2, 2))
    Image.fromarray(pixels).save(path)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Folder:
    """One category with the anomalies of HOLES, one without a mask, and normals that are red."""
    root = tmp_path / "tiny"
    for index, (reds, marked) in enumerate(HOLES):
        write_pixels(root / f"test/hole/{index}.png", reds, 10 + index)
        write_mask(root / f"ground_truth/hole/{index}_mask.png", (2, 2), marked)
    write_pixels(root / "test/tear/0.png", (0, 9, 9, 9), 20)
    for index, place in enumerate(("train/good/0", "train/good/1", "test/good/0", "test/good/1")):
        write_pixels(root / f"{place}.png", (200, 0, 0, 0), 30 + index)
    return Folder(root)


def split_of(manifest: Manifest) -> Split:
    """Return a split that tests on all test images."""
    train, test = (
        tuple(image.path for image in manifest.select(split=name)) for name in ("train", "test")
    )
    return Split("general", "folder", "", "", 1, 0, manifest.digest, train, (), test)


def localised(folder: Folder, method: Method | None = None) -> Localisation:
    manifest = folder.manifest()
    return localise(method or Red(), folder, manifest, split_of(manifest))


# --- over a split's images ---


def test_the_mean_over_anomalous_images_worked_by_hand(folder: Folder) -> None:
    found = localised(folder)
    # Pooled, or with the normals, it would be another number.
    assert found.metrics == {"pixel_auroc": pytest.approx((3 / 4 + 2.5 / 3) / 2)}
    assert found.facts() == {"anomalies": 5, "masks": 4, "averaged": 2, "reason": None}
    assert found.notes == [
        "pixel AUROC over 2 of 5 test anomalies; the masks of the others are missing, empty or full"
    ]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_few_maps_are_held_at_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole = localised(folder)
    monkeypatch.setattr(localisation, "BATCH", batch)
    assert localised(folder) == whole


def test_only_test_images_count(folder: Folder) -> None:
    manifest = folder.manifest()
    split = split_of(manifest)
    left = tuple(path for path in split.test if not path.endswith("hole/1.png"))
    found = localise(Red(), folder, manifest, replace(split, test=left))
    assert (found.value, found.averaged, found.anomalies) == (3 / 4, 1, 4)


def test_reasons_stand_in_place_of_values(folder: Folder) -> None:
    found = localised(folder, NoMaps())
    assert (found.metrics, found.notes, found.masks) == ({}, [], 4)
    assert found.reason == "the method has no score maps"
    for index in (0, 1):
        write_mask(folder.root / f"ground_truth/hole/{index}_mask.png", (2, 2), (0,))
    found = localised(folder)
    assert (found.metrics, found.averaged) == ({}, 0)
    assert found.reason == "no mask of a test anomaly marks a part of its image"
    for mask in (folder.root / "ground_truth/hole").iterdir():
        mask.unlink()
    found = localised(folder)
    assert (found.metrics, found.masks) == ({}, 0)
    assert found.reason == "no test anomaly has a mask"


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (lambda good: good[1:], "4 images got 3 score maps"),
        (lambda good: [good[0] * np.nan, *good[1:]], "got 4 of 4 pixels NaN or infinite"),
        (lambda good: [one[..., None] for one in good], "expected a score map of real numbers"),
    ],
)
def test_maps_against_the_contract(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, maps: Any, message: str
) -> None:
    whole = Red.score_maps
    monkeypatch.setattr(Red, "score_maps", lambda self, X: maps(whole(self, X)))
    with pytest.raises(ContractError, match=re.escape(message)):
        localised(folder)


def test_a_mask_that_is_gone(folder: Folder) -> None:
    manifest = folder.manifest()
    (folder.root / "ground_truth/hole/0_mask.png").unlink()
    with pytest.raises(DataError, match="0_mask.png is gone: restore it"):
        localise(Red(), folder, manifest, split_of(manifest))


def test_masks_of_a_download_count_by_its_own_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Strips(write_strips(tmp_path / "strips"))
    records = raw.manifest().by_path
    # Two files: 3 at the first pixel of one, 9 at the third of the other.
    hole = records["broken/hole one/h0.jpg"]
    assert np.flatnonzero(raw.mask(hole)).tolist() == [0, 2]
    monkeypatch.setattr(Strips, "mask_threshold", 5)
    assert np.flatnonzero(Strips(raw.root).mask(hole)).tolist() == [2]
    with pytest.raises(DataError, match="strips has no mask of 'broken/tear/t0.png': ask for one"):
        raw.mask(records["broken/tear/t0.png"])
    # In the layout of MVTec AD masks may hold 0 and 1.
    write_mask(tmp_path / "layout/m.png", values=(1,))
    (tmp_path / "layout/train/good").mkdir(parents=True)
    (tmp_path / "layout/test").mkdir()
    layout = Strips(tmp_path / "layout")
    image = ImageRecord("a.png", 1, "hole", "test", "", mask="m.png")
    assert np.flatnonzero(layout.mask(image)).tolist() == [0]


def test_whether_a_record_has_what_its_cell_can_have(folder: Folder) -> None:
    manifest = folder.manifest()
    split = split_of(manifest)

    def holds(found: Record, method: type[Method] = Red, where: Manifest = manifest) -> bool:
        return is_localised(found, method, where, split)

    assert not holds(record())
    assert holds(record(metrics={"auroc": 0.5, "pixel_auroc": 0.5}))
    assert holds(record(), NoMaps)
    tried = record(provenance={"localisation": {"masks": 4, "reason": "all are empty"}})
    assert holds(tried)
    bare = Manifest("folder", "", tuple(replace(image, mask=None) for image in manifest.records))
    assert holds(record(), where=bare)
    # Masks that came later change no key.
    assert bare.digest == manifest.digest
    early = record(provenance={"localisation": {"masks": 0, "reason": "no test anomaly"}})
    assert not holds(early)


# --- in a run ---


@pytest.fixture(name="maps")
def maps_fixture(tmp_path: Path) -> list[str]:
    """Write methods with and without score maps to a file and return the words that load them."""
    path = tmp_path / "maps.py"
    path.write_text(MAPS)
    return ["--plugin", str(path)]


def only(method: str) -> Record:
    (found,) = [r for r in Store("out").records() if r.method == method]
    return found


ONE = [*FEW[:-1], "1", "-o", "out"]


def test_a_run_measures_pixels_where_it_is_asked_to(cli: Cli, maps: list[str]) -> None:
    result = cli("run", "-m", "maps,mean", *ONE, *maps, "--localise")
    assert result.code == 0, result.err
    done, plain = only("maps"), only("mean")
    name, given = parse_component(DATA)
    root = open_dataset(name, cache=cache_dir(), **given)[0].root
    paths = Store("out").scores(done.key).paths
    values = []
    for path in (path for path in paths if "/good/" not in path):
        contrast = np.abs(np.asarray(Image.open(root / path), np.float32) - 128).sum(axis=2)
        mask = path.replace("/test/", "/ground_truth/").replace(".png", "_mask.png")
        marked = np.asarray(Image.open(root / mask)) > 0
        values.append(sklearn.metrics.roc_auc_score(marked.ravel(), contrast.ravel()))
    value = done.metrics["pixel_auroc"]
    assert value == pytest.approx(np.mean(values))
    facts = {"anomalies": 38, "masks": 38, "averaged": 38, "reason": None}
    assert len(values) == 38 and done.provenance["localisation"] == facts
    assert 0 < done.provenance["localise_seconds"] < done.seconds
    assert "notes" not in done.provenance
    assert "pixel_auroc" not in plain.metrics
    assert plain.provenance["localisation"]["reason"] == "the method has no score maps"
    assert f", pixel_auroc {value:.3f} in" in result.err
    for text in (result.out, cli("report", "-o", "out", "--metric", "pixel_auroc").out):
        assert "general protocol, 1 shot: pixel AUROC, seed 0" in text
        assert f"disc  {value:.3f}   -  [1]" in text
        assert "[1] no pixel_auroc: the method has no score maps" in text


def test_a_run_that_is_not_asked_measures_none(cli: Cli, maps: list[str]) -> None:
    result = cli("run", "-m", "maps", *ONE, *maps)
    assert result.code == 0 and "pixel" not in result.out + result.err
    done = only("maps")
    assert done.metrics.keys() == {"auroc", "ap", "fpr95", "oracle_f1"}
    assert not {"localisation", "localise_seconds"} & done.provenance.keys()
    report = cli("report", "-o", "out", "--metric", "pixel_auroc").out
    assert "[1] no pixel_auroc was recorded" in report


def test_a_cell_that_is_done_without_runs_again_where_a_value_can_be_had(
    cli: Cli, maps: list[str]
) -> None:
    words = ["-m", "maps,mean", *ONE, *maps]
    cli("run", *words)
    before = contents(Path("out"))
    planned = cli("plan", *words, "--localise").out.splitlines()
    assert [line.split()[:4:3] for line in planned[:2]] == [
        ["to", "maps"],
        ["done", "synthetic/disc"],
    ]
    assert planned[-1].endswith(": unknown, for this folder has no time of maps")
    left = cli("run", *words, "--localise", "--rerun", "none")
    assert left.code == 1 and "1 cell failed or missing, and left so" in left.err
    assert cli("run", *words, "--localise").code == 0
    after = contents(Path("out"))
    assert after.keys() == before.keys()
    for key, (values, scores) in after.items():
        is_new = values["metrics"].pop("pixel_auroc", None) is not None
        assert is_new == (values["method"] == "maps")
        assert (values, scores) == before[key]
    assert "2 of 2 cells answered" in cli("run", *words, "--localise").err
    # What holds more than is asked for is no reason to run again.
    assert "2 of 2 cells answered" in cli("run", *words).err
    timed = cli("plan", *words, "--localise", "--rerun", "all").out.splitlines()
    assert timed[-1].endswith(
        " for 1 cell; unknown for 1 cell, for this folder has no time of mean"
    )
    timed = cli("plan", "-m", "maps", *ONE, *maps, "--localise", "--rerun", "all").out.splitlines()
    assert timed[-1].endswith(" s")


def test_score_maps_that_fail_fail_the_cell(cli: Cli, maps: list[str]) -> None:
    result = cli("run", "-m", "broken", *ONE, *maps, "--localise")
    assert result.code == 1 and "1 failed" in result.err
    failed = only("broken")
    assert (failed.status, failed.metrics) == ("failed", {})
    assert failed.reason == "ContractError: 16 images got 15 score maps"
    assert cli("run", "-m", "broken", *ONE, *maps).code == 0
    assert only("broken").status == "done"


def test_score_maps_that_fail_cost_no_result(cli: Cli, maps: list[str]) -> None:
    cli("run", "-m", "broken", *ONE, *maps)
    before = contents(Path("out"))
    result = cli("run", "-m", "broken", *ONE, *maps, "--localise")
    assert result.code == 1
    assert "16 images got 15 score maps; the earlier result stays" in result.err
    assert contents(Path("out")) == before
    assert cli("plan", "-m", "broken", *ONE, *maps, "--localise").out.startswith("to run")


def test_a_failure_takes_the_place_of_what_was_to_be_made_anew(
    cli: Cli, maps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", "fickle", *ONE, *maps]
    monkeypatch.setenv("TOY_WORKS", "yes")
    assert cli("run", *words, "--localise").code == 0
    monkeypatch.delenv("TOY_WORKS")
    assert cli("run", *words, "--localise", "--rerun", "all").code == 1
    assert only("fickle").status == "failed"
    monkeypatch.setenv("TOY_WORKS", "yes")
    assert cli("run", *words).code == 0
    monkeypatch.delenv("TOY_WORKS")
    assert cli("run", *words, "--rerun", "all").code == 1
    assert only("fickle").status == "failed"


def test_masks_that_come_later_are_used(cli: Cli, maps: list[str]) -> None:
    root = write_category(Path("mine"), masks=False)
    words = ["-m", "maps", "-p", "hard", "--known-class", "hole", "--shots", "1", "--seed", "0"]
    words += ["-d", "folder", "--data-root", str(root), *maps, "-o", "out", "--localise"]
    assert cli("run", *words).code == 0
    assert only("maps").provenance["localisation"]["reason"] == "no test anomaly has a mask"
    assert "1 of 1 cell answered" in cli("run", *words).err
    for index in range(2):
        write_mask(root / "ground_truth" / "scratch" / f"{index:03d}_mask.png")
    result = cli("run", *words)
    assert "1 done" in result.err
    done = only("maps")
    assert 0 <= done.metrics["pixel_auroc"] <= 1
    (note,) = done.provenance["notes"]
    assert note.startswith("pixel AUROC over 2 of 3 test anomalies; ")
    assert note in " ".join(result.out.split())
