from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from report_tools import grid
from store_tools import PERFECT, WORSE, write_cell

from osadbench.errors import UsageError
from osadbench.report import build_report
from osadbench.report.published import published_ranks
from osadbench.report.ranks import rank_report, render_ranks
from osadbench.stats import friedman_test, nemenyi_difference

VALUES = {
    "a": {"mono": 0.9, "poly": 0.8},
    "b": {"mono": 0.7, "poly": 0.8},
    "c": {"mono": 0.5, "poly": 0.6},
}
FIGURES = Path(__file__).parent.parent / "docs" / "figures"


def test_ranks_of_the_rows_of_a_report() -> None:
    (table,) = rank_report(build_report(grid(VALUES)))
    assert table.title.startswith("hard protocol, 10 shots, preset frozen")
    assert (table.methods, table.rows) == (("a", "b", "c"), ("elpv mono", "elpv poly"))
    assert table.ranks == ((1.0, 2.0, 3.0), (1.5, 1.5, 3.0))
    assert table.test == friedman_test([[0.9, 0.7, 0.5], [0.8, 0.8, 0.6]])
    assert table.difference == nemenyi_difference(2, 3)
    assert table.groups == (("a", "b", "c"),)


def test_the_best_mean_rank_comes_first() -> None:
    (table,) = rank_report(build_report(grid({"z": VALUES["a"], "y": VALUES["c"]})))
    assert table.methods == ("z", "y")
    (table,) = rank_report(build_report(grid({"z": VALUES["a"], "y": VALUES["c"]}), metric="fpr95"))
    assert table.methods == ("z", "y"), "fpr95 is 1 - auroc here, and the smaller the better"
    assert table.ranks == ((1.0, 2.0), (1.0, 2.0))


def test_rows_of_all_datasets_of_a_setting_count() -> None:
    records = grid(VALUES) + grid({name: {"aitex": 0.5} for name in VALUES}, dataset="aitex")
    (table,) = rank_report(build_report(records))
    assert table.rows == ("aitex", "elpv mono", "elpv poly")
    assert table.ranks[0] == (2.0, 2.0, 2.0)
    (table,) = rank_report(build_report(records), over="datasets")
    assert table.rows == ("aitex", "elpv")
    assert table.values[1] == pytest.approx((0.85, 0.75, 0.55))


def test_each_setting_is_ranked_by_itself() -> None:
    tables = rank_report(build_report(grid(VALUES) + grid(VALUES, shots=1)))
    assert [table.title.split(",")[1] for table in tables] == [" 1 shot", " 10 shots"]


def test_gaps_are_refused_unless_partial_is_allowed() -> None:
    records = [r for r in grid(VALUES) if (r.label, r.row, r.seed) != ("b", "mono", 2)]
    (table,) = rank_report(build_report(records))
    assert (table.test, table.ranks) == (None, ())
    assert table.notes[0].startswith("not ranked: b lacks seeds in 1 of 2 rows; choose methods")
    gone = [r for r in records if (r.label, r.row) != ("b", "poly")]
    (table,) = rank_report(build_report(gone))
    start = "not ranked: b lacks seeds in 1 of 2 rows, b lacks 1 of 2 rows; choose"
    assert table.notes[0].startswith(start)
    (table,) = rank_report(build_report(records), allow_partial=True)
    assert table.rows == ("elpv mono", "elpv poly"), "two of three seeds are enough then"
    records = [r for r in grid(VALUES) if (r.label, r.row) != ("b", "mono")]
    (table,) = rank_report(build_report(records, allow_partial=True), allow_partial=True)
    assert table.rows == ("elpv poly",)
    assert table.notes == ("1 of 2 rows lack a method and take no part",)
    assert "one row says nothing of differences" in render_ranks([table], "terminal")


def test_a_method_that_lacks_seeds_everywhere_is_not_without_results() -> None:
    records = [r for r in grid(VALUES) if (r.label, r.seed) != ("b", 2)]
    for over, rows in (("rows", 2), ("datasets", 1)):
        (table,) = rank_report(build_report(records), over=over)
        assert table.ranks == ()
        (note,) = table.notes
        assert note.startswith(f"not ranked: b lacks seeds in {rows} of {rows} rows; choose")
        (table,) = rank_report(build_report(records), over=over, allow_partial=True)
        assert (len(table.ranks), table.notes) == (rows, ())


def test_the_exit_code_says_that_nothing_was_ranked(cli: Cli) -> None:
    for seed in (0, 1):
        write_cell(Path("runs"), "dra", "a", seed)
    write_cell(Path("runs"), "knn", "a", 0)
    result = cli("ranks", "-o", "runs")
    assert (result.code, result.err) == (1, "")
    assert "not ranked: knn lacks seeds in 1 of 1 rows" in result.out
    assert cli("ranks", "-o", "runs", "--allow-partial").code == 0


@pytest.mark.parametrize("name", ["ahl-2", "ahl-1"])
def test_means_that_stand_alone_are_rows_of_a_published_table(name: str) -> None:
    rows, datasets = (published_ranks(name, over=over) for over in ("rows", "datasets"))
    assert rows.test is not None
    assert (rows.rows, rows.ranks) == (datasets.rows, datasets.ranks)
    assert len(rows.rows) == {"ahl-2": 6, "ahl-1": 9}[name]


def test_a_method_without_any_result_is_left_out() -> None:
    skipped = grid({"kdad": VALUES["a"]}, status="skipped", reason="no form")
    (table,) = rank_report(build_report(grid(VALUES) + skipped))
    assert table.methods == ("a", "b", "c")
    assert table.notes == ("without results and left out: kdad",)


def test_formats() -> None:
    tables = rank_report(build_report(grid(VALUES)))
    terminal = render_ranks(tables, "terminal")
    assert "elpv poly  1.5   1.5   3\n" in terminal
    assert "mean rank  1.25  1.75  3.00\n" in terminal
    # A row of six arrangements and one of three.
    assert "Friedman over 2 rows: chi2 = 3.71 (2 df), p = 0.333" in terminal
    assert "smallest possible p 0.333" in terminal
    assert "\nthe smallest possible p stands where an approximation gives less (ours)\n" in terminal
    warning = "no difference found at 0.05: what the next line tells apart must not be claimed\n"
    assert f"{warning}Nemenyi's critical difference" in terminal
    assert "Nemenyi's critical difference of mean ranks at 0.05: 2.34" in terminal
    assert "| mean rank | 1.25 | 1.75 | 3.00 |" in render_ranks(tables, "markdown")
    lines = list(csv.DictReader(io.StringIO(render_ranks(tables, "csv"))))
    assert [line["rank"] for line in lines] == ["1.0", "2.0", "3.0", "1.5", "1.5", "3.0"]
    document = json.loads(render_ranks(tables, "json"))
    assert document["schema"] == 1
    assert document["tables"][0]["test"]["smallest_p"] == pytest.approx(1 / 3)


def test_an_infinite_statistic_is_null_in_json() -> None:
    values = {"a": {"mono": 0.9, "poly": 0.9}, "b": {"mono": 0.1, "poly": 0.1}}
    document = json.loads(render_ranks(rank_report(build_report(grid(values))), "json"))
    assert document["tables"][0]["test"]["f"] is None


def test_the_published_table_of_dra() -> None:
    table = published_ranks("dra-1")
    assert table.methods == ("dra", "devnet", "flos", "saoe", "mlep", "kdad")
    assert len(table.rows) == 23
    assert table.rows[0] == "mvtec carpet"
    assert table.values[0] == (0.940, 0.867, 0.780, 0.755, 0.781, 0.774)
    assert table.ranks[0] == (1.0, 2.0, 4.0, 6.0, 3.0, 5.0)
    over = published_ranks("dra-1", over="datasets")
    assert len(over.rows) == 9
    one = published_ranks("dra-1", 1, ["kdad", "dra"])
    assert one.methods == ("dra", "kdad")


def test_a_published_table_of_another_form_is_refused() -> None:
    with pytest.raises(UsageError, match="dra-4 has several values of dra on carpet color"):
        published_ranks("dra-4")
    with pytest.raises(UsageError, match="dra-1 has no 10-shot column 'knn'"):
        published_ranks("dra-1", 10, ["knn"])
    with pytest.raises(UsageError, match="devnet-4 has no image-level AUROC with 10 shots"):
        published_ranks("devnet-4")


def test_the_committed_diagram_is_that_of_the_published_table(cli: Cli, tmp_path: Path) -> None:
    result = cli("ranks", "--published", "dra-1", "--diagram", "figure.tex")
    assert (result.code, result.err) == (0, "")
    committed = (FIGURES / "critical-difference-dra-1.tex").read_text(encoding="utf-8")
    assert (tmp_path / "figure.tex").read_text(encoding="utf-8") == committed
    for suffix in (".png", ".pdf"):
        assert (FIGURES / f"critical-difference-dra-1{suffix}").stat().st_size > 5000


def test_the_command_line_ranks_a_folder(cli: Cli, tmp_path: Path) -> None:
    for row in ("a", "b"):
        for shots in (1, 10):
            write_cell(tmp_path / "runs", "dra", row, scores=PERFECT, shots=shots)
        write_cell(tmp_path / "runs", "knn", row, scores=WORSE, shots=0)
    result = cli("ranks", "-o", "runs", "--shots", "10", "--diagram", "figure.png")
    assert (result.code, result.err) == (0, "")
    assert "mean rank  1.00   2.00" in result.out
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert cli("ranks", "-o", "runs").out.count("Friedman") == 2
    assert "knn" not in cli("ranks", "-o", "runs", "-m", "dra").out
    assert cli("ranks", "-o", "runs", "-f", "csv").out.count("\n") == 9


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "nowhere"], 3, "no results in nowhere"),
        (["-o", "runs", "-p", "hrad"], 2, "no results of protocol 'hrad': did you mean hard?"),
        (["-o", "runs", "--shots", "7"], 2, "no results of shots '7': known: 1, 10"),
        (["-o", "runs", "--diagram", "x.png"], 2, "one diagram shows one setting, got 2: choose"),
        (["-o", "runs", "--shots", "1", "--diagram", "x.gif"], 2, "nothing to draw, not ranked: 1"),
        (
            ["--published", "dra-1", "--diagram", "x.gif"],
            2,
            "to end in .pdf, .png, .tex, got x.gif",
        ),
        (["--published", "dra-1", "--shots", "1,10"], 2, "ranks one number of shots, got 1, 10"),
        (["--published", "dra-1", "-p", "hard"], 2, "--published goes with -m, --shots, --over"),
        (["--published", "dra-11"], 2, "dra-11"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(
    cli: Cli, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    for shots in (1, 10):
        write_cell(tmp_path / "runs", shots=shots)
    result = cli("ranks", *words)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert message in result.err


def test_tables_of_other_images_have_other_titles() -> None:
    newer, older = (
        grid(VALUES, split={"manifest": manifest}, provenance={"started": start})
        for manifest, start in (("bbbb2222", 2.0), ("aaaa1111", 1.0))
    )
    other = grid({name: {"aitex": 0.5} for name in VALUES}, dataset="aitex")
    titles = [table.title for table in rank_report(build_report([*newer, *older, *other]))]
    assert [title.rpartition(", ")[2] for title in titles] == [
        "images of manifest bbbb2222 (elpv)",
        "images of manifest aaaa1111 (elpv)",
    ]
    (table,) = rank_report(build_report(newer))
    assert "manifest" not in table.title
