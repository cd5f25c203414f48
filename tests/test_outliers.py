"""External outliers: where they come from, which are taken, and that none is of the target."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from image_trees import write_category, write_elpv, write_image

from osadbench.datasets import ImageSet, open_dataset
from osadbench.datasets import outliers as module
from osadbench.datasets.images import JoinedImages
from osadbench.datasets.outliers import Outliers, find_outliers
from osadbench.errors import DataError, UsageError
from osadbench.images import file_digest
from osadbench.plan import Component, Plan, Request, make_plan
from osadbench.registry import METHODS
from osadbench.runner import Options, run_cells
from osadbench.store import Store

#: A method that keeps what it was trained on, and one that takes no outliers.
TOYS = '''
import numpy as np

from osadbench.method import Method, check_training_data
from osadbench.registry import register_method


@register_method("plain")
class Plain(Method):
    """Distance to the mean colour of the normals."""

    def fit(self, X, y):
        labels = check_training_data(X, y, outliers=self.needs_outliers)
        colours = self.colours(X)
        self.means_ = [colours[labels == kind].mean(axis=0) for kind in sorted(set(labels))]
        self.notes_ = [f"{np.count_nonzero(labels == kind)} of {kind}" for kind in range(3)]
        return self

    def score(self, X):
        return np.linalg.norm(self.colours(X) - self.means_[0], axis=1)

    def colours(self, X):
        return np.stack([X[index].mean(axis=(0, 1)) for index in range(len(X))])


@register_method("exposed")
class Exposed(Plain):
    """The same, and farther from the outliers."""

    @property
    def needs_outliers(self):
        return True

    def score(self, X):
        return super().score(X) - np.linalg.norm(self.colours(X) - self.means_[2], axis=1)
'''
SMALL = {"size": "32", "n_train": "5", "n_test_normal": "3", "n_per_class": "4"}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "toys.py"
    path.write_text(TOYS)
    monkeypatch.setattr(METHODS, "_plugins", [path])
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two categories in the layout of MVTec AD, with 4 normal training images each."""
    for name in ("nut", "screw"):
        write_category(tmp_path / "parts" / name)
    return tmp_path / "parts"


def ask(tmp_path: Path, *methods: str, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "methods": tuple(map(Component, methods or ("exposed",))),
        "protocols": (Component("hard"),),
        "datasets": (Component("folder/nut"),),
        "data_root": tmp_path / "parts",
        "seeds": (0,),
        "shots": (1,),
        "preset": "smoke",
        "cache": tmp_path / "cache",
    }
    return Request(**{**values, **changes})


def plan_of(request: Request, tmp_path: Path) -> Plan:
    return make_plan(request, Store(tmp_path / "out"))


def outliers_of(
    asked: str, name: str, root: Path | None = None, options: dict[str, Any] | None = None
) -> Outliers:
    target, category = open_dataset(name, root, **(options or {}))
    return find_outliers(asked, target, target.manifest(category or ""), root)


def test_other_categories_of_the_targets_dataset(parts: Path) -> None:
    for asked in ("folder", str(parts)):
        found = outliers_of(asked, "folder/nut", parts)
        assert {path.partition("/good/")[0] for path in found.paths} == {"screw/train"}
        assert len(found) == len(list((parts / "screw/train/good").iterdir()))
        assert [file_digest(found.dataset.root / path) for path in found.paths] == [
            *found.identities
        ]
        assert list(found.identities) == sorted(found.identities)


def test_a_dataset_with_parameters_keeps_its_own(tmp_path: Path) -> None:
    def categories(asked: str) -> tuple[set[str], int]:
        found = outliers_of(asked, "synthetic/disc", options={**SMALL, "cache": tmp_path})
        return {path.partition("/")[0] for path in found.paths}, len(found)

    assert categories("synthetic") == ({"grain", "weave"}, 2 * 5)
    assert categories("synthetic/weave") == ({"weave"}, 5)
    other = ",".join(f"{k}={v}" for k, v in {**SMALL, "seed": "1", "n_train": "6"}.items())
    assert categories(f"synthetic[{other}]") == ({"grain", "weave"}, 2 * 6)


def test_a_category_of_the_layout_and_any_other_folder(parts: Path, tmp_path: Path) -> None:
    write_category(tmp_path / "single")
    n_train = len(list((tmp_path / "single/train/good").iterdir()))
    assert len(outliers_of(str(tmp_path / "single"), "folder/nut", parts)) == n_train
    loose = tmp_path / "loose"
    for name in ("a.png", "b/c/d.PNG", "b/e.jpg", ".hidden.png"):
        (loose / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(loose / name)
    (loose / "b/notes.txt").write_text("no image")
    (loose / "loop").symlink_to(loose, target_is_directory=True)
    found = outliers_of(str(loose), "folder/nut", parts)
    assert sorted(found.paths) == ["a.png", "b/c/d.PNG", "b/e.jpg"]
    assert found.source == "loose"


def test_a_category_named_as_the_targets_is_left_out(parts: Path, tmp_path: Path) -> None:
    write_category(tmp_path / "others" / "nut")
    write_category(tmp_path / "others" / "washer")
    found = outliers_of(str(tmp_path / "others"), "folder/nut", parts)
    assert {path.partition("/")[0] for path in found.paths} == {"washer"}


def test_which_images_are_taken_depends_on_their_bytes_only(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        write_image(tmp_path / f"one/{number}.png")
    shutil.copy(tmp_path / "one/3.png", tmp_path / "one/copy.png")
    shutil.copytree(tmp_path / "one", tmp_path / "two/below")
    for number, path in enumerate(sorted((tmp_path / "two/below").iterdir())):
        path.rename(path.with_name(f"renamed{-number}.png"))
    whole = outliers_of(str(tmp_path / "one"), "folder/nut", parts)
    assert len(whole) == 9
    monkeypatch.setattr(module, "MOST", 4)
    one, two = (outliers_of(str(tmp_path / name), "folder/nut", parts) for name in ("one", "two"))
    assert one.identities == two.identities == whole.identities[:4]
    assert one.digest == two.digest != whole.digest


@pytest.mark.parametrize("path", ["train/good", "test/good", "test/hole"])
def test_an_image_of_the_target_is_refused(parts: Path, tmp_path: Path, path: str) -> None:
    for number in range(3):
        write_image(tmp_path / f"mine/{number}.png")
    stolen = sorted((parts / "nut" / path).iterdir())[0]
    shutil.copy(stolen, tmp_path / "mine/innocent.png")
    message = rf"outliers of mine hold an image of folder/nut: innocent\.png is nut/{path}/"
    with pytest.raises(DataError, match=message):
        plan_of(ask(tmp_path, outliers=str(tmp_path / "mine")), tmp_path)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_source(parts: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "one/a.png")
    with pytest.raises(DataError, match="expected 2 or more images of one .* got 1"):
        outliers_of(str(tmp_path / "one"), "folder/nut", parts)
    with pytest.raises(DataError, match=r"got 0: name another source by --outliers"):
        outliers_of("folder/nut", "folder/nut", parts)
    with pytest.raises(UsageError, match="a folder of images or a dataset, got 'sinthetic': did"):
        outliers_of("sinthetic", "folder/nut", parts)
    with pytest.raises(UsageError, match="elpv has no parameter 'root': drop it from the brackets"):
        outliers_of("elpv[root=x]", "folder/nut", parts)
    with pytest.raises(UsageError, match="folder has no category 'bolt'"):
        outliers_of("folder/bolt", "folder/nut", parts)
    (tmp_path / "one/b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        outliers_of(str(tmp_path / "one"), "folder/nut", parts)


def test_none_given_and_none_by_default(parts: Path, tmp_path: Path) -> None:
    message = "^exposed needs external outliers .* by --outliers DIR or --outliers DATASET$"
    with pytest.raises(UsageError, match=message):
        plan_of(ask(tmp_path, "plain", "exposed"), tmp_path)
    assert len(plan_of(ask(tmp_path, "plain"), tmp_path).cells) == 2


def test_defaults(tmp_path: Path) -> None:
    root = write_elpv(tmp_path / "elpv", normals=8, mono=3, poly=3)
    elpv = ask(tmp_path, datasets=(Component("elpv"),), data_root=root, outliers=None)
    target, _ = open_dataset("elpv", root)
    assert target.default_outliers == "synthetic"
    small = "synthetic[" + ",".join(f"{k}={v}" for k, v in SMALL.items()) + "]"
    (first, *_) = plan_of(dataclasses.replace(elpv, outliers=small), tmp_path).cells
    assert first.outliers is not None and len(first.outliers) == 15
    drawn = ask(tmp_path, datasets=(Component("synthetic", SMALL),), data_root=None)
    cells = plan_of(drawn, tmp_path).cells
    for cell in cells:
        assert cell.outliers is not None and cell.outliers.source == "synthetic"
        sources = {path.partition("/")[0] for path in cell.outliers.paths}
        assert sources == {"disc", "grain", "weave"} - {cell.split.category}


def test_keys_name_the_outliers_of_methods_that_take_them(parts: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"mine/{number}.png")

    def keys(outliers: str) -> dict[str, list[str]]:
        cells = plan_of(ask(tmp_path, "plain", "exposed", outliers=outliers), tmp_path).cells
        assert [c.outliers is None for c in cells] == [c.method == "plain" for c in cells]
        return {name: [c.key for c in cells if c.method == name] for name in ("plain", "exposed")}

    before, other = keys(str(tmp_path / "mine")), keys("folder")
    assert before["plain"] == other["plain"]
    assert not set(before["exposed"]) & set(other["exposed"])
    (tmp_path / "mine/0.png").rename(tmp_path / "mine/z.png")
    assert keys(str(tmp_path / "mine")) == before
    write_image(tmp_path / "mine/new.png")
    assert not set(keys(str(tmp_path / "mine"))["exposed"]) & set(before["exposed"])


def test_a_run_gives_them_to_fit_and_says_so(parts: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    plan = make_plan(ask(tmp_path, "plain", "exposed", outliers="folder"), store)
    (outliers,) = plan.outliers
    assert pickle.loads(pickle.dumps(outliers)) == outliers
    records = list(run_cells(plan.pending, store, Options()))
    assert {record.status for record in records} == {"done"}
    for record in records:
        n_outliers = len(outliers) if record.method == "exposed" else 0
        counts = [record.split["train_normals"], 1, n_outliers]
        assert record.provenance["notes"] == [f"{n} of {kind}" for kind, n in enumerate(counts)]
        said = {"source": "folder", "digest": outliers.digest, "images": len(outliers)}
        assert record.split.get("outliers") == (said if n_outliers else None)
    one, other = (
        store.scores(next(r.key for r in records if r.method == name)).scores
        for name in ("plain", "exposed")
    )
    assert not np.allclose(one, other)


def test_by_the_command_line(cli: Cli, parts: Path, plugin: Path, tmp_path: Path) -> None:
    words = ["-m", "exposed", "-p", "hard", "-d", "folder", "--data-root", parts, "--shots", "1"]
    words += ["--seed", "0", "--preset", "smoke", "--plugin", plugin, "-o", "out"]
    failed = cli("run", *words)
    assert failed.code == 2
    assert failed.err.splitlines()[-1].startswith("error: exposed needs external outliers")
    assert not Path("out").exists()
    planned = cli("plan", *words, "--outliers", "folder")
    n = len(list((parts / "nut/train/good").iterdir()))
    assert planned.out.count(f"external outliers: {n} images of folder\n") == 2
    done = cli("run", *words, "--outliers", "folder")
    assert done.code == 0, done.err
    assert f"external outliers: {n} images of folder" in done.err.splitlines()
    record = json.loads(next(Path("out/cells").glob("*.json")).read_bytes())
    assert record["split"]["outliers"]["images"] == n


def test_joined_images(tmp_path: Path) -> None:
    sets = []
    for name, count in (("a", 3), ("b", 2)):
        paths = [f"{number}.png" for number in range(count)]
        for path in paths:
            write_image(tmp_path / name / path)
        digests = [file_digest(tmp_path / name / path) for path in paths]
        sets.append(ImageSet(tmp_path / name, paths, digests, tmp_path / f"cache-{name}"))
    joined = JoinedImages(*sets)
    every = [one[index] for one in sets for index in range(len(one))]
    assert len(joined) == 5 and joined.identities == (*sets[0].identities, *sets[1].identities)
    assert all(np.array_equal(joined[index], every[index]) for index in range(5))
    assert np.array_equal(joined[-1], every[4])
    with pytest.raises(IndexError):
        joined[5]
    order = [4, 0, 3, 3, 1, 2]
    expected = [sets[i // 3].resized(16, [i % 3])[0] for i in order]
    assert np.array_equal(joined.resized(16, order), np.stack(expected))
    copy = pickle.loads(pickle.dumps(joined))
    assert np.array_equal(copy.resized(16, order), np.stack(expected))
