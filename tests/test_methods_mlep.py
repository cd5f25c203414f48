from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor

from osadbench.errors import ParameterError
from osadbench.methods import mlep
from osadbench.methods.mlep import MLEP
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.fitting import Training
from osadbench.nn.images import ArrayImages
from osadbench.nn.sampler import NORMAL, SEEN
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

ANCHOR = torch.tensor([[1, 0], [0, 1]], dtype=torch.float64)
POSITIVE = torch.tensor([[0.8, 0.2], [0.1, 0.7]], dtype=torch.float64)
NEGATIVE = torch.tensor([[0, 1], [0.6, 0.9]], dtype=torch.float64)

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, TRUTH = toy_images(18, 18, 64, 2)
SETTINGS = engine("smoke", device="cpu")
LEARN: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.0, "epochs": 8, "seed": 1}


def check_distances() -> None:
    intra, inter = mlep.squared_distance(ANCHOR, POSITIVE), mlep.squared_distance(ANCHOR, NEGATIVE)
    assert intra.mean().item() == pytest.approx(0.045, abs=1e-6)
    assert inter.mean().item() == pytest.approx(0.5925, abs=1e-6)


def check_the_videos_score_is_of_the_same_distance() -> None:
    # The image version predicts no frame. That of the public code is scored by its PSNR, which is
    # of this distance, of pixels from -1 to 1.
    frame, predicted = (torch.tensor(pixels) for pixels in ([0.4, 0.4], [0.5, 0.2]))
    error = mlep.squared_distance(predicted.double(), frame.double()).item()
    assert 10 * math.log10(1 / (error / 4)) == pytest.approx(22.041200, abs=1e-6)


def check_hinge() -> None:
    hinges = mlep.margin_hinge(ANCHOR, POSITIVE, NEGATIVE, 1.0)
    assert hinges.tolist() == pytest.approx([0.04, 0.865], abs=1e-6)
    assert hinges.mean().item() == pytest.approx(0.4525, abs=1e-6)


def check_one_far_negative_does_not_hide_another() -> None:
    anchor = torch.zeros(2, 2)
    negative = torch.tensor([[2.0, 2.0], [1.0, 0.0]])
    assert mlep.squared_distance(anchor, negative).tolist() == [4.0, 0.5]
    hinges = mlep.margin_hinge(anchor, anchor, negative, 1.0)
    assert hinges.mean().item() == pytest.approx(0.25, abs=1e-6)


class GivenEmbeddings:
    """A network that embeds a patch as its first two channels; the third marks anomalies.

    The decoder misses the first channels by .1 and .2; the third it takes for .15, so that it has
    a large error on anomalies.
    """

    centre = torch.tensor([0.1, 0.2], dtype=torch.float64)

    def __getitem__(self, name: str) -> Callable[[Tensor], Tensor]:
        return {"encoder": self.encode, "decoder": self.decode}[name]

    def encode(self, patches: Tensor) -> Tensor:
        return patches[..., :2]

    def decode(self, encoded: Tensor) -> Tensor:
        shifted = encoded + torch.tensor([0.1, -0.2], dtype=encoded.dtype)
        return torch.cat([shifted, torch.full_like(encoded[..., :1], 0.15)], dim=-1)


def batch() -> tuple[list[Tensor], Tensor]:
    """Return maps and codes of two anchors, two positives and two anomalies."""
    embeddings = torch.cat([ANCHOR, POSITIVE, NEGATIVE])
    codes = torch.tensor([NORMAL] * 4 + [SEEN] * 2)
    large = torch.cat([embeddings, 1000.0 * (codes[:, None] == SEEN)], dim=1)
    large = large[:, :, None, None].expand(-1, -1, 2, 2).clone()
    # Patches and scales differ, with the embeddings as their means.
    swing = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    large[:, :2] += swing
    small = large.mean(dim=(2, 3), keepdim=True)
    shift = torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    return [large + shift, small - shift], codes


def given_triplets(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5])


def check_total() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlep, "triplet_rows", given_triplets)
        assert MLEP().loss(GivenEmbeddings(), *batch()).item() == pytest.approx(0.6025, abs=1e-6)
        weighted = MLEP(margin_weight=2.0, margin=1.0).loss(GivenEmbeddings(), *batch())
        assert weighted.item() == pytest.approx(0.15 + 2 * 0.4525, abs=1e-6)


def check_scores() -> None:
    maps, _ = batch()
    distances = MLEP().image_scores(GivenEmbeddings(), maps)
    wanted = [0.425, 0.325, 0.245, 0.125, 0.325, 0.37]
    assert distances.tolist() == pytest.approx(wanted, abs=1e-6)
    errors = MLEP(score="reconstruction").image_scores(GivenEmbeddings(), maps)
    assert errors.tolist() == pytest.approx([0.15] * 4 + [(0.3 + 999.85) / 3] * 2, abs=1e-6)


def check_the_target_passes_no_gradient_on() -> None:
    maps = [torch.randn(3, 4, 2, 2, requires_grad=True)]
    network = {"encoder": lambda patches: 0.0 * patches, "decoder": lambda encoded: encoded}
    MLEP().loss(network, maps, torch.full((3,), NORMAL)).backward()  # type: ignore[no-untyped-call]
    assert maps[0].grad is not None
    assert not maps[0].grad.any()


def check_triplets() -> None:
    torch.manual_seed(0)
    for n_normal, n_anomaly, wanted in [(24, 24, 24), (24, 3, 12), (2, 2, 2), (5, 1, 2), (3, 7, 7)]:
        codes = torch.tensor([NORMAL] * n_normal + [SEEN] * n_anomaly)
        codes = codes[torch.randperm(len(codes))]
        rows = mlep.triplet_rows(codes)
        assert [len(part) for part in rows] == [wanted] * 3
        anchor, positive, negative = (set(part.tolist()) for part in rows)
        normals = set((codes == NORMAL).nonzero()[:, 0].tolist())
        assert anchor | positive <= normals
        assert not anchor & positive
        assert len(anchor) == len(positive) == n_normal // 2
        assert negative == set(range(len(codes))) - normals
        pairs = set(zip(rows[0].tolist(), rows[1].tolist(), strict=True))
        assert len(pairs) == n_normal // 2


def check_the_centre() -> None:
    method = MLEP(engine=SETTINGS, seed=1).fit(IMAGES, LABELS)
    rows = FrozenFeatures(SETTINGS).rows(
        ArrayImages(IMAGES), [(index, PLAIN) for index in range(12)]
    )
    network: Any = method.network_
    with torch.no_grad():
        embeddings = [network["encoder"](scale.float().mean(dim=(2, 3))) for scale in rows]
    wanted = torch.stack(embeddings).mean(dim=(0, 1))
    assert torch.allclose(network.centre, wanted, rtol=1e-4, atol=1e-7)


def check_the_note() -> None:
    method = MLEP()
    network: Any = method.build([3])
    training: Any = SimpleNamespace(over_normals=lambda function: torch.zeros(4, 128))
    cases: list[tuple[list[list[float]], list[str]]] = [
        ([[0.5, 0.0], [0.0, 0.0], [0.0, 0.1], [0.0], [0.0]], ["inactive from epoch 4 on"]),
        ([[0.5], [0.0], [0.1]], []),
        ([[], []], ["inactive from epoch 1 on"]),
        ([], []),
    ]
    for epochs, notes in cases:
        method.notes_ = []
        method._hinges = epochs
        method.after_training(network, training)
        assert method.notes_ == [f"the margin hinge was {note}" for note in notes]


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def after_the_mean(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    gap = (anchor - positive).square().mean() - (anchor - negative).square().mean()
    return (margin + gap).clamp(min=0)[None]


def pulls_anomalies(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    gap = (anchor - negative).square() - (anchor - positive).square()
    return (margin + gap.mean(dim=-1)).clamp(min=0)


def summed(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().sum(dim=-1)


def with_itself(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    normals, anomalies = (codes == NORMAL).nonzero()[:, 0], (codes == SEEN).nonzero()[:, 0]
    turn = torch.arange(max(len(normals) // 2, len(anomalies)))
    anchor = normals[turn % (len(normals) // 2)]
    return anchor, anchor, anomalies[turn % len(anomalies)]


def attached(network: Any, encoded: Sequence[Tensor], maps: Sequence[Tensor]) -> list[Tensor]:
    pairs = zip(encoded, maps, strict=True)
    return [(network["decoder"](e) - m.permute(0, 2, 3, 1)).abs().mean(-1) for e, m in pairs]


def of_all_rows(self: MLEP, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    encoded = self._encode(network, maps)
    embeddings = self._embed(encoded)
    anchor, positive, negative = (embeddings[part] for part in mlep.triplet_rows(codes))
    hinge = mlep.margin_hinge(anchor, positive, negative, self.p.margin).mean()
    return self._error(network, encoded, maps).mean() + self.p.margin_weight * hinge


def over_all(self: Training, function: Callable[[list[Tensor]], Tensor]) -> Tensor:
    with torch.no_grad():
        return function(self.features.evaluate(self.images, range(len(self.images))))


def first_pause(self: MLEP, network: Any, training: Any) -> None:
    pauses = [number for number, hinges in enumerate(self._hinges, 1) if not any(hinges)]
    if pauses:
        self.notes_ = [f"the margin hinge was inactive from epoch {pauses[0]} on"]


def squared_to_origin(self: MLEP, network: Any, maps: Sequence[Tensor]) -> Tensor:
    return self._embed(self._encode(network, maps)).square().mean(dim=-1)


FAULTS: list[Fault] = [
    Fault("distances summed", mlep, "squared_distance", summed, check_distances),
    Fault(
        "distances summed, seen by PSNR",
        mlep,
        "squared_distance",
        summed,
        check_the_videos_score_is_of_the_same_distance,
    ),
    Fault("anomalies pulled", mlep, "margin_hinge", pulls_anomalies, check_hinge),
    Fault(
        "hinge after the mean",
        mlep,
        "margin_hinge",
        after_the_mean,
        check_one_far_negative_does_not_hide_another,
    ),
    Fault("anomalies reconstructed", MLEP, "loss", of_all_rows, check_total),
    Fault("distance to the origin", MLEP, "image_scores", squared_to_origin, check_scores),
    Fault(
        "target not detached",
        MLEP,
        "_patch_errors",
        staticmethod(attached),
        check_the_target_passes_no_gradient_on,
    ),
    Fault("anchor as its own positive", mlep, "triplet_rows", with_itself, check_triplets),
    Fault("anomalies in the centre", Training, "over_normals", over_all, check_the_centre),
    Fault("a pause taken for the end", MLEP, "after_training", first_pause, check_the_note),
]


@pytest.mark.parametrize(("n_normal", "n_anomaly"), [(48, 0), (1, 1), (0, 2)])
def test_without_a_pair_or_an_anomaly_there_is_no_hinge(n_normal: int, n_anomaly: int) -> None:
    codes = torch.tensor([NORMAL] * n_normal + [SEEN] * n_anomaly)
    assert [len(rows) for rows in mlep.triplet_rows(codes)] == [0, 0, 0]


def test_pairs_are_drawn_anew() -> None:
    codes = torch.tensor([NORMAL] * 24 + [SEEN] * 24)
    torch.manual_seed(0)
    first, second = mlep.triplet_rows(codes), mlep.triplet_rows(codes)
    torch.manual_seed(0)
    again = mlep.triplet_rows(codes)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("score", ["distance", "reconstruction"])
def test_both_scores_come_from_one_training(smoke: Engine, score: str) -> None:
    method = MLEP(engine=smoke, score=score, **LEARN).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert scores[TRUTH == 1].mean() > 2 * scores[TRUTH == 0].mean()
    assert method.losses_[-1] < 0.5 * method.losses_[0]
    other = {"distance": "reconstruction", "reconstruction": "distance"}[score]
    again = MLEP(engine=smoke, score=other, **LEARN).fit(IMAGES, LABELS)
    assert again.fitted_digest_ == method.fitted_digest_
    assert (again.score(UNSEEN) != scores).all()
    assert (pickle.loads(pickle.dumps(method)).score(UNSEEN) == scores).all()


@pytest.mark.parametrize("score", ["distance", "reconstruction"])
def test_patch_maps_are_the_scores_of_single_patches(score: str) -> None:
    torch.manual_seed(0)
    method = MLEP(score=score)
    network: Any = method.build([6])
    network.centre.normal_()
    maps = [torch.randn(2, 6, 4, 3), torch.randn(2, 6, 2, 1)]
    patch_maps = method.patch_maps(network, maps)
    assert [tuple(scale.shape) for scale in patch_maps] == [(2, 4, 3), (2, 2, 1)]
    corner = method.image_scores(network, [maps[0][:, :, 3:, 2:]])
    torch.testing.assert_close(patch_maps[0][:, 3, 2], corner)


@pytest.mark.parametrize(("n_anomalies", "batch_size"), [(0, 48), (4, 2), (1, 3), (4, 48)])
def test_a_training_without_triplets_is_noted(
    smoke: Engine, n_anomalies: int, batch_size: int
) -> None:
    n = 12 + n_anomalies
    method = MLEP(engine=smoke, batch_size=batch_size, steps_per_epoch=4)
    method.fit(IMAGES[:n], LABELS[:n])
    has_triplets = n_anomalies > 0 and batch_size > 2
    assert method.active_share_ == [float(has_triplets)] * 2
    note = "the margin hinge was inactive from epoch 1 on"
    assert method.notes_ == ([] if has_triplets else [note])


def test_a_margin_that_is_soon_kept_is_noted(smoke: Engine) -> None:
    method = MLEP(engine=smoke, margin=1e-3, **{**LEARN, "lr": 0.01}).fit(IMAGES[:13], LABELS[:13])
    shares = method.active_share_
    assert len(shares) == 8
    assert shares[0] > 0
    assert shares[-1] == 0
    last_active = max(number for number, share in enumerate(shares, 1) if share)
    assert method.notes_ == [f"the margin hinge was inactive from epoch {last_active + 1} on"]
    method.fit(IMAGES[:13], LABELS[:13])
    assert method.active_share_ == shares, "a second fit counts anew"


@pytest.mark.parametrize("preset", ["frozen", "paper", "paper-text", "smoke"])
def test_tables_do_not_call_it_the_video_method(preset: str) -> None:
    assert MLEP.label(MLEP.engine_for(preset)) == "mlep-img"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"score": "psnr"}, "mlep.score='psnr': input should be 'distance' or 'reconstruction'"),
        ({"margin": 0.0}, "mlep.margin=0.0: input should be greater than 0"),
        ({"margin_weight": -1.0}, "mlep.margin_weight=-1.0: input should be greater than or"),
        ({"width": 0}, "mlep.width=0: input should be greater than or equal to 1"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        MLEP(**params)
