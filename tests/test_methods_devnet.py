from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from osadbench.errors import ParameterError
from osadbench.methods.devnet import DevNet
from osadbench.nn.heads import PatchHead, Projection
from osadbench.nn.losses import LOSSES, deviation_loss
from osadbench.nn.sampler import NORMAL, SEEN
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, KINDS = toy_images(18, 18, 64, 2)
HEADS = ("mil", "ds", "patch-ds", "rep")
CODES = torch.tensor([NORMAL, SEEN])


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine("smoke", device="cpu", cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def standard_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the deviation loss against mean 0 and standard deviation 1."""
    monkeypatch.setitem(LOSSES, "deviation", partial(deviation_loss, mean=0.0, std=1.0))


class GivenPatches:
    """A network whose patch scores are its maps, with the top K of a patch head."""

    def __init__(self, top_k: float = 0.1) -> None:
        self.head = PatchHead(1, top_k=top_k)
        self.head.patch_scores = self.patch_scores  # type: ignore[method-assign]

    def patch_scores(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)

    def __call__(self, maps: Tensor) -> Tensor:
        scores: Tensor = self.head(maps)
        return scores


def maps() -> list[Tensor]:
    """Return patch scores of two images at two scales: 4 x 4 and 2 x 2 patches."""
    large = torch.zeros(2, 1, 4, 4)
    large[:, 0, 0, 0] = torch.tensor([-2.0, 6.0])
    small = torch.tensor([[0.0, 1.0, 0.0, 0.0], [2.0, 2.0, -4.0, 0.0]]).view(2, 1, 2, 2)
    return [large, small]


def test_the_score_is_the_scales_mean_of_the_top_patches() -> None:
    method = DevNet()
    assert method.image_scores(GivenPatches(), maps()).tolist() == [(2 + 1) / 2, (6 + 4) / 2]


def test_ds_scores_with_all_patches_and_their_signs() -> None:
    for head in ("ds", "patch-ds"):
        scores = DevNet(head=head).image_scores(GivenPatches(), maps())
        assert scores.tolist() == pytest.approx([(-2 / 16 + 1 / 4) / 2, (6 / 16 + 0) / 2])


@pytest.mark.usefixtures("standard_normal")
def test_the_loss_is_of_the_averaged_score() -> None:
    loss = DevNet().loss(GivenPatches(), maps(), CODES)
    assert loss.item() == pytest.approx((1.5 + 0) / 2)
    loss = DevNet(head="ds").loss(GivenPatches(), maps(), CODES)
    assert loss.item() == pytest.approx((0.0625 + 5 - 0.1875) / 2)


@pytest.mark.usefixtures("standard_normal")
def test_patch_ds_gives_every_patch_the_images_label() -> None:
    loss = DevNet(head="patch-ds").loss(GivenPatches(), maps(), CODES)
    large = (2 + (15 * 5 + 0)) / 32
    small = (1 + (3 + 3 + 9 + 5)) / 8
    assert loss.item() == pytest.approx((large + small) / 2)


@pytest.mark.usefixtures("standard_normal")
def test_rep_takes_the_deviation_of_each_dimension() -> None:
    vector = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)
    network = Projection(3, None)
    method = DevNet(head="rep")
    pair = [vector, vector]
    losses = [method.loss(network, pair, torch.tensor([code])).item() for code in (NORMAL, SEEN)]
    assert losses == pytest.approx([1.166667, 4.5], abs=1e-6)
    assert method.image_scores(network, pair).item() == pytest.approx(0.5)


def test_the_networks() -> None:
    assert isinstance(DevNet().build(320), PatchHead)
    assert sum(p.numel() for p in DevNet().build(320).parameters()) == 321
    head: Any = DevNet(top_k=0.2, signed=True).build(8)
    assert (head.top_k, head.signed) == (0.2, True)
    frozen = DevNet(head="rep", rep_channels=32).build(320)
    assert sum(p.numel() for p in frozen.parameters()) == 32 * 321
    trained = DevNet(head="rep", engine="paper").build(512)
    assert list(trained.parameters()) == []


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns(smoke: Engine, head: str) -> None:
    method = DevNet(engine=smoke, head=head, lr=0.1, weight_decay=0.0, epochs=6)
    scores = method.fit(IMAGES, LABELS).score(UNSEEN)
    assert method.losses_[-1] < 0.8 * method.losses_[0]
    assert scores.shape == (36,)
    assert len(set(scores)) == 36
    assert scores[KINDS == 1].mean() > scores[KINDS == 0].mean() + 1
    assert (method.score(UNSEEN[::-1]) == scores[::-1]).all()
    assert (pickle.loads(pickle.dumps(method)).score(UNSEEN) == scores).all()


@pytest.mark.parametrize("head", ["patch-ds", "rep"])
def test_heads_run_end_to_end(head: str) -> None:
    settings = engine(
        "paper", backbone="test_resnet", weights="random", image_sizes=(64, 32), device="cpu"
    )
    method = DevNet(engine=settings, head=head, epochs=1, steps_per_epoch=2, batch_size=4)
    scores = method.fit(IMAGES, LABELS).score(UNSEEN)
    assert np.isfinite(scores).all()
    assert method.initial_digest_ != method.fitted_digest_


@pytest.mark.parametrize("loss", ["bce", "focal"])
@pytest.mark.parametrize("head", ["mil", "patch-ds"])
def test_other_losses_run(smoke: Engine, head: str, loss: str) -> None:
    method = DevNet(engine=smoke, head=head, loss=loss, signed=True, epochs=5)
    scores = method.fit(IMAGES, LABELS).score(UNSEEN)
    assert method.losses_[-1] < method.losses_[0]
    assert scores[KINDS == 1].mean() > scores[KINDS == 0].mean()


def test_no_pseudo_anomalies_and_no_references() -> None:
    assert DevNet().pseudo_source is None
    assert DevNet().n_references == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"head": "rep", "loss": "bce"}, "devnet: .*head=rep is defined for loss=deviation only"),
        ({"head": "rep", "loss": "focal"}, "head=rep is defined for loss=deviation only"),
        ({"head": "mli"}, "devnet.head='mli': input should be 'mil', 'ds', 'patch-ds' or 'rep'"),
        ({"top_k": 1.5}, "devnet.top_k=1.5: input should be less than or equal to 1"),
        ({"rep_channels": 0}, "devnet.rep_channels=0: input should be greater than or equal to 1"),
        ({"weight_decay": -1.0}, "devnet.weight_decay=-1.0: input should be greater than or"),
        ({"epochs": 0, "lr": 0.0}, "devnet.epochs=0: .*; devnet.lr=0.0: input should be greater"),
        ({"topk": 0.2}, r"devnet has no parameter 'topk' \(did you mean top_k"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DevNet(**params)
