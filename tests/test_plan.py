from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from cli_tools import TOYS
from image_trees import write_category, write_elpv, write_image

from osadbench.cli.plan_text import duration, plan_lines
from osadbench.datasets.synthetic import Synthetic
from osadbench.errors import DataError, ParameterError, PluginError, UsageError
from osadbench.plan import Cell, Component, Estimate, Plan, Request, make_plan, make_splits
from osadbench.registry import METHODS
from osadbench.runner import Options, run_cells
from osadbench.settings import Engine
from osadbench.store import Store
from osadbench.weights import WeightsFile

#: A method with settings of its own: another backbone, one image size, a name by its engine.
OWN = '''

@register_method("own")
class Own(Mean):
    """Has another backbone under paper, and one image size under smoke."""

    uses_backbone = True
    engine_settings = {
        "paper": {"backbone": "alexnet.tv_in1k", "image_sizes": (96,), "train_backbone": False},
        "smoke": {"image_sizes": (48,)},
    }

    @classmethod
    def label(cls, engine):
        return "own" if engine.train_backbone else "own-frozen"


@register_method("fixed")
class Fixed(Mean):
    """Needs a backbone as its parameter says, and has one parameter by definition."""

    fixed = {"shift": 3.0}

    @property
    def uses_backbone(self):
        return self.params.pause > 0


@register_method("odd")
class Odd(Mean):
    """Does work in its constructor, badly."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        raise KeyError("no such thing\\nand more")
'''
SMALL = {"size": "32", "n_train": "4", "n_test_normal": "3", "n_per_class": "4"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Load the toy methods."""
    path = tmp_path / "toys.py"
    path.write_text(TOYS + OWN)
    monkeypatch.setattr(METHODS, "_plugins", [path])
    return path


@pytest.fixture
def ask(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a request: devnet, knn and mean on a small category, unless something else is said."""
    cache = tmp_path_factory.getbasetemp() / "cache"

    def make(*methods: str | Component, **changes: Any) -> Request:
        names = methods or ("devnet", "knn", "mean")
        values: dict[str, Any] = {
            "methods": tuple(m if isinstance(m, Component) else Component(m) for m in names),
            "protocols": (Component("hard"),),
            "datasets": (Component("synthetic/disc", SMALL),),
            "seeds": (0, 1),
            "shots": (1,),
            "preset": "smoke",
            "cache": cache,
        }
        return Request(**{**values, **changes})

    return make


def cells_by(plan: Plan, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(cell, field) for field in fields) for cell in plan.cells]


def test_every_method_meets_every_split(ask: Any, store: Store) -> None:
    protocols = (Component("general", {"pool": "2"}), Component("hard"))
    request = ask(protocols=protocols, shots=(1, 2), known_classes=None)
    plan = make_plan(request, store)
    splits = {split.digest for _, split in make_splits(request)}
    assert len(splits) == 2 * 2 * (1 + 4)
    assert len({cell.key for cell in plan.cells}) == len(plan.cells) == 2 * 20 + 10
    assert plan.pending == plan.cells
    for method in ("devnet", "mean"):
        own = [cell.split.digest for cell in plan.cells if cell.method == method]
        assert len(own) == 20 and set(own) == splits
    assert {cell.protocol for cell in plan.cells} == {"general[pool=2]", "hard"}
    assert not store.root.exists()


def test_methods_share_splits_and_have_seeds_of_their_own(ask: Any, store: Store) -> None:
    plan = make_plan(ask(), store)
    seeds = [cell.fit_seed for cell in plan.cells]
    assert len(set(seeds)) == len(seeds)
    assert {cell.weights for cell in plan.cells if cell.method != "mean"} == {"random:0"}
    assert {cell.weights for cell in plan.cells if cell.method == "mean"} == {"none"}


def test_keys_do_not_depend_on_the_order_or_company(ask: Any, store: Store) -> None:
    whole = {str(cell): cell.key for cell in make_plan(ask(), store).cells}
    for names in itertools.permutations(("devnet", "knn", "mean"), 2):
        plan = make_plan(ask(*names, seeds=(1,)), store)
        assert len(plan.cells) == 8
        assert {str(cell): cell.key for cell in plan.cells}.items() <= whole.items()


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        ({"engine": {"device": "cpu"}}, False),
        ({"engine": {"offline": "true"}}, False),
        ({"engine": {"seen_views": "5"}}, True),
        ({"engine": {"image_sizes": (48, 32)}}, True),
        ({"preset": "paper", "engine": {"weights": "random"}}, True),
        ({"datasets": (Component("synthetic/disc", {**SMALL, "n_train": "5"}),)}, True),
    ],
)
def test_what_changes_scores_changes_keys(
    ask: Any, store: Store, change: dict[str, Any], is_other: bool
) -> None:
    before = {cell.key for cell in make_plan(ask("devnet"), store).cells}
    after = {cell.key for cell in make_plan(ask("devnet", **change), store).cells}
    assert len(before) == len(after) == 8
    assert (before.isdisjoint(after), before == after) == (is_other, not is_other)


def test_the_cache_folder_is_no_part_of_a_key(ask: Any, store: Store, tmp_path: Path) -> None:
    keys = [cell.key for cell in make_plan(ask("mean"), store).cells]
    assert [c.key for c in make_plan(ask("mean", cache=tmp_path / "c"), store).cells] == keys


def test_labels_name_what_differs_from_the_preset(ask: Any, store: Store) -> None:
    epochs = METHODS.get("devnet").resolve_params("smoke", {}).epochs
    request = ask(
        Component("devnet", {"epochs": str(epochs), "lr": "0.5", "head": "ds"}),
        Component("devnet"),
        Component("knn", {"k": "5"}),
    )
    plan = make_plan(request, store)
    assert {label for (label,) in cells_by(plan, "label")} == {
        "devnet[head=ds,lr=0.5]",
        "devnet",
        "knn",
    }
    same = {cell.label: cell for cell in plan.cells}
    assert same["devnet"].params["epochs"] == epochs
    assert same["devnet[head=ds,lr=0.5]"].params["lr"] == 0.5


def test_a_cell_in_words(ask: Any, store: Store) -> None:
    lines = [str(cell) for cell in make_plan(ask("mean"), store).cells]
    assert lines[0] == "mean synthetic/disc hard hole 1-shot seed 0"


@pytest.mark.parametrize(
    ("preset", "papers", "sizes"),
    [
        ("paper", 224, (224, 112)),
        ("paper-text", 448, (448, 224)),
        ("frozen", 224, (224, 112)),
        ("frozen", 448, (320, 224)),
        ("smoke", 224, (64, 32)),
    ],
)
def test_presets_take_the_size_of_the_dataset_where_it_costs_no_more(
    ask: Any,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    papers: int,
    sizes: tuple[int, ...],
) -> None:
    monkeypatch.setattr(Synthetic, "paper_image_size", papers)
    random = {"weights": "random"}
    (cell, *_) = make_plan(ask("devnet", preset=preset, engine=random), store).cells
    assert cell.engine.image_sizes == sizes
    given = {**random, "image_sizes": (96, 32)}
    (cell, *_) = make_plan(ask("devnet", preset=preset, engine=given), store).cells
    assert cell.engine.image_sizes == (96, 32)


def test_a_method_has_engine_settings_of_its_own(ask: Any, store: Store) -> None:
    cells = {cell.method: cell for cell in make_plan(ask("devnet", "own"), store).cells}
    own, other = cells["own"], cells["devnet"]
    assert (own.engine.image_sizes, other.engine.image_sizes) == ((48,), (64, 32))
    assert own.shared_engine == other.shared_engine == other.engine
    assert own.departures == {"image_sizes": [48]} and other.departures == {}
    asked = {"image_sizes": (96, 48)}
    (cell, *_) = make_plan(ask("own", engine=asked), store).cells
    assert cell.engine.image_sizes == (96, 48) and cell.departures == {}
    assert cell.key != own.key


def test_a_methods_own_sizes_are_stronger_than_the_datasets(ask: Any, store: Store) -> None:
    random = {"weights": "random"}
    cells = make_plan(ask("devnet", "own", preset="paper", engine=random), store).cells
    by_method = {cell.method: cell for cell in cells}
    own = by_method["own"]
    assert by_method["devnet"].engine.image_sizes == (224, 112)
    assert own.shared_engine.image_sizes == (224, 112)
    assert own.engine.image_sizes == (96,)
    assert own.departures == {
        "backbone": "alexnet.tv_in1k",
        "image_sizes": [96],
        "train_backbone": False,
    }
    (cell, *_) = make_plan(
        ask("own", preset="paper", engine={**random, "train_backbone": "true"}), store
    ).cells
    assert (cell.label, cell.engine.image_sizes) == ("own", (96,))


def test_a_record_keeps_what_was_asked_for_and_where_the_method_departs(
    ask: Any, store: Store
) -> None:
    (cell,) = run(ask("own", known_classes=("hole",), seeds=(0,)), store).cells
    record = store.read(cell.key)
    assert record is not None and record.status == "done"
    assert record.engine["image_sizes"] == [64, 32]
    assert record.departures == {"image_sizes": [48]}
    assert record.label == "own-frozen"


def test_labels_are_the_methods_own_words(ask: Any, store: Store) -> None:
    request = ask(Component("own", {"shift": "2"}), "own")
    assert {cell.label for cell in make_plan(request, store).cells} == {
        "own-frozen[shift=2.0]",
        "own-frozen",
    }


def test_what_a_variant_fixes_is_part_of_its_parameters(ask: Any, store: Store) -> None:
    (cell, *_) = make_plan(ask("fixed"), store).cells
    assert (cell.label, cell.params["shift"], cell.weights) == ("fixed", 3.0, "none")
    with pytest.raises(ParameterError, match=r"fixed has shift=3\.0 by definition, got 2: leave"):
        make_plan(ask(Component("fixed", {"shift": "2"})), store)


def test_an_instance_says_whether_it_needs_a_backbone(ask: Any, store: Store) -> None:
    (cell, *_) = make_plan(ask(Component("fixed", {"pause": "0.01"})), store).cells
    assert cell.weights == "random:0"


def test_each_backbone_has_weights_of_its_own(
    ask: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(engine: Engine, cache: Path) -> WeightsFile:
        known = {"resnet18.tv_in1k": "sha256:1"}
        return WeightsFile(known.get(engine.backbone, ""), None, "hub")

    monkeypatch.setattr("osadbench.plan.planning.find_weights", find)
    plan = make_plan(ask("devnet", "own", "mean", preset="paper"), store)
    assert plan.missing == ("weights of backbone alexnet.tv_in1k: downloaded when the run starts",)
    weights = {(cell.method, cell.weights, bool(cell.key)) for cell in plan.cells}
    assert weights == {("devnet", "sha256:1", True), ("own", "", False), ("mean", "none", True)}
    assert [engine.backbone for engine in plan.engines_to_fetch] == ["alexnet.tv_in1k"]
    monkeypatch.setattr(
        "osadbench.plan.planning.find_weights", lambda engine, cache: WeightsFile("", None, "hub")
    )
    plan = make_plan(ask("devnet", "own", "knn", preset="paper"), store)
    assert len(plan.missing) == len(plan.engines_to_fetch) == 2


def test_unsupervised_methods_run_once_for_all_shots(ask: Any, store: Store) -> None:
    request = ask("knn", "mean", shots=(1, 2, 3), known_classes=("hole",))
    plan = make_plan(request, store)
    assert [cell.split.shots for cell in plan.cells if cell.method == "knn"] == [0, 0]
    assert len([cell for cell in plan.cells if cell.method == "mean"]) == 2 * 3
    knn = next(cell for cell in plan.cells if cell.method == "knn")
    others = [c.split for c in plan.cells if c.method == "mean" and c.split.seed == knn.split.seed]
    for split in others:
        assert split.without_labels() == knn.split
        assert (split.test, split.train_normals) == (knn.split.test, knn.split.train_normals)
    (one,) = [c for c in make_plan(ask("knn", shots=(7,), seeds=(0,)), store).cells][:1]
    assert one.key == knn.key
    assert str(knn) == "knn synthetic/disc hard hole 0-shot seed 0"


def test_several_datasets_and_categories(ask: Any, store: Store, tmp_path: Path) -> None:
    write_category(tmp_path / "parts/nut")
    write_category(tmp_path / "parts/screw")
    request = ask("mean", datasets=(Component("folder"),), data_root=tmp_path / "parts")
    assert {c.split.category for c in make_plan(request, store).cells} == {"nut", "screw"}
    request = dataclasses.replace(request, datasets=(Component("folder/nut"),))
    assert {c.split.category for c in make_plan(request, store).cells} == {"nut"}
    both = dataclasses.replace(request, datasets=(Component("folder/nut"), Component("folder")))
    cells = make_plan(both, store).cells
    assert len(cells) == len({cell.key for cell in cells}) == 8


def test_an_image_that_changes_gives_other_keys(ask: Any, store: Store, tmp_path: Path) -> None:
    root = write_elpv(tmp_path / "elpv", normals=8, mono=3, poly=3)
    request = ask("mean", datasets=(Component("elpv"),), data_root=root)
    before = {cell.key for cell in make_plan(request, store).cells}
    write_image(tmp_path / "new.png", mode="L").replace(root / "images/cell0000.png")
    after = {cell.key for cell in make_plan(request, store).cells}
    assert before.isdisjoint(after)


# --- states ---


def run(request: Request, store: Store, rerun: str = "missing") -> Plan:
    plan = make_plan(request, store, rerun)
    list(run_cells(plan.pending, store, Options()))
    return plan


NO_TIME = Estimate(0, 0)


def states(plan: Plan) -> list[str]:
    return [line.split("  ")[0].strip() for line in plan_lines(plan, NO_TIME)][: len(plan.cells)]


def test_policies(ask: Any, store: Store) -> None:
    run(ask("mean", "raises", "skips", known_classes=("hole",)), store)
    request = ask("mean", "raises", "skips", known_classes=("hole",), seeds=(0, 1, 2))
    damaged = next(cell for cell in make_plan(request, store).cells if cell.method == "mean")
    (store.cells / f"{damaged.key}.npz").write_bytes(b"")

    def pending(rerun: str) -> tuple[Plan, list[tuple[str, int]]]:
        plan = make_plan(request, store, rerun)
        assert plan.damaged == (damaged.key,)
        assert (len(plan.done), len(plan.failed)) == (3, 2)
        return plan, sorted((cell.method, cell.split.seed) for cell in plan.pending)

    new = [("mean", 2), ("raises", 2), ("skips", 2)]
    again = [("mean", 0), ("raises", 0), ("raises", 1)]
    plan, cells = pending("missing")
    assert cells == sorted(new + again) and plan.unanswered == 0
    plan, cells = pending("failed")
    assert cells == [("raises", 0), ("raises", 1)] and plan.unanswered == 4
    plan, cells = pending("all")
    assert len(cells) == 9 and plan.unanswered == 0
    plan, cells = pending("none")
    assert cells == [] and plan.unanswered == 6


@pytest.mark.parametrize(
    ("rerun", "expected"),
    [
        ("missing", ["done", "retry", "skipped", "to run"]),
        ("failed", ["done", "retry", "skipped", "missing"]),
        ("all", ["rerun", "retry", "rerun", "to run"]),
        ("none", ["done", "failed", "skipped", "missing"]),
    ],
)
def test_states_in_words(ask: Any, store: Store, rerun: str, expected: list[str]) -> None:
    one = {"known_classes": ("hole",), "seeds": (0,)}
    run(ask("mean", "raises", "skips", **one), store)
    plan = make_plan(ask("mean", "raises", "skips", "nan", **one), store, rerun)
    assert states(plan) == expected
    *_, counts = [
        line for line in plan_lines(plan, Estimate(1.0, 1)) if line.startswith("4 cells: ")
    ]
    assert all(f"{expected.count(state)} {state}" in counts for state in expected)
    assert counts.endswith(f"; {len(plan.pending)} will be computed")


def test_estimate(ask: Any, store: Store) -> None:
    one = {"known_classes": ("hole",), "seeds": (0, 1, 2)}
    request = ask("mean", "skips", **one)
    unknown = make_plan(request, store).estimate(store.records())
    assert unknown == Estimate(0, 0, {"mean": 3, "skips": 3})
    run(request, store)
    means = [record for record in store.records() if record.method == "mean"]
    timed = [
        dataclasses.replace(record, provenance={"fit_seconds": seconds, "score_seconds": 1.0})
        for record, seconds in zip(means, (1.0, 3.0, 90.0), strict=True)
    ]
    more = make_plan(ask("mean", **{**one, "seeds": range(13)}), store)
    assert len(more.pending) == 10
    assert more.estimate(timed) == Estimate(10 * 4.0, 10)
    both = make_plan(ask("mean", "skips", **{**one, "seeds": range(13)}), store)
    partial = both.estimate(timed)
    assert partial == Estimate(10 * 4.0, 10, {"skips": 10})
    assert list(plan_lines(both, partial))[-1] == (
        "time on one worker, features cached: 40 s for 10 cells; unknown for 10 cells, for this "
        "folder has no time of skips"
    )
    other = make_plan(ask("mean", **{**one, "seeds": (9,)}, preset="frozen"), store)
    assert other.estimate(timed) == Estimate(0, 0, {"mean": 1})
    assert make_plan(request, store).estimate(timed) == Estimate(0, 0)


# --- splits that are given ---


def test_given_splits_give_the_same_cells(ask: Any, store: Store) -> None:
    request = ask("mean")
    splits = tuple(make_splits(request))
    assert len(splits) == 8
    given = dataclasses.replace(request, protocols=(), splits=splits[2:5])
    keys = [cell.key for cell in make_plan(request, store).cells]
    assert [cell.key for cell in make_plan(given, store).cells] == keys[2:5]


def test_given_splits_keep_the_parameters_of_their_protocol(ask: Any, store: Store) -> None:
    request = ask("mean", protocols=(Component("general", {"pool": "3"}),), known_classes=None)
    given = dataclasses.replace(request, protocols=(), splits=tuple(make_splits(request)))
    assert {cell.protocol for cell in make_plan(given, store).cells} == {"general[pool=3]"}


def test_given_splits_of_other_images_are_refused(ask: Any, store: Store) -> None:
    splits = tuple(make_splits(ask("mean")))
    other = (Component("synthetic/disc", {**SMALL, "seed": "1"}),)
    request = ask("mean", protocols=(), splits=splits, datasets=other)
    with pytest.raises(DataError, match="synthetic/disc were made for other images"):
        make_plan(request, store)
    other = (Component("synthetic/weave", SMALL),)
    request = ask("mean", protocols=(), splits=splits, datasets=other)
    with pytest.raises(UsageError, match="are of other datasets than those asked for by -d"):
        make_plan(request, store)


# --- mistakes ---


@pytest.mark.parametrize(
    ("methods", "changes", "error", "message"),
    [
        (["devnett"], {}, UsageError, "no method 'devnett': did you mean devnet"),
        (["mean", "mean"], {}, UsageError, "mean is asked for twice"),
        (["mean"], {"preset": "smok"}, UsageError, "no preset 'smok': did you mean smoke"),
        (["mean"], {"protocols": (Component("hrad"),)}, UsageError, "no protocol 'hrad'"),
        (
            ["mean"],
            {"protocols": (Component("general", {"pool": "x"}),)},
            ParameterError,
            "general.pool='x': input should be a valid integer",
        ),
        (["mean"], {"engine": {"views": "1"}}, ParameterError, "engine has no parameter 'views'"),
        (["mean"], {"known_classes": ("x",)}, UsageError, "no known class 'x'"),
        (["mean"], {"shots": (0,)}, UsageError, "1 or more shots"),
        (["odd"], {}, PluginError, "^method 'odd' cannot be built: KeyError: 'no such thing"),
        ([Component("mean", {"seed": "3"})], {}, ParameterError, "mean has no parameter 'seed'"),
        (["mean"], {"seeds": ()}, UsageError, "at least one seed"),
        (
            ["mean"],
            {"datasets": (Component("synthetic", SMALL), Component("synthetic"))},
            UsageError,
            "synthetic is asked for with two sets of parameters",
        ),
    ],
)
def test_mistakes(
    ask: Any,
    store: Store,
    methods: list[str | Component],
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        make_plan(ask(*methods, **changes), store)


def test_mistakes_of_all_methods_are_listed_together(ask: Any, store: Store) -> None:
    wrong = (Component("devnet", {"x": "1"}), Component("knn", {"k": "0"}), Component("mean"))
    with pytest.raises(ParameterError) as caught:
        make_plan(ask(*wrong, engine={"y": "2"}), store)
    assert [text.split("'")[0] for text in str(caught.value).split("; ")] == [
        "engine has no parameter ",
        "devnet has no parameter ",
        "knn.k=",
    ]


def test_a_broken_plugin_is_named(ask: Any, store: Store, plugin: Path) -> None:
    broken = plugin.with_name("broken.py")
    broken.write_text("import no_such_library\n" + TOYS.replace('method("', 'method("b-'))
    METHODS.add_plugin(broken)
    make_plan(ask("mean"), store)
    with pytest.raises(PluginError, match="'b-mean' of .*broken.py is broken: ModuleNotFoundError"):
        make_plan(ask("b-mean"), store)


def test_cells_carry_what_another_process_needs(ask: Any, store: Store, plugin: Path) -> None:
    import pickle

    (cell, *_) = make_plan(ask("mean"), store).cells
    copy: Cell = pickle.loads(pickle.dumps(cell))
    assert (copy.key, copy.plugins, copy.engine) == (cell.key, (plugin,), cell.engine)
    assert copy.split == cell.split and copy.manifest.digest == cell.manifest.digest


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (5300, "88 min"),
        (5400, "1.5 h"),
        (360000, "100.0 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
