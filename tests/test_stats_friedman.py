from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from osadbench.errors import ContractError
from osadbench.stats import friedman_test, indistinguishable, nemenyi_difference, rank_rows

#: Ranks of four classifiers on 14 data sets: Demsar, JMLR 7 (2006), Table 6.
DEMSAR: list[list[float]] = [
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1],
    [1, 2.5, 4, 2.5], [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5],
    [4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
]  # fmt: skip


def test_the_example_of_demsar() -> None:
    result = friedman_test(DEMSAR, larger_is_better=False)
    assert [f"{mean:.3f}" for mean in result.mean_ranks] == ["3.143", "2.000", "2.893", "1.964"]
    # His statistic, 9.28, leaves the ties out: 3 rows with a pair, one with all four tied.
    ties = (3 * (2**3 - 2) + (4**3 - 4)) / (14 * (4**3 - 4))
    without_ties = result.chi2 * (1 - ties)
    assert f"{without_ties:.2f}" == "9.28"
    assert f"{13 * without_ties / (14 * 3 - without_ties):.2f}" == "3.69"


def test_the_critical_values_of_demsar() -> None:
    # Table 5a; its last digit is not always rounded (2.343 for 2.3437).
    fives = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    tens = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]
    for alpha, values in ((0.05, fives), (0.10, tens)):
        for k, q in enumerate(values, start=2):
            # With 6 n = k (k + 1), the difference is the critical value itself.
            found = nemenyi_difference(6, k, alpha=alpha) / math.sqrt(k * (k + 1) / 36)
            assert found == pytest.approx(q, abs=0.0011)


def test_the_critical_differences_of_demsar() -> None:
    assert f"{nemenyi_difference(14, 4):.2f}" == "1.25"
    assert f"{nemenyi_difference(14, 4, alpha=0.10):.2f}" == "1.12"
    means = friedman_test(DEMSAR, larger_is_better=False).mean_ranks
    # At .10 he finds C4.5 worse than C4.5+m and C4.5+m+cf, and no more.
    assert indistinguishable(means, nemenyi_difference(14, 4, alpha=0.10)) == [(3, 1, 2), (2, 0)]


def test_ten_methods_on_nine_datasets_need_four_and_a_half_ranks() -> None:
    assert f"{nemenyi_difference(9, 10):.1f}" == "4.5"


def test_a_case_worked_by_hand() -> None:
    # Ranks 1 2 3, 1 2 3, 2 1 3: sums 4 5 9, so chi2 = 12/(3*3*4) * (16+25+81) - 3*3*4 = 14/3;
    # f = 2 * 14/3 / (6 - 14/3) = 7. Smallest p: (1/6)^2.
    result = friedman_test([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4], [0.5, 0.6, 0.4]])
    assert result.n == 3
    assert result.mean_ranks == pytest.approx((4 / 3, 5 / 3, 3))
    assert result.chi2 == pytest.approx(14 / 3)
    assert result.p == pytest.approx(math.exp(-7 / 3)), "chi-squared with 2 degrees of freedom"
    assert result.f == pytest.approx(7)
    assert result.p_f == pytest.approx(scipy.stats.f.sf(7, 2, 4))
    assert result.smallest_p == pytest.approx(1 / 36)


@pytest.mark.parametrize(("n", "k"), [(2, 3), (5, 3), (9, 6), (23, 6), (40, 10)])
@pytest.mark.parametrize("distinct", [4, 1000])
def test_agrees_with_scipy_with_ties_and_without(n: int, k: int, distinct: int) -> None:
    random = np.random.default_rng([n, k, distinct])
    results = random.integers(distinct, size=(n, k)) / 1000
    found = friedman_test(results)
    expected = scipy.stats.friedmanchisquare(*results.T)
    assert found.chi2 == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(max(expected.pvalue, found.smallest_p))
    assert rank_rows(results) == pytest.approx(scipy.stats.rankdata(-results, axis=1))


def test_the_smallest_p_is_that_of_all_permutations() -> None:
    rows = list(itertools.permutations([1, 2, 3]))
    all_alike = sum(a == b == c for a, b, c in itertools.product(rows, repeat=3))
    result = friedman_test([[0.3, 0.2, 0.1]] * 3)
    assert result.smallest_p == pytest.approx(all_alike / len(rows) ** 3)
    assert math.isinf(result.f)
    assert result.p_f == result.smallest_p, "not 0, which no permutation can give"


def test_p_is_never_less_than_ties_let_it_be() -> None:
    # Four rows prefer one of two methods, and only 2 of their 16 arrangements are one-sided.
    result = friedman_test([[0.9, 0.8]] * 4 + [[0.7, 0.7]] * 16)
    assert (result.p, result.p_f, result.smallest_p) == (0.125, 0.125, 0.125)
    assert scipy.stats.chi2.sf(result.chi2, 1) == pytest.approx(0.0455, abs=1e-5)


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2, 3], [1, 2.5, 2.5], [1.5, 1.5, 3]],
        [[1, 2.5, 2.5], [1, 2.5, 2.5], [1.5, 1.5, 3], [2, 2, 2]],
        [[1, 2, 3, 4], [1.5, 1.5, 3, 4], [1.5, 1.5, 3.5, 3.5]],
        [[1, 2], [1, 2], [1.5, 1.5], [1, 2]],
    ],
)
def test_the_smallest_p_with_ties_lies_under_that_of_all_arrangements(
    rows: list[list[float]],
) -> None:
    arranged = [sorted(set(itertools.permutations(row))) for row in rows]
    sums = [sum(np.sum(found, axis=0) ** 2) for found in itertools.product(*arranged)]
    largest = sum(value == max(sums) for value in sums)
    found = friedman_test(rows, larger_is_better=False)
    assert found.smallest_p == max(map(len, arranged)) / len(sums) <= largest / len(sums)
    assert min(found.p, found.p_f) >= found.smallest_p


@pytest.mark.parametrize("n", [1, 2, 9, 60])
def test_equal_methods_give_one_by_rule(n: int) -> None:
    result = friedman_test([[0.5, 0.5, 0.5]] * n)
    assert (result.chi2, result.p, result.f, result.p_f) == (0.0, 1.0, 0.0, 1.0)
    assert result.smallest_p == 1.0
    assert result.mean_ranks == (2.0, 2.0, 2.0)


def test_one_row_says_nothing() -> None:
    result = friedman_test([[0.9, 0.5, 0.4]])
    assert (result.p, result.p_f, result.smallest_p) == (1.0, 1.0, 1.0)


def test_ranks_are_those_of_printed_values() -> None:
    assert rank_rows([[0.80049, 0.79951]]).tolist() == [[1.5, 1.5]]
    assert rank_rows([[0.80049, 0.79951]], decimals=None).tolist() == [[1.0, 2.0]]
    assert rank_rows([[0.1, 0.3, 0.2]], larger_is_better=False).tolist() == [[1.0, 3.0, 2.0]]


def test_groups_by_hand() -> None:
    # 1.0 and 1.9 and 2.8, then 5.0: with a difference of 1.5 two bars of two overlap at 1.9.
    assert indistinguishable([5.0, 1.9, 1.0, 2.8], 1.5) == [(2, 1), (1, 3)]
    assert indistinguishable([1.0, 2.0, 3.0], 9.0) == [(0, 1, 2)]
    assert indistinguishable([1.0, 2.0, 3.0], 1.0) == [], "as far apart as that is enough"
    assert indistinguishable([], 1.0) == []


def test_refuses_what_cannot_be_ranked() -> None:
    with pytest.raises(ContractError, match="expected finite results to rank, got NaN"):
        friedman_test([[0.1, math.nan], [0.2, 0.3]])
    with pytest.raises(ContractError, match="a result of every method in every row, got gaps"):
        friedman_test([[0.1, 0.2], [0.3]])
    with pytest.raises(ContractError, match=r"rows of 2 or more methods, got \(2, 1\)"):
        friedman_test([[0.1], [0.2]])
    with pytest.raises(ContractError, match="a level between 0 and 1, got 9, 1 and 0.05"):
        nemenyi_difference(9, 1)
