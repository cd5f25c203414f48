from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from planted_faults import Check, Fault, each_check

from osadbench.errors import ContractError, ParameterError
from osadbench.methods.knn import KNN
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.images import ArrayImages
from osadbench.settings import PRESETS, Engine, engine
from osadbench.testing import toy_images
from osadbench.types import FloatArray, ImageSequence, LazyImages, UInt8Array

IMAGES, LABELS = toy_images(12, 4, 64, 1)
NORMALS = IMAGES[:12]
UNSEEN = toy_images(9, 9, 64, 2)[0]
MEMORY = engine("smoke", device="cpu")


def vectors(smoke: Engine, images: UInt8Array) -> FloatArray:
    requests = [(index, PLAIN) for index in range(len(images))]
    rows = FrozenFeatures(smoke).rows(ArrayImages(images), requests)
    return np.concatenate([r.double().numpy().mean(axis=(2, 3)) for r in rows], axis=1)


def check_scores_are_mean_distances_to_the_nearest_normals() -> None:
    for k in (1, 5):
        scores = KNN(engine=MEMORY, k=k).fit(IMAGES, LABELS).score(UNSEEN)
        pairs = vectors(MEMORY, UNSEEN)[:, None] - vectors(MEMORY, NORMALS)[None]
        nearest = np.sort(np.linalg.norm(pairs, axis=2), axis=1)[:, :k]
        assert scores == pytest.approx(nearest.mean(axis=1), rel=1e-9)
        assert scores.dtype == np.float64


def check_a_training_normal_is_at_distance_zero() -> None:
    method = KNN(engine=MEMORY, k=1).fit(IMAGES, LABELS)
    assert method.score(NORMALS) == pytest.approx(np.zeros(12), abs=1e-9)
    assert (method.score(IMAGES[12:]) > 0).all()


def check_labelled_anomalies_and_seeds_change_nothing() -> None:
    with_anomalies = KNN(engine=MEMORY, seed=1).fit(IMAGES, LABELS).score(UNSEEN)
    without = KNN(engine=MEMORY, seed=2).fit(NORMALS, np.zeros(12)).score(UNSEEN)
    assert (with_anomalies == without).all()


def check_anomalies_score_higher() -> None:
    scores = KNN(engine=MEMORY).fit(IMAGES, LABELS).score(UNSEEN)
    assert scores[9:].mean() > scores[:9].mean()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


# What goes wrong in implementations of it, planted to see that it is found.

_learn, _score, _vectors = KNN.learn, KNN.score, KNN._vectors


def learn_all(self: KNN, images: LazyImages, normals: Sequence[int]) -> None:
    _learn(self, images, range(len(images)))


def nearness(self: KNN, X: ImageSequence) -> FloatArray:
    return -_score(self, X)


def farthest_of_the_nearest(self: KNN, X: ImageSequence) -> FloatArray:
    images = ArrayImages(np.asarray(X))
    distances, _ = self.neighbours_.kneighbors(self._vectors(images, range(len(images))))
    return np.asarray(distances[:, -1])


def one_scale(self: KNN, images: LazyImages, indices: Sequence[int]) -> FloatArray:
    return _vectors(self, images, indices)[:, :64]


def of_unit_length(self: KNN, images: LazyImages, indices: Sequence[int]) -> FloatArray:
    found = _vectors(self, images, indices)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def squared(self: KNN, X: ImageSequence) -> FloatArray:
    return np.asarray(_score(self, X) ** 2)


DISTANCES = check_scores_are_mean_distances_to_the_nearest_normals
FAULTS: list[Fault] = [
    Fault(
        "anomalies are neighbours too",
        KNN,
        "learn",
        learn_all,
        check_labelled_anomalies_and_seeds_change_nothing,
    ),
    Fault(
        "anomalies are neighbours too, seen on themselves",
        KNN,
        "learn",
        learn_all,
        check_a_training_normal_is_at_distance_zero,
    ),
    Fault("low scores are anomalous", KNN, "score", nearness, check_anomalies_score_higher),
    Fault("the k-th distance alone", KNN, "score", farthest_of_the_nearest, DISTANCES),
    Fault("squared distances", KNN, "score", squared, DISTANCES),
    Fault("one scale", KNN, "_vectors", one_scale, DISTANCES),
    Fault("vectors of unit length", KNN, "_vectors", of_unit_length, DISTANCES),
]


def test_as_many_neighbours_as_normals_take_them_all(smoke: Engine) -> None:
    scores = KNN(engine=smoke, k=12).fit(IMAGES, LABELS).score(UNSEEN)
    pairs = vectors(smoke, UNSEEN)[:, None] - vectors(smoke, NORMALS)[None]
    assert scores == pytest.approx(np.linalg.norm(pairs, axis=2).mean(axis=1), rel=1e-9)


def test_more_neighbours_than_normals_are_refused(smoke: Engine) -> None:
    with pytest.raises(ContractError) as caught:
        KNN(engine=smoke, k=13).fit(IMAGES, LABELS)
    assert str(caught.value) == (
        "k=13 neighbours need as many normal training images, got 12: give more images, or a "
        "smaller k"
    )


def test_no_preset_trains_its_backbone() -> None:
    for preset in PRESETS:
        assert not KNN(engine=preset).engine.train_backbone
        assert KNN(engine=preset).engine.image_sizes == engine(preset).image_sizes
    assert not KNN.supervised


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 0}, "knn.k=0: input should be greater than or equal to 1"),
        ({"k": 1.5}, "knn.k=1.5: input should be a valid integer"),
        ({"neighbours": 3}, "knn has no parameter 'neighbours'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        KNN(**params)
