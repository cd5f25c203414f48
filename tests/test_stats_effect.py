from __future__ import annotations

import math

import numpy as np
import pytest

from osadbench.errors import ContractError
from osadbench.stats import rank_biserial, wilcoxon


def test_a_case_worked_by_hand() -> None:
    # Differences .3, -.1, .2: ranks 3, 1, 2, so (5 - 1) / 6.
    assert rank_biserial([0.9, 0.5, 0.8], [0.6, 0.6, 0.6]) == pytest.approx(2 / 3)
    assert rank_biserial([0.6, 0.6, 0.6], [0.9, 0.5, 0.8]) == pytest.approx(-2 / 3)


def test_ties_share_their_rank() -> None:
    # Differences .1, .1, -.1, .2: ranks 2, 2, 2, 4, so (8 - 2) / 10.
    assert rank_biserial([0.6, 0.7, 0.5, 0.9], [0.5, 0.6, 0.6, 0.7]) == pytest.approx(0.6)


def test_zero_differences_are_dropped() -> None:
    with_zeros = rank_biserial([0.9, 0.5, 0.8, 0.7, 0.7], [0.6, 0.6, 0.6, 0.7, 0.70004])
    assert with_zeros == pytest.approx(2 / 3)
    assert rank_biserial([0.5, 0.6], [0.5, 0.6]) == 0.0
    assert rank_biserial([], []) == 0.0


def test_the_ends_of_the_scale() -> None:
    assert rank_biserial([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert rank_biserial([0.1, 0.2], [0.9, 0.8]) == -1.0


@pytest.mark.parametrize("seed", range(5))
def test_goes_with_the_statistic_of_the_test(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(40, size=(2, 12)) / 1000
    result = wilcoxon(a, b)
    n = result.n - result.n_zero
    assert abs(rank_biserial(a, b)) == pytest.approx(1 - 4 * result.W / (n * (n + 1)))


def test_refuses_what_cannot_be_paired() -> None:
    with pytest.raises(ContractError, match="expected results in pairs, got 1 against 2"):
        rank_biserial([0.1], [0.1, 0.2])
    with pytest.raises(ContractError, match="expected finite results"):
        rank_biserial([0.1, math.inf], [0.1, 0.2])
