from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from method_tools import end_to_end
from planted_faults import Check, Fault, each_check
from torch import Tensor

from osadbench.errors import ParameterError
from osadbench.methods import deepsad
from osadbench.methods.deepsad import DeepSAD
from osadbench.methods.dsvdd import DeepSVDD
from osadbench.metrics import compute_metrics
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.sampler import NORMAL, SEEN, ShuffledSampler
from osadbench.nn.schedule import learning_rate
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, TRUTH = toy_images(18, 18, 64, 2)

VECTORS = torch.tensor([[1, 2], [0.5, 0.5], [3, 1]], dtype=torch.float64)
CENTRE = torch.tensor([0.5, 1], dtype=torch.float64)
DISTANCES = torch.tensor([1.25, 0.25, 6.25], dtype=torch.float64)
#: Unlabelled, labelled normal, labelled anomaly.
TARGETS = torch.tensor([0, 1, -1])
CODES = torch.tensor([NORMAL, NORMAL, SEEN])


class GivenVectors:
    """A network whose maps are its vectors, and whose centre is given."""

    centre = CENTRE
    radius = torch.zeros(())

    def distances(self, maps: Sequence[Tensor]) -> Tensor:
        return (maps[0] - self.centre).square().sum(dim=1)


def check_terms() -> None:
    assert GivenVectors().distances([VECTORS]).tolist() == DISTANCES.tolist()
    terms = [
        deepsad.deep_sad_loss(DISTANCES[[row]], TARGETS[[row]]).item()
        for row in range(len(TARGETS))
    ]
    assert terms == pytest.approx([1.25, 0.250001, 0.16], abs=1e-6)
    loss = deepsad.deep_sad_loss(DISTANCES, TARGETS)
    assert loss.item() == pytest.approx(0.553334, abs=1e-6)


def check_eta() -> None:
    loss = deepsad.deep_sad_loss(DISTANCES, TARGETS, 2.0)
    assert loss.item() == pytest.approx(0.690001, abs=1e-6)


def check_normals_are_unlabelled() -> None:
    loss = DeepSAD(eta=2.0).loss(GivenVectors(), [VECTORS], CODES)
    assert loss.item() == pytest.approx((1.25 + 0.25 + 0.32) / 3, abs=1e-6)


def check_an_anomaly_on_the_centre_has_a_finite_loss() -> None:
    distances = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = deepsad.deep_sad_loss(distances, torch.tensor([0, -1]))
    assert loss.item() == pytest.approx(1e6 / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert distances.grad is not None
    assert distances.grad.tolist() == pytest.approx([0.5, -1e12 / 2])


def check_normals_are_pulled_and_anomalies_pushed() -> None:
    vectors = VECTORS.clone().requires_grad_()
    DeepSAD().loss(GivenVectors(), [vectors], CODES).backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    outwards = (vectors.detach() - CENTRE).mul(vectors.grad).sum(dim=1)
    assert (outwards > 0).tolist() == [True, True, False]
    assert outwards.ne(0).all()


def check_the_score_is_the_squared_distance() -> None:
    scores = DeepSAD().image_scores(GivenVectors(), [VECTORS])
    assert scores.tolist() == pytest.approx([1.25, 0.25, 6.25], abs=1e-6)


def check_nothing_is_oversampled() -> None:
    labels = torch.tensor([0] * 30 + [1])
    sampler = DeepSAD(batch_size=8).sampler(labels)
    assert sampler.steps_per_pass == 4
    batches = [sampler.draw() for _ in range(4)]
    assert [len(codes) for _, codes in batches] == [8, 8, 8, 7]
    assert torch.cat([indices for indices, _ in batches]).sort().values.tolist() == list(range(31))
    assert torch.cat([codes for _, codes in batches]).tolist().count(SEEN) == 1


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def pulls_anomalies(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    return distances.mul(torch.where(targets == 0, 1.0, eta)).mean()


def sign_inverted(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    return distances.where(targets == 0, eta * (distances + 1e-6) ** -targets).mean()


def negative_distance(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    return distances.where(targets == 0, eta * distances * targets).mean()


def eta_on_all(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    return eta * distances.where(targets == 0, (distances + 1e-6) ** targets).mean()


def without_epsilon(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    return distances.where(targets == 0, eta * distances**targets).mean()


def codes_as_targets(self: DeepSAD, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    return deepsad.deep_sad_loss(network.distances(maps), codes, self.p.eta)


def similarity(self: DeepSAD, network: Any, maps: Sequence[Tensor]) -> Tensor:
    return -GivenVectors().distances(maps)


FAULTS: list[Fault] = [
    Fault("anomalies pulled", deepsad, "deep_sad_loss", pulls_anomalies, check_terms),
    Fault("sign inverted", deepsad, "deep_sad_loss", sign_inverted, check_terms),
    Fault("negative instead of inverse", deepsad, "deep_sad_loss", negative_distance, check_terms),
    Fault("eta on the unlabelled", deepsad, "deep_sad_loss", eta_on_all, check_eta),
    Fault(
        "codes taken for targets", DeepSAD, "loss", codes_as_targets, check_normals_are_unlabelled
    ),
    Fault(
        "nothing added before the inverse",
        deepsad,
        "deep_sad_loss",
        without_epsilon,
        check_an_anomaly_on_the_centre_has_a_finite_loss,
    ),
    Fault(
        "everything pulled",
        deepsad,
        "deep_sad_loss",
        pulls_anomalies,
        check_normals_are_pulled_and_anomalies_pushed,
    ),
    Fault(
        "score turned round",
        DeepSAD,
        "image_scores",
        similarity,
        check_the_score_is_the_squared_distance,
    ),
    Fault(
        "balanced batches", DeepSAD, "sampler", NetworkMethod.sampler, check_nothing_is_oversampled
    ),
]


def test_labelled_anomalies_push_their_kind_away(smoke: Engine) -> None:
    gaps = []
    for kind in (DeepSAD, DeepSVDD):
        scores = kind(engine=smoke, seed=1).fit(IMAGES, LABELS).score(UNSEEN)
        gaps.append(np.log(scores[TRUTH == 1].mean() / scores[TRUTH == 0].mean()))
    assert gaps[0] > gaps[1] + 0.2


def test_the_labels_decide(smoke: Engine) -> None:
    """The label, and not the look of an image, decides about the direction."""
    labels = np.where(np.arange(16) < 12, 1, 0)
    scores = DeepSAD(engine=smoke, seed=1).fit(IMAGES, labels).score(UNSEEN)
    assert compute_metrics(TRUTH, scores)["auroc"] < 0.5


def test_an_anomaly_like_a_normal_does_not_end_the_training(smoke: Engine) -> None:
    """A copy of a normal image, labelled as an anomaly, starts next to the centre."""
    images = np.concatenate([IMAGES[:1], IMAGES[:1]] + [IMAGES[12:13]])
    method = DeepSAD(engine=smoke, epochs=20).fit(images, [0, 1, 1])
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(method.score(UNSEEN)).all()


def test_frozen_it_has_another_name() -> None:
    assert DeepSAD.label(engine("frozen")) == "deepsad-frozen"
    assert DeepSAD.label(engine("smoke")) == "deepsad-frozen"
    assert DeepSAD.label(engine("paper")) == "deepsad"
    assert DeepSAD.label(engine("paper", train_backbone=False)) == "deepsad-frozen"


def test_the_networks() -> None:
    frozen = DeepSAD().build([320]).encoder
    assert [tuple(p.shape) for p in frozen.parameters()] == [(256, 320), (128, 256)]
    trained = DeepSAD(engine="paper").build([512]).encoder
    assert [tuple(p.shape) for p in trained.parameters()] == [(128, 512)]


@pytest.mark.parametrize("preset", ["paper", "paper-text"])
def test_the_papers_recipe(preset: str) -> None:
    p = DeepSAD(engine=preset).p
    assert (p.batch_size, p.weight_decay, p.epochs, p.steps_per_epoch) == (128, 5e-7, 150, 0)
    assert p.pretrain_epochs == 0
    rates = [learning_rate(p, epoch) for epoch in (0, 49, 50, 149)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_the_frozen_recipe() -> None:
    p = DeepSAD().p
    assert (p.lr, p.batch_size, p.weight_decay, p.epochs) == (1e-4, 128, 5e-7, 50)
    assert (p.pretrain_epochs, p.pretrain_lr, p.pretrain_weight_decay) == (50, 1e-4, 5e-4)
    assert learning_rate(p, 49) == 1e-4


def test_it_runs_end_to_end() -> None:
    settings = end_to_end()
    method = DeepSAD(engine=settings, epochs=2, batch_size=8).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert method.pretrain_losses_ == []
    assert isinstance(method.sampler(torch.tensor(LABELS)), ShuffledSampler)
    backbone: Any = method._features
    fresh: Any = DeepSAD(engine=settings, epochs=0).fit(IMAGES, LABELS)._features
    before, after = (next(f.backbone.parameters()) for f in (fresh, backbone))
    assert not torch.equal(before, after)
    assert method.score(UNSEEN[:3]) == pytest.approx(scores[:3], rel=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"eta": 0.0}, "deepsad.eta=0.0: input should be greater than 0"),
        ({"dimensions": 100}, "deepsad.dimensions=100: input should be a multiple of 16"),
        ({"pretrain_epochs": -1}, "deepsad.pretrain_epochs=-1: input should be greater than or"),
        ({"nu": 0.1}, r"deepsad has no parameter 'nu'"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DeepSAD(**params)
