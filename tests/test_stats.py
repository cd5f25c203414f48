from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from osadbench.errors import ContractError
from osadbench.stats import WilcoxonResult, holm, wilcoxon

# Published ten-shot AUROCs (DevNet, arXiv:2108.00462), one value for each row.
TABLE_2_DATASETS = {
    "devnet": [0.887, 0.958, 0.846, 0.982, 0.829, 0.790, 0.945, 0.782, 0.988],
    "kdad": [0.576, 0.733, 0.744, 0.793, 0.401, 0.642, 0.861, 0.579, 0.888],
    "dsvdd": [0.784, 0.802, 0.750, 0.688, 0.515, 0.614, 0.727, 0.513, 0.682],
    "deepsad": [0.686, 0.850, 0.722, 0.928, 0.719, 0.707, 0.830, 0.558, 0.963],
    "flos": [0.841, 0.955, 0.818, 0.971, 0.773, 0.703, 0.939, 0.720, 0.967],
    "minns": [0.813, 0.943, 0.788, 0.984, 0.647, 0.803, 0.939, 0.774, 0.961],
}
# fmt: off
TABLE_2_ROWS = {
    "devnet": [
        0.887, 0.958, 0.846, 0.982, 0.829, 0.790, 0.993, 0.892, 0.865, 0.867, 0.967, 1.000,
        0.999, 0.991, 0.866, 0.970, 0.987, 0.860, 0.924, 0.999, 0.990, 0.782, 0.988,
    ],
    "flos": [
        0.841, 0.955, 0.818, 0.971, 0.773, 0.703, 0.995, 0.890, 0.902, 0.780, 0.966, 1.000,
        0.993, 0.984, 0.929, 0.940, 0.952, 0.900, 0.862, 1.000, 0.990, 0.720, 0.967,
    ],
    "minns": [
        0.813, 0.943, 0.788, 0.984, 0.647, 0.803, 0.995, 0.842, 0.905, 0.876, 0.983, 1.000,
        0.993, 0.984, 0.913, 0.932, 0.980, 0.810, 0.889, 0.998, 0.981, 0.774, 0.961,
    ],
}
TABLE_3 = {
    "devnet": [
        0.658, 0.585, 0.709, 0.734, 0.810, 0.599, 0.767, 0.819, 0.814, 0.863, 0.972, 0.599,
        0.804, 0.834, 0.799, 0.844, 0.810, 0.550, 0.547, 0.583, 0.621, 0.705, 0.615, 0.554,
        0.528, 0.589, 0.904, 0.978, 0.987, 0.991,
    ],
    "flos": [
        0.585, 0.548, 0.745, 0.550, 0.746, 0.636, 0.760, 0.688, 0.733, 0.678, 0.946, 0.629,
        0.662, 0.764, 0.810, 0.815, 0.754, 0.499, 0.608, 0.601, 0.652, 0.700, 0.736, 0.568,
        0.575, 0.608, 0.827, 0.978, 0.942, 0.943,
    ],
    "minns": [
        0.708, 0.565, 0.734, 0.534, 0.707, 0.544, 0.767, 0.694, 0.766, 0.789, 0.982, 0.557,
        0.770, 0.608, 0.679, 0.665, 0.480, 0.419, 0.687, 0.651, 0.705, 0.697, 0.635, 0.551,
        0.502, 0.577, 0.868, 0.985, 1.000, 0.978,
    ],
}
# fmt: on


@pytest.mark.parametrize(
    ("table", "other", "n_zero", "method", "published"),
    [
        (TABLE_2_DATASETS, "kdad", 0, "exact", "0.0039"),
        (TABLE_2_DATASETS, "dsvdd", 0, "exact", "0.0039"),
        (TABLE_2_DATASETS, "deepsad", 0, "exact", "0.0039"),
        (TABLE_2_DATASETS, "flos", 0, "exact", "0.0039"),
        (TABLE_2_DATASETS, "minns", 0, "exact", "0.0391"),
        (TABLE_2_ROWS, "flos", 2, "approx", "0.0249"),
        (TABLE_2_ROWS, "minns", 1, "approx", "0.0596"),
        (TABLE_3, "flos", 1, "approx", "0.0341"),
        (TABLE_3, "minns", 1, "approx", "0.0201"),
    ],
)
def test_published_p_values(
    table: dict[str, list[float]], other: str, n_zero: int, method: str, published: str
) -> None:
    result = wilcoxon(table["devnet"], table[other])
    assert f"{result.p:.4f}" == published
    assert (result.n, result.n_zero, result.method) == (len(table[other]), n_zero, method)
    assert wilcoxon(table[other], table["devnet"]) == result


def test_rounding_is_needed_for_the_published_value() -> None:
    unrounded = wilcoxon(TABLE_3["devnet"], TABLE_3["flos"], decimals=17)
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
    for seed in range(4):
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


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
