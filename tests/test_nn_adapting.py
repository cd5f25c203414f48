"""What a fitted network method does with normals of another domain."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from osadbench.errors import ContractError, NotFittedError
from osadbench.methods.dra import DRA
from osadbench.methods.dsvdd import DeepSVDD
from osadbench.methods.mlep import MLEP
from osadbench.nn.fitting import Training
from osadbench.nn.images import ArrayImages
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.sampler import NORMAL, OUTLIER, PSEUDO, REFERENCE, SEEN
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import FloatArray, ImageSequence

IMAGES, LABELS = toy_images(10, 4, 64, 1)
#: Another domain: the same textures in other colours.
TARGET = 255 - toy_images(6, 0, 64, 2)[0]
ZEROS = np.zeros(6)
UNSEEN = 255 - toy_images(3, 3, 64, 3)[0]
SHORT: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 8}


class Probe(NetworkMethod):
    """A linear head that notes what it is asked for, in order."""

    source: str | None = "cutmix"

    @property
    def pseudo_source(self) -> str | None:
        return self.source

    @property
    def n_references(self) -> int:
        return 2

    def build(self, channels: Sequence[int]) -> nn.Module:
        self.events_: list[Any] = ["build"]
        self.codes_: list[Tensor] = []
        return nn.Sequential(nn.BatchNorm1d(channels[0]), nn.Linear(channels[0], 1))

    def before_training(self, network: Any, training: Training) -> None:
        self.events_.append("before")
        self.notes_.append("prepared")

    def start_epoch(self, epoch: int) -> None:
        self.events_.append(epoch)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        assert network.training
        self.codes_.append(codes)
        return self.image_scores(network, maps).square().mean()

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, network(maps[0].mean(dim=(2, 3))))[:, 0]

    def after_training(self, network: Any, training: Training) -> None:
        assert not network.training
        self.events_.append(("after", len(training.images)))
        self.notes_.append("kept")


class WithOutliers(Probe):
    source = None

    @property
    def n_outliers(self) -> int:
        return 3


class OwnFit(Probe):
    """Does more than the shared loop, and does not say what is left of that when it adapts."""

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        return super().fit(X, y)


class OwnFitThatAdapts(OwnFit):
    def after_adapting(self, network: Any, training: Training) -> None:
        self.events_.append("adapted")


def smoke(**changes: Any) -> Engine:
    return engine("smoke", device="cpu", **changes)


def fitted(cls: type[NetworkMethod] = Probe, **params: Any) -> Any:
    settings = {"engine": smoke(), **SHORT, **params}
    return cls(**settings).fit(IMAGES, LABELS)


def adapted_scores(method: NetworkMethod, epochs: int = 3) -> FloatArray:
    return method.adapt(TARGET, ZEROS, epochs=epochs).score(UNSEEN)


def test_the_loop_goes_on_without_a_new_start() -> None:
    method = fitted()
    assert method.events_ == ["build", "before", 0, 1, ("after", 14)]
    network, losses = method.network_, list(method.losses_)
    fitted_digest = method.fitted_digest_
    assert method.adapt(TARGET, ZEROS, epochs=3) is method
    assert method.events_[5:] == [0, 1, 2, ("after", 6)]
    assert method.network_ is network and not network.training
    assert len(method.adapt_losses_) == 3 and method.losses_ == losses
    assert method.fitted_digest_ not in (fitted_digest, method.initial_digest_)
    assert method.params.epochs == 2
    assert method.notes_ == ["prepared", "kept", "while adapting: kept"]


def test_batches_hold_normals_pseudo_anomalies_and_references_only() -> None:
    method = fitted()
    assert SEEN in torch.cat(method.codes_)
    method.codes_.clear()
    method.adapt(TARGET, ZEROS, epochs=4)
    assert len(method.codes_) == 4 * 3
    assert {len(codes) for codes in method.codes_} == {8 + 2}
    assert {*torch.cat(method.codes_).tolist()} == {NORMAL, PSEUDO, REFERENCE}


def test_external_outliers_are_given_again() -> None:
    labels = np.where(LABELS == 1, [2] * 14, LABELS)
    method = WithOutliers(engine=smoke(), **SHORT).fit(IMAGES, labels)
    method.codes_.clear()
    images = np.concatenate([TARGET, IMAGES[-4:]])
    method.adapt(images, [0] * 6 + [2] * 4, epochs=1)
    assert {*torch.cat(method.codes_).tolist()} == {NORMAL, REFERENCE, OUTLIER}
    with pytest.raises(ContractError, match=r"external outliers \(label 2\), got none"):
        method.adapt(TARGET, ZEROS, epochs=1)


@pytest.mark.parametrize("train_backbone", [False, True])
def test_it_is_repeatable_and_leaves_the_callers_randomness_alone(train_backbone: bool) -> None:
    settings = smoke(train_backbone=train_backbone)
    first, second = (fitted(engine=settings, seed=4) for _ in range(2))
    before = first.score(UNSEEN)
    state = torch.get_rng_state()
    scores = adapted_scores(first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert adapted_scores(second).tobytes() == scores.tobytes()
    assert adapted_scores(fitted(engine=settings, seed=5)).tobytes() != scores.tobytes()
    assert np.abs(scores - before).max() > 1e-3


def test_a_trained_backbone_goes_on_too() -> None:
    method = fitted(engine=smoke(train_backbone=True))
    backbone = method._features.backbone
    before = [p.detach().clone() for p in backbone.parameters()]
    method.adapt(TARGET, ZEROS, epochs=1)
    assert method._features.backbone is backbone and not backbone.training
    assert any(not torch.equal(p, q) for p, q in zip(backbone.parameters(), before, strict=True))


def test_a_pickled_method_goes_on_alike() -> None:
    method = fitted()
    loaded = pickle.loads(pickle.dumps(method))
    assert adapted_scores(loaded).tobytes() == adapted_scores(method).tobytes()


def test_a_new_fit_forgets_it() -> None:
    method = fitted()
    scores = method.score(UNSEEN)
    method.adapt(TARGET, ZEROS, epochs=2)
    assert method.fit(IMAGES, LABELS).score(UNSEEN).tobytes() == scores.tobytes()
    assert method.notes_ == ["prepared", "kept"]


def test_what_is_refused() -> None:
    with pytest.raises(NotFittedError, match="Probe.adapt was called before fit"):
        Probe(engine=smoke()).adapt(TARGET, ZEROS, epochs=1)
    method = fitted()
    with pytest.raises(ContractError, match=r"expected no labelled anomalies \(label 1\) to adapt"):
        method.adapt(IMAGES, LABELS, epochs=1)
    with pytest.raises(ContractError, match="expected 1 or more epochs to adapt for, got 0"):
        method.adapt(TARGET, ZEROS, epochs=0)
    with pytest.raises(ContractError, match="expected 6 labels"):
        method.adapt(TARGET, ZEROS[:5], epochs=1)


def test_a_method_with_a_fit_of_its_own_says_whether_it_can() -> None:
    assert Probe(engine=smoke()).adapts
    method = fitted(OwnFit)
    assert not method.adapts
    with pytest.raises(ContractError, match="its fit is more than the shared loop"):
        method.adapt(TARGET, ZEROS, epochs=1)
    willing = fitted(OwnFitThatAdapts)
    assert willing.adapts
    willing.adapt(TARGET, ZEROS, epochs=1)
    assert willing.events_[-2:] == [0, "adapted"]


# --- methods ---


def test_dra_refers_to_the_targets_normals() -> None:
    method = DRA(engine=smoke(), n_ref=6, **SHORT).fit(IMAGES, LABELS)
    before = [scale.clone() for scale in method.references_]
    method.adapt(TARGET, ZEROS, epochs=1)
    # As many references as normals: their mean is that of all.
    wanted = method._features.evaluate(ArrayImages(TARGET), range(6))
    for found, maps, old in zip(method.references_, wanted, before, strict=True):
        torch.testing.assert_close(found, maps.mean(dim=0))
        assert not torch.allclose(found, old)
    assert np.isfinite(method.score(UNSEEN)).all()


def test_mlep_measures_from_the_targets_mean() -> None:
    method = MLEP(engine=smoke(), **SHORT).fit(IMAGES, LABELS)
    before = cast(Tensor, method.network_.centre).clone()
    method.adapt(TARGET, ZEROS, epochs=1)
    assert not torch.allclose(cast(Tensor, method.network_.centre), before)


def test_deep_svdd_keeps_its_centre() -> None:
    method = DeepSVDD(engine=smoke(), epochs=2, pretrain_epochs=1).fit(IMAGES, LABELS)
    centre = cast(Tensor, method.network_.centre).clone()
    far = method.score(TARGET).mean()
    method.adapt(TARGET, ZEROS, epochs=60)
    assert torch.equal(cast(Tensor, method.network_.centre), centre)
    assert method.score(TARGET).mean() < far


def test_the_seen_head_learns_that_the_target_is_normal() -> None:
    method = DRA(engine=smoke(), heads="seen", epochs=10, steps_per_epoch=10, lr=0.01, batch_size=8)
    method.fit(IMAGES, LABELS)
    before = method.score(TARGET).mean()
    method.adapt(TARGET, ZEROS, epochs=10)
    assert method.adapt_losses_[-1] < method.adapt_losses_[0] / 2
    assert method.score(TARGET).mean() < before / 2
