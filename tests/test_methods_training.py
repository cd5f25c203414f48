"""What holds for every method that trains a network, whatever the network is."""

from __future__ import annotations

import functools
import pickle
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

import osadbench.nn.fitting as fitting
from osadbench.errors import ContractError, NotFittedError
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.metrics import compute_metrics
from osadbench.nn.backbones import Backbone, frozen_backbone
from osadbench.nn.endtoend import TrainedFeatures
from osadbench.nn.features import FrozenFeatures
from osadbench.nn.fitting import SCORE_BATCH
from osadbench.nn.heads import ResidualHead
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import OptimiserParams
from osadbench.registry import METHODS
from osadbench.settings import Engine
from osadbench.testing import toy_images
from osadbench.types import FloatArray, UInt8Array

Kind = type[NetworkMethod]
KINDS: list[Kind] = [
    kind for kind in map(METHODS.get, METHODS.names()) if issubclass(kind, NetworkMethod)
]
IMAGES, LABELS = toy_images(12, 4, 64, 1)
#: Images of other data, for the methods that take some.
OTHERS = toy_images(0, 6, 64, 9, green=True)[0][:, ::-1].copy()
UNSEEN, TRUTH = toy_images(20, 20, 64, 2)
#: Random features are small: heads need long steps, and nothing that pulls them back.
LEARN: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.0, "epochs": 6, "steps_per_epoch": 10}
#: What makes a fit short, where a method has the parameter.
SHORT: dict[str, Any] = {
    "epochs": 1,
    "steps_per_epoch": 2,
    "pretrain_epochs": 1,
    "meta_epochs": 1,
    "outer_steps": 1,
}
CPU = torch.device("cpu")
#: All tests of this file compute a feature once; the folder goes when Python ends.
CACHE = tempfile.TemporaryDirectory(prefix="osadbench-")

each = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def smoke(kind: Kind, **changes: Any) -> Engine:
    """Return the method's smoke settings, with the smallest backbone for all of them."""
    base = {"device": "cpu", "cache_dir": CACHE.name, "backbone": "test_efficientnet"}
    return kind.engine_for("smoke", **{**base, **changes})


def data(
    kind: Kind,
    images: Sequence[UInt8Array] | UInt8Array = IMAGES,
    labels: npt.NDArray[np.int64] = LABELS,
) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return training data, with external images behind them where the method takes some."""
    if not kind(engine=smoke(kind)).needs_outliers:
        return images, labels
    return [*images, *OTHERS], np.r_[labels, [2] * len(OTHERS)]


def few(n_anomalies: int, n_normals: int = 12) -> tuple[UInt8Array, npt.NDArray[np.int64]]:
    chosen = np.r_[:n_normals, 12 : 12 + n_anomalies]
    return IMAGES[chosen], LABELS[chosen]


def params_of(kind: Kind, **params: Any) -> dict[str, Any]:
    """Return those of the parameters that the method has and that can be set."""
    return {
        name: value
        for name, value in params.items()
        if name in kind.Params.model_fields and name not in kind.fixed
    }


def short(kind: Kind, settings: Engine | None = None, seed: int = 1, **params: Any) -> Any:
    """Return a method that trains for two steps."""
    values = params_of(kind, **{**SHORT, **params})
    return kind(engine=settings or smoke(kind), seed=seed, **values)


@functools.cache
def fitted(kind: Kind) -> Any:
    return short(kind).fit(*data(kind))


@functools.cache
def scores_of(kind: Kind) -> FloatArray:
    scores: FloatArray = fitted(kind).score(UNSEEN)
    return scores


def skip_if_untrained(kind: Kind) -> None:
    if kind.is_control:
        pytest.skip("it learns nothing, on purpose")


def learnt(kind: Kind) -> Any:
    """Return a method with parameters that it learns the toy task with."""
    preset = cast(OptimiserParams, kind.resolve_params("smoke", {}))
    # Those that go through passes come with a smoke preset that lets them learn.
    params = params_of(kind, **LEARN) if preset.steps_per_epoch else {}
    return kind(engine=smoke(kind), seed=1, **params_of(kind, **params))


def test_all_kinds_are_here() -> None:
    assert {"dra", "devnet", "untrained"} < {kind.name for kind in KINDS}
    assert len(KINDS) >= 12


# Learning.


@functools.cache
def learnt_scores(kind: Kind) -> tuple[Any, FloatArray]:
    method = learnt(kind)
    return method, method.fit(*data(kind)).score(UNSEEN)


@each
def test_learning_works(kind: Kind) -> None:
    skip_if_untrained(kind)
    method, scores = learnt_scores(kind)
    params = cast(OptimiserParams, method.params)
    assert len(method.losses_) == params.epochs >= 6
    assert np.isfinite(method.losses_).all()
    assert method.losses_[-1] < 0.7 * method.losses_[0]
    assert compute_metrics(TRUTH, scores)["auroc"] >= 0.95
    assert method.initial_digest_ != method.fitted_digest_


def gap(scores: FloatArray) -> float:
    """Return how far the groups' means lie apart, in standard deviations of the normals."""
    normal, anomalous = scores[TRUTH == 0], scores[TRUTH == 1]
    return float((anomalous.mean() - normal.mean()) / normal.std())


@each
def test_learning_is_what_tells_anomalies_apart(kind: Kind) -> None:
    skip_if_untrained(kind)
    _, scores = learnt_scores(kind)
    # Four normals called anomalies, and the reverse.
    flipped = learnt(kind).fit(*data(kind, IMAGES[::-1].copy(), LABELS)).score(UNSEEN)
    assert gap(scores) > 2
    assert gap(scores) > gap(flipped)


# Gradients.


def check_the_first_step_reaches_every_tensor(method: NetworkMethod, kind: Kind) -> None:
    trained: list[nn.Parameter] = []
    alive: set[int] = set()

    def first_gradients(
        parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], *_rest: Any, **__: Any
    ) -> list[float]:
        trained.extend(parameters)
        # Of three batches: in one, the pulls of its samples on a bias can cancel exactly.
        for _ in range(3):
            for parameter in trained:
                parameter.grad = None
            loss().backward()  # type: ignore[no-untyped-call]
            alive.update(id(p) for p in trained if p.grad is not None and p.grad.any())
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "optimise", first_gradients)
        method.fit(*data(kind))
    modules: list[tuple[str, nn.Module]] = [("network", method.network_)]
    if isinstance(method._features, TrainedFeatures):
        modules.append(("backbone", method._features.backbone))
    names = {
        id(parameter): f"{owner}.{name}"
        for owner, module in modules
        for name, parameter in module.named_parameters()
    }
    assert {id(parameter) for parameter in trained} == set(names)
    assert [names[id(parameter)] for parameter in trained if id(parameter) not in alive] == []


#: Of an odd number of samples: of as many normals as anomalies the pulls on the last bias cancel.
ODD: dict[str, Any] = {"batch_size": 13, "meta_epochs": 0}


@each
def test_the_first_step_reaches_every_tensor(kind: Kind) -> None:
    skip_if_untrained(kind)
    check_the_first_step_reaches_every_tensor(short(kind, **ODD), kind)


@pytest.mark.parametrize("kind", [DRA, *(k for k in KINDS if k.name in {"ahl", "dra3ar"})])
def test_a_dead_head_is_found(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    init = ResidualHead.__init__

    def dead(self: ResidualHead, *arguments: Any, **options: Any) -> None:
        # Scale and shift of the batch norm 0 and a patch bias of 0: as drawn by a public code's
        # rule for all tensors of one dimension.
        init(self, *arguments, **options)
        batch_norm = self.block[1]
        for tensor in (batch_norm.weight, batch_norm.bias, self.head.convolution.bias):
            nn.init.zeros_(cast(Tensor, tensor))

    monkeypatch.setattr(ResidualHead, "__init__", dead)
    with pytest.raises(AssertionError, match="network.residual.block.0.weight"):
        check_the_first_step_reaches_every_tensor(short(kind, **ODD), kind)


@each
def test_none_reaches_the_frozen_backbone(kind: Kind) -> None:
    settings = smoke(kind, cache_dir=None)
    backbone = frozen_backbone(settings, CPU)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method = short(kind, settings).fit(*data(kind))
    method.score(UNSEEN[:2])
    assert isinstance(method._features, FrozenFeatures)
    assert method._features.backbone is backbone
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not backbone.training


# Few images, odd images.


@each
@pytest.mark.parametrize("n_anomalies", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [2, 3, 48])
def test_few_anomalies_and_any_batch_size(kind: Kind, n_anomalies: int, batch_size: int) -> None:
    sizes: dict[str, Any] = {"batch_size": batch_size, "meta_batch_size": max(batch_size, 3)}
    method = short(kind, **sizes)
    field = kind.Params.model_fields["batch_size"]
    assert min(constraint.ge for constraint in field.metadata) == 2, "the smallest allowed"
    # Eleven normals leave batches that are not full, of a single image too, at a pass's end.
    scores = method.fit(*data(kind, *few(n_anomalies, 11))).score(UNSEEN[:9])
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(scores).all()


@each
def test_one_normal_is_enough_or_refused(kind: Kind) -> None:
    images, labels = data(kind, IMAGES[11:], LABELS[11:])
    method = short(kind, n_ref=1)
    if kind.name == "ahl":
        with pytest.raises(ContractError, match="^ahl expected 6 or more normal training images"):
            method.fit(images, labels)
    else:
        assert np.isfinite(method.fit(images, labels).score(UNSEEN[:9])).all()


@each
def test_twenty_normals_and_one_anomaly(kind: Kind) -> None:
    images, labels = toy_images(20, 1, 64, 4)
    scores = short(kind, batch_size=48).fit(*data(kind, images, labels)).score(UNSEEN[:9])
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 9


@each
def test_grey_images_of_any_shape(kind: Kind) -> None:
    def changed(images: UInt8Array) -> list[UInt8Array]:
        grey = np.repeat(images.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
        shapes = [(64, 40), (33, 64), (64, 64)]
        return [image[: shapes[n % 3][0], : shapes[n % 3][1]] for n, image in enumerate(grey)]

    method = short(kind).fit(*data(kind, changed(IMAGES), LABELS))
    scores = method.score(changed(UNSEEN[:9]))
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 9


@each
def test_another_backbone(kind: Kind) -> None:
    method = short(kind, smoke(kind, backbone="test_resnet")).fit(*data(kind))
    scores = method.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert (scores != scores_of(kind)).all()


# Scores.


@each
def test_scores_do_not_depend_on_how_many_are_scored(kind: Kind) -> None:
    method, scores = fitted(kind), scores_of(kind)
    assert len(scores) == 40 > SCORE_BATCH + 1
    for n in (1, SCORE_BATCH - 1, SCORE_BATCH, SCORE_BATCH + 1, 40):
        assert (method.score(UNSEEN[:n]) == scores[:n]).all()


@each
def test_a_seed_decides_the_scores(kind: Kind) -> None:
    torch.manual_seed(5)
    again = short(kind).fit(*data(kind))
    other = short(kind, seed=2).fit(*data(kind))
    assert (again.score(UNSEEN) == scores_of(kind)).all()
    assert again.fitted_digest_ == fitted(kind).fitted_digest_
    assert again.losses_ == fitted(kind).losses_
    assert not (other.score(UNSEEN) == scores_of(kind)).any()
    assert other.initial_digest_ != again.initial_digest_


@each
def test_any_seed_works(kind: Kind) -> None:
    method = short(kind, seed=2**64 + 1, steps_per_epoch=1)
    assert np.isfinite(method.fit(*data(kind)).score(UNSEEN[:2])).all()


@each
def test_scores_do_not_depend_on_whether_features_were_cached(kind: Kind) -> None:
    in_memory = short(kind, smoke(kind, cache_dir=None)).fit(*data(kind))
    assert (in_memory.score(UNSEEN) == scores_of(kind)).all()


@each
def test_a_pickle_keeps_the_scores_and_the_maps(kind: Kind) -> None:
    loaded = pickle.loads(pickle.dumps(fitted(kind)))
    assert (loaded.score(UNSEEN) == scores_of(kind)).all()
    some = [UNSEEN[0], UNSEEN[30][:50]]
    maps = loaded.score_maps(some)
    assert [values.shape for values in maps] == [(64, 64), (50, 64)]
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in maps)
    for values, others in zip(maps, fitted(kind).score_maps(some), strict=True):
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-6)
    with pytest.raises(NotFittedError):
        short(kind).score_maps(some)


# The cache.


@each
def test_precomputing_leaves_nothing_to_compute(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = smoke(kind, cache_dir=str(tmp_path))
    # So many that no cluster of AHL's, which a fit alone knows, is short of them.
    many: dict[str, Any] = {"pseudo_views": 48}
    short(kind, settings, **many).precompute(*data(kind))
    short(kind, settings, **many).precompute(UNSEEN)
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("computed again"))
    for seed in (1, 2):
        short(kind, settings, seed, **many).fit(*data(kind)).score(UNSEEN)
    # One-shot needs no features beyond ten-shot's, whichever anomaly it has.
    one_shot = np.r_[:12, 14]
    short(kind, settings, **many).fit(*data(kind, IMAGES[one_shot], LABELS[one_shot]))


# The loop.


@each
def test_a_loss_that_is_no_number_is_reported(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_if_untrained(kind)

    def broken(self: Any, network: nn.Module, maps: Any, codes: Tensor) -> Tensor:
        return torch.stack([p.sum() for p in network.parameters()]).sum() * float("nan")

    monkeypatch.setattr(kind, "loss", broken)
    with pytest.raises(ContractError, match="the training loss became nan in epoch 1: try a lower"):
        short(kind).fit(*data(kind))


def test_the_augmentation_of_normals_is_a_setting() -> None:
    turned = smoke(DevNet, normal_views=2)
    scores = short(DevNet, turned).fit(IMAGES, LABELS).score(UNSEEN)
    assert (scores != scores_of(DevNet)).any()


# End to end.


def paper(kind: Kind, preset: str = "paper", backbone: str = "test_resnet") -> Engine:
    """Return a preset of the papers with a small backbone and small images."""
    preset_engine = kind.engine_for(preset)
    sizes = (64, 32)[: len(preset_engine.image_sizes)]
    if preset_engine.image_sizes == (32,):
        sizes = (32,)
    return preset_engine.model_copy(
        update={
            "backbone": backbone,
            "weights": "random",
            "image_sizes": sizes,
            "precision": "fp32",
            "device": "cpu",
            "cache_dir": CACHE.name,
            "seen_views": 2,
            "pseudo_views": 8,
        }
    )


@each
@pytest.mark.parametrize("preset", ["paper", "paper-text"])
def test_the_papers_presets_run(kind: Kind, preset: str) -> None:
    method = short(kind, paper(kind, preset), batch_size=5)
    method.fit(*data(kind, *few(1, 8)))
    scores = method.score(UNSEEN[:9])
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 9
    assert kind.is_control or method.initial_digest_ != method.fitted_digest_
    assert [method.score(UNSEEN[[n]])[0] for n in (0, 7)] == scores[[0, 7]].tolist()


@each
def test_the_first_step_end_to_end_reaches_every_tensor(kind: Kind) -> None:
    skip_if_untrained(kind)
    if not paper(kind).train_backbone:
        pytest.skip("its own settings leave the backbone as it is")
    # Random weights of timm's residual networks have batch norms of scale 0.
    method = short(kind, paper(kind, backbone="test_efficientnet"), **ODD)
    check_the_first_step_reaches_every_tensor(method, kind)
    assert isinstance(method._features, TrainedFeatures)
