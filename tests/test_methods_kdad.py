from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor

from osadbench.methods import kdad
from osadbench.methods.kdad import KDAD
from osadbench.metrics import compute_metrics
from osadbench.nn.features import FrozenFeatures
from osadbench.nn.network_method import NetworkMethod
from osadbench.testing import toy_images
from osadbench.types import Split

#: The module itself: a fault planted in the stand-in of ``osadbench.nn`` would reach nobody.
distillation = importlib.import_module("osadbench.nn.distillation")
IMAGES, LABELS = toy_images(13, 4, 64, 1)
NORMALS = IMAGES[LABELS == 0]
UNSEEN, TRUTH = toy_images(16, 16, 64, 2)
SPLIT: Any = Split
STUDENT = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).view(1, 4, 1, 1)
TEACHER = torch.tensor([1.5, 1.5, 3.0, 5.0], dtype=torch.float64).view(1, 4, 1, 1)


def smoke(**params: Any) -> KDAD:
    return KDAD(engine=KDAD.engine_for("smoke", device="cpu"), seed=1, **params)


def given(*points: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """Return a student whose maps are given."""
    return lambda pixels: list(points)


def maps_of(*points: Tensor) -> list[Tensor]:
    """Return the teacher's maps, then pixels."""
    return [*points, torch.zeros(len(points[0]), 3, 32, 32)]


def check_loss_at_four_points_and_score_at_three() -> None:
    codes = torch.zeros(1, dtype=torch.long)
    for weight, one in ((0.5, 0.201779), (0.01, 0.018029)):
        method = KDAD(value_weight=weight)
        all_wrong = given(*[STUDENT] * 4), maps_of(*[TEACHER] * 4)
        assert method.loss(*all_wrong, codes).item() == pytest.approx(4 * one, abs=4e-6)
        assert method.image_scores(*all_wrong).item() == pytest.approx(3 * one, abs=3e-6)
        first_wrong = given(STUDENT, *[TEACHER] * 3), maps_of(*[TEACHER] * 4)
        assert method.loss(*first_wrong, codes).item() == pytest.approx(one, abs=1e-6)
        assert method.image_scores(*first_wrong).item() == pytest.approx(0.0, abs=1e-6)


def check_the_teacher_does_not_learn() -> None:
    teacher = [TEACHER.clone().requires_grad_() for _ in range(4)]
    student = [STUDENT.clone().requires_grad_() for _ in range(4)]
    loss = KDAD().loss(given(*student), maps_of(*teacher), torch.zeros(1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(maps.grad is None for maps in teacher)
    assert all(maps.grad is not None and maps.grad.any() for maps in student)


def check_the_score_passes_gradients_to_both() -> None:
    # The saliency of the score is that of teacher and student on one image.
    pair = [values.clone().requires_grad_() for values in (STUDENT, TEACHER)]
    method = KDAD()
    scores = method.image_scores(given(*[pair[0]] * 4), maps_of(*[pair[1]] * 4))
    scores.sum().backward()  # type: ignore[no-untyped-call]
    assert all(maps.grad is not None and maps.grad.any() for maps in pair)


def check_labelled_anomalies_change_nothing() -> None:
    assert not KDAD.supervised
    params = {"epochs": 2}
    with_anomalies = smoke(**params).fit(IMAGES[::-1], LABELS[::-1]).score(UNSEEN)
    one_shot = smoke(**params).fit(IMAGES[13::-1], LABELS[13::-1]).score(UNSEEN)
    without = smoke(**params).fit(NORMALS[::-1], np.zeros(13, dtype=int)).score(UNSEEN)
    assert (with_anomalies == without).all()
    assert (one_shot == without).all()


def check_anomalies_score_higher() -> None:
    method = smoke().fit(NORMALS, np.zeros(13, dtype=int))
    assert 0 < method.losses_[-1] < 0.3 * method.losses_[0]
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] >= 0.9


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


@pytest.mark.parametrize("preset", ["paper", "paper-text"])
def test_the_papers_settings(preset: str) -> None:
    method = KDAD(engine=preset)
    engine = method.engine
    assert (engine.backbone, engine.image_sizes) == ("vgg16.tv_in1k", (128,))
    assert (engine.normalise, engine.train_backbone) == (False, False)
    p = method.p
    assert (p.lr, p.weight_decay, p.batch_size, p.epochs) == (1e-3, 0.0, 64, 601)
    assert (p.steps_per_epoch, p.gradient_clip, p.lr_step, p.value_weight) == (0, 0.0, 0, 0.01)


def test_student_and_teacher_have_the_same_maps() -> None:
    engine = KDAD.engine_for("paper", weights="random", device="cpu", cache_dir=None)
    features = FrozenFeatures(engine, KDAD.taps)
    pixels = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        teacher = features.differentiable(pixels)
        student = KDAD(engine=engine).build([*features.channels, 3])(pixels)
    shapes = [(1, 128, 32, 32), (1, 256, 16, 16), (1, 512, 8, 8), (1, 512, 4, 4)]
    assert [tuple(maps.shape) for maps in teacher] == shapes
    assert [tuple(maps.shape) for maps in student] == shapes


def test_the_maps_are_vggs_pools() -> None:
    """The taps give what the network itself hands from block to block, of unnormalised pixels."""
    engine = KDAD.engine_for("smoke", device="cpu", cache_dir=None)
    features = FrozenFeatures(engine, KDAD.taps)
    network: Any = features.backbone.network
    pixels = torch.rand(2, 3, 32, 32)
    maps, wanted = pixels, []
    with torch.no_grad():
        for name, layer in network.named_children():
            maps = layer(maps)
            if isinstance(layer, torch.nn.MaxPool2d):
                wanted.append((name, maps))
        got = features.differentiable(pixels)
    assert len(wanted) == 5
    for (name, pooled), tapped in zip(wanted[1:], got, strict=True):
        assert torch.allclose(pooled, tapped, atol=1e-6), name


def test_there_is_no_frozen_form() -> None:
    reason = KDAD(engine="frozen").skip(SPLIT)
    assert reason is not None
    assert "run it with --preset paper, or run featdistill" in reason
    for preset in ("paper", "paper-text", "smoke"):
        assert KDAD(engine=preset).skip(SPLIT) is None


def test_the_teacher_is_not_trained() -> None:
    reason = KDAD(engine=KDAD.engine_for("paper", train_backbone=True)).skip(SPLIT)
    assert reason is not None
    assert "leave engine.train_backbone as the preset has it" in reason


def test_an_epoch_is_a_pass_over_the_normals(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    loss = KDAD.loss

    def counted(self: KDAD, network: Any, maps: Any, codes: Tensor) -> Tensor:
        sizes.append(len(codes))
        return loss(self, network, maps, codes)

    monkeypatch.setattr(KDAD, "loss", counted)
    smoke(batch_size=8, epochs=2).fit(IMAGES, LABELS)
    assert sizes == [8, 5, 8, 5]


def test_score_maps_are_gradients() -> None:
    method = smoke(epochs=2).fit(NORMALS, np.zeros(13, dtype=int))
    maps = method.score_maps(UNSEEN[-2:])
    assert [m.shape for m in maps] == [(64, 64)] * 2
    assert all(m.min() >= 0 and m.std() > 0 for m in maps)


def negative(students: Any, teachers: Any, value_weight: float) -> Tensor:
    value: Tensor = discrepancy(students, teachers, value_weight)
    return -value


def detached_score(self: KDAD, network: Any, maps: Any) -> Tensor:
    return image_scores(self, network, [scale.detach() for scale in maps])


discrepancy = distillation.discrepancy
image_scores = KDAD.image_scores
FAULTS: list[Fault] = [
    Fault(
        "all four points are scored",
        kdad,
        "FIRST_SCORED",
        0,
        check_loss_at_four_points_and_score_at_three,
    ),
    Fault(
        "the teacher learns",
        Tensor,
        "detach",
        lambda self: self,
        check_the_teacher_does_not_learn,
    ),
    Fault(
        "the score holds the teacher fixed",
        KDAD,
        "image_scores",
        detached_score,
        check_the_score_passes_gradients_to_both,
    ),
    Fault(
        "labelled anomalies are trained on",
        KDAD,
        "sampler",
        NetworkMethod.sampler,
        check_labelled_anomalies_change_nothing,
    ),
    Fault(
        "the sign is flipped", distillation, "discrepancy", negative, check_anomalies_score_higher
    ),
]
