"""What holds for every method that trains a network of heads, on a frozen backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from osadbench.errors import ContractError
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.metrics import compute_metrics
from osadbench.nn.backbones import Backbone, frozen_backbone
from osadbench.nn.fitting import SCORE_BATCH
from osadbench.nn.losses import LOSSES
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

Network = type[DRA] | type[DevNet]
KINDS: list[Network] = [DRA, DevNet]
IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, TRUTH = toy_images(20, 20, 64, 2)
#: Random features are small: the heads need long steps, and nothing that pulls them back.
LEARN: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.0, "epochs": 6, "steps_per_epoch": 10}
CPU = torch.device("cpu")

each = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine("smoke", device="cpu", cache_dir=str(tmp_path_factory.mktemp("cache")))


def fit(kind: Network, settings: Engine, **params: Any) -> DRA | DevNet:
    values: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2, **params}
    return kind(engine=settings, seed=1, **values).fit(IMAGES, LABELS)


@each
def test_learning_works(smoke: Engine, kind: Network) -> None:
    method = fit(kind, smoke, **LEARN)
    assert len(method.losses_) == 6
    assert method.losses_[-1] < 0.7 * method.losses_[0]
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] >= 0.95
    assert method.initial_digest_ != method.fitted_digest_


@each
def test_learning_is_what_tells_anomalies_apart(smoke: Engine, kind: Network) -> None:
    trained = fit(kind, smoke, **LEARN).score(UNSEEN)
    flipped = kind(engine=smoke, seed=1, **LEARN)
    flipped.fit(IMAGES[::-1], LABELS)  # four normals called anomalies, and the reverse
    gap = trained[TRUTH == 1].mean() - trained[TRUTH == 0].mean()
    other = flipped.score(UNSEEN)
    assert gap > other[TRUTH == 1].mean() - other[TRUTH == 0].mean()


@each
def test_the_first_step_reaches_every_tensor(smoke: Engine, kind: Network) -> None:
    method = fit(kind, smoke, steps_per_epoch=1, gradient_clip=0.0)
    for name, parameter in method.network_.named_parameters():
        assert parameter.grad is not None, name
        # The pulls of a normal and of an anomalous sample on a bias can cancel exactly.
        assert parameter.grad.any() or parameter.ndim == 1, name


@each
def test_a_frozen_backbone_stays_as_it_is(smoke: Engine, kind: Network) -> None:
    backbone = frozen_backbone(smoke, CPU)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fit(kind, smoke.model_copy(update={"cache_dir": None})).score(UNSEEN)
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not backbone.training


@each
@pytest.mark.parametrize("n_anomalies", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [2, 3, 48])
def test_few_anomalies_and_any_batch_size(
    smoke: Engine, kind: Network, n_anomalies: int, batch_size: int
) -> None:
    n = 12 + n_anomalies
    method = kind(engine=smoke, epochs=1, steps_per_epoch=4, batch_size=batch_size)
    scores = method.fit(IMAGES[:n], LABELS[:n]).score(UNSEEN)
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(scores).all()


@each
def test_one_normal_is_enough(smoke: Engine, kind: Network) -> None:
    method = kind(engine=smoke, epochs=1, steps_per_epoch=2)
    assert np.isfinite(method.fit(IMAGES[11:], LABELS[11:]).score(UNSEEN)).all()


@each
@pytest.mark.parametrize("n", [1, SCORE_BATCH - 1, SCORE_BATCH, SCORE_BATCH + 1, 40])
def test_scores_do_not_depend_on_how_many_are_scored(smoke: Engine, kind: Network, n: int) -> None:
    method = fit(kind, smoke)
    assert (method.score(UNSEEN[:n]) == method.score(UNSEEN)[:n]).all()


@each
def test_a_seed_decides_the_scores(smoke: Engine, kind: Network) -> None:
    first = fit(kind, smoke)
    torch.manual_seed(5)
    again = fit(kind, smoke)
    other = kind(engine=smoke, seed=2, epochs=1, steps_per_epoch=2).fit(IMAGES, LABELS)
    assert (again.score(UNSEEN) == first.score(UNSEEN)).all()
    assert again.fitted_digest_ == first.fitted_digest_
    assert not (other.score(UNSEEN) == first.score(UNSEEN)).any()
    assert other.initial_digest_ != first.initial_digest_


@each
def test_scores_do_not_depend_on_whether_features_were_cached(smoke: Engine, kind: Network) -> None:
    in_memory = smoke.model_copy(update={"cache_dir": None})
    assert (fit(kind, in_memory).score(UNSEEN) == fit(kind, smoke).score(UNSEEN)).all()


@each
def test_precomputing_leaves_nothing_to_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Network
) -> None:
    settings = engine("smoke", device="cpu", cache_dir=str(tmp_path))
    kind(engine=settings).precompute(IMAGES, LABELS)
    kind(engine=settings).precompute(UNSEEN)
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("computed again"))
    for seed in (1, 2):
        method = kind(engine=settings, seed=seed, epochs=1, steps_per_epoch=2)
        method.fit(IMAGES, LABELS).score(UNSEEN)


@each
def test_one_shot_needs_no_features_beyond_ten_shots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Network
) -> None:
    settings = engine("smoke", device="cpu", cache_dir=str(tmp_path))
    kind(engine=settings).precompute(IMAGES, LABELS)
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("computed again"))
    one_shot = np.r_[:12, 14]
    method = kind(engine=settings, epochs=1, steps_per_epoch=2)
    method.fit(IMAGES[one_shot], LABELS[one_shot])


@each
def test_a_loss_that_is_no_number_is_reported(
    smoke: Engine, kind: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "deviation", lambda scores, targets: scores.sum() * float("nan"))
    with pytest.raises(ContractError, match="the training loss became nan in epoch 1: try a lower"):
        fit(kind, smoke)


@each
def test_any_seed_works(smoke: Engine, kind: Network) -> None:
    method = kind(engine=smoke, seed=2**64 + 1, epochs=1, steps_per_epoch=1)
    assert np.isfinite(method.fit(IMAGES, LABELS).score(UNSEEN[:2])).all()


def test_the_augmentation_of_normals_is_a_setting(smoke: Engine) -> None:
    turned = smoke.model_copy(update={"normal_views": 2})
    scores = [fit(DevNet, settings).score(UNSEEN) for settings in (smoke, turned)]
    assert (scores[0] != scores[1]).any()
