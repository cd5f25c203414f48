"""Cells that are trained on another category: planned, run and recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import TOYS

from osadbench.errors import DataError
from osadbench.plan import Component, Request, make_plan, make_splits
from osadbench.registry import METHODS
from osadbench.runner import Options, precompute, run_cells
from osadbench.store import Store
from osadbench.types import Record, split_title

SMALL = {"size": "32", "n_train": "4", "n_test_normal": "3", "n_per_class": "2"}
CATEGORIES = ("disc", "grain", "weave")

#: Two methods that go on training, and say what they were given.
ADAPTING = '''

@register_method("goes-on")
class GoesOn(Mean):
    """Moves half the way to the mean colour of the new normals."""

    asked = []

    def precompute(self, X, y=None):
        type(self).asked.append((len(X), None if y is None else y.tolist()))

    def fit(self, X, y):
        self.notes_ = [f"fit {len(X)} images, {int(sum(y))} labelled, {self.colours(X).sum():.6g}"]
        return super().fit(X, y)

    def adapt(self, X, y, *, epochs):
        colours = self.colours(X)[np.asarray(y) == 0]
        self.mean_ = (self.mean_ + colours.mean(axis=0)) / 2
        self.notes_.append(f"adapt {y.tolist()}, {epochs} epochs, {colours.sum():.6g}")
        return self


@register_method("exposed")
class Exposed(GoesOn):
    """Takes external outliers."""

    @property
    def needs_outliers(self):
        return True

    def fit(self, X, y):
        return super().fit([X[index] for index in np.flatnonzero(y != 2)], y[y != 2])
'''


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the toy methods."""
    path = tmp_path / "toys.py"
    path.write_text(TOYS + ADAPTING)
    monkeypatch.setattr(METHODS, "_plugins", [path])


@pytest.fixture
def ask(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a request of methods, on all three categories unless something else is said."""

    def make(*methods: str, **changes: Any) -> Request:
        values: dict[str, Any] = {
            "methods": tuple(Component(name) for name in methods),
            "protocols": (Component("cross-domain", {"epochs": "3"}),),
            "datasets": (Component("synthetic", SMALL),),
            "seeds": (0,),
            "shots": (5,),
            "preset": "smoke",
            "cache": tmp_path_factory.getbasetemp() / "cache",
        }
        return Request(**{**values, **changes})

    return make


def only(*names: str) -> dict[str, Any]:
    return {"datasets": tuple(Component(f"synthetic/{name}", SMALL) for name in names)}


def run(request: Request, folder: Path) -> dict[str, Record]:
    """Run all cells and return the records by method and row."""
    store = Store(folder)
    records = run_cells(make_plan(request, store).cells, store, Options())
    return {f"{record.method} {record.row}": record for record in records}


def test_every_ordered_pair_is_a_cell(ask: Any, tmp_path: Path) -> None:
    cells = make_plan(ask("goes-on"), Store(tmp_path)).cells
    pairs = {f"{a}->{b}" for a in CATEGORIES for b in CATEGORIES if a != b}
    assert {cell.split.row for cell in cells} == pairs and len(cells) == 6
    assert len({cell.key for cell in cells}) == len({cell.fit_seed for cell in cells}) == 6
    for cell in cells:
        assert cell.source is cell.trained_on and cell.source is not None
        assert f"{cell.source.category}->{cell.manifest.category}" == cell.split.row
        assert all(path in cell.source.by_path for path in cell.split.train_anomalies)
    assert str(cells[0]) == ("goes-on synthetic/grain->disc cross-domain[epochs=3] 5-shot seed 0")
    other = make_plan(ask("goes-on", protocols=(Component("cross-domain"),)), Store(tmp_path))
    assert {cell.key for cell in other.cells}.isdisjoint(cell.key for cell in cells)
    assert {cell.fit_seed for cell in other.cells} == {cell.fit_seed for cell in cells}


def test_other_protocols_have_no_source(ask: Any, tmp_path: Path) -> None:
    general = (Component("general", {"pool": "5"}),)
    for cell in make_plan(ask("goes-on", protocols=general), Store(tmp_path)).cells:
        assert cell.source is None and cell.trained_on is cell.manifest


def test_a_method_is_fitted_on_the_source_and_goes_on_with_the_target(
    ask: Any, tmp_path: Path
) -> None:
    records = run(ask("goes-on", "mean"), tmp_path)
    assert len(records) == 12
    into_disc = records["goes-on grain->disc"], records["goes-on weave->disc"]
    into_grain = records["goes-on weave->grain"]
    (fit, adapt), (fit_other, adapt_other) = (r.provenance["notes"] for r in into_disc)
    assert fit.startswith("fit 9 images, 5 labelled, ")
    assert adapt.startswith("adapt [0, 0, 0, 0], 3 epochs, ")
    # The same target's normals, and another source's images.
    assert adapt == adapt_other and fit != fit_other
    assert into_grain.provenance["notes"][0] == fit_other
    assert into_grain.provenance["notes"][1] != adapt
    skipped = records["mean grain->disc"]
    assert (skipped.status, skipped.metrics) == ("skipped", {})
    assert skipped.reason == "has no way to go on training on the normals of another category"


def test_a_record_names_source_and_target(ask: Any, tmp_path: Path) -> None:
    record = run(ask("goes-on", **only("grain", "disc")), tmp_path)["goes-on grain->disc"]
    assert (record.status, record.category, record.known_class) == ("done", "disc", "")
    assert record.protocol == "cross-domain[epochs=3]"
    splits = make_splits(ask(**only("disc", "grain")))
    (source,) = {s.manifest_digest for _, s in splits} - {record.split["manifest"]}
    assert record.split["adaptation"] == {
        "source": "grain",
        "source_manifest": source,
        "normals": 4,
        "epochs": 3,
    }
    assert record.split["train_normals"] == 4 and len(record.split["train_anomalies"]) == 5
    assert all(path.startswith("grain/test/") for path in record.split["train_anomalies"])
    classes = {path.split("/")[2] for path in record.split["train_anomalies"]}
    assert record.split["seen_classes"] == sorted(classes)
    table = Store(tmp_path).scores(record.key)
    assert len(table.paths) == record.split["test"] == 3 + 4 * 2
    assert all(path.startswith("disc/test/") for path in table.paths)
    assert split_title(record) == "synthetic/grain->disc cross-domain[epochs=3] 5-shot seed 0"


def test_caches_are_filled_with_the_targets_normals_too(ask: Any, tmp_path: Path) -> None:
    cells = make_plan(ask("goes-on", **only("grain", "disc")), Store(tmp_path)).cells
    asked = METHODS.get("goes-on").asked
    asked.clear()
    precompute(cells[:1])
    assert asked == [(9, [0] * 4 + [1] * 5), (4, [0] * 4), (11, None)]


def test_external_outliers_are_there_again(ask: Any, tmp_path: Path) -> None:
    request = ask("exposed", outliers="synthetic", **only("grain", "disc"))
    notes = run(request, tmp_path)["exposed grain->disc"].provenance["notes"]
    assert notes[0].startswith("fit 9 images, 5 labelled")
    assert notes[1].startswith("adapt [0, 0, 0, 0, 2, 2, ")


def test_splits_that_were_saved_find_their_source(ask: Any, tmp_path: Path) -> None:
    splits = tuple(make_splits(ask(**only("grain", "disc"))))
    assert len(splits) == 2
    plan = make_plan(ask("goes-on", splits=splits), Store(tmp_path))
    assert {(cell.protocol, cell.split) for cell in plan.cells} == set(splits)
    with pytest.raises(
        DataError,
        match=r"synthetic/grain->disc cross-domain 5-shot seed 0 is trained on synthetic/grain: "
        "ask for that too, by -d synthetic/grain",
    ):
        make_plan(ask("goes-on", splits=splits, **only("disc")), Store(tmp_path))
    (split,) = [split for _, split in splits if split.row == "grain->disc"]
    assert split.adaptation is not None
    stale = replace(split, adaptation=replace(split.adaptation, source_digest="0" * 64))
    with pytest.raises(
        DataError, match=r"splits of synthetic/grain were made for other images \(manifest 0000"
    ):
        make_plan(ask("goes-on", splits=(("cross-domain", stale),)), Store(tmp_path))


def test_one_category_alone_is_refused(ask: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="synthetic/disc is the only one: ask for several"):
        make_plan(ask("goes-on", **only("disc")), Store(tmp_path))


def test_a_network_under_the_smoke_preset(ask: Any, tmp_path: Path) -> None:
    request = ask("devnet", **only("grain", "disc"))
    first, second = (run(request, tmp_path / name) for name in ("one", "two"))
    assert {record.status for record in first.values()} == {"done"}
    for name, record in first.items():
        scores = Store(tmp_path / "one").scores(record.key).scores
        assert len(np.unique(scores)) > 5
        assert np.array_equal(Store(tmp_path / "two").scores(second[name].key).scores, scores)
    general = ask("devnet", protocols=(Component("general", {"pool": "5"}),), **only("disc"))
    (record,) = run(general, tmp_path / "one").values()
    assert "adaptation" not in record.split and record.split["unlabelled_anomalies"] == 0


def test_a_record_counts_the_unlabelled_anomalies(ask: Any, tmp_path: Path) -> None:
    # Among 4 normals, 4 * .34 / .66 = 2.06 make the rate, and 4 * .4 / .6 = 2.67 its maximum.
    rate = {"rate": "0.34", "max_rate": "0.4", "pool": "4"}
    request = ask("mean", protocols=(Component("contamination", rate),), shots=(4,), **only("disc"))
    (record,) = run(request, tmp_path).values()
    assert (record.status, record.row) == ("done", "disc")
    assert record.split["unlabelled_anomalies"] == 2 and record.split["train_normals"] == 6
    assert record.split["test"] == 3 + 8 - 4 - 2
    assert record.protocol == "contamination[max_rate=0.4,pool=4,rate=0.34]"
