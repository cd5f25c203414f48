from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from cli_tools import DATA, FEW, TOYS, Cli, cli_fixture, contents, statuses, toys_fixture  # noqa: F401
from image_trees import write_category, write_elpv

from osadbench import __version__
from osadbench.cli import MODULES, running
from osadbench.cli.request import component_list
from osadbench.datasets import dataset_names
from osadbench.errors import UsageError
from osadbench.plan import Component, Request
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.store import Store

RunPython = Callable[..., str]

COMMANDS = ["check", "describe", "list", "merge", "new-method", "plan", "report", "run", "show"]
COMMANDS += ["split", "status", "table", "compare", "ranks", "seen", "intervals", "data"]
COMMANDS += [f"data {name}" for name in ("list", "info", "check", "prepare", "fetch")]


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Callable[..., Request]:
    """Return what `run` makes of its options, without any plan or work."""
    seen: list[Request] = []

    def take(request: Request, *_: object) -> None:
        seen.append(request)
        raise UsageError("seen enough")

    def ask(*words: object) -> Request:
        monkeypatch.setattr(running, "make_plan", take)
        result = cli("run", *words)
        assert result.err.endswith("error: seen enough\n"), result.err
        return seen.pop()

    return ask


def names(request: Request) -> list[str]:
    return [method.name for method in request.methods]


# --- what is assumed ---


def test_run_with_nothing_but_a_method_and_a_protocol(cli: Cli, toys: list[str]) -> None:
    write_elpv(Path("data/elpv"), normals=12, mono=4, poly=4)
    result = cli("run", "-m", "mean", "-p", "hard", "--data-root", "data/elpv", *toys)
    assert result.code == 0, result.err
    lines = result.err.splitlines()
    assert lines[0] == (
        "assumed: dataset elpv; shots 1,10; seeds 0,1,2; preset frozen; output results/runs"
    )
    records = Store("results/runs").records()
    assert {(r.dataset, r.engine["preset"]) for r in records} == {("elpv", "frozen")}
    places = [(r.known_class, r.shots, r.seed) for r in records]
    assert sorted(places) == [
        (known, shots, seed) for known in ("mono", "poly") for shots in (1, 10) for seed in range(3)
    ]
    assert "elpv, hard protocol, 10 shots: AUROC, mean±std over seeds 0 to 2" in result.out
    assert "12 done" in lines


@pytest.mark.parametrize(
    ("words", "assumed"),
    [
        (["-d", "synthetic"], "shots 1,10; seeds 0,1,2; preset frozen; output results/runs"),
        (["--shots", "3", "--seed", "0"], "dataset elpv; preset frozen; output results/runs"),
        (["--preset", "smoke", "-o", "x"], "dataset elpv; shots 1,10; seeds 0,1,2"),
        (["-d", "elpv", "--shots", "1", "--seeds", "2", "--preset", "smoke", "-o", "x"], None),
    ],
)
def test_only_what_was_not_said_is_called_assumed(
    requested: Callable[..., Request],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,
    words: list[str],
    assumed: str | None,
) -> None:
    requested("-m", "knn", "-p", "hard")
    err = cli("run", "-m", "knn", "-p", "hard", *words).err
    lines = [line for line in err.splitlines() if line.startswith("assumed")]
    assert lines == ([f"assumed: {assumed}"] if assumed else [])


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ([], (0, 1, 2)),
        (["--seeds", "5"], (0, 1, 2, 3, 4)),
        (["--seeds", "1"], (0,)),
        (["--seeds", "0"], (0,)),
        (["--seeds", "7,3,7"], (7, 3)),
        (["--seed", "5"], (5,)),
        (["--seed", "0"], (0,)),
        (["--seed", "20261122"], (20261122,)),
    ],
)
def test_seeds(requested: Callable[..., Request], words: list[str], seeds: tuple[int, ...]) -> None:
    assert requested("-m", "knn", "-p", "hard", *words).seeds == seeds


# --- which methods ---


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["dra", "knn"], ["dra", "knn"]),
        (["knn, dra"], ["knn", "dra"]),
        (["all"], ["devnet", "dra", "knn"]),
        (["*"], ["devnet", "dra", "knn"]),
        (["d*"], ["devnet", "dra"]),
        (["?nn"], ["knn"]),
        (["all,!d*"], ["knn"]),
        (["!knn,!devnet"], ["dra"]),
        (["knn,all"], ["knn", "devnet", "dra"]),
        (["knn", "knn,knn"], ["knn"]),
        (["knn[k=1],knn"], ["knn", "knn"]),
    ],
)
def test_choosing_components(words: list[str], chosen: list[str]) -> None:
    found = component_list(words, ["devnet", "dra", "knn"], "method")
    assert [component.name for component in found] == chosen


def test_choosing_methods(requested: Callable[..., Request]) -> None:
    assert names(requested("-m", "all", "-p", "hard")) == METHODS.names()
    others = [name for name in METHODS.names() if not name.startswith("d")]
    assert names(requested("-m", "knn", "-m", "dra", "-p", "hard")) == ["knn", "dra"]
    assert names(requested("-m", "!d*", "-p", "hard")) == others


def test_parameters_of_methods_and_engine(requested: Callable[..., Request]) -> None:
    request = requested(
        *("-m", "dra[lr=1e-4,epochs=3],dr?[epochs=2],knn", "-p", "general[pool=3],hard"),
        *("--set", "knn.k=2", "--set", "dra.epochs=9", "--set", "engine.seen_views=8"),
        *(
            "--set",
            "engine.image_sizes=64+32",
            "--outliers",
            "synthetic",
            "--precision",
            "fp32",
            "--device",
            "cpu",
        ),
        *("-d", "folder/carpet[on_duplicate=drop]", "--data-root", "there", "--offline"),
        *("--known-class", "hole,cut", "--known-class", "stain"),
    )
    assert request.methods == (
        Component("dra", {"lr": "1e-4", "epochs": "9"}),
        Component("dra", {"epochs": "9"}),
        Component("knn", {"k": "2"}),
    )
    assert request.protocols == (Component("general", {"pool": "3"}), Component("hard"))
    assert request.datasets == (Component("folder/carpet", {"on_duplicate": "drop"}),)
    assert request.data_root == Path("there")
    assert request.outliers == "synthetic"
    assert request.known_classes == ("hole", "cut", "stain")
    assert request.engine == {
        "seen_views": "8",
        "image_sizes": (64, 32),
        "precision": "fp32",
        "device": "cpu",
        "offline": True,
    }


def test_a_parameter_makes_a_column_of_its_own(cli: Cli, toys: list[str]) -> None:
    words = ["-m", "mean,mean[shift=2]", "-p", "general", "-d", DATA, "--shots", "1"]
    result = cli("run", *words, "--seed", "0", *toys, "-o", "out")
    assert result.code == 0, result.err
    records = {record.label: record for record in Store("out").records()}
    assert records.keys() == {"mean", "mean[shift=2.0]"}
    assert records["mean"].params == {"shift": 0.0, "pause": 0.0}
    assert records["mean[shift=2.0]"].params == {"shift": 2.0, "pause": 0.0}
    assert "[shift=2.0]" in result.out


# --- running and running again ---


def test_a_second_run_answers_from_the_store(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean", *FEW, *toys, "-o", "out"]
    first = cli(*words)
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")}
    second = cli(*words)
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out and "general protocol, 1 shot" in first.out
    assert "3 cells: 0 in out, 3 to run" in first.err
    assert "3 of 3 cells answered from out" in second.err
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*")} == before


def test_more_seeds_compute_only_the_new_cells(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean", "-p", "general", "-d", DATA, "--shots", "1", *toys, "-o", "out"]
    assert cli(*words, "--seeds", "2").code == 0
    result = cli(*words, "--seeds", "4")
    assert "4 cells: 2 in out, 2 to run" in result.err
    assert "seeds 0 to 3" in result.out


def test_rerun_all_computes_finished_cells_again(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean", *FEW, *toys, "-o", "out"]
    cli(*words)
    before = contents(Path("out"))
    started = {r.key: r.provenance["started"] for r in Store("out").records()}
    result = cli(*words, "--rerun", "all")
    assert "3 cells: 0 in out, 3 to run" in result.err
    assert contents(Path("out")) == before
    assert all(r.provenance["started"] > started[r.key] for r in Store("out").records())


def test_rerun_none_says_what_is_missing(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean", *FEW, *toys, "-o", "out", "--rerun", "none"]
    result = cli(*words)
    assert (result.code, result.out) == (1, "")
    assert "3 cells failed or missing, and left so, as --rerun says" in result.err
    assert "0 of 3 cells answered from out" in result.err
    assert not Path("out").exists()
    cli("run", "-m", "mean", *FEW[:-1], "2", *toys, "-o", "out")
    result = cli(*words)
    assert result.code == 1
    assert "1 cell failed or missing" in result.err and "2 of 3 cells answered" in result.err
    assert "seeds 0, 1" in result.out


def test_what_overlaps_is_run_once(cli: Cli, toys: list[str]) -> None:
    whole = DATA.replace("synthetic/disc", "synthetic")
    words = ["-m", "mean", "-p", "general", "-d", f"{DATA},{whole}", "--shots", "1", "--seed", "0"]
    result = cli("run", *words, *toys, "-o", "out", "-j", "2")
    assert result.code == 0, result.err
    assert "3 cells: 0 in out, 3 to run" in result.err
    assert {record.category for record in Store("out").records()} == {"disc", "grain", "weave"}


def test_the_table_goes_to_stdout_and_everything_else_to_stderr(
    cli: Cli,
    toys: list[str],
) -> None:
    result = cli("run", "-m", "mean", *FEW, *toys, "-o", "out")
    assert result.out.startswith("synthetic, general protocol, 1 shot: AUROC")
    assert "[1/3] done    mean synthetic/disc general 1-shot seed 0: auroc 0." in result.err
    assert "\033" not in result.out + result.err
    quiet = cli("-q", "run", "-m", "mean", *FEW, *toys, "-o", "out", "--rerun", "all")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == result.out
    after = cli("run", "-m", "mean", *FEW, *toys, "-o", "out", "--rerun", "all", "--quiet")
    assert (after.code, after.err) == (0, "")


def test_verbose_shows_the_traceback_of_a_failed_cell(
    cli: Cli,
    toys: list[str],
) -> None:
    words = ["run", "-m", "raises", *FEW, *toys, "-o", "out"]
    assert "Traceback" not in cli(*words).err
    err = cli(*words, "-v").err
    assert "Traceback" in err and "RuntimeError: no luck today" in err


def test_run_of_a_folder(cli: Cli, toys: list[str]) -> None:
    write_category(Path("parts/screw"), test=3)
    words = ["run", "-m", "mean", "-p", "hard", "-d", "folder", "--data-root", "parts", *toys]
    result = cli(*words, "--shots", "2", "--seeds", "1", "-o", "out")
    assert result.code == 0, result.err
    rows = {(record.category, record.known_class) for record in Store("out").records()}
    assert rows == {("screw", "hole"), ("screw", "scratch")}
    assert "screw/hole" in result.out


# --- plan ---


def test_plan_lists_the_state_of_every_cell(
    cli: Cli,
    toys: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cli("run", "-m", "mean,raises,skips", *FEW, *toys, "-o", "out")
    damaged = next(r for r in Store("out").records() if (r.method, r.seed) == ("mean", 2))
    Path("out/cells", f"{damaged.key}.json").write_text("{")
    words = ["-m", "mean,raises,skips", *FEW[:-1], "4", *toys, "-o", "out"]

    def states(*more: str) -> list[tuple[str, str]]:
        result = cli("plan", *words, *more)
        assert result.code == 0
        lines = result.out.splitlines()
        cells = [re.fullmatch(r"(.{8}) ([0-9a-f]{12})  (\S+) synthetic.*", s) for s in lines]
        return sorted((cell[3], cell[1].strip()) for cell in cells if cell)

    rest = [("raises", "to run"), ("skips", "skipped"), ("skips", "skipped"), ("skips", "skipped")]
    rest += [("skips", "to run")]
    done = [("mean", "damaged"), ("mean", "done"), ("mean", "done"), ("mean", "to run")]
    assert states() == [*done, *[("raises", "retry")] * 3, *rest]
    assert [s for s in states("--rerun", "none") if s[0] == "raises"] == [
        *[("raises", "failed")] * 3,
        ("raises", "missing"),
    ]
    assert [s for s in states("--rerun", "all") if s[0] == "mean"] == [
        ("mean", "damaged"),
        ("mean", "rerun"),
        ("mean", "rerun"),
        ("mean", "to run"),
    ]
    out = cli("plan", *words).out
    counts = "12 cells: 1 damaged, 2 done, 3 retry, 3 skipped, 3 to run; 7 will be computed"
    assert counts in out.splitlines()
    assert cli("run", *words, "--dry-run").out == out
    assert not list(Path("out/cells").glob("*damaged*"))


def test_plan_knows_the_time_once_every_method_was_timed(
    cli: Cli,
    toys: list[str],
) -> None:
    words = ["-m", "mean[pause=0.5]", "-p", "general", "-d", DATA, "--shots", "1", *toys]
    first = cli("plan", *words, "--seeds", "5", "-o", "out").out
    assert first.splitlines()[-1].startswith("time on one worker, features cached: unknown")
    cli("run", *words, "--seeds", "1", "-o", "out")
    (timed,) = Store("out").records()
    assert timed.seconds >= 0.5
    out = cli("plan", *words, "--seeds", "5", "-o", "out").out
    last = f"time on one worker, features cached: {4 * timed.seconds:.0f} s"
    assert out.splitlines()[-1] == last
    assert cli("plan", *words, "--seeds", "1", "-o", "out").out.splitlines()[-1] == (
        "1 cell: 1 done; 0 will be computed"
    )


def test_plan_names_the_weights_that_are_missing(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    words = ["plan", "-m", "knn", *FEW, "--backbone", "resnet18.tv_in1k", "-o", "out"]
    result = cli(*words)
    assert result.code == 0
    missing = "missing here: weights of backbone resnet18.tv_in1k: downloaded when the run starts"
    assert missing in result.out.splitlines()
    assert result.out.startswith("to run   -             knn synthetic/disc")
    for offline in (["--offline"], []):
        if not offline:
            monkeypatch.setenv("OSADBENCH_OFFLINE", "1")
        result = cli(*words, *offline)
        assert (result.code, result.out) == (3, "")
        assert "no weights for backbone 'resnet18.tv_in1k' on this machine" in result.err
        assert "give --weights FILE" in result.err and "run once with a network" in result.err


# --- splits ---


def test_split_prints_each_split_with_its_digest(cli: Cli) -> None:
    words = ["split", "-p", "general,hard", "-d", DATA, "--shots", "1,3", "--seeds", "2"]
    result = cli(*words, "--save", "splits.json")
    assert result.code == 0
    saved = json.loads(Path("splits.json").read_text())["splits"]
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == [split["digest"][:12] for split in saved]
    assert len(lines) == 2 * 2 * (1 + 4)
    assert lines[0].endswith(
        "  synthetic/disc general 1-shot seed 0: train 12 normal + 1 anomalous, test 44"
    )
    assert any(" hard stain 3-shot seed 1: train 12 normal + 3 " in line for line in lines)
    assert "20 splits saved in splits.json" in result.err
    assert cli(*words).out == result.out


def test_saved_splits_give_the_same_records(cli: Cli, toys: list[str]) -> None:
    cli("split", *FEW, "--save", "splits.json")
    assert cli("run", "-m", "mean", *FEW, *toys, "-o", "own").code == 0
    words = ["run", "-m", "mean", "--splits", "splits.json", "-d", DATA, *toys]
    result = cli(*words, "-o", "given")
    assert result.code == 0, result.err
    assert contents(Path("given")) == contents(Path("own"))
    assert "assumed: preset frozen" in result.err.splitlines()


def test_splits_name_the_dataset_themselves(cli: Cli, toys: list[str]) -> None:
    write_category(Path("data/folder/screw"), test=3)
    write_category(Path("data/folder/nut"), test=3)
    place = ["--data-root", "data/folder"]
    options = ["-p", "hard", "--shots", "1", "--seed", "0", *place]
    cli("split", "-d", "folder/nut", *options, "--save", "splits.json")
    result = cli("run", "-m", "mean", "--splits", "splits.json", *place, *toys, "-o", "out")
    assert result.code == 0, result.err
    assert {record.category for record in Store("out").records()} == {"nut"}


# --- reports ---


@pytest.fixture
def results(cli: Cli, toys: list[str]) -> Path:
    """A results folder of two columns on two protocols."""
    options = ["-d", DATA, "--shots", "1", "--seeds", "2", *toys, "-o", "out"]
    assert cli("run", "-m", "mean,mean[shift=1]", "-p", "general,hard", *options).code == 0
    return Path("out")


def test_report_prints_the_tables_of_the_run(cli: Cli, results: Path) -> None:
    out = cli("report", "-o", "out").out
    assert "synthetic, general protocol, 1 shot: AUROC" in out
    assert "synthetic/disc, hard protocol, 1 shot: AUROC" in out
    assert "[shift=1.0]" in out


def test_report_in_all_formats(cli: Cli, results: Path) -> None:
    outs = {
        name: cli("report", "-o", "out", "-f", name)
        for name in ("terminal", "markdown", "latex", "csv", "json")
    }
    assert {result.code for result in outs.values()} == {0}
    assert "\n| disc" in outs["markdown"].out
    assert r"\begin{tabular}" in outs["latex"].out
    rows = list(csv.DictReader(io.StringIO(outs["csv"].out)))
    assert {row["protocol"] for row in rows} == {"general", "hard"}
    assert json.loads(outs["json"].out)["metric"] == "auroc"
    assert len({result.out for result in outs.values()}) == 5


def test_report_of_a_part(cli: Cli, results: Path) -> None:
    out = cli("report", "-o", "out", "-p", "general", "-m", "mean[shift=1.0]", "-d", "synthetic")
    assert "general protocol" in out.out and "hard protocol" not in out.out
    header = next(line for line in out.out.splitlines() if "shift" in line)
    assert "mean" not in header.replace("mean[shift=1.0]", "")
    both = cli("report", "-o", "out", "-p", "general", "-p", "hard")
    assert both.out == cli("report", "-o", "out").out
    assert "average precision" in cli("report", "-o", "out", "--metric", "ap").out
    tested = cli("report", "-o", "out", "--reference", "mean[shift=1.0]").out
    assert "mean[shift=1.0] vs mean: r = " in tested


def test_report_leaves_smoke_out_unless_asked(cli: Cli, toys: list[str]) -> None:
    result = cli("run", "-m", "mean", *FEW, "--preset", "smoke", *toys, "-o", "out")
    assert "preset smoke" in result.out
    assert "left out 3 results of preset smoke" in cli("report", "-o", "out").out
    assert cli("report", "-o", "out", "--include-smoke").out == result.out


def test_report_of_an_empty_folder_says_so(cli: Cli) -> None:
    Path("out").mkdir()
    result = cli("report", "-o", "out")
    assert (result.code, result.out.strip()) == (0, "Note: no results to show")


def test_status(cli: Cli, toys: list[str]) -> None:
    cli("run", "-m", "mean,skips", *FEW, *toys, "-o", "out")
    assert cli("status", "-o", "out") == (0, "3 done, 3 skipped\n", "")
    cli("run", "-m", "raises", *FEW, *toys, "-o", "out")
    result = cli("status", "-o", "out")
    assert result.code == 1
    assert result.out.splitlines()[0] == "3 done, 3 failed, 3 skipped"
    failed = [line for line in result.out.splitlines() if line.startswith("failed")]
    assert len(failed) == 3
    assert all(line.endswith("raises disc: RuntimeError: no luck today") for line in failed)
    Path("empty").mkdir()
    assert cli("status", "-o", "empty") == (0, "no results\n", "")


def test_status_lists_what_is_damaged(cli: Cli, toys: list[str]) -> None:
    cli("run", "-m", "mean", *FEW, *toys, "-o", "out")
    killed = Path("out/cells", ".x.json.123.tmp")
    killed.write_text("")
    os.utime(killed, (time.time() - 7200,) * 2)
    key = Store("out").keys()[0]
    Path("out/cells", f"{key}.npz").unlink()
    result = cli("status", "-o", "out")
    assert result.code == 1
    assert "2 done" in result.out
    assert "problem  .x.json.123.tmp: a write was interrupted" in result.out
    assert f"{key}.npz are missing" in result.out
    assert "warning: .x.json.123.tmp: a write was" in cli("report", "-o", "out").err


def test_show_prints_a_record_and_its_scores(cli: Cli, toys: list[str]) -> None:
    write_category(Path("parts/a, b"), test=3)
    options = ["-p", "hard", "-d", "folder", "--data-root", "parts", "--shots", "1", "--seed", "0"]
    cli("run", "-m", "mean", *options, *toys, "-o", "out")
    record = Store("out").records()[0]
    result = cli("show", record.key[:6], "-o", "out")
    shown = json.loads(result.out)
    assert (result.code, shown["key"], shown["metrics"]) == (0, record.key, record.metrics)
    table = Store("out").scores(record.key)
    lines = list(csv.reader(io.StringIO(cli("show", record.key, "--scores", "-o", "out").out)))
    assert lines[0] == ["path", "label", "class", "score"]
    assert [(line[0], int(line[1]), line[2], float(line[3])) for line in lines[1:]] == list(
        zip(table.paths, table.labels, table.classes, table.scores, strict=True)
    )
    assert any(line[0].startswith("a, b/") for line in lines[1:])


def test_merge_brings_two_machines_together(cli: Cli, toys: list[str]) -> None:
    words = ["-m", "mean", "-p", "general", "-d", DATA, "--shots", "1", *toys]
    cli("run", *words, "--seeds", "0,1", "-o", "a")
    cli("run", *words, "--seeds", "1,2", "-o", "b")
    whole = cli("run", *words, "--seeds", "0,1,2", "-o", "whole")
    result = cli("merge", "a", "b", "-o", "both")
    assert (result.code, result.out) == (0, "3 copied, 1 identical, 0 kept, 0 in conflict\n")
    assert contents(Path("both")) == contents(Path("whole"))
    assert cli("report", "-o", "both").out == whole.out


def test_merge_keeps_ours_where_scores_differ(
    cli: Cli,
    toys: list[str],
) -> None:
    words = ["run", "-m", "mean", *FEW, *toys]
    cli(*words, "-o", "a")
    code = Path(toys[1]).read_text()
    Path(toys[1]).write_text(code.replace("return np.linalg", "return 2 * np.linalg"))
    changed = Path(toys[1]).rename("changed.py")
    cli("run", "-m", "mean", *FEW, "--plugin", changed, "-o", "b")
    before = contents(Path("a"))
    result = cli("merge", "b", "-o", "a")
    assert result.code == 4
    assert "3 in conflict" in result.out and "other scores in b; ours are kept" in result.out
    assert contents(Path("a")) == before


# --- what there is ---


def test_list_has_four_sections(cli: Cli) -> None:
    result = cli("list")
    assert result.code == 0
    sections = re.findall(r"^(\w+):$", result.out, re.MULTILINE)
    assert sections == ["methods", "protocols", "datasets", "presets"]
    for name in [*METHODS.names(), *PROTOCOLS.names(), *dataset_names(), "smoke"]:
        assert re.search(rf"^  {name} +\S", result.out, re.MULTILINE), name
    assert "BROKEN" not in result.out
    two = cli("list", "presets", "protocols").out
    assert re.findall(r"^(\w+):$", two, re.MULTILINE) == ["presets", "protocols"]


@pytest.mark.parametrize("name", [*METHODS.names(), *PROTOCOLS.names(), *dataset_names()])
def test_describe(cli: Cli, name: str) -> None:
    result = cli("describe", name)
    assert result.code == 0
    assert len(result.out.splitlines()) > 3
    if "= " in result.out:
        # Every value is followed by its meaning, further in.
        after = result.out.partition("Parameters and their values:\n")[2]
        assert re.fullmatch(r"(  \w+ = .*\n(      \S.*\n)+)+", after)


def test_describe_shows_the_values_of_a_preset(cli: Cli) -> None:
    assert "  lr = 0.001\n" in cli("describe", "devnet").out
    assert "  lr = 0.0002\n" in cli("describe", "devnet", "--preset", "paper").out
    out = cli("describe", "devnet").out
    assert "  top_k = 0.1\n" in out
    assert "  lr = 0.001\n      Learning rate.\n" in out


def test_describe_shows_what_a_variant_is_a_variant_of(cli: Cli) -> None:
    out = cli("describe", "devnet-alexnet-ds").out
    assert "A variant of devnet-ds:" in out and "A variant of devnet:" in out
    assert "engine.backbone=alexnet.tv_in1k" in out and "always: head=ds" in out
    assert "Source: Pang" in out and "``" not in out


def test_describe_shows_what_a_method_sets_itself(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        TOYS.replace(
            "    Params = MeanParams\n",
            "    Params = MeanParams\n"
            "    presets = {'paper': {'shift': 0.5}}\n"
            "    engine_settings = {'paper': {'image_sizes': (96, 48), 'backbone': 'vgg16'}}\n"
            "    fixed = {'pause': 0.0}\n",
        )
    )
    out = cli("describe", "mean", "--plugin", "own.py").out
    assert out.split("\n\n")[1].splitlines() == [
        "Set by the method itself, beside its defaults:",
        "  always: pause=0.0",
        "  paper: shift=0.5, engine.image_sizes=96+48, engine.backbone=vgg16",
    ]
    (tmp_path / "plain.py").write_text(TOYS)
    assert "itself" not in cli("describe", "mean", "--plugin", "plain.py").out


def test_report_shows_costs_where_asked(cli: Cli, toys: list[str]) -> None:
    cli("run", "-m", "mean", *FEW[:-1], "1", *toys, "-o", "out")
    plain, costs = cli("report", "-o", "out"), cli("report", "-o", "out", "--costs")
    assert (plain.code, costs.code) == (0, 0)
    assert len(costs.out) > len(plain.out)


def test_an_unsupervised_method_runs_once_for_all_shots(cli: Cli) -> None:
    words = ["-m", "knn,devnet", "-p", "general", "-d", DATA, "--shots", "1,2", "--seed", "0"]
    words += ["--preset", "smoke", "-o", "out"]
    assert "3 cells: 3 to run" in cli("plan", *words).out
    result = cli("run", *words)
    assert result.code == 0, result.err
    found = {(r.method, r.shots, len(r.split["train_anomalies"])) for r in Store("out").records()}
    assert found == {("knn", 0, 0), ("devnet", 1, 1), ("devnet", 2, 2)}
    assert len({r.split["test_digest"] for r in Store("out").records()}) == 1


def test_a_new_method_passes_its_checks(cli: Cli) -> None:
    result = cli("new-method", "nearest-colour", "--folder", "mine")
    assert result.code == 0
    assert result.out.splitlines() == [
        "wrote mine/nearest_colour.py",
        "try:  osadbench check mine/nearest_colour.py",
    ]
    checked = cli("check", "mine/nearest_colour.py")
    assert checked.code == 0, checked.out
    states = [line.split()[0] for line in checked.out.splitlines()]
    assert sorted({*states}) == ["ok", "skip"] and states.count("skip") == 1
    plugin = ["--plugin", "mine/nearest_colour.py"]
    run = cli("run", "-m", "nearest-colour[bins=4]", *FEW, *plugin, "-o", "out")
    assert run.code == 0, run.err
    assert {record.label for record in Store("out").records()} == {"nearest-colour[bins=4]"}


def test_check_of_a_faulty_method_fails(cli: Cli, toys: list[str]) -> None:
    result = cli("check", "nan", *toys)
    assert result.code == 4
    assert "FAIL" in result.out
    assert result.err.splitlines()[-1] == "error: nan does not keep the method contract: see FAIL"


def test_data_check_describes_a_folder(cli: Cli) -> None:
    write_category(Path("parts/screw"), test=3)
    result = cli("data", "check", "parts")
    assert result.code == 0
    assert "folder/screw: 15 images" in result.out
    assert "hard, 1-shot" in result.out


def test_a_plugin_brings_methods_and_protocols(
    cli: Cli,
    toys: list[str],
) -> None:
    Path("first.py").write_text(
        "from osadbench.registry import register_protocol\n"
        "from osadbench.protocols.general import General\n\n\n"
        '@register_protocol("first")\n'
        "class First(General):\n"
        '    """As general."""\n'
    )
    listed = cli("list", *toys, "--plugin", "first.py").out
    assert re.search(r"^  mean +Distance to the mean colour.*toys.py\]$", listed, re.MULTILINE)
    assert re.search(r"^  first +As general\. \[.*first.py\]$", listed, re.MULTILINE)
    words = ["run", "-m", "mean", "-p", "first[pool=2]", "-d", DATA, "--shots", "1", "--seed", "0"]
    result = cli(*words, *toys, "--plugin", "first.py", "-o", "out", "-j", "2")
    assert result.code == 0, result.err
    assert [record.protocol for record in Store("out").records()] == ["first[pool=2]"]


# --- help, version, environment ---


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = cli(*command.split(), "--help")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 100
    assert result.out.startswith(f"Usage: osadbench {command}".rstrip())
    assert cli(*command.split(), "-h").out == result.out


def test_every_option_has_a_help_text(cli: Cli) -> None:
    texts = {command: cli(*command.split(), "--help").out for command in COMMANDS}
    for command, text in texts.items():
        options = text.split("Options:\n")[1].split("\nCommands:")[0]
        for block in re.split(r"\n(?=  -)", options):
            words = re.sub(r"^ *(-\S+,? ?)+([A-Z.=]+(?: RANGE)?|\[\S+\])?", "", block).strip()
            assert len(words) > 5, f"{command}: {block}"


@pytest.mark.parametrize("group", ["", "data"])
def test_no_command_is_cut_short_in_the_list_of_its_group(cli: Cli, group: str) -> None:
    listed = cli(*group.split(), "--help").out.partition("Commands:\n")[2]
    assert "..." not in listed and listed.count("\n  ") > 3


def test_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == f"osadbench, version {__version__}"


def test_folders_from_the_environment(
    cli: Cli,
    toys: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_category(Path("data/folder/screw"), test=3)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "data")
    monkeypatch.setenv("OSADBENCH_CACHE_DIR", "my cache")
    monkeypatch.setenv("OSADBENCH_OUTPUT_DIR", "my results")
    words = ["run", "-m", "mean", "-p", "hard", "-d", "folder", "--shots", "1", "--seed", "0"]
    result = cli(*words, *toys)
    assert result.code == 0, result.err
    assert "output" not in result.err.splitlines()[0]
    assert len(Store("my results").records()) == 2
    assert list(Path("my cache/manifests").glob("folder-*.json"))
    assert cli("status").out == "2 done\n"
    assert cli(*words, *toys, "-o", "other", "--cache-dir", "c").code == 0
    assert statuses(Path("other")) == {"mean": ["done"] * 2}
    assert list(Path("c/manifests").glob("folder-*.json"))


def test_every_command_stands_in_the_module_that_is_loaded_for_it() -> None:
    modules = {module: import_module(f"osadbench.cli.{module}") for module in MODULES.values()}
    found = {command.name: name for name, module in modules.items() for command in module.COMMANDS}
    assert found == MODULES


def test_a_command_loads_no_other(run_python: RunPython) -> None:
    code = (
        "import sys\n"
        "from osadbench.cli import main\n"
        "assert main(['report', '-o', 'nowhere']) == 3\n"
        "loaded = [name for name in sys.modules if name.startswith('osadbench.')]\n"
        "assert 'osadbench.cli.results' in loaded\n"
        "print([n for n in loaded if n.split('.')[1] in ('datasets', 'plan', 'published')])\n"
    )
    assert run_python(code) == "[]\n"


def test_a_slip_in_the_name_of_a_command_is_told(cli: Cli) -> None:
    result = cli("repport")
    assert result.code == 2
    assert "'report'" in result.err


def test_commands_without_work_do_not_load_torch(
    cli: Cli,
    toys: list[str],
    run_python: RunPython,
) -> None:
    cli("run", "-m", "mean", *FEW, *toys, "-o", "out")
    key = Store("out").keys()[0]
    backbone = ["-m", "devnet,knn,dra", *FEW, "--preset", "smoke", "-o", "out"]
    calls = [["--help"], ["list"], ["describe", "dra"], ["plan", *backbone], ["split", *FEW]]
    calls += [["status", "-o", "out"], ["report", "-o", "out"], ["show", key, "-o", "out"]]
    calls += [["run", "-m", "mean", *FEW, *toys, "-o", "out"], ["merge", "out", "-o", "other"]]
    code = (
        "import json, sys\n"
        "from osadbench.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    code = main(words)\n"
        "    loaded = {'torch', 'timm', 'torchvision'} & set(sys.modules)\n"
        "    assert not loaded and code == 0, (words, code, loaded)\n"
    )
    run_python(code, json.dumps(calls), cwd=Path.cwd())


@pytest.mark.parametrize("option", ["--data-root", "--cache-dir", "-o"])
def test_an_empty_folder_s_name_is_refused(cli: Cli, option: str) -> None:
    """A variable that is not set must not mean this folder."""
    result = cli("plan", "-m", "knn", *FEW, option, "")
    assert (result.code, result.out) == (2, "")
    assert "expected a folder, got ''" in result.err
