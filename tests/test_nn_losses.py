from __future__ import annotations

import numpy as np
import pytest
import torch

from osadbench.nn.losses import (
    DRAWS,
    LOSSES,
    MARGIN,
    binary_cross_entropy,
    deviation_loss,
    focal_loss,
)
from osadbench.nn.random import isolated_rng

SCORES = torch.tensor([0.3, -0.2, 2.0, 6.0], dtype=torch.float64)
TARGETS = torch.tensor([0, 0, 1, 1])
LOGITS = torch.tensor([2.0, 0.5, 0.0, -1.0], dtype=torch.float64)
LOGIT_TARGETS = torch.tensor([1, 0, 0, 1])


def test_deviation_loss_is_linear() -> None:
    terms = [
        deviation_loss(score[None], target[None], mean=0.02, std=1.01).item()
        for score, target in zip(SCORES, TARGETS, strict=True)
    ]
    assert terms == pytest.approx([0.277228, 0.217822, 3.039604, 0.0], abs=1e-6)
    loss = deviation_loss(SCORES, TARGETS, mean=0.02, std=1.01).item()
    assert loss == pytest.approx(0.883663, abs=1e-6)
    # DRA's Eq. 11 prints the terms squared, which would be another loss.
    squared = np.square(terms)
    assert squared == pytest.approx([0.076855, 0.047446, 9.239192, 0.0], abs=1e-6)
    assert np.mean(squared) == pytest.approx(2.340873, abs=1e-6)
    assert abs(loss - np.mean(squared)) > 1


def test_deviation_loss_against_the_standard_normal() -> None:
    assert deviation_loss(SCORES, TARGETS, mean=0, std=1).item() == pytest.approx(0.875, abs=1e-6)


def test_anomalies_cost_nothing_beyond_the_margin() -> None:
    scores = torch.tensor([MARGIN, MARGIN + 3])
    assert deviation_loss(scores, torch.tensor([1, 1]), mean=0, std=1).item() == 0
    assert deviation_loss(scores, torch.tensor([0, 0]), mean=0, std=1).item() == 6.5


def test_the_reference_is_drawn_anew_at_every_call() -> None:
    with isolated_rng(1):
        first = deviation_loss(SCORES, TARGETS).item()
        second = deviation_loss(SCORES, TARGETS).item()
    with isolated_rng(1):
        again = deviation_loss(SCORES, TARGETS).item()
    assert first != second
    assert first == again
    assert abs(first - 0.875) < 0.1


def test_the_reference_is_five_thousand_standard_normal_draws() -> None:
    assert DRAWS == 5000
    with isolated_rng(2):
        loss = deviation_loss(SCORES, TARGETS).item()
    with isolated_rng(2):
        drawn = torch.randn(5000)
    wanted = deviation_loss(SCORES, TARGETS, mean=drawn.mean().item(), std=drawn.std().item())
    assert loss == pytest.approx(wanted.item(), abs=1e-6)


def test_a_fixed_reference_draws_nothing() -> None:
    state = torch.get_rng_state()
    fixed = {deviation_loss(SCORES, TARGETS, mean=0, std=1).item() for _ in range(3)}
    assert len(fixed) == 1
    assert torch.equal(torch.get_rng_state(), state)
    deviation_loss(SCORES, TARGETS)
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_vector_of_deviations_is_averaged_over_its_dimensions() -> None:
    vector = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    for target, wanted in ((0, 1.166667), (1, 4.5)):
        loss = deviation_loss(vector, torch.tensor([target]), mean=0, std=1)
        assert loss.item() == pytest.approx(wanted, abs=1e-6)
    both = torch.cat([vector, vector])
    loss = deviation_loss(both, torch.tensor([0, 1]), mean=0, std=1)
    assert loss.item() == pytest.approx((1.166667 + 4.5) / 2, abs=1e-6)


def test_each_dimension_has_a_reference_of_its_own() -> None:
    vectors = torch.zeros(1, 3, dtype=torch.float64)
    with isolated_rng(4):
        loss = deviation_loss(vectors, torch.tensor([0]))
    with isolated_rng(4):
        drawn = torch.randn(5000, 3).double()
    assert loss.item() == pytest.approx((drawn.mean(0) / drawn.std(0)).abs().mean().item(), 1e-4)


def test_focal_loss_terms_and_mean() -> None:
    terms = [
        focal_loss(z[None], y[None]).item() for z, y in zip(LOGITS, LOGIT_TARGETS, strict=True)
    ]
    assert terms == pytest.approx([0.001804, 0.377412, 0.173287, 0.701868], abs=1e-6)
    assert focal_loss(LOGITS, LOGIT_TARGETS).item() == pytest.approx(0.313593, abs=1e-6)


def test_focal_loss_with_other_constants() -> None:
    plain = binary_cross_entropy(LOGITS, LOGIT_TARGETS).item()
    assert focal_loss(LOGITS, LOGIT_TARGETS, gamma=0).item() == pytest.approx(plain)
    assert focal_loss(LOGITS, LOGIT_TARGETS, alpha=0.5).item() == pytest.approx(
        0.313593 / 2, abs=1e-6
    )


def test_binary_cross_entropy_takes_scores_as_logits() -> None:
    terms = [
        binary_cross_entropy(z[None], y[None]).item()
        for z, y in zip(LOGITS, LOGIT_TARGETS, strict=True)
    ]
    assert terms == pytest.approx([0.126928, 0.974077, 0.693147, 1.313262], abs=1e-6)
    assert binary_cross_entropy(LOGITS, LOGIT_TARGETS).item() == pytest.approx(np.mean(terms))


@pytest.mark.parametrize("name", ["deviation", "bce", "focal"])
def test_losses_go_back_to_the_scores(name: str) -> None:
    scores = SCORES.float().requires_grad_()
    LOSSES[name](scores, TARGETS).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    # Down with normal scores above the mean, up with anomalies' scores below the margin.
    assert scores.grad[0] > 0 > scores.grad[2]
