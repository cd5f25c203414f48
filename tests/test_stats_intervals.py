from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from osadbench.errors import ContractError
from osadbench.stats import (
    auroc_difference,
    auroc_interval,
    bootstrap_difference,
    bootstrap_interval,
)
from osadbench.stats.delong import placements

Floats = npt.NDArray[np.float64]
LABELS = [0, 0, 1, 1, 1]
FIRST, SECOND = [1, 3, 2, 4, 5], [1, 3, 2, 2, 5]
Z = 1.959963984540054


def pairwise(labels: npt.NDArray[np.int64], scores: Floats) -> tuple[Floats, Floats]:
    """Return the placements from the table of all pairs, as the paper of DeLong writes them."""
    wins = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None]) / 2 + 0.5
    return wins.mean(axis=1), wins.mean(axis=0)


def sample(seed: int, n: int = 60, distinct: int = 15) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return labels and two vectors of scores with ties, ``(2, n)``."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int64)
    scores = labels + random.normal(size=(2, n)) + random.normal(size=n)
    return labels, np.round(scores * distinct / 4) / distinct


def test_an_interval_worked_by_hand() -> None:
    # Placements of the anomalies 1/2, 1, 1, of the normals 1, 2/3; the AUROC is 5/6 and its
    # variance (1/12) / 3 + (1/18) / 2 = 1/18.
    result = auroc_interval(LABELS, FIRST)
    assert result.auroc == pytest.approx(5 / 6)
    assert result.standard_error == pytest.approx(math.sqrt(1 / 18))
    width = Z * math.sqrt(1 / 18) / (5 / 36)
    low, high = (1 / (1 + math.exp(-(math.log(5) + sign * width))) for sign in (-1, 1))
    assert (result.low, result.high) == pytest.approx((low, high))
    assert result.method == "logit"


def test_a_difference_worked_by_hand() -> None:
    # The second has placements 1/2, 1/2, 1 and 1, 1/3, so the differences are 0, 1/2, 0 and
    # 0, 1/3: variance (1/12) / 3 + (1/18) / 2 = 1/18 about 1/6, and z = 1 / sqrt(2).
    result = auroc_difference(LABELS, FIRST, SECOND)
    assert (result.first, result.second) == pytest.approx((5 / 6, 2 / 3))
    assert result.difference == pytest.approx(1 / 6)
    assert result.standard_error == pytest.approx(math.sqrt(1 / 18))
    assert result.low == pytest.approx(1 / 6 - Z * math.sqrt(1 / 18))
    assert result.high == pytest.approx(1 / 6 + Z * math.sqrt(1 / 18))
    assert result.p == pytest.approx(math.erfc(0.5))
    assert (result.smallest_p, result.method) == (1 / 16, "delong")


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_table_of_all_pairs_and_with_scikit_learn(seed: int) -> None:
    labels, (first, second) = sample(seed)
    result = auroc_interval(labels, first)
    assert result.auroc == pytest.approx(roc_auc_score(labels, first))
    anomalies, normals = pairwise(labels, first)
    variance = anomalies.var(ddof=1) / len(anomalies) + normals.var(ddof=1) / len(normals)
    assert result.standard_error == pytest.approx(math.sqrt(variance))
    # The published form of the difference: both variances, less twice the covariance.
    others = pairwise(labels, second)
    one, other = (np.cov(a, b) / len(a) for a, b in zip((anomalies, normals), others, strict=True))
    total = one + other
    expected = total[0, 0] + total[1, 1] - 2 * total[0, 1]
    found = auroc_difference(labels, first, second)
    assert found.standard_error == pytest.approx(math.sqrt(expected))
    assert found.difference == pytest.approx(
        roc_auc_score(labels, first) - roc_auc_score(labels, second)
    )


def test_placements_by_hand() -> None:
    auroc, anomalies, normals = placements(LABELS, FIRST)
    assert anomalies.tolist() == [0.5, 1.0, 1.0]
    assert normals.tolist() == pytest.approx([1.0, 2 / 3])
    assert anomalies.mean() == pytest.approx(auroc)
    assert normals.mean() == pytest.approx(auroc)


def test_only_the_order_of_the_scores_counts() -> None:
    labels, (first, second) = sample(1)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    assert auroc_interval(labels, np.exp(first)) == auroc_interval(labels, first)
    again = auroc_interval(labels[shuffled], first[shuffled])
    assert again.low == pytest.approx(auroc_interval(labels, first).low)
    assert auroc_difference(labels, first, second).low == pytest.approx(
        -auroc_difference(labels, second, first).high
    )


def test_turning_the_scores_round_mirrors_the_interval() -> None:
    labels, (first, _) = sample(2)
    one, other = auroc_interval(labels, first), auroc_interval(labels, -first)
    assert (other.low, other.high) == pytest.approx((1 - one.high, 1 - one.low))


def test_perfect_separation_has_no_interval_of_length_zero() -> None:
    # Two disjoint pairs of a normal and an anomaly, both right: .025 = A^2.
    result = auroc_interval([0, 0, 1, 1, 1], [1, 2, 3, 4, 5])
    assert (result.auroc, result.high, result.method) == (1.0, 1.0, "exact")
    assert result.low == pytest.approx(math.sqrt(0.025))
    result = auroc_interval([0, 0, 1, 1, 1], [5, 4, 3, 2, 1])
    assert (result.auroc, result.low) == (0.0, 0.0)
    assert result.high == pytest.approx(1 - math.sqrt(0.025))


def test_the_same_order_gives_one_by_rule() -> None:
    labels, (first, _) = sample(3)
    result = auroc_difference(labels, first, 2 * first - 7)
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert result.method == "equal"
    assert bootstrap_difference(labels, first, 2 * first - 7).p == 1.0


def test_two_perfect_methods_may_still_differ() -> None:
    result = auroc_difference([0, 0, 1, 1], [1, 2, 3, 4], [2, 1, 3, 4])
    length = 1 - math.sqrt(0.025)
    assert (result.difference, result.p, result.method) == (0.0, 1.0, "limits")
    assert (result.low, result.high) == pytest.approx((-length, length))


def test_perfect_against_perfectly_wrong() -> None:
    result = auroc_difference([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert (result.difference, result.p, result.smallest_p) == (1.0, 1 / 8, 1 / 8)
    assert result.low == pytest.approx(1 - math.sqrt(2) * (1 - math.sqrt(0.025)))
    assert result.high == 1.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Scores of two normal distributions d apart have the AUROC Phi(d / sqrt(2)).
    truth = 0.5 * math.erfc(-1.2 / 2)
    labels = np.repeat([0, 1], [60, 40])
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        found = auroc_interval(labels, random.normal(size=100) + 1.2 * labels)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_bootstrap_agrees_with_delong_and_with_its_seed() -> None:
    labels, (first, second) = sample(4, n=300)
    delong, drawn = auroc_interval(labels, first), bootstrap_interval(labels, first, seed=1)
    assert (drawn.low, drawn.high) == pytest.approx((delong.low, delong.high), abs=0.01)
    assert drawn.standard_error == pytest.approx(delong.standard_error, rel=0.1)
    assert bootstrap_interval(labels, first, seed=1) == drawn
    assert bootstrap_interval(labels, first, seed=2) != drawn
    paired, expected = (f(labels, first, second) for f in (bootstrap_difference, auroc_difference))
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high), abs=0.015)
    assert paired.standard_error == pytest.approx(expected.standard_error, rel=0.1)
    assert paired.smallest_p == 2 / 2001


def test_a_resample_keeps_both_classes_in_number() -> None:
    # Of one normal above and one below all the others, a resample has 0, 1 or 2: AUROC 1, .5, 0.
    result = bootstrap_interval([0, 0, 1, 1], [0, 9, 5, 5], resamples=4000)
    assert (result.low, result.high) == (0.0, 1.0)
    assert result.standard_error == pytest.approx(math.sqrt(0.125), rel=0.05)


def test_five_thousand_images_take_a_moment() -> None:
    labels, (first, second) = sample(5, n=5000, distinct=1000)
    start = time.process_time()
    auroc_difference(labels, first, second)
    assert time.process_time() - start < 0.5


def test_refuses_what_has_no_interval() -> None:
    with pytest.raises(ContractError, match="expected finite scores, got 1 of 5 NaN"):
        auroc_interval(LABELS, [1, 2, math.nan, 4, 5])
    with pytest.raises(ContractError, match="got 1 normal and 3 anomalous"):
        auroc_interval([0, 1, 1, 1], [1, 2, 3, 4])
    with pytest.raises(ContractError, match="expected labels of both classes"):
        auroc_interval([1, 1], [1, 2])
    with pytest.raises(ContractError, match="expected 5 scores"):
        auroc_difference(LABELS, FIRST, SECOND[:4])
    with pytest.raises(ContractError, match="a level of confidence between 0 and 1, got 95"):
        auroc_interval(LABELS, FIRST, level=95)
    with pytest.raises(ContractError, match="expected 100 or more resamples, got 9"):
        bootstrap_interval(LABELS, FIRST, resamples=9)
    with pytest.raises(
        ContractError, match="expected a level of confidence between 0 and 1, got 2"
    ):
        bootstrap_difference(LABELS, FIRST, FIRST, level=2)
