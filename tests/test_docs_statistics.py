"""The page on statistics: its examples are run, its numbers worked out again."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from store_tools import PERFECT, WORSE, write_cell

from osadbench.published import load
from osadbench.stats import auroc_interval, friedman_test, nemenyi_difference, wilcoxon

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
#: Blocks that show what they print.
SHOWN = re.findall(r"^```(python|bash)\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize(("language", "code", "output"), SHOWN)
def test_examples_print_what_the_page_shows(
    cli: Cli, language: str, code: str, output: str
) -> None:
    if language == "python":
        command = [sys.executable, "-X", "utf8", "-c", code]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert (done.stdout, done.stderr) == (output, "")
    else:
        program, *words = shlex.split(code)
        assert program == "osadbench"
        result = cli(*words)
        assert (result.out, result.err) == (output, "")


def test_the_page_has_examples() -> None:
    assert [language for language, _, _ in SHOWN] == ["python"] * 2 + ["bash"] + ["python"] * 2


def test_the_commands_on_folders_work(cli: Cli, tmp_path: Path) -> None:
    for label, scores in (("dra", PERFECT), ("knn", WORSE)):
        write_cell(tmp_path / "results/runs", label, scores=scores)
    for preset in ("frozen", "paper"):
        write_cell(tmp_path / "both/runs", engine={"preset": preset})
    for name in ("old/runs", "new/runs"):
        write_cell(tmp_path / name)
    commands = re.findall(r"^osadbench (compare [^#]*?) +#", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        result = cli(*shlex.split(command))
        assert (result.code, result.err) == (0, ""), command
        assert "1 cells have the very same scores" in result.out, command


def test_the_table_of_smallest_p_values() -> None:
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [5, 6, 8, 9, 10, 11]
    for n, *shown in rows:
        smallest = wilcoxon([0.5] * int(n), [0.1] * int(n)).smallest_p
        expected = [min(1.0, smallest * times) for times in (1, 9, 45)]
        assert [float(text) for text in shown] == pytest.approx(expected, abs=5.1e-5)
    assert f".0039 · 45 = {45 / 256:.3f}".replace("0.176", ".176") in PAGE
    assert f"nine tests leave {9 / 256:.3f}".replace("0.", ".") in PAGE


def test_the_work_by_hand() -> None:
    ways = sum(
        sum(rank for rank in range(1, 10) if chosen >> (rank - 1) & 1) <= 5 for chosen in range(512)
    )
    assert ways == 10
    assert "p = 2 · 10 / 512 = .0391" in PAGE
    assert round(20 / 512, 4) == 0.0391
    assert f"(40 − 5) / 45 = {35 / 45:.3f}".replace("0.", ".") in PAGE


def test_the_critical_differences_and_the_mean_ranks() -> None:
    assert f"{nemenyi_difference(9, 6):.2f} ranks for these six methods" in PAGE
    assert f"{nemenyi_difference(9, 10):.2f} for ten methods" in PAGE
    assert f"{nemenyi_difference(23, 6):.2f} for six methods" in PAGE
    values = [v for v in load("dra-1") if v.shots in (None, 10) and not v.aggregate]
    methods = list(dict.fromkeys(value.method for value in values))
    columns = [[v.mean for v in values if v.method == method] for method in methods]
    means = friedman_test(list(zip(*columns, strict=True))).mean_ranks
    shown = dict(re.findall(r"(\w+) (\d\.\d\d)[,;]", PAGE.partition("ten shots: ")[2][:200]))
    assert shown == {name: f"{mean:.2f}" for name, mean in zip(methods, means, strict=True)}
    categories = {value.subset for value in values if value.dataset == "mvtec"}
    assert len(categories) == 15, "two thirds of 23 rows"


@pytest.mark.parametrize(("images", "limit"), [(10, ".69"), (100, ".96")])
def test_the_limits_of_perfect_separation(images: int, limit: str) -> None:
    labels = [0] * images + [1] * images
    found = auroc_interval(labels, list(range(2 * images)))
    assert f"{found.low:.2f}".replace("0.", ".") == limit
    assert f"{limit} for {'ten' if images == 10 else 'a hundred'}" in PAGE


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).is_file(), link
