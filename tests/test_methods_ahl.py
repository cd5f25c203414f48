from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_tools import end_to_end
from planted_faults import Check, Fault, each_check
from torch import Tensor

import osadbench.nn.episode_pool
import osadbench.nn.episodes
import osadbench.nn.heads
import osadbench.nn.optimise
from osadbench.errors import ContractError, ParameterError
from osadbench.methods.ahl import AHL
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.metrics import compute_metrics
from osadbench.nn.features import FrozenFeatures, Request
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.optimise import optimise
from osadbench.nn.sampler import NORMAL, PSEUDO, SEEN
from osadbench.nn.schedule import OptimiserParams, learning_rate
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import LazyImages

episodes = osadbench.nn.episodes
IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, TRUTH = toy_images(20, 20, 64, 2)
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 3, "batch_size": 6}
BASES: Mapping[str, type[NetworkMethod]] = {"dra": DRA, "devnet": DevNet}
SMOKE = engine("smoke", device="cpu")

each = pytest.mark.parametrize("base", BASES)


def fit(settings: Engine, n_anomalies: int = 4, **params: Any) -> AHL:
    n = 12 + n_anomalies
    return AHL(engine=settings, seed=1, **{**SHORT, **params}).fit(IMAGES[:n], LABELS[:n])


# What it takes from its base


@each
def test_without_a_second_stage_it_is_its_base(smoke: Engine, base: str) -> None:
    method = fit(smoke, base=base, meta_epochs=0)
    alone = BASES[base](engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)
    assert method.losses_ == alone.losses_
    assert method.fitted_digest_ == alone.fitted_digest_
    assert (method.score(UNSEEN) == alone.score(UNSEEN)).all()
    maps = zip(method.score_maps(UNSEEN[:3]), alone.score_maps(UNSEEN[:3]), strict=True)
    assert all((one == other).all() for one, other in maps)


@each
@pytest.mark.parametrize("preset", ["frozen", "paper", "paper-text", "smoke"])
def test_the_training_values_are_the_bases(base: str, preset: str) -> None:
    wanted: Any = BASES[base].resolve_params(preset, {})
    params = AHL.resolve_params(preset, {"base": base})
    inner: Any = AHL(engine=preset, base=base).base.params
    for name in OptimiserParams.model_fields:
        assert getattr(params, name) == getattr(wanted, name) == getattr(inner, name), name
    assert inner == wanted
    given = AHL(engine=preset, base=base, epochs=3, lr=0.5)
    assert (given.p.epochs, given.p.lr) == (3, 0.5)
    assert (given.base.params.epochs, given.base.params.lr) == (3, 0.5)  # type: ignore[attr-defined]


def test_the_two_bases() -> None:
    assert isinstance(AHL().base, DRA)
    assert isinstance(AHL(base="devnet").base, DevNet)
    assert (AHL().pseudo_source, AHL().n_references) == ("cutmix", 5)
    assert (AHL(base="devnet").pseudo_source, AHL(base="devnet").n_references) == (None, 0)
    assert (AHL(seed=7).base.seed, AHL(engine="smoke").base.engine.preset) == (7, "smoke")


def test_the_papers_and_the_codes_numbers() -> None:
    p = AHL(engine="paper").p
    assert (p.clusters, p.inner_steps, p.inner_lr, p.uniform_epochs) == (3, 3, 2e-4, 5)
    assert (p.outer.lr, p.outer.weight_decay, p.outer.gradient_clip) == (2e-3, 1e-4, 1.0)
    assert (p.outer.epochs, p.outer.batch_size) == (30, 48)
    rates = [learning_rate(p.outer, epoch) for epoch in range(30)]
    assert rates == pytest.approx([2e-3] * 10 + [2e-4] * 10 + [2e-5] * 10)


# The second stage


def check_no_head_is_dead() -> None:
    for base in BASES:
        method = fit(SMOKE, base=base, meta_epochs=1)
        for name, parameter in method.network_.named_parameters():
            assert parameter.grad is not None, name
            # The pulls of a normal and of an anomalous sample on a bias can cancel exactly.
            assert parameter.grad.any() or parameter.ndim == 1, name
        if base == "dra":
            assert method.network_["residual"].block[1].weight.grad.any()  # type: ignore[index]


@each
def test_the_second_stage_changes_every_tensor_of_the_base(smoke: Engine, base: str) -> None:
    before = dict(fit(smoke, base=base, meta_epochs=0).network_.named_parameters())
    after = dict(fit(smoke, base=base).network_.named_parameters())
    assert before.keys() == after.keys()
    assert not any(torch.equal(after[name], value) for name, value in before.items())


@each
def test_it_learns_from_its_episodes(smoke: Engine, base: str) -> None:
    # Random features are small: heads need long steps.
    rate = {"dra": 0.02, "devnet": 0.2}[base]
    method = fit(smoke, base=base, meta_epochs=20, outer_lr=rate, meta_batch_size=12)
    assert len(method.meta_losses_) == 20
    assert np.mean(method.meta_losses_[-4:]) < 0.9 * np.mean(method.meta_losses_[:4])
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] >= 0.95


def test_batch_norm_keeps_the_statistics_of_the_first_stage(smoke: Engine) -> None:
    before = dict(fit(smoke, meta_epochs=0).network_.named_buffers())
    after = dict(fit(smoke).network_.named_buffers())
    assert any(name.endswith("running_var") for name in before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@each
def test_end_to_end_the_second_stage_leaves_the_backbone(base: str) -> None:
    first, both = (
        fit(end_to_end(), base=base, outer_steps=2, meta_batch_size=6, meta_epochs=n, **VIEWS)
        for n in (0, 2)
    )
    states: list[Any] = [m._features.backbone.state_dict() for m in (first, both)]  # type: ignore[union-attr]
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    assert first.fitted_digest_ != both.fitted_digest_
    scores = both.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert not (scores == first.score(UNSEEN)).any()


VIEWS: dict[str, Any] = {"pseudo_views": 6}


def test_the_references_are_the_bases_and_stay(smoke: Engine) -> None:
    first, both = fit(smoke, meta_epochs=0).base, fit(smoke).base
    assert isinstance(first, DRA)
    assert isinstance(both, DRA)
    assert all(map(torch.equal, first.references_, both.references_))
    shapes = [tuple(scale.shape) for scale in both.references_]
    assert shapes == [(shapes[0][0], 2, 2), (shapes[0][0], 1, 1)]


@each
@pytest.mark.parametrize("n_anomalies", [0, 1, 2, 3])
@pytest.mark.parametrize("meta_batch_size", [3, 48])
def test_few_anomalies(smoke: Engine, base: str, n_anomalies: int, meta_batch_size: int) -> None:
    method = fit(smoke, n_anomalies, base=base, meta_epochs=6, meta_batch_size=meta_batch_size)
    assert np.isfinite(method.meta_losses_).all()
    assert np.isfinite(method.score(UNSEEN)).all()


def test_twenty_normals_work_under_any_seed(smoke: Engine) -> None:
    images, labels = toy_images(20, 1, 64, 3)
    for seed in range(6):
        method = AHL(engine=smoke, seed=seed, base="devnet", **SHORT).fit(images, labels)
        members = sum(method.clusters_, [])
        assert len(set(members)) == len(members)
        assert set(members) <= set(range(20))


def test_no_view_is_missing_after_precompute(
    smoke: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = smoke.model_copy(update={"cache_dir": str(tmp_path)})
    AHL(engine=settings).precompute(IMAGES, LABELS)
    computed: list[Request] = []
    forward = FrozenFeatures._forward

    def counted(self: FrozenFeatures, images: LazyImages, requests: Sequence[Request]) -> Any:
        computed.extend(requests)
        return forward(self, images, requests)

    monkeypatch.setattr(FrozenFeatures, "_forward", counted)
    # A small cluster may ask for a few views more than the shared ones.
    fit(settings)
    assert all(view.kind in episodes.KINDS for _, view in computed)
    assert len(computed) <= 2 * len(episodes.KINDS) * osadbench.nn.episode_pool.MIN_PSEUDO
    computed.clear()
    fit(settings)
    assert computed == []


# What is refused


@pytest.mark.parametrize(
    ("n", "params", "message"),
    [
        (5, {}, "6 or more normal training images to make clusters of, got 5: give more, or take"),
        (1, {"base": "devnet"}, "got 1: give more, or take devnet instead"),
        (9, {"clusters": 10}, "ahl expected 10 or more normal training images"),
    ],
)
def test_too_few_normals_are_refused_before_any_training(
    n: int, params: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRA, "build", None)
    with pytest.raises(ContractError, match=message) as caught:
        AHL(engine=SMOKE, **params).fit(IMAGES[12 - n :], LABELS[12 - n :])
    assert "\n" not in str(caught.value)


def test_normals_without_clusters_are_refused_before_any_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(osadbench.nn.optimise, "optimise", None)
    monkeypatch.setattr("osadbench.nn.fitting.optimise", None)
    images = np.concatenate([np.repeat(IMAGES[:1], 12, axis=0), IMAGES[12:]])
    with pytest.raises(ContractError, match="that K-means splits into two or more clusters"):
        AHL(engine=SMOKE, **SHORT).fit(images, LABELS)


def test_fewer_clusters_than_asked_for_are_noted(
    smoke: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(smoke, base="devnet").notes_ == []
    groups = [np.arange(6), np.arange(6, 12)]
    monkeypatch.setattr(episodes, "normal_clusters", lambda vectors, n, seed: groups)
    method = fit(smoke, base="devnet")
    assert method.notes_ == ["2 clusters in place of 3"]
    assert method.clusters_ == [list(range(6)), list(range(6, 12))]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"base": "knn"}, "ahl.base='knn': input should be 'dra' or 'devnet'"),
        ({"clusters": 1}, "ahl.clusters=1: input should be greater than or equal to 2"),
        ({"meta_batch_size": 2}, "ahl.meta_batch_size=2: input should be greater"),
        ({"inner_steps": 0, "lr": -1.0}, "inner_steps=0: .*; ahl.lr=-1.0: "),
        ({"n_ref": 3}, "ahl has no parameter 'n_ref'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        AHL(**params)


# Numbers, and faults of public code


class GivenScores:
    """A base whose scores are given."""

    def __init__(self, scores: Sequence[float]) -> None:
        self.scores = torch.tensor(scores)

    def image_scores(self, network: Any, maps: Any) -> Tensor:
        return self.scores


def check_scores_come_to_the_labels_scale() -> None:
    for base, scores in (("dra", [-5.0, 15.0, 5.0]), ("devnet", [0.0, 5.0, 2.5])):
        method = AHL(base=base)
        method.__dict__["base"] = GivenScores(scores)
        assert method._label_scale_scores(None, []).tolist() == [0.0, 1.0, 0.5]


def check_pseudo_anomalies_are_anomalies_to_devnet() -> None:
    given: list[list[int]] = []

    def noted(network: Any, maps: Any, codes: Tensor) -> Tensor:
        given.append(codes.tolist())
        return torch.zeros(())

    for base in BASES:
        method = AHL(base=base)
        method.base.loss = noted  # type: ignore[method-assign]
        method._episode_loss(None, [], torch.tensor([NORMAL, SEEN, PSEUDO]))
    assert given == [[NORMAL, SEEN, PSEUDO], [NORMAL, SEEN, SEEN]]


def check_every_gradient_is_used() -> None:
    one, two = (fit(SMOKE, base="devnet", meta_epochs=n, outer_steps=1) for n in (1, 2))
    none = fit(SMOKE, base="devnet", meta_epochs=0)
    weights = [dict(m.network_.named_parameters())["convolution.weight"] for m in (none, one, two)]
    steps = [(later - sooner).abs() for sooner, later in zip(weights, weights[1:], strict=False)]
    # Adam's steps are as long as its learning rate, from the first one on.
    assert all(1e-3 < step.max() < 4e-3 for step in steps)
    assert steps[0].median() > 1e-3


def check_clusters_are_those_of_k_means() -> None:
    # Two kinds of image in turn: prefixes of the list would mix them.
    dark, bright = IMAGES[:6] // 4, 255 - IMAGES[6:12] // 4
    images = np.stack([image for pair in zip(dark, bright, strict=True) for image in pair])
    method = AHL(engine=SMOKE, base="devnet", clusters=2, **SHORT)
    method.fit(np.concatenate([images, IMAGES[12:]]), LABELS)
    assert sorted(map(sorted, method.clusters_)) == [[*range(0, 12, 2)], [*range(1, 12, 2)]]


def check_the_last_model_stays() -> None:
    # Whatever the scores on other images are, two fits that differ in their last epoch differ.
    three, four = (fit(SMOKE, base="devnet", meta_epochs=n) for n in (3, 4))
    assert four.meta_losses_[:3] == three.meta_losses_
    assert four.fitted_digest_ != three.fitted_digest_


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


RESIDUAL = osadbench.nn.heads.ResidualHead.__init__
OPTIMISE = optimise


def dead_residual(self: Any, *arguments: Any, **keywords: Any) -> None:
    RESIDUAL(self, *arguments, **keywords)
    for parameter in (*self.block[1].parameters(), self.head.convolution.bias):
        torch.nn.init.zeros_(parameter)


def step_before_gradient(
    parameters: Any, loss: Any, params: OptimiserParams, **others: Any
) -> list[float]:
    shorter = params.model_copy(update={"epochs": max(params.epochs - 1, 0)})
    return OPTIMISE(parameters, loss, shorter, **others)


def prefixes(vectors: Any, n_clusters: int, seed: int) -> list[Any]:
    return [np.arange(6), np.arange(6, 12)]


def raw_scores(self: AHL, network: Any, maps: Any) -> Tensor:
    return self.base.image_scores(network, maps)


def raw_codes(self: AHL, network: Any, maps: Any, codes: Tensor) -> Tensor:
    return self.base.loss(network, maps, codes)


FAULTS: list[Fault] = [
    Fault(
        "the residual head is dead",
        osadbench.nn.heads.ResidualHead,
        "__init__",
        dead_residual,
        check_no_head_is_dead,
    ),
    Fault(
        "steps come before their gradients",
        osadbench.nn.optimise,
        "optimise",
        step_before_gradient,
        check_every_gradient_is_used,
    ),
    Fault(
        "clusters are prefixes",
        episodes,
        "normal_clusters",
        prefixes,
        check_clusters_are_those_of_k_means,
    ),
    Fault(
        "scores stay raw",
        AHL,
        "_label_scale_scores",
        raw_scores,
        check_scores_come_to_the_labels_scale,
    ),
    Fault(
        "DevNet gets a third label",
        AHL,
        "_episode_loss",
        raw_codes,
        check_pseudo_anomalies_are_anomalies_to_devnet,
    ),
    Fault(
        "an earlier model is kept",
        osadbench.nn.optimise,
        "optimise",
        lambda parameters, loss, params, **others: [0.0] * params.epochs,
        check_the_last_model_stays,
    ),
]
