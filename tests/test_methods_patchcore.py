"""PatchCore, against its equations worked out by hand or slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor
from torch.nn import functional

import osadbench.nn.patch_memory as patch_memory
from osadbench.errors import ContractError, NotFittedError, ParameterError
from osadbench.methods.patchcore import PatchCore
from osadbench.metrics import compute_metrics
from osadbench.nn.features import FrozenFeatures
from osadbench.nn.images import ArrayImages
from osadbench.nn.localise import resized_map, smoothed, upsampled
from osadbench.settings import Engine
from osadbench.testing import toy_images
from osadbench.types import LazyImages

IMAGES, LABELS = toy_images(12, 4, 64, 1)
NORMALS = IMAGES[:12]
UNSEEN, TRUTH = toy_images(9, 9, 64, 2)
SMOKE = PatchCore.engine_for("smoke", device="cpu")


def fitted(settings: Engine = SMOKE, seed: int = 1, **params: Any) -> PatchCore:
    return PatchCore(engine=settings, seed=seed, **params).fit(IMAGES, LABELS)


def described(images: Any) -> Tensor:
    """Return descriptors ``(n, h, w, D)``, of which each entry is an average worked out here."""
    maps = FrozenFeatures(SMOKE, PatchCore.taps).evaluate(ArrayImages(images), range(len(images)))
    pooled = []
    for scale in maps:
        n, channels, height, width = scale.shape
        ones = torch.ones(1, 1, height, width)
        box = torch.ones(1, 1, 3, 3)
        counts = functional.conv2d(ones, box, padding=1)
        sums = functional.conv2d(scale.reshape(-1, 1, height, width), box, padding=1)
        pooled.append((sums / counts).view(n, channels, height, width))
    size = pooled[0].shape[2:]
    pooled[1] = functional.interpolate(pooled[1], size, mode="bilinear", align_corners=False)
    return torch.cat(pooled, dim=1).permute(0, 2, 3, 1)


# Checks, each of which a fault below turns red.


def check_borders_are_averages_of_what_is_there() -> None:
    ramp = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    patches = patch_memory.describe([ramp])
    wanted = [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7]
    assert patches.flatten().tolist() == pytest.approx(wanted, abs=1e-6)


def check_the_memory_covers_the_patches() -> None:
    torch.manual_seed(3)
    points = torch.randn(30, 4)
    chosen = patch_memory.greedy_coreset(points, 8, projection=4)
    distances = torch.cdist(points, points)
    expected = [int(chosen[0])]
    while len(expected) < 8:
        expected.append(int(distances[:, expected].amin(dim=1).argmax()))
    assert chosen.tolist() == expected


def check_the_score_in_numbers() -> None:
    memory = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    patches = torch.tensor([[0.5], [5.0], [3.2]])
    # The farthest patch is 2 from the 3; the 3's two nearest are itself and the 1, 4 away.
    wanted = 2 * (1 - math.exp(2) / (math.exp(2) + math.exp(4)))
    assert wanted == pytest.approx(1.761594, abs=1e-6)
    assert patch_memory.reweighted_score(patches, memory, 2) == pytest.approx(wanted, abs=1e-6)


def check_labels_change_nothing() -> None:
    ten = fitted().score(UNSEEN)
    one = PatchCore(engine=SMOKE, seed=1).fit(IMAGES[:13], LABELS[:13]).score(UNSEEN)
    none = PatchCore(engine=SMOKE, seed=1).fit(NORMALS, LABELS[:12]).score(UNSEEN)
    assert ten.tolist() == one.tolist() == none.tolist()


def check_scores_are_of_the_patches_against_the_memory() -> None:
    method = fitted(coreset_ratio=1.0)
    memory = described(NORMALS).flatten(0, 2)
    torch.testing.assert_close(method.memory_, memory)
    for patches, score in zip(described(UNSEEN).flatten(1, 2), method.score(UNSEEN), strict=True):
        distances = torch.cdist(patches.double(), memory.double())
        worst = int(distances.amin(dim=1).argmax())
        centre = memory[int(distances[worst].argmin())]
        around = (memory - centre).double().norm(dim=1).topk(9, largest=False).indices
        nearest = distances[worst].min()
        weight = 1 - nearest.exp() / distances[worst, around].exp().sum()
        assert score == pytest.approx((weight * nearest).item(), rel=1e-4)


def check_what_is_in_the_memory_scores_zero() -> None:
    method = fitted(coreset_ratio=1.0)
    assert method.score(NORMALS).tolist() == pytest.approx([0] * 12, abs=1e-6)
    assert (method.score(UNSEEN) > 0).all()


def check_anomalies_score_higher() -> None:
    assert compute_metrics(TRUTH, fitted().score(UNSEEN))["auroc"] > 0.9


def check_a_score_depends_on_its_own_image() -> None:
    method = fitted()
    scores = method.score(UNSEEN)
    assert scores.dtype == np.float64
    order = np.random.default_rng(0).permutation(len(UNSEEN))
    assert (method.score(UNSEEN[order]) == scores[order]).all()
    assert [method.score(UNSEEN[[index]])[0] for index in range(18)] == scores.tolist()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


# What goes wrong in implementations of it, planted to see that it is found.

_learn, _describe, _reweighted = (
    PatchCore.learn,
    patch_memory.describe,
    patch_memory.reweighted_score,
)
_patches = PatchCore._patches


def learn_all(self: PatchCore, images: LazyImages, normals: Sequence[int]) -> None:
    _learn(self, images, range(len(images)))


def zeros_beyond_the_border(maps: Sequence[Tensor]) -> Tensor:
    padded = [functional.avg_pool2d(m, 3, stride=1, padding=1) for m in maps]
    return torch.cat(padded, dim=1).permute(0, 2, 3, 1).contiguous()


def first_stage_only(maps: Sequence[Tensor]) -> Tensor:
    return _describe(maps[:1])


def nearest_next(patches: Tensor, size: int, *, projection: int) -> Tensor:
    """Choose the patch that is nearest to those chosen."""
    chosen = [int(torch.randint(len(patches), ()))]
    distances = torch.cdist(patches, patches)
    while len(chosen) < min(size, len(patches)):
        closest = distances[:, chosen].amin(dim=1)
        closest[chosen] = torch.inf
        chosen.append(int(closest.argmin()))
    return torch.tensor(chosen)


def at_random(patches: Tensor, size: int, *, projection: int) -> Tensor:
    return torch.randperm(len(patches))[:size]


def without_weight(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    return float(patch_memory.nearest(patches, memory)[0].max())


def weight_inverted(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    largest = without_weight(patches, memory, neighbours)
    return largest - _reweighted(patches, memory, neighbours)


def least_distance(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    return float(patch_memory.nearest(patches, memory)[0].min())


def nearness(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    return -_reweighted(patches, memory, neighbours)


def neighbours_of_the_patch(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    """Weigh by the patch's own nearest ones in place of those of its nearest one."""
    distances, _ = patch_memory.nearest(patches, memory)
    worst = int(distances.argmax())
    around = (memory - patches[worst]).norm(dim=1).topk(neighbours, largest=False).values
    return float((1 - around.softmax(dim=0)[0]) * distances[worst])


def less_the_batchs_mean(self: PatchCore, images: LazyImages) -> Any:
    patches = list(_patches(self, images))
    mean = torch.stack(patches).mean(dim=0)
    return [p - 0.5 * mean for p in patches]


SCORES = check_scores_are_of_the_patches_against_the_memory
FAULTS: list[Fault] = [
    Fault("anomalies in the memory", PatchCore, "learn", learn_all, check_labels_change_nothing),
    Fault(
        "borders are darkened",
        patch_memory,
        "describe",
        zeros_beyond_the_border,
        check_borders_are_averages_of_what_is_there,
    ),
    Fault("one stage only", patch_memory, "describe", first_stage_only, SCORES),
    Fault(
        "the nearest is chosen next",
        patch_memory,
        "greedy_coreset",
        nearest_next,
        check_the_memory_covers_the_patches,
    ),
    Fault(
        "chosen at random",
        patch_memory,
        "greedy_coreset",
        at_random,
        check_the_memory_covers_the_patches,
    ),
    Fault(
        "no weight",
        patch_memory,
        "reweighted_score",
        without_weight,
        check_the_score_in_numbers,
    ),
    Fault(
        "the weight inverted",
        patch_memory,
        "reweighted_score",
        weight_inverted,
        check_the_score_in_numbers,
    ),
    Fault(
        "the weight inverted, in scores", patch_memory, "reweighted_score", weight_inverted, SCORES
    ),
    Fault(
        "the least distance",
        patch_memory,
        "reweighted_score",
        least_distance,
        check_the_score_in_numbers,
    ),
    Fault(
        "low scores are anomalous",
        patch_memory,
        "reweighted_score",
        nearness,
        check_anomalies_score_higher,
    ),
    Fault(
        "neighbours of the patch",
        patch_memory,
        "reweighted_score",
        neighbours_of_the_patch,
        SCORES,
    ),
    Fault(
        "scores depend on their batch",
        PatchCore,
        "_patches",
        less_the_batchs_mean,
        check_a_score_depends_on_its_own_image,
    ),
]


# The memory.


@pytest.mark.parametrize(("ratio", "size"), [(0.1, 77), (0.5, 384), (1.0, 768)])
def test_the_memory_is_a_share_of_all_patches(ratio: float, size: int) -> None:
    # 64 pixels have 8x8 patches of stride 8.
    method = fitted(coreset_ratio=ratio)
    assert method.memory_.shape == (size, 32 + 48)
    all_patches = described(NORMALS).flatten(0, 2)
    assert torch.cdist(method.memory_, all_patches).amin(dim=1).max() < 1e-3


def test_fewer_candidates_leave_the_memorys_size() -> None:
    method = fitted(coreset_ratio=0.1, candidates=120)
    assert len(method.memory_) == 77
    # Ten of each image; where the memory would be larger than that, all of them.
    assert len(fitted(coreset_ratio=0.5, candidates=120).memory_) == 120
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] > 0.9


@pytest.mark.parametrize(("ratio", "size"), [(0.01, 8), (1e-6, 1)])
def test_too_small_a_memory_is_refused(ratio: float, size: int) -> None:
    with pytest.raises(ContractError) as caught:
        fitted(coreset_ratio=ratio)
    assert str(caught.value) == (
        f"expected a memory of 9 patches or more, got {size} of 768: give more normal images, or "
        "a larger coreset_ratio or candidates"
    )
    assert len(fitted(coreset_ratio=0.01, neighbours=8).memory_) == 8


def test_candidates_fewer_than_the_neighbours_are_refused() -> None:
    # One candidate per image leaves a memory of twelve, however large a share is asked for.
    assert len(fitted(candidates=12).memory_) == 12
    with pytest.raises(ContractError, match="expected a memory of 20 patches or more, got 12"):
        fitted(candidates=12, neighbours=20)


def test_a_seed_decides_the_memory_and_the_callers_draws_are_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (fitted(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.memory_, again.memory_)
    assert not torch.equal(first.memory_, other.memory_)


# Its maps.


def test_maps_are_smoothed_distances_to_the_memory() -> None:
    method = fitted()
    images = [UNSEEN[0], UNSEEN[10][:48], UNSEEN[11][:, :40].repeat(3, axis=1)]
    maps = method.score_maps(images)
    assert [values.shape for values in maps] == [image.shape[:2] for image in images]
    for image, values in zip(images, maps, strict=True):
        [patches] = described([image])
        distances = torch.cdist(patches.flatten(0, 1), method.memory_).amin(dim=1)
        full = smoothed(upsampled(distances.view(1, 8, 8), 64))[0]
        wanted = resized_map(full, image.shape)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


def test_maps_are_larger_where_the_defect_is() -> None:
    anomalies = UNSEEN[9:]
    pink = (anomalies[..., 0] > 200) & (anomalies[..., 1] < 60)
    aurocs = [
        compute_metrics(mask.ravel().astype(int), values.ravel().astype(np.float64))["auroc"]
        for mask, values in zip(pink, fitted().score_maps(anomalies), strict=True)
    ]
    assert np.mean(aurocs) > 0.9


# Settings.


def test_presets_have_the_papers_backbone_or_their_own() -> None:
    by_preset = {
        preset: PatchCore(engine=preset) for preset in ("frozen", "paper", "paper-text", "smoke")
    }
    for preset in ("paper", "paper-text"):
        settings = by_preset[preset].engine
        assert settings.backbone == "wide_resnet50_2.tv_in1k"
        assert settings.image_sizes == (224,)
        assert not settings.train_backbone
        assert by_preset[preset].p.candidates == 0
        assert by_preset[preset].p.coreset_ratio == 0.01
        assert by_preset[preset].p.neighbours == 9
    assert by_preset["frozen"].engine.backbone == "tf_efficientnet_lite0"
    assert by_preset["frozen"].engine.image_sizes == (224,)
    assert by_preset["frozen"].p.coreset_ratio == 0.005
    assert by_preset["smoke"].engine.image_sizes == (64,)
    named = PatchCore.engine_for("paper", backbone="resnet18.tv_in1k", image_sizes=(96,))
    assert (named.backbone, named.image_sizes) == ("resnet18.tv_in1k", (96,))


def test_it_is_unsupervised_and_reads_two_stages() -> None:
    assert not PatchCore.supervised
    assert not PatchCore.is_control
    assert PatchCore().uses_backbone
    assert [tuple(tap) for tap in PatchCore.taps] == [(8, False), (16, False)]


def test_nothing_is_scored_before_a_fit() -> None:
    for ask in (PatchCore().score, PatchCore().score_maps):
        with pytest.raises(NotFittedError, match="call fit"):
            ask(UNSEEN)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"coreset_ratio": 0.0}, "patchcore.coreset_ratio=0.0: input should be greater than 0"),
        ({"coreset_ratio": 1.1}, "input should be less than or equal to 1"),
        ({"neighbours": 1}, "patchcore.neighbours=1: input should be greater than or equal to 2"),
        ({"projection": 0}, "patchcore.projection=0: input should be greater than or equal to 1"),
        ({"candidates": -1}, "patchcore.candidates=-1: input should be greater than or equal to 0"),
        ({"k": 3}, "patchcore has no parameter 'k'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        PatchCore(**params)
