"""``osadbench report`` and ``status`` on folders made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import Cli, cli_fixture
from report_tools import record

from osadbench.cli.results import echo_report
from osadbench.scores import ScoreTable
from osadbench.store import Store, index, scan

__all__ = ["cli_fixture"]

SCORES = ScoreTable(("a", "b"), np.array([0, 1], np.int8), ("good", "x"), np.array([0.0, 1.0]))
ROWS = {"mono": 0.6, "poly": 0.8}


@pytest.fixture(name="store")
def store_fixture(cli: Cli) -> Store:
    """A folder ``out`` with two methods on two rows, of which knn is better on both."""
    store = Store("out")
    for number, (label, row) in enumerate((m, r) for m in ("dra", "knn") for r in ROWS):
        metrics = {"auroc": ROWS[row] + 0.1 * (label == "knn"), "oracle_f1": 0.5 + number / 10}
        versions = {"osadbench": "0.1.0"}
        made: dict[str, Any] = {"metrics": metrics, "provenance": {"versions": versions}}
        store.write(record(label, row, key=f"{number:032x}", **made), SCORES)
    return store


def edit(store: Store, number: int, **changes: object) -> None:
    path = store.cells / f"{number:032x}.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def test_f1max_is_the_oracle_f1(cli: Cli, store: Store) -> None:
    result = cli("report", "-o", "out", "--metric", "f1max")
    assert result.code == 0
    assert "F1 at the oracle threshold, seed 0" in result.out
    assert result == cli("report", "-o", "out", "--metric", "oracle_f1")
    assert "the oracle threshold" in " ".join(cli("report", "--help").out.split())
    wrong = cli("report", "-o", "out", "--metric", "f1mx")
    assert (wrong.code, wrong.out) == (2, "")
    (line,) = wrong.err.splitlines()
    assert line.startswith("error: no metric 'f1mx': did you mean f1max? known: ap, auroc, f1max")


def test_grouping_and_order(cli: Cli, store: Store) -> None:
    out = cli("report", "-o", "out", "--group-by", "dataset").out
    assert "means by dataset, hard protocol, 10 shots" in out and "mono" not in out
    out = cli("report", "-o", "out", "--group-by", "method", "-m", "knn,dra").out
    lines = [line.split() for line in out.splitlines() if "0." in line]
    assert lines[:2] == [
        ["knn", "0.700*", "0.900*", "0.800*"],
        ["dra", "0.600+", "0.800+", "0.700+"],
    ]
    out = cli("report", "-o", "out", "--sort", "mean").out
    assert out.splitlines()[3].split() == ["knn", "dra"]
    out = cli("report", "-o", "out", "--sort", "dra").out
    assert out.index("poly") < out.index("mono")
    assert cli("report", "-o", "out", "--group-by", "shots").code == 2
    assert cli("report", "-o", "out", "--sort", "nobody").code == 2


def test_mixed_versions_are_refused_unless_allowed(cli: Cli, store: Store) -> None:
    edit(store, 0, provenance={"versions": {"osadbench": "0.9.0"}})
    result = cli("report", "-o", "out")
    assert (result.code, result.out) == (3, "")
    (line,) = result.err.splitlines()
    assert "mix versions of osadbench: 0.1.0 (dra, knn), 0.9.0 (dra)" in line
    result = cli("report", "-o", "out", "--allow-mixed")
    assert result.code == 0
    assert (
        "Note: the results mix versions of osadbench: 0.1.0 (dra, knn), 0.9.0 (dra)" in result.out
    )


def test_after_a_run_older_results_stand_with_a_note(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(store, 0, provenance={"versions": {"osadbench": "0.9.0"}})
    echo_report(store.records())
    assert "Note: the results mix versions of osadbench" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("schema", "text"),
    [(2, "newer than the 1 that this osadbench reads: upgrade osadbench"), (0, "older than the 1")],
)
def test_a_record_in_another_layout_is_refused_by_reports_and_listed_by_status(
    cli: Cli, store: Store, schema: int, text: str
) -> None:
    edit(store, 1, schema=schema)
    before = (store.cells / f"{1:032x}.json").read_bytes()
    result = cli("report", "-o", "out")
    assert (result.code, result.out) == (3, "")
    (line,) = result.err.splitlines()
    assert f"has schema {schema}, {text}" in line
    status = cli("status", "-o", "out")
    assert status.code == 1
    assert "3 done" in status.out and text in status.out
    assert (store.cells / f"{1:032x}.json").read_bytes() == before


def test_status_checks_all_scores_and_reports_do_not(cli: Cli, store: Store) -> None:
    whole = cli("report", "-o", "out")
    (store.cells / f"{1:032x}.npz").write_bytes(b"others")
    assert cli("report", "-o", "out") == whole
    assert whole.err == ""
    status = cli("status", "-o", "out")
    assert (status.code, status.out.splitlines()[0]) == (1, "3 done")
    assert "do not fit the record's digest" in status.out
    assert cli("show", f"{1:032x}", "--scores", "-o", "out").code == 3


def test_status_and_merge_say_by_their_code_what_is_unusable(cli: Cli, store: Store) -> None:
    young = store.cells / f".{9:032x}.json.12.tmp"
    young.write_text("half")
    for words in (["status", "-o", "out"], ["merge", "out", "-o", "both"]):
        result = cli(*words)
        assert (result.code, "problem" in result.out) == (0, False), words
    (store.cells / f"{1:032x}.npz").write_bytes(b"others")
    assert cli("status", "-o", "out").code == 1
    merged = cli("merge", "out", "-o", "fresh")
    assert (merged.code, merged.out.splitlines()[0]) == (
        1,
        "3 copied, 0 identical, 0 kept, 0 in conflict",
    )


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "json"])
def test_a_report_ends_in_one_line_break(cli: Cli, store: Store, form: str) -> None:
    out = cli("report", "-o", "out", "-f", form).out
    assert out.endswith("\n") and not out.endswith("\n\n")


def test_variables_turn_colour_on_and_off(
    cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def colored(*, terminal: bool, form: str = "terminal", **variables: str) -> bool:
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.setenv(name, variables.get(name, ""))
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: terminal)
        out = cli("report", "-o", "out", "-f", form).out
        assert ("\033[1m" in out) == ("bold: best" in out)
        return "\033[1m" in out

    assert [colored(terminal=one) for one in (True, False)] == [True, False]
    assert not colored(terminal=True, NO_COLOR="1")
    assert colored(terminal=False, FORCE_COLOR="1")
    assert not colored(terminal=False, FORCE_COLOR="1", form="markdown")
    assert not colored(terminal=False, FORCE_COLOR="1", NO_COLOR="1")


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "csv", "json"])
def test_an_empty_folder_has_an_empty_report(cli: Cli, form: str) -> None:
    Path("out/cells").mkdir(parents=True)
    result = cli("report", "-o", "out", "-f", form)
    assert (result.code, result.err) == (0, "")
    assert form == "csv" or "no results to show" in result.out


def test_a_folder_that_takes_no_index_is_reported_all_the_same(
    cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes, *, durable: bool) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(index, "write_atomically", refuse)
    monkeypatch.setattr(scan, "INDEX_FROM", 1)
    monkeypatch.setattr(scan, "SETTLED_SECONDS", -60)
    result = cli("report", "-o", "out")
    assert (result.code, result.err) == (0, "")
    assert "0.700+" in result.out
    assert [path.name for path in store.root.iterdir()] == ["cells"]


def test_the_committed_results_are_reported_and_left_as_they_are(cli: Cli) -> None:
    folder = Path(__file__).parent.parent / "results" / "elpv-frozen"
    before = sorted(path.name for path in folder.iterdir())
    for group_by in ("row", "dataset", "protocol", "method"):
        result = cli("report", "-o", folder, "--group-by", group_by)
        assert (result.code, result.err) == (0, "")
        assert "AUROC" in result.out
    assert sorted(path.name for path in folder.iterdir()) == before
