from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn
from torch.nn import functional

from osadbench.errors import ParameterError
from osadbench.methods import minns
from osadbench.methods.minns import MINNS
from osadbench.metrics import compute_metrics
from osadbench.nn.sampler import NORMAL, SEEN
from osadbench.testing import toy_images

#: The module itself: a fault planted in the stand-in of ``osadbench.nn`` would reach nobody.
losses = importlib.import_module("osadbench.nn.losses")
IMAGES, LABELS = toy_images(13, 4, 64, 1)
UNSEEN, TRUTH = toy_images(16, 16, 64, 2)
#: One bag of three instances, and a linear layer.
BAG = torch.tensor([[[0.2, 1.0], [0.8, -1.0], [0.5, 0.0]]], dtype=torch.float64)
WEIGHT, BIAS = [[1.5, -0.5]], [0.1]
ANOMALY, NORMAL_IMAGE = torch.tensor([SEEN]), torch.tensor([NORMAL])
#: Random features are small: the heads need long steps, and nothing that pulls them back.
LEARN: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.0, "epochs": 6, "steps_per_epoch": 10}


def near(wanted: Any) -> Any:
    return pytest.approx(wanted, abs=1e-6)


def smoke(**params: Any) -> MINNS:
    return MINNS(engine=MINNS.engine_for("smoke", device="cpu"), seed=1, **params)


def one_branch() -> Any:
    """Return a network of one branch on the instances as they are, in evaluation mode."""
    branch = nn.Linear(2, 1).double()
    with torch.no_grad():
        branch.weight.copy_(torch.tensor(WEIGHT))
        branch.bias.copy_(torch.tensor(BIAS))
    parts: dict[str, nn.Module] = {
        "layers": nn.ModuleList([nn.Identity()]),
        "branches": nn.ModuleList([branch]),
        "dropout": nn.Dropout(0.5),
    }
    return nn.ModuleDict(parts).eval()


def bag_maps() -> list[Tensor]:
    """Return the bag as a feature map of three patches."""
    return [BAG.permute(0, 2, 1).reshape(1, 2, 1, 3)]


class Branches(MINNS):
    """A method whose branches say what they are given."""

    def logits(self, network: Any, maps: Any) -> Tensor:
        return torch.logit(torch.tensor([[0.9, 0.6, 0.3]], dtype=torch.float64))


def check_pooling() -> None:
    wanted = {"max": [0.8, 1.0], "mean": [0.5, 0.0], "lse": [0.529778, 0.308994]}
    for pooling, values in wanted.items():
        assert minns.mil_pool(BAG, pooling)[0].tolist() == near(values)  # type: ignore[arg-type]
    # The public code documents the logarithm of a sum, and computes that of a mean.
    of_sum = minns.mil_pool(BAG, "lse")[0] + np.log(3)
    assert of_sum.tolist() == near([1.628390, 1.407606])


def check_features_and_scores() -> None:
    by_features = MINNS(pool="features")
    assert by_features.image_scores(one_branch(), bag_maps()).sigmoid().item() == near(0.689974)
    assert by_features.loss(one_branch(), bag_maps(), ANOMALY).item() == near(0.371101)
    by_scores = MINNS(pool="scores")
    instances = [
        by_scores.image_scores(one_branch(), [bag_maps()[0][..., i : i + 1]]).sigmoid().item()
        for i in range(3)
    ]
    assert instances == near([0.475021, 0.858149, 0.700567])
    assert by_scores.image_scores(one_branch(), bag_maps()).sigmoid().item() == near(0.858149)


def check_deep_supervision() -> None:
    assert Branches().loss(None, [], ANOMALY).item() == near(1.820159)
    normal = -np.log([0.1, 0.4, 0.7]).sum()
    assert Branches().loss(None, [], NORMAL_IMAGE).item() == near(normal)
    assert Branches(score="probabilities").image_scores(None, []).item() == near(0.6)
    logits = np.log([9, 1.5, 3 / 7]).mean()
    assert Branches().image_scores(None, []).item() == near(logits)


def check_every_layer_learns_from_its_branch() -> None:
    torch.manual_seed(0)
    network = MINNS(dropout=0.0).build([8])
    logits = MINNS(dropout=0.0).logits(network, [torch.rand(4, 8, 3, 3)])
    assert logits.shape == (4, 3)
    parameters = dict(network.named_parameters())
    for number in range(3):
        reached = torch.autograd.grad(
            logits[:, number].sum(), list(parameters.values()), retain_graph=True, allow_unused=True
        )
        names = {n for n, g in zip(parameters, reached, strict=True) if g is not None and g.any()}
        layers = {f"layers.{n}.0.{kind}" for n in range(number + 1) for kind in ("weight", "bias")}
        assert names == layers | {f"branches.{number}.weight", f"branches.{number}.bias"}


def check_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    network, maps = MINNS().build([8]), [torch.rand(4, 8, 3, 3)]
    first, second = (MINNS().logits(network.train(), maps) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (MINNS().logits(network.eval(), maps) for _ in range(2))
    assert torch.equal(first, second)


def check_scales_are_bags_of_their_own() -> None:
    torch.manual_seed(0)
    method = MINNS(dropout=0.0)
    network = method.build([8])
    large, small = torch.rand(2, 8, 4, 4), torch.rand(2, 8, 2, 2)
    alone = [method.logits(network, [scale]) for scale in (large, small)]
    both = method.logits(network, [large, small])
    assert torch.allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)


def check_it_learns() -> None:
    method = smoke(**LEARN).fit(IMAGES, LABELS)
    assert method.losses_[-1] < 0.7 * method.losses_[0]
    assert compute_metrics(TRUTH, method.score(UNSEEN))["auroc"] >= 0.95


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def test_the_network() -> None:
    network = MINNS().build([512])
    widths = [512, 256, 128, 64]
    layers = sum((i + 1) * o for i, o in zip(widths, widths[1:], strict=False))
    assert sum(p.numel() for p in network.parameters()) == layers + (257 + 129 + 65)


def test_a_pooled_bag_does_not_depend_on_the_order_of_its_patches() -> None:
    for pooling in ("max", "mean", "lse"):
        first, second = (minns.mil_pool(bag, pooling) for bag in (BAG, BAG.flip(1)))
        assert torch.allclose(first, second)


def test_large_instances_do_not_overflow() -> None:
    assert minns.mil_pool(1000 * BAG, "lse").isfinite().all()


@pytest.mark.parametrize("pool", ["features", "scores"])
@pytest.mark.parametrize("pooling", ["max", "mean", "lse"])
def test_every_pooling_learns(pooling: str, pool: str) -> None:
    params = {**LEARN, "lr": 0.02}
    method = smoke(pooling=pooling, pool=pool, score="probabilities", **params).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert method.losses_[-1] < method.losses_[0]
    assert scores[TRUTH == 1].mean() > scores[TRUTH == 0].mean()


def test_the_presets() -> None:
    assert MINNS(engine="paper").p.model_dump(include={"lr", "weight_decay", "epochs"}) == {
        "lr": 2e-4,
        "weight_decay": 1e-5,
        "epochs": 50,
    }
    assert (MINNS(engine="paper-text").p.lr, MINNS(engine="paper-text").p.epochs) == (1e-3, 50)
    assert MINNS().p.epochs == 8


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "ave"}, "minns.pooling='ave': input should be 'max', 'mean' or 'lse'"),
        ({"pool": "bags"}, "minns.pool='bags': input should be 'features' or 'scores'"),
        ({"dropout": 1.0}, "minns.dropout=1.0: input should be less than 1"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        MINNS(**params)


def sum_of_exponentials(instances: Tensor, pooling: str) -> Tensor:
    """Pool by the true log-sum-exp."""
    return instances.logsumexp(dim=1) if pooling == "lse" else mil_pool(instances, pooling)  # type: ignore[arg-type]


def over_features(instances: Tensor, pooling: str) -> Tensor:
    """Pool over the features and leave the instances."""
    return instances.amax(dim=2)[:, : instances.shape[2]]


def inverted(scores: Tensor, targets: Tensor) -> Tensor:
    value: Tensor = binary_cross_entropy(scores, 1 - targets)
    return value


def dead_branches(self: MINNS, network: Any, maps: Tensor) -> Tensor:
    logits = bag_logits(self, network, maps)
    return torch.cat([logits[:, :2].detach(), logits[:, 2:]], dim=1)


def one_bag(self: MINNS, network: Any, maps: Any) -> Tensor:
    bag = torch.cat([scale.flatten(2) for scale in maps], dim=2)[..., None]
    return bag_logits(self, network, bag)


mil_pool, bag_logits = minns.mil_pool, MINNS._bag_logits
binary_cross_entropy = losses.binary_cross_entropy
FAULTS: list[Fault] = [
    Fault("log-sum-exp", minns, "mil_pool", sum_of_exponentials, check_pooling),
    Fault("pooled over features", minns, "mil_pool", over_features, check_pooling),
    Fault("labels inverted", losses, "binary_cross_entropy", inverted, check_features_and_scores),
    Fault(
        "labels inverted, in every branch",
        losses,
        "binary_cross_entropy",
        inverted,
        check_deep_supervision,
    ),
    Fault(
        "labels inverted, in training", losses, "binary_cross_entropy", inverted, check_it_learns
    ),
    Fault(
        "dead branches",
        MINNS,
        "_bag_logits",
        dead_branches,
        check_every_layer_learns_from_its_branch,
    ),
    Fault(
        "dropout at test",
        nn.Dropout,
        "forward",
        lambda self, values: functional.dropout(values, self.p, training=True),
        check_dropout_is_for_training_only,
    ),
    Fault("one bag for all scales", MINNS, "logits", one_bag, check_scales_are_bags_of_their_own),
]
