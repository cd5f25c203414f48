from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osadbench.errors import ParameterError
from osadbench.methods.knn import KNN
from osadbench.nn.backbones import Backbone
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.images import ArrayImages
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import FloatArray, UInt8Array

IMAGES, LABELS = toy_images(12, 4, 64, 1)
NORMALS = IMAGES[:12]
UNSEEN = toy_images(9, 9, 64, 2)[0]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine("smoke", device="cpu", cache_dir=str(tmp_path_factory.mktemp("cache")))


def vectors(smoke: Engine, images: UInt8Array) -> FloatArray:
    requests = [(index, PLAIN) for index in range(len(images))]
    rows = FrozenFeatures(smoke).rows(ArrayImages(images), requests)
    return np.concatenate([r.double().numpy().mean(axis=(2, 3)) for r in rows], axis=1)


@pytest.mark.parametrize("k", [1, 5])
def test_scores_are_mean_distances_to_the_nearest_normals(smoke: Engine, k: int) -> None:
    scores = KNN(engine=smoke, k=k).fit(IMAGES, LABELS).score(UNSEEN)
    pairs = vectors(smoke, UNSEEN)[:, None] - vectors(smoke, NORMALS)[None]
    nearest = np.sort(np.linalg.norm(pairs, axis=2), axis=1)[:, :k]
    assert scores == pytest.approx(nearest.mean(axis=1), rel=1e-9)
    assert scores.dtype == np.float64


def test_more_neighbours_than_normals_take_them_all(smoke: Engine) -> None:
    many, all_of_them = (KNN(engine=smoke, k=k).fit(IMAGES, LABELS) for k in (100, 12))
    assert (many.score(UNSEEN) == all_of_them.score(UNSEEN)).all()


def test_a_training_normal_is_at_distance_zero(smoke: Engine) -> None:
    method = KNN(engine=smoke, k=1).fit(IMAGES, LABELS)
    assert method.score(NORMALS) == pytest.approx(np.zeros(12), abs=1e-9)
    assert (method.score(IMAGES[12:]) > 0).all()


def test_labelled_anomalies_and_seeds_change_nothing(smoke: Engine) -> None:
    with_anomalies = KNN(engine=smoke, seed=1).fit(IMAGES, LABELS).score(UNSEEN)
    without = KNN(engine=smoke, seed=2).fit(NORMALS, np.zeros(12)).score(UNSEEN)
    assert (with_anomalies == without).all()


def test_scores_do_not_depend_on_other_images(smoke: Engine) -> None:
    method = KNN(engine=smoke).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert [method.score(UNSEEN[[index]])[0] for index in range(18)] == scores.tolist()


def test_precomputing_leaves_nothing_to_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = engine("smoke", device="cpu", cache_dir=str(tmp_path))
    KNN(engine=settings).precompute(IMAGES, LABELS)
    KNN(engine=settings).precompute(UNSEEN)
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("computed again"))
    KNN(engine=settings).fit(IMAGES, LABELS).score(UNSEEN)


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
