"""The LaTeX of reports compiles, whatever stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from latex_tools import compile_latex, document
from report_tools import grid, record

from osadbench.report import GROUPINGS, build_report, render
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.tex import escape
from osadbench.types import Record

MEASURED = Path(__file__).parent.parent / "results" / "elpv-frozen"
#: All of ASCII that prints, letters of the west of Europe, and some that no Latin font has.
LETTERS = "".join(map(chr, range(0xA0, 0x180)))
ODD = "".join(map(chr, range(33, 127))) + LETTERS + " ‘→–—…≥μ表🙂 -- --- end"
ROWS = {"mono": 0.7, "[poly]": 0.81}


def everything() -> list[Record]:
    """Return results with missing cells, odd names, notes, tests and three settings."""
    better = {row: value + 0.05 for row, value in ROWS.items()}
    records = grid(
        {"devnet": better, "dra[lr=0.0001,n_ref=1]": ROWS, "knn": {"mono": 0.1, "[poly]": 0.2}}
    )
    records += grid({"devnet": better, "saoe": ROWS}, dataset="odd_set & co", shots=1)
    records += grid({"devnet": ROWS}, protocol="general[pool=50%]", known_class="")
    records[0].provenance.update(commit="99887766aabbccdd", dirty=True, notes=[ODD])
    failed = record("saoe", "mono", 0, status="failed", reason=f"OSError: {ODD}")
    return [*records, failed, record("saoe", "[poly]", 0, status="skipped", reason="no form")]


@pytest.mark.parametrize("group_by", GROUPINGS)
def test_a_report_compiles_however_it_is_grouped(tmp_path: Path, group_by: str) -> None:
    report = build_report(everything(), group_by=group_by)
    text = render(report, "latex")
    assert r"\textbf{" in text and r"\underline{" in text and r"\,$\pm$\,0.010" in text
    log = compile_latex(document(text, "booktabs"), tmp_path)
    assert re.search(r"Output written on document\.pdf \(\d+ page", log)


def test_more_tables_than_latex_can_hold_back_compile(tmp_path: Path) -> None:
    records = [record(dataset=f"set{i}", seed=s) for i in range(70) for s in range(2)]
    assert len(build_report(records).tables) == 70
    compile_latex(document(render(build_report(records), "latex"), "booktabs"), tmp_path)


def test_a_table_of_no_results_compiles(tmp_path: Path) -> None:
    text = render(build_report([record(status="failed", reason="boom")]), "latex")
    compile_latex(document(text, "booktabs"), tmp_path)


def test_time_and_memory_have_a_table_of_their_own(tmp_path: Path) -> None:
    report = build_report(everything(), costs=True)
    text = render(report, "latex")
    assert r"\caption{Mean time of a cell, and the largest memory of its process.}" in text
    assert r"method & cells & fit (s) & score (s) & memory (GiB) & device \\" in text
    assert r"dra{[}lr=0.0001,n\_ref=1{]} & 6 & 4.00 & 1.00 & 0.00 & cpu \\" in text
    compile_latex(document(text, "booktabs"), tmp_path)
    assert "Mean time" not in render(build_report(everything()), "latex")


def test_what_does_not_compile_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="! Undefined control sequence"):
        compile_latex(document(r"\nosuchcommand"), tmp_path)
    with pytest.raises(AssertionError, match=r"nosuchpackage.sty' not found"):
        compile_latex(document("text", "nosuchpackage"), tmp_path)


def test_a_minus_is_one_and_a_hyphen_none() -> None:
    assert escape("r = -0.67, -1 to 2, p-1 -a, 3 - 2") == "r = $-$0.67, $-$1 to 2, p-1 -a, 3 - 2"


def test_hyphens_stay_hyphens_and_unknown_letters_are_named() -> None:
    text = render(build_report([record(row="--a---ü表")]), "latex")
    assert r"-{}-a-{}-{}-ü{[}U+8868{]} & 0.800 \\" in text.splitlines()


@pytest.mark.parametrize(
    ("versions", "named"), [({"osadbench": "0.0.7"}, "osadbench 0.0.7."), ({}, "osadbench 0.")]
)
def test_the_caption_says_what_made_the_numbers(versions: dict[str, str], named: str) -> None:
    records = grid({"dra": ROWS}, provenance={"versions": versions})
    (caption,) = re.findall(r"\\caption\{(.*)\}", render(build_report(records), "latex"))
    for part in ("preset frozen", r"tf\_efficientnet\_lite0", "over seeds 0 to 2", named):
        assert part in caption


def test_a_wide_table_is_printed_in_smaller_letters(tmp_path: Path) -> None:
    methods = ["devnet", "dra", "dra[n_ref=1]", "knn", "saoe", "patchcore"]
    text = render(build_report(grid(dict.fromkeys(methods, ROWS))), "latex")
    assert r"\scriptsize\setlength" in text
    assert "Overfull" not in compile_latex(document(text, "booktabs"), tmp_path)
    assert r"\scriptsize" not in render(
        build_report(grid(dict.fromkeys(methods[:2], ROWS))), "latex"
    )


def sheet(lines: int) -> Sheet:
    """Return a sheet of so many lines, with odd text everywhere."""
    body = tuple((ODD[:9], f"row {i}", "0.700±0.010", "-") for i in range(lines))
    return Sheet(f"A title {ODD}", ("a", "[b]", "c_d", "%"), body, (f"A note {ODD}",), names=2)


@pytest.mark.parametrize(
    ("sizes", "packages"),
    [([0], ["booktabs"]), ([3, 0], ["booktabs"]), ([90, 3], ["booktabs", "longtable"])],
)
def test_sheets_compile(tmp_path: Path, sizes: list[int], packages: list[str]) -> None:
    text = sheets_text([sheet(lines) for lines in sizes], "latex")
    assert text.splitlines()[0].endswith(f"; needs \\usepackage{{{','.join(packages)}}}")
    assert text.count(r"0.700\,$\pm$\,0.010 & -- \\") == sum(sizes)
    log = compile_latex(document(text, *packages), tmp_path)
    assert "too large" not in log


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (f"ranks -m dra,devnet,knn -o {MEASURED}", r"\\caption\{Ranks by AUROC: hard protocol"),
        (f"seen -m dra -o {MEASURED}", r"elpv & dra & 0\.\d{3}\\,\$\\pm\$\\,0\.\d{3} \(705\)"),
        (f"intervals -m dra,devnet,knn -o {MEASURED}", r"& dra & 0 & 0\.\d{3} & 0\.\d{3} to"),
        (f"compare {MEASURED}:dra {MEASURED}:devnet", r"elpv general 1-shot seed 0 & 0\.\d{3} &"),
    ],
)
def test_the_other_commands_print_latex(cli: Cli, tmp_path: Path, command: str, shown: str) -> None:
    result = cli(*command.split(), "-f", "latex")
    assert (result.code, result.err) == (0, "")
    assert re.search(shown, result.out)
    (packages,) = re.findall(r"needs \\usepackage\{(.*)\}", result.out)
    log = compile_latex(document(result.out, *packages.split(",")), tmp_path)
    assert "too large" not in log
