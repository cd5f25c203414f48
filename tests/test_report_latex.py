"""The LaTeX of reports compiles, whatever stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from latex_tools import compile_latex, document
from report_tools import grid, record

from osadbench.report import GROUPINGS, build_report, render
from osadbench.types import Record

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
