from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor

from osadbench.errors import ParameterError
from osadbench.methods import dsvdd
from osadbench.methods.dsvdd import DeepSVDD
from osadbench.metrics import compute_metrics
from osadbench.nn.backbones import Backbone
from osadbench.nn.encoders import LeNetEncoder, PooledEncoder
from osadbench.nn.hypersphere import HypersphereMethod
from osadbench.nn.sampler import NORMAL
from osadbench.nn.schedule import learning_rate
from osadbench.settings import Engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
NORMALS = IMAGES[:12]
ZEROS = np.zeros(12, dtype=np.int64)
UNSEEN, TRUTH = toy_images(18, 18, 64, 2)

DISTANCES = torch.tensor([1, 4, 9, 0.25], dtype=torch.float64)
CODES = torch.full((4,), NORMAL)
SHORT: dict[str, Any] = {"epochs": 2, "pretrain_epochs": 2}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    cache = str(tmp_path_factory.mktemp("cache"))
    return DeepSVDD.engine_for("smoke", device="cpu", cache_dir=cache)


class GivenDistances:
    """A network whose maps are its squared distances."""

    def __init__(self, radius: float = 0.0) -> None:
        self.radius = torch.tensor(radius, dtype=torch.float64)

    def distances(self, maps: Sequence[Tensor]) -> Tensor:
        return maps[0]


def soft(**params: Any) -> DeepSVDD:
    return DeepSVDD(objective="soft-boundary", **params)


def check_one_class() -> None:
    loss = DeepSVDD().loss(GivenDistances(), [DISTANCES], CODES)
    assert loss.item() == pytest.approx(3.5625, abs=1e-6)


def check_soft_boundary() -> None:
    radius = torch.tensor(1.5, dtype=torch.float64)
    assert dsvdd.soft_boundary_loss(DISTANCES, radius, 0.1).item() == pytest.approx(23.5, abs=1e-6)


def check_the_radius() -> None:
    radius = dsvdd.radius_of(torch.tensor([1, 2, 3, 0.5], dtype=torch.float64).square(), 0.1)
    assert radius.item() == pytest.approx(2.7, abs=1e-6)


def check_the_radius_is_of_the_last_batch() -> None:
    """A batch's loss has the radius of the batch before; the next one has its own."""
    network, method = GivenDistances(1.5), soft()
    method.start_epoch(10)
    assert method.loss(network, [DISTANCES], CODES).item() == pytest.approx(23.5, abs=1e-6)
    assert network.radius.item() == pytest.approx(2.7, abs=1e-6)


def check_the_radius_waits_for_the_warm_up() -> None:
    network, method = GivenDistances(), soft()
    for epoch in range(10):
        method.start_epoch(epoch)
        # With radius 0 the loss is the mean distance over nu.
        loss = method.loss(network, [DISTANCES], CODES)
        assert loss.item() == pytest.approx(35.625, abs=1e-6)
    assert network.radius.item() == 0
    method.start_epoch(10)
    method.loss(network, [DISTANCES], CODES)
    assert network.radius.item() > 0


def check_the_radius_has_no_gradient() -> None:
    distances = DISTANCES.clone().requires_grad_()
    network, method = GivenDistances(), soft()
    method.start_epoch(10)
    method.loss(network, [distances], CODES)
    assert not network.radius.requires_grad
    assert not dsvdd.radius_of(distances, 0.1).requires_grad


def check_the_score() -> None:
    scores = DeepSVDD().image_scores(GivenDistances(), [DISTANCES])
    assert scores.tolist() == pytest.approx([1, 4, 9, 0.25], abs=1e-6)
    scores = soft().image_scores(GivenDistances(1.5), [DISTANCES])
    assert scores.tolist() == pytest.approx([-1.25, 1.75, 6.75, -2], abs=1e-6)


def check_normals_alone_are_drawn() -> None:
    labels = torch.tensor([1, 0, 0, 1, 0])
    sampler = DeepSVDD(batch_size=2).sampler(labels)
    assert sampler.steps_per_pass == 2
    drawn = [sampler.draw() for _ in range(20)]
    assert set(torch.cat([indices for indices, _ in drawn]).tolist()) == {1, 2, 4}
    assert not torch.cat([codes for _, codes in drawn]).any()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def after_the_mean(distances: Tensor, radius: Tensor, nu: float) -> Tensor:
    return radius**2 + (distances.mean() - radius**2).clamp(min=0) / nu


def without_the_radius(distances: Tensor, radius: Tensor, nu: float) -> Tensor:
    return (distances - radius**2).clamp(min=0).mean() / nu


def of_squares(distances: Tensor, nu: float) -> Tensor:
    return distances.detach().quantile(1 - nu)


def wrong_side(distances: Tensor, nu: float) -> Tensor:
    return distances.detach().sqrt().quantile(nu)


def attached(distances: Tensor, nu: float) -> Tensor:
    return distances.sqrt().quantile(1 - nu)


def at_once(self: DeepSVDD, epoch: int) -> None:
    self._epoch = 10


def never(self: DeepSVDD, epoch: int) -> None:
    self._epoch = 0


def plain(self: DeepSVDD, network: Any, maps: Sequence[Tensor]) -> Tensor:
    distances: Tensor = network.distances(maps)
    return distances


FAULTS: list[Fault] = [
    Fault("hinge after the mean", dsvdd, "soft_boundary_loss", after_the_mean, check_soft_boundary),
    Fault(
        "radius for nothing", dsvdd, "soft_boundary_loss", without_the_radius, check_soft_boundary
    ),
    Fault("quantile of squares", dsvdd, "radius_of", of_squares, check_the_radius),
    Fault("quantile of the near", dsvdd, "radius_of", wrong_side, check_the_radius),
    Fault("radius not detached", dsvdd, "radius_of", attached, check_the_radius_has_no_gradient),
    Fault("no warm-up", DeepSVDD, "start_epoch", at_once, check_the_radius_waits_for_the_warm_up),
    Fault(
        "radius never fitted", DeepSVDD, "start_epoch", never, check_the_radius_is_of_the_last_batch
    ),
    Fault("radius not in the score", DeepSVDD, "image_scores", plain, check_the_score),
    Fault(
        "anomalies drawn",
        DeepSVDD,
        "sampler",
        HypersphereMethod.sampler,
        check_normals_alone_are_drawn,
    ),
]


@pytest.mark.parametrize("params", [{}, {"objective": "soft-boundary"}, {"network": "lenet"}])
def test_it_learns_without_anomalies(smoke: Engine, params: dict[str, Any]) -> None:
    method = DeepSVDD(engine=smoke, seed=1, **params).fit(NORMALS, ZEROS)
    scores = method.score(UNSEEN)
    assert compute_metrics(TRUTH, scores)["auroc"] >= 0.95
    assert method.losses_[-1] < 0.3 * max(method.losses_)
    assert method.initial_digest_ != method.fitted_digest_
    assert method.score(UNSEEN[:3]) == pytest.approx(scores[:3], rel=1e-5)


def test_the_soft_boundary_leaves_a_few_outside(smoke: Engine) -> None:
    method = soft(engine=smoke, nu=0.25).fit(NORMALS, ZEROS)
    network: Any = method.network_
    assert network.radius > 0
    scores = method.score(NORMALS)
    assert scores.min() < 0 < scores.max()
    again = method.fit(NORMALS, ZEROS)
    assert (again.score(NORMALS) == scores).all()


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_labelled_anomalies_change_nothing(smoke: Engine, network: str) -> None:
    order = np.random.default_rng(0).permutation(16)
    normals = order[LABELS[order] == 0]
    kind = {"engine": smoke, "network": network, **SHORT}
    mixed = DeepSVDD(**kind).fit(IMAGES[order], LABELS[order]).score(UNSEEN)
    alone = DeepSVDD(**kind).fit(IMAGES[normals], ZEROS).score(UNSEEN)
    assert (mixed == alone).all()


def test_the_lenet_takes_a_single_image_at_a_passs_end(smoke: Engine) -> None:
    method = DeepSVDD(engine=smoke, network="lenet", batch_size=2, **SHORT)
    scores = method.fit(NORMALS[:11], ZEROS[:11]).score(UNSEEN)
    assert np.isfinite([*method.losses_, *method.pretrain_losses_]).all()
    assert np.isfinite(scores).all()


def test_one_normal_is_enough(smoke: Engine) -> None:
    for network in ("mlp", "lenet"):
        method = DeepSVDD(engine=smoke, network=network, **SHORT).fit(NORMALS[:1], ZEROS[:1])
        assert np.isfinite(method.score(UNSEEN)).all()


def test_the_original_network_needs_no_backbone(
    smoke: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "forward", lambda *_: pytest.fail("a backbone was run"))
    settings = DeepSVDD.engine_for("paper", device="cpu")
    assert (settings.image_sizes, settings.train_backbone) == ((32,), False)
    for chosen in (settings, smoke):
        method = DeepSVDD(engine=chosen, network="lenet", **SHORT)
        assert (method.uses_backbone, method.reads_pixels) == (False, True)
        method.precompute(NORMALS, ZEROS)
        method.fit(NORMALS, ZEROS).score(UNSEEN)
    assert DeepSVDD().uses_backbone and not DeepSVDD().reads_pixels


def test_the_networks() -> None:
    assert isinstance(DeepSVDD().build([320]).encoder, PooledEncoder)
    assert [p.shape[0] for p in DeepSVDD().build([320]).encoder.parameters()] == [256, 128]
    assert isinstance(DeepSVDD(engine="paper").build([3]).encoder, LeNetEncoder)


def test_each_network_has_its_name() -> None:
    labels = {preset: DeepSVDD.label(DeepSVDD.engine_for(preset)) for preset in ("frozen", "paper")}
    assert labels == {"frozen": "dsvdd-frozen", "paper": "dsvdd"}
    assert DeepSVDD.label(DeepSVDD.engine_for("smoke")) == "dsvdd-frozen"


@pytest.mark.parametrize("preset", ["paper", "paper-text"])
def test_the_papers_recipe(preset: str) -> None:
    p = DeepSVDD(engine=preset).p
    assert (p.network, p.objective, p.nu) == ("lenet", "one-class", 0.1)
    assert (p.batch_size, p.weight_decay, p.epochs, p.gradient_clip) == (200, 5e-7, 150, 0)
    assert (p.pretrain_epochs, p.pretrain_lr_step, p.pretrain_weight_decay) == (350, 250, 5e-7)
    rates = [learning_rate(p, epoch) for epoch in (0, 49, 50, 149)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"nu": 0.0}, "dsvdd.nu=0.0: input should be greater than 0"),
        ({"network": "resnet"}, "dsvdd.network='resnet': input should be 'mlp' or 'lenet'"),
        ({"objective": "soft"}, "dsvdd.objective='soft': input should be 'one-class' or"),
        (
            {"objective": "soft-boundary", "epochs": 10},
            "soft-boundary needs more epochs than warm_up_epochs, or its radius stays 0",
        ),
        ({"eta": 1.0}, r"dsvdd has no parameter 'eta'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DeepSVDD(**params)
