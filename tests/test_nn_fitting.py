"""What a fit gives to a network method: batches with their roles, hooks, looks at the normals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from osadbench.errors import ContractError
from osadbench.methods.devnet import DevNet
from osadbench.nn.endtoend import TrainedFeatures
from osadbench.nn.features import PLAIN, FrozenFeatures, View
from osadbench.nn.fitting import SCORE_BATCH, Training
from osadbench.nn.images import ArrayImages
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.sampler import (
    NORMAL,
    OUTLIER,
    PSEUDO,
    REFERENCE,
    SEEN,
    BalancedSampler,
    ShuffledSampler,
)
from osadbench.nn.schedule import OptimiserParams
from osadbench.settings import Engine, engine
from osadbench.taps import LAST, Tap
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(14, 6, 64, 1)
#: Anomalies first, then normals and external outliers in turn.
ORDER = [14, 15, 16, *range(14), 17, 18, 19]
MIXED = IMAGES[ORDER]
THREE = np.array([1, 1, 1, *[0] * 14, 2, 2, 2])
TWO = np.where(THREE == 2, 1, THREE)
NORMALS = list(range(3, 17))
SHORT: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 3, "batch_size": 8}


class Probe(NetworkMethod):
    """A linear head that notes what it is given, in order."""

    source: str | None = None
    references = 0
    outliers = 0

    @property
    def pseudo_source(self) -> str | None:
        return self.source

    @property
    def n_references(self) -> int:
        return self.references

    @property
    def n_outliers(self) -> int:
        return self.outliers

    def build(self, channels: Sequence[int]) -> nn.Module:
        self.events_: list[Any] = ["build"]
        self.codes_: list[Tensor] = []
        self.sizes_: list[int] = []
        self.channels_ = list(channels)
        return nn.Sequential(nn.BatchNorm1d(channels[0]), nn.Linear(channels[0], 1))

    def before_training(self, network: Any, training: Training) -> None:
        self.training_ = training
        self.events_.append(("before", network.training, float(torch.rand(()))))

    def start_epoch(self, epoch: int) -> None:
        self.events_.append(("epoch", epoch))

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        self.events_.append(("loss", network.training))
        self.codes_.append(codes)
        self.sizes_ += [len(scale) for scale in maps]
        return self.image_scores(network, maps).square().mean()

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, network(maps[0].mean(dim=(2, 3))))[:, 0]

    def after_training(self, network: Any, training: Training) -> None:
        self.events_.append(("after", network.training, self.network_ is network))


def smoke(**changes: Any) -> Engine:
    return engine("smoke", device="cpu", **changes)


def fitted(
    kind: type[Probe] = Probe, labels: npt.NDArray[np.int64] = TWO, asked: Engine | None = None
) -> Any:
    return kind(engine=asked or smoke(), seed=1, **SHORT).fit(MIXED, labels)


# What a batch holds.


def test_references_and_outliers_stand_behind_the_batch_under_their_codes() -> None:
    class All(Probe):
        source = "cutmix"
        references = 3
        outliers = 2

    method = fitted(All, THREE)
    assert method.needs_outliers
    assert set(method.sizes_) == {8 + 3 + 2}
    for codes in method.codes_:
        assert set(codes[:4].tolist()) <= {NORMAL, PSEUDO}
        assert codes[4:].tolist() == [SEEN] * 4 + [REFERENCE] * 3 + [OUTLIER] * 2
    assert PSEUDO in torch.cat(method.codes_)


def test_references_are_marked_even_if_they_are_pseudo_anomalies() -> None:
    drawn: list[Tensor] = []

    class Mixed(Probe):
        source = "cutmix"
        references = 20

        def before_training(self, network: Any, training: Training) -> None:
            super().before_training(network, training)
            maps = training.training_set.maps

            def noted(indices: Tensor, codes: Tensor) -> list[Tensor]:
                drawn.append(codes)
                return maps(indices, codes)

            training.training_set.maps = noted  # type: ignore[method-assign]

    method = fitted(Mixed)
    for given, codes in zip(drawn, method.codes_, strict=True):
        assert set(given[8:].tolist()) == {NORMAL, PSEUDO}, "as they are drawn and augmented"
        assert codes[8:].tolist() == [REFERENCE] * 20, "as the loss is told"
        assert torch.equal(given[:8], codes[:8])


def test_external_pseudo_anomalies_come_from_label_2() -> None:
    class External(Probe):
        source = "external"

    method = fitted(External, THREE)
    assert method.needs_outliers
    assert set(torch.cat(method.codes_).tolist()) == {NORMAL, SEEN, PSEUDO}
    assert method.training_.sampler.pseudo_probability == 0.5


@pytest.mark.parametrize("source", [None, "cutmix", "external"])
def test_the_default_sampler_is_balanced(source: str | None) -> None:
    method = Probe(engine=smoke(), batch_size=10)
    method.source = source
    sampler = method.sampler(torch.from_numpy(THREE))
    assert isinstance(sampler, BalancedSampler)
    assert sampler.batch_size == 10
    assert sampler.pseudo_probability == (0.5 if source else 0)


def test_outliers_are_needed_by_those_that_use_them_and_refused_by_others() -> None:
    class Exposed(Probe):
        outliers = 2

    with pytest.raises(ContractError, match="expected images of other data as external outliers"):
        fitted(Exposed, TWO)
    with pytest.raises(ContractError, match=r"expected labels of 0 \(normal\) and 1 \(labelled"):
        fitted(Probe, THREE)


def test_maps_come_by_size_and_then_by_tap() -> None:
    shapes: list[list[tuple[int, ...]]] = []

    class Tapped(Probe):
        taps = (Tap(8), Tap(16, max_pool=True), LAST)

        def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
            shapes.append([tuple(scale.shape[1:]) for scale in maps])
            return super().loss(network, maps, codes)

    method = fitted(Tapped)
    assert method.channels_ == [32, 48, 64]
    per_size = [[(32, s, s), (48, s // 4, s // 4), (64, s // 4, s // 4)] for s in (8, 4)]
    assert shapes == [[*per_size[0], *per_size[1]]] * 6


# The order of a fit.


def test_the_hooks_come_in_order_and_in_their_modes() -> None:
    method = fitted()
    step = ("loss", True)
    draw = method.events_[1][2]
    assert method.events_ == [
        "build",
        ("before", True, draw),
        *[("epoch", 0), step, step, step],
        *[("epoch", 1), step, step, step],
        ("after", False, True),
    ]
    assert fitted().events_[1][2] == draw, "hooks draw from the fit's seed"


def test_the_hooks_leave_the_callers_randomness_alone() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    fitted()
    assert torch.equal(torch.get_rng_state(), state)


def test_no_epochs_leave_the_network_as_it_was_drawn() -> None:
    method = Probe(engine=smoke(), seed=1, **{**SHORT, "epochs": 0}).fit(MIXED, TWO)
    assert method.losses_ == []
    assert method.initial_digest_ == method.fitted_digest_
    assert method.events_[-1] == ("after", False, True)
    assert len(method.events_) == 3
    assert len(set(method.score(MIXED))) == len(MIXED)


@pytest.mark.parametrize(("batch_size", "steps"), [(17, 1), (15, 2), (7, 3), (5, 4)])
def test_zero_steps_an_epoch_are_one_pass_over_the_training_images(
    batch_size: int, steps: int
) -> None:
    class Passing(Probe):
        def sampler(self, labels: Tensor) -> ShuffledSampler:
            params = cast(OptimiserParams, self.params)
            return ShuffledSampler(labels, batch_size=params.batch_size)

    kind = Passing(engine=smoke(), epochs=2, steps_per_epoch=0, batch_size=batch_size)
    method = kind.fit(MIXED[:17], TWO[:17])
    per_epoch = [sum(map(len, method.codes_[n * steps : (n + 1) * steps])) for n in (0, 1)]
    assert per_epoch == [17, 17]
    assert len(method.codes_) == 2 * steps


def test_notes_are_of_the_last_fit() -> None:
    class Noting(Probe):
        def after_training(self, network: Any, training: Training) -> None:
            self.notes_.append("something was odd")

    method = fitted(Noting)
    assert method.notes_ == ["something was odd"]
    assert method.fit(MIXED, TWO).notes_ == ["something was odd"]
    assert fitted().notes_ == []


# The training images, seen by a method.


def preset(train: bool) -> Engine:
    return smoke(train_backbone=train, backbone="test_resnet")


def reached(train: bool, hook: str, look: Callable[[Any, Training], None]) -> Any:
    """Fit a probe that takes a look in a hook."""

    def looking(self: Probe, network: Any, training: Training) -> None:
        getattr(Probe, hook)(self, network, training)
        look(network, training)

    kind = type("Looking", (Probe,), {hook: looking})
    return fitted(kind, asked=preset(train))


@pytest.mark.parametrize("hook", ["before_training", "after_training"])
@pytest.mark.parametrize("train", [False, True])
def test_a_look_at_the_normals_restores_modes_and_carries_no_gradients(
    train: bool, hook: str
) -> None:
    seen: list[Any] = []

    def look(network: Any, training: Training) -> None:
        modules = training.modules
        assert len(modules) == 1 + train
        before = [module.training for module in modules]
        assert before == [hook == "before_training"] * len(modules)
        buffers = [b.clone() for module in modules for b in module.buffers()]

        def one(maps: list[Tensor]) -> Tensor:
            assert not torch.is_grad_enabled()
            assert not any(part.training for module in modules for part in module.modules())
            return cast(Tensor, network(maps[0].mean(dim=(2, 3))))

        scores = training.over_normals(one)
        views = training.views([(0, PLAIN), (5, View("rotate", 1)), (3, View("cutmix", 0))])
        assert not scores.requires_grad
        assert not any(scale.requires_grad for scale in views)
        assert [module.training for module in modules] == before
        assert torch.is_grad_enabled()
        after = [b for module in modules for b in module.buffers()]
        assert all(map(torch.equal, buffers, after)), "batch norm learnt from a look"
        seen.append((scores, views))

    method = reached(train, hook, look)
    [(scores, views)] = seen
    assert scores.shape == (14, 1)
    assert [len(scale) for scale in views] == [3, 3]
    assert [scale.dtype for scale in views] == [torch.float32] * 2
    assert method.losses_[0] > 0


def test_a_failing_look_restores_the_modes_too() -> None:
    def look(network: Any, training: Training) -> None:
        def fail(maps: list[Tensor]) -> Tensor:
            raise KeyError

        with pytest.raises(KeyError):
            training.over_normals(fail)
        assert network.training
        assert torch.is_grad_enabled()

    reached(True, "before_training", look)


@pytest.mark.parametrize("train", [False, True])
def test_the_normals_are_plain_and_in_order(train: bool) -> None:
    seen: list[Tensor] = []

    def look(network: Any, training: Training) -> None:
        seen.append(training.over_normals(lambda maps: maps[0].flatten(1)))
        features = training.features
        maps = features.evaluate(ArrayImages(MIXED), NORMALS)[0]
        torch.testing.assert_close(seen[0], maps.flatten(1))

    reached(train, "after_training", look)
    assert len(seen[0]) == 14


def test_many_normals_come_in_batches_that_are_joined() -> None:
    n = SCORE_BATCH + 3
    images, labels = toy_images(n, 2, 32, 3)
    sizes: list[int] = []
    means: list[Tensor] = []

    class Counting(Probe):
        def after_training(self, network: Any, training: Training) -> None:
            def one(maps: list[Tensor]) -> Tensor:
                sizes.append(len(maps[0]))
                return maps[0].mean(dim=(1, 2, 3))

            means.append(training.over_normals(one))

    Counting(engine=smoke(image_sizes=(32,)), **SHORT).fit(images, labels)
    assert sizes == [SCORE_BATCH, 3]
    features = FrozenFeatures(smoke(image_sizes=(32,)))
    wanted = features.evaluate(ArrayImages(images), range(n))[0].mean(dim=(1, 2, 3))
    torch.testing.assert_close(means[0], wanted)


@pytest.mark.parametrize("train", [False, True])
def test_views_are_the_ones_that_are_asked_for(train: bool) -> None:
    requests = [(7, View("cutmix", 2)), (7, PLAIN), (0, View("rotate", 3)), (7, PLAIN)]

    def look(network: Any, training: Training) -> None:
        views = training.views(requests)
        features = training.features
        assert isinstance(features, TrainedFeatures if train else FrozenFeatures)
        wanted = features.rows(ArrayImages(MIXED), requests)
        for scale, other in zip(views, wanted, strict=True):
            torch.testing.assert_close(scale, other.float())
        assert torch.equal(views[0][1], views[0][3])
        assert not torch.equal(views[0][0], views[0][1])

    reached(train, "after_training", look)


def test_a_trained_backbone_is_among_the_modules_and_its_tensors_are_counted() -> None:
    frozen, trained = (fitted(asked=preset(train)) for train in (False, True))
    assert len(frozen.training_.modules) == 1
    backbone = trained.training_.features.backbone
    assert trained.training_.modules[1] is backbone
    assert all(p.grad is not None for p in backbone.parameters())
    assert frozen.initial_digest_ != trained.initial_digest_


def test_the_fitted_network_rests_beside_the_features() -> None:
    method = DevNet(engine=smoke(), **SHORT).fit(MIXED, TWO)
    assert next(method.network_.parameters()).device == method._features.device
    assert not method.network_.training
