from __future__ import annotations

from typing import Any

import pytest
import torch
from method_tools import standard_normal
from planted_faults import Check, Fault, each_check
from torch import Tensor

import osadbench.nn.heads as heads
import osadbench.nn.losses as loss_functions
from osadbench.errors import ParameterError
from osadbench.methods.devnet import DevNet
from osadbench.nn.heads import PatchHead, Projection
from osadbench.nn.sampler import NORMAL, SEEN
from osadbench.settings import Engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, KINDS = toy_images(18, 18, 64, 2)
CODES = torch.tensor([NORMAL, SEEN])


class GivenPatches:
    """A network whose patch scores are its maps, with the top K of a patch head."""

    def __init__(self, *, signed: bool = False) -> None:
        self.head = PatchHead(1, signed=signed)
        self.head.patch_scores = self.patch_scores  # type: ignore[method-assign]

    def patch_scores(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)

    def __call__(self, maps: Tensor) -> Tensor:
        scores: Tensor = self.head(maps)
        return scores


def maps() -> list[Tensor]:
    """Return patch scores of two images at two scales: 4 x 4 and 2 x 2 patches."""
    large = torch.zeros(2, 1, 4, 4)
    large[:, 0, 0, 0] = torch.tensor([-2.0, 6.0])
    small = torch.tensor([[0.0, 1.0, 0.0, 0.0], [2.0, 2.0, -4.0, 0.0]]).view(2, 1, 2, 2)
    return [large, small]


def check_the_score_is_the_scales_mean_of_the_top_patches() -> None:
    method = DevNet()
    assert method.image_scores(GivenPatches(), maps()).tolist() == [(2 + 1) / 2, (6 + 4) / 2]


def check_the_score_of_many_patches() -> None:
    values = [(-1) ** (i + 1) * i / 10 for i in range(1, 21)]
    patches = torch.tensor(values, dtype=torch.float64).view(1, 1, 4, 5)
    for signed, wanted in ((False, 1.95), (True, 1.8)):
        method = DevNet(signed=signed)
        score = method.image_scores(GivenPatches(signed=signed), [patches, patches])
        assert score.item() == pytest.approx(wanted, abs=1e-6)


def check_ds_scores_with_all_patches_and_their_signs() -> None:
    for head in ("ds", "patch-ds"):
        scores = DevNet(head=head).image_scores(GivenPatches(), maps())
        assert scores.tolist() == pytest.approx([(-2 / 16 + 1 / 4) / 2, (6 / 16 + 0) / 2])


def check_the_terms_of_the_loss() -> None:
    # Of the scores less 0.02, over 1.01: each alone, then their mean.
    scores = torch.tensor([0.3, -0.2, 2.0, 6.0], dtype=torch.float64)
    codes = torch.tensor([NORMAL, NORMAL, SEEN, SEEN])
    terms = [0.277228, 0.217822, 3.039604, 0.0]

    def loss(chosen: slice) -> float:
        value = loss_functions.deviation_loss(scores[chosen], codes[chosen], mean=0.02, std=1.01)
        return value.item()

    for index, wanted in enumerate(terms):
        assert loss(slice(index, index + 1)) == pytest.approx(wanted, abs=1e-6)
    assert loss(slice(None)) == pytest.approx(0.883663, abs=1e-6)
    with standard_normal():
        value = loss_functions.LOSSES["deviation"](scores, codes)
    assert value.item() == pytest.approx(0.875, abs=1e-6)


def check_the_loss_is_of_the_averaged_score() -> None:
    with standard_normal():
        loss = DevNet().loss(GivenPatches(), maps(), CODES)
        assert loss.item() == pytest.approx((1.5 + 0) / 2)
        loss = DevNet(head="ds").loss(GivenPatches(), maps(), CODES)
        assert loss.item() == pytest.approx((0.0625 + 5 - 0.1875) / 2)


def check_patch_ds_gives_every_patch_the_images_label() -> None:
    with standard_normal():
        loss = DevNet(head="patch-ds").loss(GivenPatches(), maps(), CODES)
    large = (2 + (15 * 5 + 0)) / 32
    small = (1 + (3 + 3 + 9 + 5)) / 8
    assert loss.item() == pytest.approx((large + small) / 2)


def check_rep_takes_the_deviation_of_each_dimension() -> None:
    vector = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)
    network = Projection(3, None)
    method = DevNet(head="rep")
    pair = [vector, vector]
    with standard_normal():
        losses = [
            method.loss(network, pair, torch.tensor([code])).item() for code in (NORMAL, SEEN)
        ]
    assert losses == pytest.approx([1.166667, 4.5], abs=1e-6)
    assert method.image_scores(network, pair).item() == pytest.approx(0.5)


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


# What goes wrong in implementations of it, planted to see that it is found.

_top_k_mean, _deviation_loss = heads.top_k_mean, loss_functions.deviation_loss
_image_scores = DevNet.image_scores


def absolute_value_last(scores: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    return _top_k_mean(scores, fraction, signed=True).abs()


def smallest_patches(scores: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    return -_top_k_mean(-scores.abs(), fraction, signed=True)


def two_at_least(scores: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    return _top_k_mean(scores, max(fraction, 2 / scores.shape[1]), signed=signed)


def inverted_labels(scores: Tensor, targets: Tensor, **reference: Any) -> Tensor:
    return _deviation_loss(scores, 1 - targets, **reference)


def squared_terms(scores: Tensor, targets: Tensor, *, mean: float, std: float) -> Tensor:
    deviation = (scores - mean) / std
    y = targets.to(scores.dtype)
    return ((1 - y) * deviation**2 + y * (5 - deviation).clamp(min=0) ** 2).mean()


def hinge_after_the_mean(scores: Tensor, targets: Tensor, *, mean: float, std: float) -> Tensor:
    deviation = (scores - mean) / std
    y = targets.to(scores.dtype).reshape(-1, *[1] * (scores.ndim - 1)).expand_as(scores)
    return ((1 - y) * deviation.abs()).mean() + (y * (5 - deviation)).mean().clamp(min=0)


def no_absolute_deviation(scores: Tensor, targets: Tensor, *, mean: float, std: float) -> Tensor:
    deviation = (scores - mean) / std
    y = targets.to(scores.dtype).reshape(-1, *[1] * (scores.ndim - 1))
    return ((1 - y) * deviation + y * (5 - deviation).clamp(min=0)).mean()


def sum_of_scales(head: Any, *scales: Any) -> Tensor:
    return torch.stack([head(*tensors) for tensors in zip(*scales, strict=True)]).sum(dim=0)


def labels_in_turn(self: DevNet, network: Any, maps: Any, codes: Tensor) -> Tensor:
    patches = [network.patch_scores(scale) for scale in maps]
    loss = loss_functions.LOSSES["deviation"]
    return torch.stack([loss(s.flatten(), codes.repeat(s.shape[1])) for s in patches]).mean()


def negative(self: DevNet, network: Any, maps: Any) -> Tensor:
    return -_image_scores(self, network, maps)


HINGE = "the hinge after the mean"
FAULTS: list[Fault] = [
    Fault(
        "absolute value last",
        heads,
        "top_k_mean",
        absolute_value_last,
        check_the_score_of_many_patches,
    ),
    Fault(
        "smallest patches", heads, "top_k_mean", smallest_patches, check_the_score_of_many_patches
    ),
    Fault(
        "two patches at least",
        heads,
        "top_k_mean",
        two_at_least,
        check_the_score_is_the_scales_mean_of_the_top_patches,
    ),
    Fault(
        "scales summed",
        heads,
        "mean_over_scales",
        sum_of_scales,
        check_the_score_is_the_scales_mean_of_the_top_patches,
    ),
    Fault(
        "low scores are anomalous",
        DevNet,
        "image_scores",
        negative,
        check_the_score_is_the_scales_mean_of_the_top_patches,
    ),
    Fault(
        "labels inverted",
        loss_functions,
        "deviation_loss",
        inverted_labels,
        check_the_terms_of_the_loss,
    ),
    Fault(
        "terms squared",
        loss_functions,
        "deviation_loss",
        squared_terms,
        check_the_terms_of_the_loss,
    ),
    Fault(
        HINGE, loss_functions, "deviation_loss", hinge_after_the_mean, check_the_terms_of_the_loss
    ),
    Fault(
        "labels inverted in the loss",
        loss_functions,
        "deviation_loss",
        inverted_labels,
        check_the_loss_is_of_the_averaged_score,
    ),
    Fault(
        HINGE + " in patch-ds",
        loss_functions,
        "deviation_loss",
        hinge_after_the_mean,
        check_patch_ds_gives_every_patch_the_images_label,
    ),
    Fault(
        "patches' labels in turn",
        DevNet,
        "loss",
        labels_in_turn,
        check_patch_ds_gives_every_patch_the_images_label,
    ),
    Fault(
        "deviation with sign",
        loss_functions,
        "deviation_loss",
        no_absolute_deviation,
        check_rep_takes_the_deviation_of_each_dimension,
    ),
]


def test_the_networks() -> None:
    assert isinstance(DevNet().build([320]), PatchHead)
    assert sum(p.numel() for p in DevNet().build([320]).parameters()) == 321
    head: Any = DevNet(top_k=0.2, signed=True).build([8])
    assert (head.top_k, head.signed) == (0.2, True)
    frozen = DevNet(head="rep", rep_channels=32).build([320])
    assert sum(p.numel() for p in frozen.parameters()) == 32 * 321
    trained = DevNet(head="rep", engine="paper").build([512])
    assert list(trained.parameters()) == []


@pytest.mark.parametrize("loss", ["bce", "focal"])
@pytest.mark.parametrize("head", ["mil", "patch-ds"])
def test_other_losses_run(smoke: Engine, head: str, loss: str) -> None:
    method = DevNet(engine=smoke, head=head, loss=loss, signed=True, epochs=5)
    scores = method.fit(IMAGES, LABELS).score(UNSEEN)
    assert method.losses_[-1] < method.losses_[0]
    assert scores[KINDS == 1].mean() > scores[KINDS == 0].mean()


def test_no_pseudo_anomalies_and_no_references() -> None:
    assert DevNet().pseudo_source is None
    assert DevNet().n_references == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"head": "rep", "loss": "bce"}, "devnet: .*head=rep is defined for loss=deviation only"),
        ({"head": "rep", "loss": "focal"}, "head=rep is defined for loss=deviation only"),
        ({"head": "mli"}, "devnet.head='mli': input should be 'mil', 'ds', 'patch-ds' or 'rep'"),
        ({"top_k": 1.5}, "devnet.top_k=1.5: input should be less than or equal to 1"),
        ({"rep_channels": 0}, "devnet.rep_channels=0: input should be greater than or equal to 1"),
        ({"weight_decay": -1.0}, "devnet.weight_decay=-1.0: input should be greater than or"),
        ({"epochs": -1, "lr": 0.0}, "devnet.epochs=-1: .*; devnet.lr=0.0: input should be greater"),
        ({"topk": 0.2}, r"devnet has no parameter 'topk' \(did you mean top_k"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DevNet(**params)
