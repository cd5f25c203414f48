from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from osadbench.errors import ContractError
from osadbench.stats import WilcoxonResult, holm, holm_of_computed, wilcoxon

PUBLISHED = Path(__file__).parent.parent / "results" / "published"
#: What the values of a table are taken over, by the words of pvalues.csv.
SCOPES = {"p-value(9)": "datasets", "p-value(23)": "rows", "p-value(30)": "rows"}


def read(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def published(table: str, scope: str, method: str) -> list[float]:
    """Return a method's means in the order of the rows, or of the datasets (their mean rows)."""
    lines = [line for line in read(f"devnet_table{table}") if line["method"] == method]
    datasets = [line for line in lines if not line["subset"]]
    rows = [line for line in lines if line["aggregate"] == "false"]
    chosen = datasets if SCOPES[scope] == "datasets" else rows
    ordered = sorted(chosen, key=lambda line: (line["dataset"], line["subset"]))
    return [float(line["mean"]) for line in ordered]


@pytest.mark.parametrize(
    "line", read("pvalues"), ids=lambda line: f"{line['scope']}-{line['method_b']}"
)
def test_published_p_values(line: dict[str, str]) -> None:
    table, scope, other = line["table"], line["scope"], line["method_b"]
    a, b = published(table, scope, line["method_a"]), published(table, scope, other)
    result = wilcoxon(a, b)
    # KDAD in Table 3: the paper prints .0144, its own table gives .0140.
    slip = (table, other) == ("3", "kdad")
    assert line["reproduced"] == ("false" if slip else "true")
    assert f"{result.p:.4f}" == ("0.0140" if slip else line["p_printed"])
    assert result.p == pytest.approx(float(line["p_recomputed"]), rel=1e-4)
    assert (result.n, result.n_zero, result.method) == (
        int(line["n_pairs"]),
        int(line["zero_differences"]),
        line["method_used"],
    )
    assert wilcoxon(b, a) == result


def test_fourteen_p_values_are_published() -> None:
    lines = read("pvalues")
    assert len(lines) == 14
    assert [line["n_pairs"] for line in lines] == ["9"] * 5 + ["23"] * 5 + ["30"] * 4


def test_rounding_is_needed_for_the_published_value() -> None:
    devnet, flos = (published("3", "p-value(30)", method) for method in ("devnet", "flos"))
    unrounded = wilcoxon(devnet, flos, decimals=17)
    assert f"{unrounded.p:.4f}" == "0.0350"


def test_rounds_as_printed_before_subtracting() -> None:
    # Printed 0.801 and 0.800: a difference, though the unrounded one is below half a digit.
    assert wilcoxon([0.80052], [0.80048]).n_zero == 0
    assert wilcoxon([0.80049], [0.79951]).n_zero == 1


def test_a_case_worked_by_hand() -> None:
    # Differences .3, -.1, .2: ranks 3, 1, 2; W = 1. Of 8 signings, W- <= 1 has 2: p = 2 * 2/8.
    result = wilcoxon([0.9, 0.5, 0.8], [0.6, 0.6, 0.6])
    assert result == WilcoxonResult(3, 0, 1.0, 0.5, 0.25, "exact")


def test_smallest_p_counts_only_pairs_that_differ() -> None:
    assert wilcoxon([0.1] * 5, [0.2] * 5).smallest_p == 0.0625
    assert wilcoxon([0.1] * 6, [0.2] * 6) == WilcoxonResult(6, 0, 0.0, 0.03125, 0.03125, "exact")
    assert wilcoxon([0.1] * 6, [0.2] * 5 + [0.1]).smallest_p == 0.0625


def test_the_approximation_gives_no_less_than_any_signs_could() -> None:
    # Four of twenty rows differ, by the same amount: z = -5 / sqrt(7.5 - 60 / 48) = -2, p = .0455.
    a, b = [0.5] * 20, [0.4] * 4 + [0.5] * 16
    difference = np.round(np.subtract(a, b), 3)
    assert scipy.stats.wilcoxon(difference).pvalue == pytest.approx(math.erfc(2 / math.sqrt(2)))
    assert wilcoxon(a, b) == WilcoxonResult(20, 16, 0.0, 0.125, 0.125, "approx")


@pytest.mark.parametrize("n", [0, 1, 3, 25, 60])
def test_no_difference_gives_one_by_rule(n: int) -> None:
    assert wilcoxon([0.5] * n, [0.5] * n) == WilcoxonResult(n, n, 0.0, 1.0, 1.0, "all-zero")


@pytest.mark.parametrize("n", [*range(1, 14), 20, 25, 26, 37, 50])
def test_agrees_with_scipy_without_ties(n: int) -> None:
    for seed in range(5):
        random = np.random.default_rng([n, seed])
        difference = (random.permutation(n) + 1) * random.choice([-1, 1, 1], n) / 1000
        result = wilcoxon(difference, np.zeros(n))
        expected = scipy.stats.wilcoxon(difference, method="exact")
        assert result.method == "exact"
        assert result.W == expected.statistic
        assert result.p == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11, 13, 14, 25, 26, 49, 50, 51, 80])
@pytest.mark.parametrize("largest", [3, 40])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_agrees_with_scipys_default(n: int, largest: int) -> None:
    # Which distribution the default takes with ties has changed between versions.
    pytest.importorskip("scipy", minversion="1.17")
    # For 11 to 13 pairs with ties SciPy goes through all signs, which takes it seconds.
    for seed in range(1 if 11 <= n <= 13 else 4):
        difference = np.random.default_rng([n, seed]).integers(-largest // 2, largest, n) / 1000
        if not difference.any():
            continue
        result, expected = wilcoxon(difference, np.zeros(n)), scipy.stats.wilcoxon(difference)
        assert result.W == expected.statistic
        assert result.p == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [2, 4, 7, 10])
def test_exact_with_ties_agrees_with_enumeration(n: int) -> None:
    for seed in range(4):
        difference = np.random.default_rng([n, seed]).integers(1, 4, n) / 1000
        difference[0] *= -1
        ranks = scipy.stats.rankdata(np.abs(difference))
        sums = [
            sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
            for signs in itertools.product([0, 1], repeat=n)
        ]
        result = wilcoxon(difference, np.zeros(n))
        extreme = sum(value <= result.W for value in sums)
        assert result.p == pytest.approx(min(1.0, 2 * extreme / len(sums)))


def test_refuses_what_cannot_be_paired() -> None:
    with pytest.raises(ContractError, match="expected results in pairs, got 2 against 3"):
        wilcoxon([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ContractError, match="expected finite results to compare"):
        wilcoxon([0.1, math.nan], [0.1, 0.2])


def test_holm_counts_the_tests_that_were_computed() -> None:
    assert holm_of_computed([0.01, None, 0.03]) == [pytest.approx(0.02), None, pytest.approx(0.03)]
    assert holm_of_computed([None, 0.01]) == [None, None]
    assert holm_of_computed([]) == []


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
