from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from method_tools import end_to_end
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn

from osadbench.methods.featdistill import FeatDistill
from osadbench.metrics import compute_metrics
from osadbench.nn.distillation import Bottleneck
from osadbench.nn.network_method import NetworkMethod
from osadbench.testing import toy_images

#: The module itself: a fault planted in the stand-in of ``osadbench.nn`` would reach nobody.
distillation = importlib.import_module("osadbench.nn.distillation")
IMAGES, LABELS = toy_images(13, 4, 64, 1)
NORMALS = IMAGES[LABELS == 0]
UNSEEN, TRUTH = toy_images(16, 16, 64, 2)
STUDENT = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 4, 1, 1)
TEACHER = torch.tensor([1.5, 1.5, 3.0, 5.0], dtype=torch.float64).view(1, 4, 1, 1)


def smoke(**params: Any) -> FeatDistill:
    settings = FeatDistill.engine_for("smoke", device="cpu")
    return FeatDistill(engine=settings, seed=1, **params)


class Given(nn.Module):
    """An auto-encoder that gives the same map, whatever it is asked to rebuild."""

    def __init__(self) -> None:
        super().__init__()
        self.rebuilt = nn.Parameter(STUDENT.clone())

    def forward(self, maps: Tensor) -> Tensor:
        return self.rebuilt


def network() -> nn.ModuleDict:
    return nn.ModuleDict({str(stage): Given() for stage in range(3)})


def check_stages_are_summed_and_sizes_averaged() -> None:
    codes = torch.zeros(1, dtype=torch.long)
    for weight, one in ((0.5, 0.201779), (0.01, 0.018029)):
        method = FeatDistill(value_weight=weight)
        for n_sizes in (1, 2):
            maps = [TEACHER] * 3 * n_sizes
            for value in (
                method.image_scores(network(), maps).item(),
                method.loss(network(), maps, codes).item(),
            ):
                assert value == pytest.approx(3 * one, abs=3e-6)


def check_each_stage_has_its_own_encoder() -> None:
    built: Any = FeatDistill(width=2).build([3, 5, 7])
    assert [m.layers[0].in_features for m in built.values()] == [3, 5, 7]
    assert [m.layers[0].out_features for m in built.values()] == [2, 2, 2]
    maps = [torch.rand(2, c, s, s) for s in (4, 2) for c in (3, 5, 7)]
    assert FeatDistill(width=2).image_scores(built, maps).shape == (2,)


def check_the_target_does_not_learn() -> None:
    maps = [TEACHER.clone().requires_grad_() for _ in range(3)]
    encoders = network()
    loss = FeatDistill().loss(encoders, maps, torch.zeros(1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(scale.grad is None for scale in maps)
    assert all(p.grad is not None and p.grad.any() for p in encoders.parameters())


def check_labelled_anomalies_change_nothing() -> None:
    assert not FeatDistill.supervised
    with_anomalies = smoke(epochs=2).fit(IMAGES[::-1], LABELS[::-1]).score(UNSEEN)
    without = smoke(epochs=2).fit(NORMALS[::-1], np.zeros(13, dtype=int)).score(UNSEEN)
    assert (with_anomalies == without).all()


def check_anomalies_score_higher() -> None:
    method = smoke().fit(NORMALS, np.zeros(13, dtype=int))
    assert 0 < method.losses_[-1] < 0.7 * method.losses_[0]
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] >= 0.9


def check_maps_point_at_the_anomaly() -> None:
    method = smoke(epochs=20, lr=0.03).fit(NORMALS, np.zeros(13, dtype=int))
    inside, outside = [], []
    for image, values in zip(UNSEEN[16:], method.score_maps(UNSEEN[16:]), strict=True):
        pink = (image[..., 0] > 200) & (image[..., 1] < 60)
        inside.append(values[pink].mean())
        outside.append(values[~pink].mean())
    assert np.mean(inside) > np.mean(outside) + 0.03


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def test_a_map_per_size_and_stage() -> None:
    maps = [torch.rand(2, c, s, s) for s in (4, 2) for c in (3, 5, 7)]
    method = FeatDistill()
    patches = method.patch_maps(method.build([3, 5, 7]), maps)
    assert [tuple(p.shape) for p in patches] == [(2, 4, 4)] * 3 + [(2, 2, 2)] * 3
    assert all((p >= 0).all() and (p <= 2).all() for p in patches)


def test_the_settings() -> None:
    frozen = FeatDistill()
    assert (frozen.engine.image_sizes, frozen.engine.normal_views) == ((224,), 0)
    assert (frozen.p.width, frozen.p.value_weight, frozen.p.batch_size) == (16, 0.01, 64)
    for preset in ("paper", "paper-text"):
        settings = FeatDistill(engine=preset).engine
        assert (settings.image_sizes, settings.train_backbone) == ((224,), False)


@pytest.mark.parametrize("train_backbone", [False, True])
def test_two_image_sizes_and_a_trained_backbone(train_backbone: bool) -> None:
    settings = end_to_end(train_backbone=train_backbone)
    method = FeatDistill(engine=settings, epochs=1, batch_size=8).fit(IMAGES, LABELS)
    assert np.isfinite(method.score(UNSEEN)).all()
    assert method.initial_digest_ != method.fitted_digest_


def negative(students: Any, teachers: Any, value_weight: float) -> Tensor:
    value: Tensor = discrepancy(students, teachers, value_weight)
    return -value


def one_encoder(self: FeatDistill, channels: Any) -> nn.Module:
    first = Bottleneck(channels[0], self.p.width)
    return nn.ModuleDict({str(number): first for number in range(len(channels))})


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    value: Tensor = direction_distance(student, teacher)
    return 1 - value


discrepancy = distillation.discrepancy
direction_distance = distillation.direction_distance
FAULTS: list[Fault] = [
    Fault(
        "the target learns", Tensor, "detach", lambda self: self, check_the_target_does_not_learn
    ),
    Fault(
        "labelled anomalies are trained on",
        FeatDistill,
        "sampler",
        NetworkMethod.sampler,
        check_labelled_anomalies_change_nothing,
    ),
    Fault(
        "the sign is flipped", distillation, "discrepancy", negative, check_anomalies_score_higher
    ),
    Fault(
        "one encoder for all stages",
        FeatDistill,
        "build",
        one_encoder,
        check_each_stage_has_its_own_encoder,
    ),
    Fault(
        "maps of similarity",
        distillation,
        "direction_distance",
        similarity,
        check_maps_point_at_the_anomaly,
    ),
    Fault(
        "sizes are summed",
        FeatDistill,
        "taps",
        FeatDistill.taps * 2,
        check_stages_are_summed_and_sizes_averaged,
    ),
]
