from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor

import osadbench.nn.exposure
from osadbench.errors import ContractError, ParameterError
from osadbench.methods.saoe import SAOE
from osadbench.nn.exposure import ThreeClassHead, class_loss, log_odds, outlier_exposure
from osadbench.nn.heads import top_k_mean
from osadbench.nn.sampler import NORMAL, OUTLIER, PSEUDO, SEEN
from osadbench.settings import Engine
from osadbench.testing import toy_images

INSIDE = torch.tensor([[2, 0, -1], [0.5, 1.5, 0], [-1, 0, 2]], dtype=torch.float64)
KINDS = torch.tensor([NORMAL, SEEN, PSEUDO])
OUTSIDE = torch.tensor([[1, 0, -1], [0, 0, 0]], dtype=torch.float64)

IMAGES, LABELS = toy_images(12, 4, 64, 1)
EXTERNAL = toy_images(1, 8, 64, 5, green=True)[0][1:]
UNSEEN, TRUTH = toy_images(18, 18, 64, 2)


def given_logits(maps: Tensor) -> Tensor:
    """Stand for a network whose logits are its map's first patch."""
    return maps[:, :, 0, 0]


def two_scales(logits: Tensor) -> list[Tensor]:
    """Return maps of one patch at two scales whose mean are the logits."""
    offset = torch.tensor([[2.0], [-1.0], [4.0], [0.5], [3.0]], dtype=logits.dtype)[: len(logits)]
    swing = offset * torch.tensor([1.0, -1.0, 0.5], dtype=logits.dtype)
    return [(logits + swing)[:, :, None, None], (logits - swing)[:, :, None, None]]


def check_cross_entropy() -> None:
    assert class_loss(INSIDE, KINDS).item() == pytest.approx(0.268020, abs=1e-6)


def check_outlier_exposure() -> None:
    rows = [osadbench.nn.exposure.outlier_exposure(row[None]).item() for row in OUTSIDE]
    assert rows == pytest.approx([1.407606, 1.098612], abs=1e-6)
    both = osadbench.nn.exposure.outlier_exposure(OUTSIDE)
    assert both.item() == pytest.approx(1.253109, abs=1e-6)


def check_total() -> None:
    rows = torch.tensor([3, 0, 4, 2, 1])  # external rows stand anywhere
    maps = two_scales(torch.cat([INSIDE, OUTSIDE])[rows])
    codes = torch.cat([KINDS, torch.tensor([OUTLIER, OUTLIER])])[rows]
    total = SAOE().loss(given_logits, maps, codes).item()
    assert total == pytest.approx(0.894575, abs=1e-6)
    alone = SAOE(exposure_weight=0.0).loss(given_logits, maps, codes).item()
    assert alone == pytest.approx(0.268020, abs=1e-6)


def check_scores() -> None:
    scores = SAOE().image_scores(given_logits, two_scales(INSIDE))
    assert scores.tolist() == pytest.approx([-1.686738, 1.201413, 3.126928], abs=1e-6)
    abnormal = torch.sigmoid(scores)
    assert abnormal.tolist() == pytest.approx([0.156205, 0.768776, 0.957990], abs=1e-6)
    torch.testing.assert_close(abnormal, 1 - INSIDE.softmax(dim=1)[:, NORMAL])


def check_an_unsure_classifier_scores_log_two() -> None:
    scores = SAOE().image_scores(given_logits, two_scales(torch.full((3, 3), 7.0)))
    assert scores.tolist() == pytest.approx([math.log(2)] * 3, abs=1e-6)


def check_sure_scores_stay_apart() -> None:
    logits = torch.zeros(2, 3)
    logits[:, SEEN] = torch.tensor([60.0, 61.0])
    low, high = SAOE().image_scores(given_logits, two_scales(logits)).tolist()
    assert high - low == pytest.approx(1, abs=1e-4)


def check_every_class_takes_its_largest_signed_patches() -> None:
    head = ThreeClassHead(1).double()
    with torch.no_grad():
        head.convolution.weight.copy_(torch.tensor([1.0, -1.0, 2.0]).view(3, 1, 1, 1))
        head.convolution.bias.copy_(torch.tensor([0.0, 0.0, -10.0]))  # type: ignore[union-attr]
    values = [(-1) ** (i + 1) * i / 10 for i in range(1, 21)]
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, 4, 5)
    assert head(maps).tolist()[0] == pytest.approx([1.8, 1.9, 3.6 - 10], abs=1e-6)


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def confident(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).amax(dim=1).mean()


def towards_one_class(logits: Tensor) -> Tensor:
    return -outlier_exposure(logits)


def of_seen_alone(logits: Tensor) -> Tensor:
    return logits[:, SEEN] - logits[:, NORMAL]


def normality(logits: Tensor) -> Tensor:
    return -log_odds(logits)


def probability(logits: Tensor) -> Tensor:
    return 1 - logits.softmax(dim=1)[:, NORMAL]


def absolute(patches: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    return top_k_mean(patches, fraction)


def outliers_as_pseudo(self: SAOE, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    logits = torch.stack([network(scale) for scale in maps]).mean(dim=0)
    external = codes == OUTLIER
    inside = class_loss(logits, codes.clamp(max=PSEUDO))
    return inside + 0.5 * outlier_exposure(logits[external])


def loss_per_scale(self: SAOE, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    external = codes == OUTLIER
    values = [
        class_loss(network(scale)[~external], codes[~external])
        + 0.5 * outlier_exposure(network(scale)[external])
        for scale in maps
    ]
    return torch.stack(values).mean()


EXPOSURE = osadbench.nn.exposure
FAULTS: list[Fault] = [
    Fault(
        "confidence for exposure", EXPOSURE, "outlier_exposure", confident, check_outlier_exposure
    ),
    Fault("sign of exposure", EXPOSURE, "outlier_exposure", towards_one_class, check_total),
    Fault("external rows in the cross-entropy", SAOE, "loss", outliers_as_pseudo, check_total),
    Fault("loss before the scales' mean", SAOE, "loss", loss_per_scale, check_total),
    Fault("pseudo class not scored", EXPOSURE, "log_odds", of_seen_alone, check_scores),
    Fault("low scores are anomalous", EXPOSURE, "log_odds", normality, check_scores),
    Fault("scores that saturate", EXPOSURE, "log_odds", probability, check_sure_scores_stay_apart),
    Fault(
        "absolute logits",
        EXPOSURE,
        "top_k_mean",
        absolute,
        check_every_class_takes_its_largest_signed_patches,
    ),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patch_logits_are_the_convolutions(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    head = ThreeClassHead(6, top_k=0.2)
    maps = torch.randn(3, 6, 5, 4).to(memory_format=layout)
    wanted = head.convolution(maps)
    torch.testing.assert_close(head.patch_logits(maps), wanted)
    top = wanted.flatten(2).sort(dim=2, descending=True).values[..., :4].mean(dim=2)
    torch.testing.assert_close(head(maps), top)


def test_patch_maps_are_the_patches_log_odds() -> None:
    torch.manual_seed(0)
    method = SAOE()
    network: Any = method.build([6])
    maps = [torch.randn(2, 6, 4, 3), torch.randn(2, 6, 2, 1)]
    patch_maps = method.patch_maps(network, maps)
    assert [tuple(scale.shape) for scale in patch_maps] == [(2, 4, 3), (2, 2, 1)]
    one_patch = [scale[:, :, :1, :1] for scale in maps]
    torch.testing.assert_close(patch_maps[1][:, 0, 0], log_odds(network(one_patch[1])))
    torch.testing.assert_close(patch_maps[0][:, 0, 0], log_odds(network(one_patch[0])))


def labelled(n_anomalies: int) -> tuple[Any, Any]:
    """Return normals, so many anomalies, and external images in the midst."""
    images = np.concatenate([IMAGES[:6], EXTERNAL, IMAGES[6 : 12 + n_anomalies]])
    return images, np.repeat([0, 2, 0, 1], [6, len(EXTERNAL), 6, n_anomalies])


def test_it_learns_its_classes_and_stays_unsure_of_external_images(smoke: Engine) -> None:
    learn: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.0, "epochs": 6, "seed": 1}
    exposed = SAOE(engine=smoke, exposure_weight=2.0, **learn).fit(*labelled(4))
    scores = exposed.score(UNSEEN)
    assert scores[TRUTH == 1].mean() > math.log(2) > scores[TRUTH == 0].mean()
    other = SAOE(engine=smoke, exposure_weight=0.0, **learn).fit(*labelled(4))
    distance = [abs(m.score(EXTERNAL) - math.log(2)).mean() for m in (exposed, other)]
    assert distance[0] < distance[1]


def test_external_images_are_asked_for(smoke: Engine) -> None:
    assert SAOE().needs_outliers
    assert SAOE().n_outliers == 24
    assert SAOE().pseudo_source == "cutmix"
    with pytest.raises(ContractError, match="external outliers .label 2., got none"):
        SAOE(engine=smoke).fit(IMAGES, LABELS)


def test_without_exposure_external_images_are_refused(smoke: Engine) -> None:
    method = SAOE(engine=smoke, n_outliers=0)
    assert not method.needs_outliers
    assert np.isfinite(method.fit(IMAGES, LABELS).score(UNSEEN)).all()
    assert np.isfinite(method.losses_).all()
    with pytest.raises(ContractError, match="expected labels of 0 .normal. and 1"):
        method.fit(*labelled(4))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_outliers": -1}, "saoe.n_outliers=-1: input should be greater than or equal to 0"),
        ({"exposure_weight": -0.5}, "saoe.exposure_weight=-0.5: input should be greater than or"),
        ({"pseudo": "external"}, "saoe has no parameter 'pseudo'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SAOE(**params)
