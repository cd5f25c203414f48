"""The base of methods that look at plain maps only."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from osadbench.errors import ContractError
from osadbench.nn.backbones import Backbone
from osadbench.nn.feature_method import FeatureMethod
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.images import ArrayImages, as_lazy_images
from osadbench.registry import METHODS
from osadbench.settings import PRESETS, Engine, engine
from osadbench.taps import Tap
from osadbench.testing import toy_images
from osadbench.types import FloatArray, ImageSequence, LazyImages

IMAGES, LABELS = toy_images(6, 3, 64, 1)
#: Normals and anomalies in turn, so that an index into the one is none into the other.
ORDER = [6, 0, 1, 7, 2, 3, 8, 4, 5]
MIXED, MIXED_LABELS = IMAGES[ORDER], LABELS[ORDER]
NORMALS = np.flatnonzero(MIXED_LABELS == 0).tolist()
KINDS: list[type[FeatureMethod]] = [
    kind for kind in map(METHODS.get, METHODS.names()) if issubclass(kind, FeatureMethod)
]


class Noted(FeatureMethod):
    """Keeps what it was given; scores by the first channel's mean."""

    taps = (Tap(8), Tap(16, max_pool=True))

    def learn(self, images: LazyImages, normals: Sequence[int]) -> None:
        self.normals_ = list(normals)
        self.identities_ = [images.identities[index] for index in normals]
        self.draw_ = torch.rand(3)
        self.maps_ = list(self.batches(images, normals, size=4))

    def score(self, X: ImageSequence) -> FloatArray:
        self._require_fitted("normals_")
        images = as_lazy_images(X)
        parts = [maps[0][:, 0].mean(dim=(1, 2)) for maps in self.batches(images, range(len(X)))]
        return torch.cat(parts).double().numpy()


@pytest.fixture
def smoke(tmp_path: Path) -> Engine:
    return engine("smoke", device="cpu", cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every pass through the backbone."""
    made: list[int] = []
    forward = Backbone.forward

    def counted(self: Backbone, images: Tensor, *taps: Any) -> list[Tensor]:
        made.append(len(images))
        return forward(self, images, *taps)

    monkeypatch.setattr(Backbone, "forward", counted)
    return made


def test_it_learns_from_the_normal_images_alone(smoke: Engine) -> None:
    method = Noted(engine=smoke)
    assert method.fit(MIXED, MIXED_LABELS) is method
    assert method.normals_ == NORMALS == [1, 2, 4, 5, 7, 8]
    assert method.identities_ == ArrayImages(IMAGES[:6]).identities


def test_maps_are_those_of_plain_images_by_size_and_tap(smoke: Engine) -> None:
    method = Noted(engine=smoke).fit(MIXED, MIXED_LABELS)
    assert [len(maps[0]) for maps in method.maps_] == [4, 2]
    joined = [torch.cat(scale) for scale in zip(*method.maps_, strict=True)]
    assert [scale.dtype for scale in joined] == [torch.float32] * 4
    features = FrozenFeatures(smoke, Noted.taps)
    wanted = features.rows(ArrayImages(IMAGES), [(index, PLAIN) for index in range(6)])
    assert all(torch.equal(a, b.float()) for a, b in zip(joined, wanted, strict=True))


def test_a_seed_decides_the_draws_and_the_callers_are_left_alone(smoke: Engine) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first, again, other = (Noted(engine=smoke, seed=s).fit(MIXED, MIXED_LABELS) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.draw_, again.draw_)
    assert not torch.equal(first.draw_, other.draw_)


def test_precomputing_fills_the_cache_with_what_fit_and_score_need(
    smoke: Engine, forwards: list[int]
) -> None:
    Noted(engine=smoke).precompute(MIXED, MIXED_LABELS)
    n_fit = sum(forwards)
    # One batch of eight at two sizes: six normals, and no labelled anomaly.
    assert n_fit == 16
    Noted(engine=smoke).precompute(MIXED)
    assert sum(forwards) == 32
    Noted(engine=smoke).fit(MIXED, MIXED_LABELS).score(MIXED)
    assert sum(forwards) == 32


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_precomputing_leaves_no_method_anything_to_compute(
    kind: type[FeatureMethod], smoke: Engine, forwards: list[int]
) -> None:
    settings = kind.engine_for("smoke", device="cpu", cache_dir=smoke.cache_dir)
    kind(engine=settings).precompute(MIXED, MIXED_LABELS)
    kind(engine=settings).precompute(MIXED)
    assert forwards
    forwards.clear()
    method = kind(engine=settings).fit(MIXED, MIXED_LABELS)
    method.score(MIXED)
    if kind.score_maps is not FeatureMethod.score_maps:
        method.score_maps(MIXED[:2])
    assert not forwards


def test_precomputing_for_a_fit_leaves_the_anomalies_out(
    smoke: Engine, forwards: list[int]
) -> None:
    Noted(engine=smoke).precompute(MIXED, MIXED_LABELS)
    features = FrozenFeatures(smoke, Noted.taps)
    forwards.clear()
    features.rows(ArrayImages(MIXED), [(index, PLAIN) for index in NORMALS])
    assert not forwards
    features.rows(ArrayImages(MIXED), [(0, PLAIN)])
    assert forwards


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_trains_the_backbone(preset: str) -> None:
    settings = Noted.engine_for(preset)
    assert not settings.train_backbone
    assert settings.backbone == engine(preset).backbone
    assert Noted(engine=preset).engine == settings


def test_an_engine_that_trains_backbones_changes_nothing(smoke: Engine) -> None:
    # Settings that were made for another method: the backbone is taken as it is.
    asked = smoke.model_copy(update={"train_backbone": True})
    scores = [Noted(engine=e).fit(MIXED, MIXED_LABELS).score(MIXED) for e in (smoke, asked)]
    assert (scores[0] == scores[1]).all()


def test_it_takes_no_labels_and_needs_a_backbone() -> None:
    assert not Noted.supervised
    assert Noted().uses_backbone
    assert not Noted().needs_outliers


def test_a_pickle_keeps_the_scores(smoke: Engine) -> None:
    method = Noted(engine=smoke).fit(MIXED, MIXED_LABELS)
    assert (pickle.loads(pickle.dumps(method)).score(MIXED) == method.score(MIXED)).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones(9), "expected at least one normal image"),
        (np.full(9, 2), "expected labels of 0"),
        (np.zeros(8), "expected 9 labels, one for each image"),
    ],
)
def test_wrong_labels_are_refused(smoke: Engine, labels: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Noted(engine=smoke).fit(MIXED, labels)
