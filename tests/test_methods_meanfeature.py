from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from planted_faults import Check, Fault, each_check

from osadbench.errors import ParameterError
from osadbench.methods.meanfeature import MeanFeature
from osadbench.metrics import compute_metrics
from osadbench.nn.features import FrozenFeatures
from osadbench.nn.images import ArrayImages
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import FloatArray, UInt8Array

IMAGES, LABELS = toy_images(12, 4, 64, 1)
NORMALS = IMAGES[:12]
UNSEEN, TRUTH = toy_images(9, 9, 64, 2)
SETTINGS = engine("smoke", device="cpu")


def vectors(images: UInt8Array) -> FloatArray:
    """Return each image's global averages, averaged over the scales."""
    maps = FrozenFeatures(SETTINGS).evaluate(ArrayImages(images), range(len(images)))
    large, small = (scale.double().numpy() for scale in maps)
    averages: FloatArray = (large.mean(axis=(2, 3)) + small.mean(axis=(2, 3))) / 2
    return averages


def check_scores_are_distances_to_the_normals_mean() -> None:
    scores = MeanFeature(engine=SETTINGS).fit(IMAGES, LABELS).score(UNSEEN)
    expected = np.linalg.norm(vectors(UNSEEN) - vectors(NORMALS).mean(axis=0), axis=1)
    assert scores == pytest.approx(expected, rel=1e-9)
    assert scores.dtype == np.float64


def check_labelled_anomalies_and_seeds_change_nothing() -> None:
    with_anomalies = MeanFeature(engine=SETTINGS, seed=1).fit(IMAGES, LABELS).score(UNSEEN)
    without = MeanFeature(engine=SETTINGS, seed=2).fit(NORMALS, np.zeros(12)).score(UNSEEN)
    assert (with_anomalies == without).all()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def learn_from_all(self: Any, images: ArrayImages, normals: Sequence[int]) -> None:
    self.mean_ = self._vectors(images, range(len(images))).mean(axis=0)


def first_scale(self: Any, images: ArrayImages, indices: Sequence[int]) -> FloatArray:
    maps = self._features.evaluate(images, list(indices))
    averages: FloatArray = maps[0].double().mean(dim=(2, 3)).numpy()
    return averages


def absolute(self: Any, images: Any) -> FloatArray:
    lazy = ArrayImages(images)
    gaps: FloatArray = np.abs(self._vectors(lazy, range(len(lazy))) - self.mean_).sum(axis=1)
    return gaps


DISTANCES, ANOMALIES = (
    check_scores_are_distances_to_the_normals_mean,
    check_labelled_anomalies_and_seeds_change_nothing,
)
FAULTS: list[Fault] = [
    Fault("anomalies in the mean", MeanFeature, "learn", learn_from_all, ANOMALIES),
    Fault("one scale only", MeanFeature, "_vectors", first_scale, DISTANCES),
    Fault("another distance", MeanFeature, "score", absolute, DISTANCES),
]


def test_it_finds_easy_anomalies(smoke: Engine) -> None:
    scores = MeanFeature(engine=smoke).fit(IMAGES, LABELS).score(UNSEEN)
    assert compute_metrics(TRUTH, scores)["auroc"] >= 0.95


def test_one_normal_is_the_mean(smoke: Engine) -> None:
    method = MeanFeature(engine=smoke).fit(NORMALS[:1], [0])
    assert method.score(NORMALS[:1]) == pytest.approx([0], abs=1e-9)
    assert (method.score(UNSEEN) > 0).all()


def test_the_backbone_stays_frozen_in_every_preset() -> None:
    assert not MeanFeature.engine_for("paper").train_backbone
    assert not MeanFeature.engine_for("paper-text").train_backbone
    assert not MeanFeature.supervised


def test_it_has_no_parameters() -> None:
    with pytest.raises(ParameterError, match="meanfeature has no parameter 'k'"):
        MeanFeature(k=3)
