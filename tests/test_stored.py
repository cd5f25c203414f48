"""What commands on stored results share: which records they take, and whose scores they open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from store_tools import PERFECT, WORSE, write_cell

from osadbench.cli.stored import read_store
from osadbench.scores import ScoreTable
from osadbench.store import Store

CRACK = {"seen_classes": ["crack"]}


@pytest.fixture(name="opened")
def opened_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, int]]]:
    """What the file of scores is of that was opened: method, row and shots, in the order met."""
    found: list[tuple[str, str, int]] = []
    scores = Store.scores

    def watched(store: Store, key: str) -> ScoreTable:
        record = store.read(key)
        assert record is not None
        found.append((record.label, record.row, record.shots))
        return scores(store, key)

    monkeypatch.setattr(Store, "scores", watched)
    yield found


@pytest.fixture(name="runs")
def runs_fixture(tmp_path: Path) -> Path:
    """Two methods with labels and one without on two rows, with one and ten shots, and more."""
    folder = tmp_path / "runs"
    for row in ("mono", "poly"):
        for shots in (1, 10):
            for label in ("dra", "devnet"):
                write_cell(folder, label, row, shots=shots, split=CRACK)
        write_cell(folder, "knn", row, scores=WORSE, shots=0, split={"seen_classes": []})
        write_cell(folder, "dra", row, engine={"preset": "smoke"}, split=CRACK)
    write_cell(folder, "dra", "elpv", protocol="general", known_class="", split=CRACK)
    write_cell(folder, "kdad", "mono", shots=0, status="skipped", reason="no form")
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["report"], []),
        (["report", "--costs", "--group-by", "dataset"], []),
        (["ranks", "-p", "hard", "--shots", "10"], []),
        (["status"], []),
        (["intervals", "-p", "general"], [("dra", "elpv", 10)]),
        (
            ["intervals", "-p", "hard", "-m", "knn,kdad"],
            [("knn", "mono", 0), ("knn", "poly", 0)],
        ),
        (
            ["intervals", "-p", "hard", "-m", "dra", "--shots", "1"],
            [("dra", "mono", 1), ("dra", "poly", 1)],
        ),
        (
            # The classes that knn is measured on are said by records of dra and devnet.
            ["seen", "-p", "hard", "-m", "knn"],
            [("knn", "mono", 0), ("knn", "poly", 0)],
        ),
        (
            ["seen", "-p", "hard", "--shots", "10", "-m", "dra,knn"],
            [("dra", "mono", 10), ("dra", "poly", 10), ("knn", "mono", 0), ("knn", "poly", 0)],
        ),
    ],
)
def test_only_scores_of_chosen_results_are_opened_and_once(
    cli: Cli,
    runs: Path,
    opened: list[tuple[str, str, int]],
    words: list[str],
    expected: list[tuple[str, str, int]],
) -> None:
    result = cli(*words, "-o", "runs")
    assert (result.code, result.err) == (0, "")
    assert sorted(opened) == expected


def test_comparing_opens_the_scores_of_pairs_and_each_once(
    cli: Cli, runs: Path, opened: list[tuple[str, str, int]]
) -> None:
    result = cli("compare", "runs:dra", "runs:knn")
    assert (result.code, result.err) == (0, "")
    # knn's are compared with those of one and of ten shots; of general, knn has none.
    assert sorted(opened) == [
        *[("dra", "mono", 1), ("dra", "mono", 10), ("dra", "poly", 1), ("dra", "poly", 10)],
        *[("knn", "mono", 0), ("knn", "poly", 0)],
    ]


def test_a_folder_with_both_sides_is_read_once(
    cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "cells" / f"{'0' * 32}.json").write_text("{")
    result = cli("compare", "runs:dra", "runs:knn")
    assert result.code == 0
    assert result.err.count("warning: ") == 1
    folders: list[Path] = []

    def watched(folder: Path) -> Any:
        folders.append(folder)
        return read_store(folder)

    monkeypatch.setattr("osadbench.cli.compare.read_store", watched)
    assert cli("compare", "runs:dra", "runs:knn").out == result.out
    assert folders == [Path("runs")]


def test_seen_measures_a_chosen_method_as_among_all(cli: Cli, runs: Path) -> None:
    def lines(*words: str) -> list[str]:
        out = cli("seen", "-o", "runs", "-f", "csv", *words).out
        return [line for line in out.splitlines() if "knn" in line]

    assert len(lines()) == 4
    assert lines("-m", "knn") == lines()
    # Of hard, all test anomalies count as unseen but those of the classes that dra was shown.
    assert all(",0.6," in line for line in lines())


def test_all_commands_filter_alike(cli: Cli, runs: Path) -> None:
    for command in ("report", "ranks", "intervals", "seen"):
        words = (command, "-o", "runs")
        assert "general" in cli(*words).out, command
        assert "general" not in cli(*words, "-p", "hard").out, command
        options = {"-p": "hrad", "-d": "elvp", "--shots": "7", "--preset": "papr", "-m": "drra"}
        for option, value in options.items():
            refused = cli(*words, option, value)
            assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1), command
            assert refused.err.startswith("error: no results of "), command
            assert f" {value!r}: " in refused.err, command
        assert cli(command, "-o", "nowhere").err.startswith("error: no results in nowhere: run")


def test_a_report_of_some_shots_has_the_methods_without_labels(cli: Cli, runs: Path) -> None:
    out = cli("report", "-o", "runs", "-p", "hard", "--shots", "10").out
    assert "10 shots" in out and "1 shot:" not in out and "knn" in out


def test_results_of_preset_smoke_alone_are_named(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", scores=PERFECT, engine={"preset": "smoke"}, split=CRACK)
    for command in ("ranks", "intervals", "seen"):
        refused = cli(command, "-o", "runs")
        assert (refused.code, refused.out) == (2, ""), command
        assert "--include-smoke takes those of preset smoke" in refused.err, command
        # One method alone is shown, but not ranked.
        alone = cli(command, "-o", "runs", "--include-smoke").code
        assert alone == int(command == "ranks"), command


def test_an_empty_folder_has_nothing_to_take_in(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    for command in ("ranks", "intervals", "seen"):
        for words in ([], ["--include-smoke"]):
            refused = cli(command, "-o", "runs", *words)
            assert (refused.code, refused.out) == (3, ""), command
            assert refused.err.startswith("error: no results in runs: run something first"), command


def test_results_are_chosen_by_their_preset(cli: Cli, tmp_path: Path) -> None:
    for preset in ("frozen", "paper", "smoke"):
        for label in ("dra", "devnet"):
            write_cell(tmp_path / "runs", label, engine={"preset": preset}, split=CRACK)
    for command in ("report", "ranks", "intervals", "seen"):
        for preset in ("paper", "smoke"):
            out = cli(command, "-o", "runs", "--preset", preset).out
            assert f"preset {preset}" in out and "preset frozen" not in out, command
    refused = cli("ranks", "-o", "runs", "--diagram", "x.png").err
    assert "one setting, got 2: choose one by --preset of hard protocol, 10 shots" in refused
    write_cell(tmp_path / "two", split=CRACK)
    write_cell(tmp_path / "two", split=CRACK, weights="random:0")
    refused = cli("ranks", "-o", "two", "--diagram", "x.png").err
    assert "got 2: let -o name a folder that holds but one of hard protocol" in refused
    refused = cli("ranks", "--published", "dra-1", "--preset", "paper").err
    assert "--published goes with" in refused
