from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import (  # noqa: F401
    DATA,
    FEW,
    TOYS,
    Cli,
    Result,
    cli_fixture,
    contents,
    kill_group,
    start,
    statuses,
    toys_fixture,
)
from image_trees import write_category

from osadbench import __version__
from osadbench.plan import Component, Request, make_plan
from osadbench.registry import METHODS
from osadbench.runner import run_cell
from osadbench.store import Store
from osadbench.types import Record

#: Cells that take long enough to be caught in the middle.
LONG = ["-m", "mean[pause=0.3]", *FEW[:-1], "12", "-o", "out"]


def only(folder: str, method: str | None = None) -> Record:
    (record,) = [r for r in Store(folder).records() if method in (None, r.method)]
    return record


# --- what a record holds ---


def test_a_record_holds_parameters_scores_and_origin(cli: Cli, toys: list[str]) -> None:
    words = ["-m", "mean[shift=2]", "-p", "hard", "-d", DATA, "--known-class", "hole"]
    assert cli("run", *words, "--shots", "3", "--seed", "4", *toys, "-o", "out").code == 0
    record = only("out")
    assert (record.method, record.label) == ("mean", "mean[shift=2.0]")
    assert record.params == {"shift": 2.0, "pause": 0.0}
    assert (record.dataset, record.category, record.known_class) == ("synthetic", "disc", "hole")
    assert (record.protocol, record.shots, record.seed, record.row) == (
        *("hard", 3, 4),
        "disc/hole",
    )
    assert record.split["train_normals"] == 12 and len(record.split["train_anomalies"]) == 3
    assert record.split["seen_classes"] == ["hole"]
    assert record.engine["preset"] == "frozen" and record.weights == "none"
    table = Store("out").scores(record.key)
    assert len(table.paths) == record.split["test"] == 6 + 3 * 12
    assert {path.split("/")[2] for path in table.paths} == {*table.classes}
    assert {*table.classes} == {"good", "scratch", "specks", "stain"}
    assert [bool(label) for label in table.labels] == [name != "good" for name in table.classes]
    assert (table.scores > 2).all() and len(np.unique(table.scores)) > 30


def test_a_record_says_how_it_was_made(cli: Cli, toys: list[str]) -> None:
    before = time.time()
    cli("run", "-m", "mean[pause=0.3]", *FEW[:-1], "1", *toys, "-o", "out")
    origin = only("out").provenance
    assert origin.keys() >= {"commit", "dirty", "platform", "decoder", "precision"}
    assert origin["versions"]["osadbench"] == __version__
    assert origin["versions"].keys() >= {"python", "numpy", "torch", "timm", "pillow"}
    assert origin["decoder"].startswith("Pillow ")
    assert (origin["device"], origin["precision"], origin["threads"]) == ("cpu", None, 1)
    assert 0.3 <= origin["fit_seconds"] < 5 and 0 < origin["score_seconds"] < 5
    assert before <= origin["started"] <= time.time()
    assert 2**24 < origin["peak_memory_bytes"] < 2**36


def test_the_same_bits_on_one_worker_and_on_two(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean,skips", *FEW, *toys]
    assert cli(*words, "-o", "one").code == 0
    result = cli(*words, "-o", "two", "-j", "2")
    assert result.code == 0, result.err
    assert len(contents(Path("one"))) == 6
    assert contents(Path("two")) == contents(Path("one"))


def test_the_same_bits_of_a_network_on_one_worker_and_on_two(cli: Cli) -> None:
    words = ["run", "-m", "devnet", *FEW[:-1], "2", "--preset", "smoke"]
    assert cli(*words, "-o", "one").code == 0
    assert cli(*words, "-o", "two", "-j", "2").code == 0
    one = contents(Path("one"))
    assert contents(Path("two")) == one
    (first, _), _ = one.values()
    assert first["weights"] == "random:0"
    origin = Store("one").read(first["key"]).provenance  # type: ignore[union-attr]
    assert (origin["precision"], origin["threads"]) == ("fp32", 2)
    assert origin["device"]


def test_numeric_libraries_get_one_thread(cli: Cli, tmp_path: Path) -> None:
    from threadpoolctl import threadpool_limits

    (tmp_path / "counts.py").write_text(
        TOYS.replace('"mean"', '"counts"').replace(
            "np.linalg.norm(self.colours(X) - self.mean_, axis=1)",
            "np.arange(len(X)) + max(p['num_threads'] for p in threadpool_info())",
        )
        + "\nfrom threadpoolctl import threadpool_info\n"
    )
    with threadpool_limits(2):
        cli("run", "-m", "counts", *FEW[:-1], "1", "--plugin", "counts.py", "-o", "out")
    scores = Store("out").scores(only("out").key).scores
    assert scores.min() == 1


@pytest.mark.parametrize(
    ("attributes", "threads"),
    [
        ("uses_backbone = False", 1),
        ("uses_backbone = True", 2),
        ("uses_backbone = True; reads_pixels = True", 3),
        ("uses_backbone = False; reads_pixels = True", 3),
    ],
)
def test_threads_of_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: str, threads: int
) -> None:
    (tmp_path / "own.py").write_text(
        TOYS.replace("    Params = MeanParams\n", f"    Params = MeanParams\n    {attributes}\n")
    )
    monkeypatch.setattr(METHODS, "_plugins", [tmp_path / "own.py"])
    name, _, given = DATA.partition("[")
    small = dict(part.split("=") for part in given.rstrip("]").split(","))
    request = Request(
        methods=(Component("mean"),),
        protocols=(Component("general"),),
        datasets=(Component(name, small),),
        seeds=(0,),
        shots=(1,),
        preset="smoke",
        cache=tmp_path / "cache",
    )
    store = Store(tmp_path / "out")
    (cell,) = make_plan(request, store).cells
    record = run_cell(cell, store, None, 3)
    assert (record.reason, record.provenance["threads"]) == (None, threads)
    assert "notes" not in record.provenance


def test_notes_of_a_method_are_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.py").write_text(
        TOYS.replace(
            "        return self\n",
            "        self.notes_ = ['the hinge was idle']\n        return self\n",
        )
    )
    words = ["-m", "mean", *FEW[:-1], "1", "--plugin", "notes.py", "-o", "out"]
    result = cli("run", *words)
    assert only("out").provenance["notes"] == ["the hinge was idle"]
    assert "hinge" not in result.err


# --- what goes wrong in a method ---


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("method", "reason", "trace"),
    [
        ("raises", "RuntimeError: no luck today", "in score"),
        ("nan", "ContractError: 44 of 44 scores are not finite", "scores are not finite"),
        (
            "short",
            "ContractError: expected float64 scores (44,), one for each test image, got float64 "
            "(43,)",
            "in _check_scores",
        ),
        ("exits", "SystemExit: 0", "in fit"),
    ],
)
def test_a_failing_method_stops_no_other(
    cli: Cli, toys: list[str], jobs: int, method: str, reason: str, trace: str
) -> None:
    words = ["-m", f"{method},mean", *FEW[:-1], "2", *toys, "-o", "out", "-j", jobs]
    result = cli("run", *words)
    assert result.code == 1
    assert statuses(Path("out")) == {method: ["failed"] * 2, "mean": ["done"] * 2}
    assert f"[1] failed: {reason}" in result.out.replace("\n  ", " ")
    assert result.err.splitlines()[-2:] == [
        "2 done, 2 failed",
        "osadbench status lists the failed cells; osadbench show KEY has the traceback",
    ]
    failed = [record for record in Store("out").records() if record.method == method]
    assert {record.reason for record in failed} == {reason}
    assert all(trace in (record.traceback or "") for record in failed)
    assert all(record.metrics == {} and record.scores_sha256 is None for record in failed)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_takes_too_long_is_stopped(cli: Cli, toys: list[str], jobs: int) -> None:
    words = ["-m", "sleeps,mean", *FEW[:-1], "1", *toys, "-o", "out", "-j", jobs]
    started = time.monotonic()
    result = cli("run", *words, "--timeout", "0.5")
    assert time.monotonic() - started < 15
    assert result.code == 1
    assert statuses(Path("out")) == {"sleeps": ["failed"], "mean": ["done"]}
    reason = "CellTimeoutError: the cell took longer than 0.5 s (--timeout)"
    assert only("out", "sleeps").reason == reason
    assert "time.sleep" in (only("out", "sleeps").traceback or "")


@pytest.mark.parametrize("method", ["dies", "killed"])
def test_a_method_that_ends_its_process_stops_no_other(
    cli: Cli, toys: list[str], method: str
) -> None:
    result = cli("run", "-m", f"mean,{method}", *FEW[:-1], "2", *toys, "-o", "out", "-j", "2")
    assert result.code == 1
    assert statuses(Path("out")) == {"mean": ["done"] * 2, method: ["failed"] * 2}
    record = Store("out").records()[[r.method for r in Store("out").records()].index(method)]
    assert record.reason == (
        "the process died while the cell ran: out of memory, or a crash in native code"
    )
    assert record.traceback is None
    assert "[4/4]" in result.err


def test_after_a_death_the_cells_that_are_left_are_computed_anew(
    cli: Cli, toys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", *FEW, *toys, "-o", "out", "-j", "2"]
    assert cli(*words, "-m", "raises").code == 1
    monkeypatch.setenv("TOY_WORKS", "1")
    cli(*words, "-m", "dies,raises")
    assert statuses(Path("out")) == {"dies": ["failed"] * 3, "raises": ["done"] * 3}


def test_a_failed_cell_is_tried_again(
    cli: Cli, toys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "-m", "mean,raises", *FEW, *toys, "-o", "out"]
    first = cli(*words)
    assert (first.code, statuses(Path("out"))["raises"]) == (1, ["failed"] * 3)
    again = cli(*words)
    assert again.code == 1 and "6 cells: 3 in out, 3 to run" in again.err
    left = cli(*words, "--rerun", "none")
    assert left.code == 1 and "3 of 6 cells answered from out" in left.err
    assert "[1] failed: RuntimeError: no luck today" in left.out
    monkeypatch.setenv("TOY_WORKS", "1")
    assert cli(*words, "--rerun", "failed").code == 0
    assert statuses(Path("out")) == {"mean": ["done"] * 3, "raises": ["done"] * 3}
    assert cli(*words).code == 0


def test_rerun_failed_leaves_missing_cells_alone(
    cli: Cli, toys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "-m", "raises", *FEW[:-1]]
    cli(*words, "2", *toys, "-o", "out")
    monkeypatch.setenv("TOY_WORKS", "1")
    result = cli(*words, "3", *toys, "-o", "out", "--rerun", "failed")
    assert result.code == 1
    assert "1 cell failed or missing, and left so, as --rerun says" in result.err
    assert statuses(Path("out")) == {"raises": ["done"] * 2}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("jobs", [1, 2])
def test_fail_fast_stops_at_the_first_failure(cli: Cli, toys: list[str], jobs: int) -> None:
    words = ["-m", "raises,mean[pause=0.5]", *FEW[:-1], "8", *toys, "-o", "out", "-j", jobs]
    result = cli("run", *words, "--fail-fast")
    assert result.code == 1
    assert "unexpected" not in result.err
    failed = [line for line in result.err.splitlines() if line.startswith("[") and "failed" in line]
    assert len(failed) == 1
    assert len(Store("out").records()) <= 4


def test_a_skipped_cell_is_a_dash_with_a_reason(cli: Cli, toys: list[str]) -> None:
    words = ["run", "-m", "mean,skips", *FEW, *toys, "-o", "out"]
    result = cli(*words)
    assert result.code == 0
    assert statuses(Path("out")) == {"mean": ["done"] * 3, "skips": ["skipped"] * 3}
    row = next(line for line in result.out.splitlines() if line.startswith("disc "))
    assert row.split()[-2:] == ["-", "[1]"]
    assert "[1] skipped: needs two anomalies" in result.out.splitlines()
    assert "3 done, 3 skipped" in result.err
    assert "6 of 6 cells answered" in cli(*words).err


def test_a_skip_that_is_no_text_fails_its_cell_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(TOYS.replace('"needs two anomalies"', "2"))
    result = cli("run", "-m", "skips,mean", *FEW[:-1], "1", "--plugin", "odd.py", "-o", "out")
    assert result.code == 1
    assert statuses(Path("out")) == {"skips": ["failed"], "mean": ["done"]}
    reason = "ContractError: expected a reason or None of skip, got int"
    assert only("out", "skips").reason == reason


@pytest.mark.parametrize("what", ["raise RuntimeError('no')", "raise SystemExit(0)"])
def test_a_failing_precompute_costs_nothing(cli: Cli, tmp_path: Path, what: str) -> None:
    (tmp_path / "odd.py").write_text(
        TOYS.replace(
            "    def colours(self, X):",
            f"    def precompute(self, X, y=None):\n        {what}\n\n    def colours(self, X):",
        )
    )
    result = cli("run", "-m", "mean", *FEW[:-1], "1", "--plugin", "odd.py", "-o", "out")
    assert (result.code, statuses(Path("out"))) == (0, {"mean": ["done"]})


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_image_that_goes_away_is_not_the_methods_fault(
    cli: Cli, tmp_path: Path, jobs: int
) -> None:
    write_category(Path("parts/screw"), test=3)
    (tmp_path / "odd.py").write_text(
        TOYS.replace(
            "        time.sleep(self.params.pause)\n",
            "        from pathlib import Path\n"
            "        for path in Path('parts/screw/test/good').iterdir(): path.unlink()\n",
        )
    )
    words = ["-m", "mean", "-p", "hard", "-d", "folder", "--data-root", "parts", "--shots", "1"]
    result = cli("run", *words, "--seed", "0", "--plugin", "odd.py", "-o", "out", "-j", jobs)
    assert result.code == 3
    assert "is gone: restore it or rebuild the dataset" in result.err.splitlines()[-1]
    assert Store("out").records() == []


# --- interruptions ---


def wait_for_records(process: subprocess.Popen[str], folder: Path, n: int) -> None:
    """Wait until a run has stored so many records."""
    deadline = time.monotonic() + 60
    while len(list(folder.glob("cells/*.json"))) < n:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("signum", "jobs", "send", "code"),
    [
        (signal.SIGINT, 1, os.kill, 130),
        (signal.SIGINT, 2, os.killpg, 130),
        (signal.SIGTERM, 2, os.kill, 143),
    ],
)
def test_a_signal_ends_the_run_and_keeps_what_is_finished(
    cli: Cli, toys: list[str], signum: int, jobs: int, send: Any, code: int
) -> None:
    process = start("run", *LONG, *toys, "-j", jobs)
    wait_for_records(process, Path("out"), 2)
    send(process.pid, signum)
    out, err = process.communicate(timeout=30)
    kill_group(process)
    assert process.returncode == code, err
    assert out == "" and "Traceback" not in err
    word = "interrupted" if code == 130 else "terminated"
    assert f"{word}; finished cells of a run are stored" in err.splitlines(), err
    n_kept = len(Store("out").records())
    assert 2 <= n_kept < 12 and Store("out").problems() == []
    result = cli("run", *LONG, *toys, "-j", "2")
    assert result.code == 0
    assert f"12 cells: {n_kept} in out, {12 - n_kept} to run" in result.err
    assert statuses(Path("out")) == {"mean": ["done"] * 12}


def test_a_signal_ends_a_cell_that_runs_alone_after_a_death(cli: Cli, toys: list[str]) -> None:
    words = ["-m", "dies,sleeps", *FEW[:-1], "1", "-o", "out", "-j", "2", *toys]
    process = start("run", *words)
    wait_for_records(process, Path("out"), 1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert statuses(Path("out")) == {"dies": ["failed"]}


def test_two_runs_on_one_folder_lose_nothing(cli: Cli, toys: list[str]) -> None:
    words = ["-m", "mean[pause=0.05]", *FEW[:-1], "10", *toys]
    assert cli("run", *words, "-o", "alone").code == 0
    processes = [start("run", *words, "-o", "shared", "-j", jobs) for jobs in (1, 2)]
    results = [Result(p.wait(), *p.communicate()) for p in processes]
    assert [result.code for result in results] == [0, 0], results
    assert contents(Path("shared")) == contents(Path("alone"))
    assert Store("shared").problems() == []
    assert {result.out for result in results} == {cli("run", *words, "-o", "alone").out}


def test_a_reader_that_goes_away_is_no_error(cli: Cli, toys: list[str]) -> None:
    process = start("list")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 1


def test_running_as_a_module() -> None:
    command = [sys.executable, "-m", "osadbench", "--version"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out == f"osadbench, version {__version__}\n"
