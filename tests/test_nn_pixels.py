"""Networks that read the plain pixels, beside a backbone's maps or alone."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import osadbench.nn.fitting as fitting
from osadbench.images import resize
from osadbench.nn.backbones import Backbone
from osadbench.nn.endtoend import TrainedFeatures
from osadbench.nn.features import PLAIN, FrozenFeatures, View, padded, to_tensor
from osadbench.nn.images import ArrayImages
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.pixels import NoFeatures, plain_pixels
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(10, 4, 80, 1)
UNSEEN = toy_images(5, 4, 80, 2)[0]
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 6}


class Pixels(NetworkMethod):
    """One convolution on the pixels; keeps the maps of its training steps."""

    uses_backbone = False
    reads_pixels = True

    def build(self, channels: Sequence[int]) -> nn.Module:
        self.channels_ = list(channels)
        return nn.Conv2d(channels[-1], 1, kernel_size=8, stride=8)

    def before_training(self, network: Any, training: fitting.Training) -> None:
        self.batches_: list[list[Tensor]] = []
        self.drawn_: list[Tensor] = []
        draw = training.sampler.draw

        def noted() -> tuple[Tensor, Tensor]:
            indices, codes = draw()
            self.drawn_.append(indices)
            return indices, codes

        training.sampler.draw = noted  # type: ignore[method-assign]

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        self.batches_.append([scale.detach() for scale in maps])
        scores = self.image_scores(network, maps)
        return nn.functional.binary_cross_entropy_with_logits(scores, codes.float())

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, network(maps[-1])).flatten(1).mean(dim=1)


class Both(Pixels):
    """The same with a backbone's maps in the score."""

    uses_backbone = True

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        return super().image_scores(network, maps) + maps[0].mean(dim=(1, 2, 3))


def settings(**changes: Any) -> Engine:
    return engine("smoke", device="cpu", **changes)


def resized(images: Any, size: int = 64) -> Tensor:
    return to_tensor(np.stack([resize(image, size) for image in images]))


def fitted(kind: type[Pixels], asked: Engine | None = None) -> Pixels:
    return kind(engine=asked or settings(), seed=1, **SHORT).fit(IMAGES, LABELS)


def test_pixels_are_resized_and_lie_between_0_and_1() -> None:
    pixels = plain_pixels(ArrayImages(IMAGES), [3, 0], 48, torch.device("cpu"))
    assert pixels.shape == (2, 3, 48, 48)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, resized(IMAGES[[3, 0]], 48))
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_where_there_is_no_backbone_there_are_no_maps() -> None:
    features = NoFeatures(settings())
    images = ArrayImages(IMAGES)
    assert features.channels == ()
    assert features.maps(torch.tensor([0]), torch.tensor([0])) == []
    assert features.rows(images, [(0, PLAIN)]) == features.evaluate(images, [0]) == []
    assert features.differentiable(resized(IMAGES[:1])) == []


def test_pixels_alone_are_the_only_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "__init__", lambda *_: pytest.fail("built a backbone"))
    method = fitted(Pixels)
    assert method.channels_ == [3]
    for indices, maps in zip(method.drawn_, method.batches_, strict=True):
        assert len(maps) == 1
        assert torch.equal(maps[0], resized(IMAGES[indices.numpy()])), "of the largest size, plain"
    assert len(method.batches_) == 2
    assert np.isfinite(method.score(UNSEEN)).all()


def test_a_backbones_maps_come_first_and_pixels_last() -> None:
    method = fitted(Both)
    assert method.channels_ == [64, 3]
    features = FrozenFeatures(settings())
    for indices, maps in zip(method.drawn_, method.batches_, strict=True):
        assert [tuple(scale.shape[1:]) for scale in maps] == [(64, 2, 2), (64, 1, 1), (3, 64, 64)]
        assert torch.equal(maps[-1], resized(IMAGES[indices.numpy()]))
        plain = features.evaluate(ArrayImages(IMAGES), indices.tolist())
        assert all(map(torch.equal, maps[:-1], plain)), "maps and pixels show the same image"


@pytest.mark.parametrize("train", [False, True])
def test_there_is_no_augmentation_even_if_the_engine_has_views(train: bool) -> None:
    asked = settings(normal_views=3, seen_views=3, train_backbone=train, backbone="test_resnet")
    method = fitted(Both, asked)
    if train:
        # Gradients change the weights, not the images: the first batch's maps tell.
        features: Any = TrainedFeatures(asked)
        features.backbone.train()
    else:
        features = FrozenFeatures(asked)
    indices, maps = method.drawn_[0], method.batches_[0]
    pixels = resized(IMAGES[indices.numpy()])
    assert torch.equal(maps[-1], pixels)
    with torch.no_grad():
        wanted = features.differentiable(pixels)
    for got, other in zip(maps[:-1], wanted, strict=True):
        torch.testing.assert_close(got, other, rtol=2e-3, atol=1e-3)


def test_precomputed_views_are_plain_and_all_there_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(normal_views=3, cache_dir=str(tmp_path))
    requested: list[Any] = []
    compute = FrozenFeatures.compute

    def noted(self: FrozenFeatures, images: Any, requests: Any) -> None:
        requested.extend(requests)
        compute(self, images, requests)

    monkeypatch.setattr(FrozenFeatures, "compute", noted)
    Both(engine=asked, **SHORT).precompute(IMAGES, LABELS)
    assert sorted(requested) == [(index, PLAIN) for index in range(14)]
    Both(engine=asked, **SHORT).precompute(UNSEEN)
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("computed again"))
    Both(engine=asked, **SHORT).fit(IMAGES, LABELS).score(UNSEEN)


def test_nothing_is_precomputed_without_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "FrozenFeatures", lambda *_: pytest.fail("asked for features"))
    Pixels(engine=settings()).precompute(IMAGES, LABELS)
    Pixels(engine=settings()).precompute(IMAGES)


@pytest.mark.parametrize("kind", [Pixels, Both])
def test_scores_are_of_the_plain_pixels_whatever_stands_beside_them(kind: type[Pixels]) -> None:
    method = fitted(kind)
    scores = method.score(UNSEEN)
    maps = FrozenFeatures(settings()).evaluate(ArrayImages(UNSEEN), range(9))
    with torch.no_grad():
        network = method.network_
        wanted = method.image_scores(
            network, [padded(m, fitting.SCORE_BATCH) for m in [*maps, resized(UNSEEN)]]
        )
    assert scores.tolist() == wanted[:9].double().tolist()
    assert [method.score(UNSEEN[[index]])[0] for index in range(9)] == scores.tolist()
    assert (pickle.loads(pickle.dumps(method)).score(UNSEEN) == scores).all()


@pytest.mark.parametrize("kind", [Pixels, Both])
def test_normals_are_gone_through_with_their_pixels(kind: type[Pixels]) -> None:
    seen: list[list[Tensor]] = []

    class Centred(kind):  # type: ignore[misc, valid-type]
        def after_training(self, network: Any, training: fitting.Training) -> None:
            def noted(maps: list[Tensor]) -> Tensor:
                seen.append(maps)
                return maps[-1].mean(dim=(2, 3))

            self.centre_ = training.over_normals(noted)
            self.views_ = training.views([(0, PLAIN), (1, View("rotate", 0))])

    method: Any = fitted(Centred)
    torch.testing.assert_close(method.centre_, resized(IMAGES[:10]).mean(dim=(2, 3)))
    assert [len(maps) for maps in seen] == [3 if method.uses_backbone else 1]
    assert len(method.views_) == (2 if method.uses_backbone else 0), "views are of maps only"


@pytest.mark.parametrize("kind", [Pixels, Both])
def test_score_maps_are_gradients_for_the_pixels(kind: type[Pixels]) -> None:
    method = fitted(kind)
    maps = method.score_maps([UNSEEN[0], UNSEEN[1][:48]])
    assert [values.shape for values in maps] == [(80, 80), (48, 80)]
    assert all(np.isfinite(values).all() for values in maps)
