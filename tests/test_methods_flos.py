from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor

import osadbench.nn.heads
import osadbench.nn.losses
from osadbench.errors import ParameterError
from osadbench.methods.devnet import DevNet
from osadbench.methods.flos import FLOS
from osadbench.nn.heads import PatchHead, top_k_mean
from osadbench.nn.losses import focal_loss
from osadbench.settings import Engine
from osadbench.testing import toy_images

LOGITS = [2.0, 0.5, 0.0, -1.0]
CODES = [1, 0, 0, 1]
TERMS = [0.001804, 0.377412, 0.173287, 0.701868]


def first_patch(maps: Tensor) -> Tensor:
    """Stand for a network whose score is its map's first value."""
    return maps[:, 0, 0, 0]


def two_scales(logits: Sequence[float]) -> list[Tensor]:
    """Return maps of one patch at two scales whose mean is the logit."""
    values = torch.tensor(logits, dtype=torch.float64).view(-1, 1, 1, 1)
    return [values + 3, values - 3]


def loss(logits: Sequence[float], codes: Sequence[int], **params: Any) -> float:
    return FLOS(**params).loss(first_patch, two_scales(logits), torch.tensor(codes)).item()


def check_terms() -> None:
    terms = [loss([logit], [code]) for logit, code in zip(LOGITS, CODES, strict=True)]
    assert terms == pytest.approx(TERMS, abs=1e-6)


def check_mean() -> None:
    assert loss(LOGITS, CODES) == pytest.approx(0.313593, abs=1e-6)


def check_without_focus_it_is_cross_entropy() -> None:
    entropies = [0.126928, 0.974077, 0.693147, 1.313262]
    terms = [loss([logit], [code], gamma=0.0) for logit, code in zip(LOGITS, CODES, strict=True)]
    assert terms == pytest.approx(entropies, abs=1e-6)
    assert loss(LOGITS, CODES, gamma=0.0, alpha=0.5) == pytest.approx(np.mean(entropies) / 2)


def check_score() -> None:
    scores = FLOS().image_scores(first_patch, two_scales(LOGITS))
    assert scores.tolist() == pytest.approx(LOGITS, abs=1e-6)


def check_a_perfect_normal_still_costs() -> None:
    maps = [torch.zeros(1, 8, side, side) for side in (4, 2)]
    costs = []
    for signed in (False, True):
        for bias in (-5.0, 0.0):
            method = FLOS(signed=signed)
            network: Any = method.build([8])
            torch.nn.init.constant_(network.convolution.bias, bias)
            costs.append(method.loss(network, maps, torch.tensor([0])).item())
    assert costs[1::2] == pytest.approx([0.173287] * 2, abs=1e-6)
    assert costs[0] > 0.173287 > costs[2]


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def inverted(scores: Tensor, targets: Tensor, **params: float) -> Tensor:
    return focal_loss(scores, 1 - targets, **params)


def class_weighted(scores: Tensor, targets: Tensor, **params: float) -> Tensor:
    return focal_loss(scores, targets, **{**params, "alpha": 0.25})


def of_absolute_logits(scores: Tensor, targets: Tensor, **params: float) -> Tensor:
    return focal_loss(scores.abs(), targets, **params)


def loss_per_scale(self: FLOS, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    return torch.stack([focal_loss(network(scale), codes) for scale in maps]).mean()


def probability_of_normal(self: FLOS, network: Any, maps: Sequence[Tensor]) -> Tensor:
    return torch.sigmoid(-torch.stack([network(scale) for scale in maps]).mean(dim=0))


def always_signed(patches: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    return top_k_mean(patches, fraction, signed=True)


LOSSES, HEADS = osadbench.nn.losses, osadbench.nn.heads
FAULTS: list[Fault] = [
    Fault("labels inverted", LOSSES, "focal_loss", inverted, check_terms),
    Fault("the usual class weight", LOSSES, "focal_loss", class_weighted, check_terms),
    Fault("absolute value after the top K", LOSSES, "focal_loss", of_absolute_logits, check_mean),
    Fault("loss before the scales' mean", FLOS, "loss", loss_per_scale, check_mean),
    Fault("low scores are anomalous", FLOS, "image_scores", probability_of_normal, check_score),
    Fault(
        "signed patch scores by default",
        HEADS,
        "top_k_mean",
        always_signed,
        check_a_perfect_normal_still_costs,
    ),
]


def test_all_but_the_loss_is_devnets() -> None:
    maps = [torch.randn(3, 8, side, side) for side in (4, 2)]
    for preset in ("frozen", "paper", "paper-text", "smoke"):
        flos, devnet = FLOS(engine=preset), DevNet(engine=preset)
        shared = set(type(flos.params).model_fields) & set(type(devnet.params).model_fields)
        assert {"lr", "epochs", "batch_size", "top_k", "signed"} <= shared
        assert flos.params.model_dump(include=shared) == devnet.params.model_dump(include=shared)
    torch.manual_seed(1)
    flos_network: Any = FLOS(top_k=0.3, signed=True).build([8])
    torch.manual_seed(1)
    network = PatchHead(8, top_k=0.3, signed=True)
    scores = FLOS().image_scores(flos_network, maps)
    assert torch.equal(scores, DevNet().image_scores(network, maps))


def test_absolute_patch_scores_keep_the_loss_up(smoke: Engine) -> None:
    method = FLOS(engine=smoke).fit(*toy_images(12, 1, 64, 1))
    # Half of each batch is called normal, and no such sample costs less.
    assert min(method.losses_) > 0.5 * math.log(2) / 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gamma": -1.0}, "flos.gamma=-1.0: input should be greater than or equal to 0"),
        ({"alpha": 0.0}, "flos.alpha=0.0: input should be greater than 0"),
        ({"top_k": 2.0}, "flos.top_k=2.0: input should be less than or equal to 1"),
        ({"head": "ds"}, "flos has no parameter 'head'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        FLOS(**params)
