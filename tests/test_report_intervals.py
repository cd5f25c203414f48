from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from store_tools import LABELS, PERFECT, WORSE, outliers, write_cell

from osadbench.report.intervals import CellInterval, cell_intervals
from osadbench.stats import auroc_interval, bootstrap_interval
from osadbench.store import Store


def cells(folder: Path, *, bootstrap: bool = False, level: float = 0.95) -> list[CellInterval]:
    store = Store(folder)
    return cell_intervals(store.records(), store.scores, level=level, bootstrap=bootstrap)


def test_intervals_are_those_of_the_stored_scores(tmp_path: Path) -> None:
    record = write_cell(tmp_path, scores=WORSE)
    (cell,) = cells(tmp_path)
    assert cell.interval == auroc_interval(LABELS, WORSE)
    assert cell.interval is not None
    assert cell.interval.auroc == record.metrics["auroc"]
    assert cells(tmp_path, level=0.5)[0].interval == auroc_interval(LABELS, WORSE, level=0.5)
    assert cells(tmp_path, bootstrap=True)[0].interval == bootstrap_interval(LABELS, WORSE)


def test_cells_without_an_interval_have_a_reason(tmp_path: Path) -> None:
    write_cell(tmp_path, "kdad", status="skipped", reason="no form")
    few = {"labels": (0, 0, 1), "classes": ("good", "good", "hole")}
    write_cell(tmp_path, "dra", scores=(1, 2, 3), **few)  # type: ignore[arg-type]
    dra, kdad = cells(tmp_path)
    assert (dra.interval, kdad.interval) == (None, None)
    assert kdad.reason == "skipped, no form"
    assert dra.reason is not None
    assert "2 or more images of each class" in dra.reason


def test_cells_stand_by_preset_and_place(tmp_path: Path) -> None:
    for preset in ("paper", "frozen"):
        for row in ("poly", "mono"):
            write_cell(tmp_path, "dra", row, 1, engine={"preset": preset})
            write_cell(tmp_path, "dra", row, 0, engine={"preset": preset})
    found = [(cell.preset, cell.place.row, cell.place.seed) for cell in cells(tmp_path)]
    assert found == sorted(found)
    assert len(found) == 8


def test_the_command_line(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", "dra", scores=WORSE)
    write_cell(tmp_path / "runs", "knn", scores=PERFECT, shots=0)
    write_cell(tmp_path / "runs", "kdad", status="skipped", reason="no form", shots=0)
    result = cli("intervals", "-o", "runs")
    assert (result.code, result.err) == (0, "")
    expected = auroc_interval(LABELS, WORSE)
    limits = f"0.840    {expected.low:.3f} to {expected.high:.3f}"
    assert f"elpv       hard        mono   10       dra       0       {limits}" in result.out
    assert "1 cell without one: skipped, no form" in result.out
    assert (
        "| 1.000 | 0.478 to 1.000 | frozen |"
        in cli("intervals", "-o", "runs", "-f", "markdown").out
    )
    lines = list(csv.DictReader(io.StringIO(cli("intervals", "-o", "runs", "-f", "csv").out)))
    assert [line["label"] for line in lines] == ["kdad", "knn", "dra"]
    assert float(lines[2]["low"]) == expected.low
    assert (lines[1]["interval_method"], lines[2]["interval_method"]) == ("exact", "logit")
    document = json.loads(cli("intervals", "-o", "runs", "-m", "dra", "-f", "json").out)
    assert document["cells"][0]["interval"]["high"] == expected.high


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "nowhere"], 3, "no results in nowhere"),
        (["-m", "dar"], 2, "no results of method 'dar': did you mean dra?"),
        (["-d", "epvl"], 2, "no results of dataset 'epvl': did you mean elpv?"),
        (["--level", "95"], 2, "95.0 is not in the range 0<x<1"),
    ],
)
def test_what_cannot_be_shown_is_said(
    cli: Cli, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    write_cell(tmp_path / "runs")
    result = cli("intervals", "-o", "runs", *words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err


def test_results_of_preset_smoke_are_shown_on_demand(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", engine={"preset": "smoke"})
    assert "--include-smoke takes those" in cli("intervals", "-o", "runs").err
    assert "smoke" in cli("intervals", "-o", "runs", "--include-smoke").out


def test_outliers_of_several_sources_are_methods_of_their_own(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", "saoe", scores=WORSE, split=outliers("aitex"))
    write_cell(tmp_path / "runs", "saoe", scores=PERFECT, split=outliers("sdd"))
    result = cli("intervals", "-o", "runs")
    assert "saoe (outliers aitex)  0       0.840" in result.out
    assert "saoe (outliers sdd)    0       1.000" in result.out
    chosen = cli("intervals", "-o", "runs", "-m", "saoe (outliers sdd)", "-f", "csv")
    (line,) = csv.DictReader(io.StringIO(chosen.out))
    assert (line["label"], line["auroc"]) == ("saoe (outliers sdd)", "1.0")


def test_images_of_several_manifests_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    for manifest, scores in (("aaaa1111aaaa", WORSE), ("bbbb2222bbbb", PERFECT)):
        write_cell(tmp_path / "runs", scores=scores, split={"manifest": manifest})
    one, other = cli("intervals", "-o", "runs").out.split("AUROC by cell")[1:]
    assert "images of manifest aaaa1111 (elpv)" in one
    assert "images of manifest bbbb2222 (elpv)" in other
    assert ("0.840" in one, "1.000" in other) == (True, True)
    table = cli("intervals", "-o", "runs", "-f", "csv").out
    lines = list(csv.DictReader(io.StringIO(table)))
    assert [line["manifest"] for line in lines] == ["aaaa1111aaaa", "bbbb2222bbbb"]
    document = json.loads(cli("intervals", "-o", "runs", "-f", "json").out)
    assert [cell["manifest"] for cell in document["cells"]] == ["aaaa1111aaaa", "bbbb2222bbbb"]


def test_several_results_of_one_place_are_refused(cli: Cli, tmp_path: Path) -> None:
    keys = [
        write_cell(tmp_path / "runs", "saoe", split=outliers("aitex", digest)).key
        for digest in ("one", "two")
    ]
    for command in ("intervals", "seen", "report", "ranks"):
        refused = cli(command, "-o", "runs")
        assert (refused.code, refused.out) == (3, ""), command
        assert f"one result of saoe on elpv, mono, seed 0, got {min(keys)} and" in refused.err


def test_a_bootstrap_of_no_length_is_named(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", row="a", scores=PERFECT)
    write_cell(tmp_path / "runs", row="b", scores=WORSE)
    note = "1 cell with an interval of no length, since no draw changes the AUROC"
    assert note in cli("intervals", "-o", "runs", "--bootstrap").out
    assert "of no length" not in cli("intervals", "-o", "runs").out
