from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from osadbench.errors import ParameterError
from osadbench.methods.dra import DRA, anomaly_score, head_targets
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.heads import HolisticHead, PatchHead, ResidualHead
from osadbench.nn.images import ArrayImages
from osadbench.nn.losses import LOSSES, deviation_loss
from osadbench.nn.sampler import NORMAL, PSEUDO, SEEN
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN = toy_images(18, 18, 64, 2)[0]
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2}
HEADS = ("seen", "pseudo", "residual", "holistic")
ABLATIONS = {
    "seen": "DRA1A",
    "seen+pseudo": "DRA2A",
    "seen+pseudo+residual": "DRA3Ar",
    "seen+pseudo+holistic": "DRA3An",
    "seen+pseudo+residual+holistic": "DRA",
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine("smoke", device="cpu", cache_dir=str(tmp_path_factory.mktemp("cache")))


# Heads and maps whose scores are given: channel j of a scale's map is the score of head j there.

Network = Mapping[str, Callable[..., Tensor]]
NETWORK: Network = {
    "seen": lambda maps: maps[:, 0, 0, 0],
    "pseudo": lambda maps: maps[:, 1, 0, 0],
    "residual": lambda maps, reference: maps[:, 2, 0, 0],
    "holistic": lambda maps: maps[:, 3, 0, 0],
}
NORMAL_LIKE = {
    "holistic": (4.8, 4.4), "seen": (0.3, 0.5), "pseudo": (0.2, 0.4), "residual": (0.6, 0.2)
}  # fmt: skip
ANOMALY_LIKE = {
    "holistic": (0.4, 0.2), "seen": (5.2, 4.8), "pseudo": (3, 2), "residual": (4.1, 4.3)
}  # fmt: skip


def as_maps(*samples: Mapping[str, tuple[float, float]]) -> list[Tensor]:
    scores = torch.tensor([[sample[head] for head in HEADS] for sample in samples]).double()
    return [scores[:, :, scale, None, None] for scale in (0, 1)]


def score(*samples: Mapping[str, tuple[float, float]], heads: str = "+".join(HEADS)) -> list[float]:
    method = DRA(heads=heads)
    method.references_ = [torch.zeros(4, 1, 1)] * 2
    network = {head: NETWORK[head] for head in heads.split("+")}
    scores: list[float] = method.image_scores(network, as_maps(*samples)).tolist()
    return scores


def test_the_score_sums_abnormality_and_subtracts_normality() -> None:
    assert score(NORMAL_LIKE, ANOMALY_LIKE) == pytest.approx([-3.5, 11.4], abs=1e-6)


@pytest.mark.parametrize(
    ("heads", "wanted"), list(zip(ABLATIONS, (5.0, 7.5, 11.7, 7.2, 11.4), strict=True))
)
def test_ablations_score_with_their_heads_alone(heads: str, wanted: float) -> None:
    assert score(ANOMALY_LIKE, heads=heads) == pytest.approx([wanted], abs=1e-6)


@pytest.mark.parametrize(("head", "sign"), [*((head, 1) for head in HEADS[:3]), ("holistic", -1)])
def test_the_sign_of_each_head(head: str, sign: int) -> None:
    first, second = ANOMALY_LIKE[head]
    raised = {**ANOMALY_LIKE, head: (first + 1, second + 1)}
    before, after = score(ANOMALY_LIKE, raised)
    assert after - before == pytest.approx(sign)
    alone = anomaly_score({head: torch.tensor([2.0])})
    assert alone.item() == 2 * sign


@pytest.mark.parametrize(
    ("head", "mask", "targets"),
    [
        ("seen", [1, 1, 0, 1, 0], [0, 1, 0]),
        ("pseudo", [1, 0, 1, 1, 1], [0, 1, 0, 1]),
        ("residual", [1, 1, 1, 1, 1], [0, 1, 1, 0, 1]),
        ("holistic", [1, 1, 1, 1, 1], [1, 0, 0, 1, 0]),
    ],
)
def test_what_each_head_learns_from(head: str, mask: list[int], targets: list[int]) -> None:
    codes = torch.tensor([NORMAL, SEEN, PSEUDO, NORMAL, PSEUDO])
    used, wanted = head_targets(head, codes)
    assert used.tolist() == [bool(value) for value in mask]
    assert wanted.tolist() == targets
    assert wanted.dtype == torch.long


@pytest.fixture
def standard_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the deviation loss against mean 0 and standard deviation 1."""
    monkeypatch.setitem(LOSSES, "deviation", partial(deviation_loss, mean=0.0, std=1.0))


def only(head: str, *scores: float) -> list[Tensor]:
    samples = [{name: (0.0, 0.0) for name in HEADS} | {head: (s, s)} for s in scores]
    return as_maps(*samples)


@pytest.mark.usefixtures("standard_normal")
def test_the_holistic_head_learns_normality() -> None:
    maps = only("holistic", 4, 5.5, 1)
    codes = torch.tensor([NORMAL, NORMAL, SEEN])
    loss = DRA(heads="holistic").loss({"holistic": NETWORK["holistic"]}, maps, codes)
    assert loss.item() == pytest.approx(0.666667, abs=1e-6)


@pytest.mark.usefixtures("standard_normal")
def test_the_loss_sums_the_heads_means_over_their_own_samples() -> None:
    codes = [NORMAL, SEEN, PSEUDO, NORMAL]
    samples = [
        {"seen": (1.0, 2.0), "pseudo": (0.5, 0.5), "residual": (1.0, 0.0), "holistic": (4.0, 5.0)},
        {"seen": (4.0, 4.0), "pseudo": (9.0, 9.0), "residual": (2.0, 4.0), "holistic": (1.0, 2.0)},
        {"seen": (9.0, 9.0), "pseudo": (1.0, 2.0), "residual": (6.0, 6.0), "holistic": (0.0, 1.0)},
        {"seen": (0.5, 0.5), "pseudo": (0.2, 0.4), "residual": (0.3, 0.3), "holistic": (7.0, 7.0)},
    ]
    # The scales' mean goes into the loss; a seen sample's pseudo score, and the reverse, do not.
    seen = np.mean([1.5, 5 - 4.0, 0.5])
    pseudo = np.mean([0.5, 5 - 1.5, 0.3])
    residual = np.mean([0.5, 5 - 3.0, 0.0, 0.3])
    holistic = np.mean([5 - 4.5, 1.5, 0.5, 0.0])
    loss = DRA().loss(NETWORK, as_maps(*samples), torch.tensor(codes))
    assert loss.item() == pytest.approx(seen + pseudo + residual + holistic, abs=1e-6)


def test_a_head_without_samples_is_left_out() -> None:
    maps, codes = only("seen", 1, 2), torch.tensor([PSEUDO, PSEUDO])
    assert torch.isfinite(DRA().loss(NETWORK, maps, codes))
    maps, codes = only("pseudo", 1, 2), torch.tensor([SEEN, SEEN])
    assert torch.isfinite(DRA().loss(NETWORK, maps, codes))


def test_the_last_maps_of_a_batch_are_the_references() -> None:
    given: list[tuple[Tensor, Tensor]] = []

    def residual(maps: Tensor, reference: Tensor) -> Tensor:
        given.append((maps, reference))
        return maps.sum(dim=(1, 2, 3))

    maps = [torch.randn(7, 3, side, side) for side in (4, 2)]
    codes = torch.tensor([NORMAL, SEEN])
    DRA(heads="residual", n_ref=5).loss({"residual": residual}, maps, codes)
    for (samples, reference), scale in zip(given, maps, strict=True):
        assert torch.equal(samples, scale[:2])
        torch.testing.assert_close(reference, scale[2:].mean(dim=0))


def test_the_networks_heads() -> None:
    network: Any = DRA().build(64)
    kinds: list[Any] = [PatchHead, PatchHead, ResidualHead, HolisticHead]
    assert list(network) == list(HEADS)
    assert [type(head) for head in network.values()] == kinds
    assert not torch.equal(network["seen"].convolution.weight, network["pseudo"].convolution.weight)
    assert list(DRA(heads="holistic+seen").build(64)) == ["seen", "holistic"]  # type: ignore[call-overload]


def test_switches_reach_the_heads() -> None:
    network: Any = DRA(top_k=0.25, signed=True).build(8)
    assert (network["pseudo"].top_k, network["residual"].head.top_k) == (0.25, 0.25)
    assert network["seen"].signed and network["residual"].head.signed and network["holistic"].signed
    network = DRA().build(8)
    assert network["seen"].top_k == 0.1
    assert not network["holistic"].signed


@pytest.mark.parametrize("heads", ABLATIONS)
def test_every_ablation_runs(smoke: Engine, heads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Tensor] = []
    loss = DRA.loss

    def noted(self: DRA, network: Any, maps: Any, codes: Tensor) -> Tensor:
        batches.append(codes)
        assert len(maps[0]) == len(codes) + self.n_references
        return loss(self, network, maps, codes)

    monkeypatch.setattr(DRA, "loss", noted)
    method = DRA(engine=smoke, heads=heads, **SHORT).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(UNSEEN)
    trained = {name.split(".")[0] for name, _ in method.network_.named_parameters()}
    assert trained == set(heads.split("+"))
    kinds = {NORMAL, SEEN} if heads == "seen" else {NORMAL, SEEN, PSEUDO}
    assert set(torch.cat(batches).tolist()) == kinds
    assert method.pseudo_source == (None if heads == "seen" else "cutmix")
    assert method.n_references == (5 if "residual" in heads else 0)
    assert len(method.references_) == (2 if "residual" in heads else 0)


def test_the_order_of_the_heads_does_not_matter(smoke: Engine) -> None:
    first = DRA(engine=smoke, heads="holistic+seen+pseudo", **SHORT)
    second = DRA(engine=smoke, heads=("seen", "pseudo", "holistic"), **SHORT)
    assert first.params == second.params
    assert first.params.model_dump_json() == second.params.model_dump_json()
    scores = [method.fit(IMAGES, LABELS).score(UNSEEN) for method in (first, second)]
    assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"heads": "seen+unseen"}, r"dra.heads='seen\+unseen': input should be 'seen', 'pseudo', "),
        ({"heads": "seen+seen"}, "heads must be one or more of seen, pseudo, residual, holistic"),
        ({"heads": ()}, "heads must be one or more of seen, pseudo, residual, holistic, each once"),
        ({"n_ref": 0}, "dra.n_ref=0: input should be greater than or equal to 1"),
        ({"ref_test": "batch"}, "dra.ref_test='batch': input should be 'fixed' or 'mixed_fixed'"),
        ({"pseudo": "perlin"}, "dra.pseudo='perlin': input should be 'cutmix', 'cutpaste-scar' or"),
        ({"loss": "hinge"}, "dra.loss='hinge': input should be 'deviation', 'bce' or 'focal'"),
        ({"top_k": 0.0}, "dra.top_k=0.0: input should be greater than 0"),
        ({"batch_size": 1}, "dra.batch_size=1: input should be greater than or equal to 2"),
        ({"lr": 0.0}, "dra.lr=0.0: input should be greater than 0"),
        ({"nref": 1}, r"dra has no parameter 'nref' \(did you mean n_ref"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        DRA(**params)


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "bce"},
        {"loss": "focal"},
        {"pseudo": "cutpaste-scar"},
        {"pseudo": "cutpaste-mix"},
        {"signed": True},
        {"n_ref": 1},
        {"ref_test": "mixed_fixed"},
        {"batch_size": 2},
    ],
    ids=str,
)
def test_variants_run(smoke: Engine, params: dict[str, Any]) -> None:
    method = DRA(engine=smoke, seed=1, **{**SHORT, **params}).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert np.isfinite(method.losses_).all()
    assert len(set(scores)) == len(UNSEEN)
    default = DRA(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS).score(UNSEEN)
    assert (scores != default).any()


def test_scoring_twice_is_bit_identical_and_knows_no_other_images(smoke: Engine) -> None:
    method = DRA(engine=smoke, **SHORT).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert (method.score(UNSEEN) == scores).all()
    order = np.random.default_rng(0).permutation(len(UNSEEN))
    assert (method.score(UNSEEN[order]) == scores[order]).all()
    single = [method.score(UNSEEN[[index]])[0] for index in range(len(UNSEEN))]
    assert single == scores.tolist()


def references(smoke: Engine, seed: int, **params: Any) -> list[Tensor]:
    method = DRA(engine=smoke, seed=seed, **SHORT, **params)
    return method.fit(IMAGES, LABELS).references_


@pytest.mark.parametrize("ref_test", ["fixed", "mixed_fixed"])
def test_references_are_drawn_from_the_seed(smoke: Engine, ref_test: str) -> None:
    first, again = (references(smoke, 1, ref_test=ref_test) for _ in range(2))
    others = references(smoke, 2, ref_test=ref_test)
    assert [tuple(scale.shape) for scale in first] == [(64, 2, 2), (64, 1, 1)]
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, others))


def plain_maps(smoke: Engine) -> list[Tensor]:
    requests = [(index, PLAIN) for index in range(12)]
    rows = FrozenFeatures(smoke).rows(ArrayImages(IMAGES), requests)
    return [scale.float() for scale in rows]


@pytest.mark.parametrize("n_ref", [1, 2])
def test_fixed_references_are_means_of_plain_training_normals(smoke: Engine, n_ref: int) -> None:
    for seed in (1, 2, 3):
        large, small = references(smoke, seed, n_ref=n_ref)
        maps = plain_maps(smoke)
        chosen = [
            (i, j)
            for i in range(12)
            for j in range(i, 12)
            if torch.allclose((maps[0][i] + maps[0][j]) / 2, large, atol=1e-7)
        ]
        assert len(chosen) == 1
        (i, j) = chosen[0]
        assert (i == j) == (n_ref == 1), "no normal is drawn twice"
        torch.testing.assert_close((maps[1][i] + maps[1][j]) / 2, small)


def test_more_references_than_normals_take_them_all(smoke: Engine) -> None:
    for reference, maps in zip(references(smoke, 1, n_ref=50), plain_maps(smoke), strict=True):
        torch.testing.assert_close(reference, maps.mean(dim=0))


def test_mixed_references_come_from_the_training_pool(smoke: Engine) -> None:
    plain = plain_maps(smoke)[0]
    drawn = [references(smoke, seed, n_ref=1, ref_test="mixed_fixed")[0] for seed in range(8)]
    is_plain = [any(torch.equal(reference, row) for row in plain) for reference in drawn]
    assert True in is_plain
    assert False in is_plain


def test_references_do_not_move_the_training(smoke: Engine) -> None:
    fixed, mixed = (
        DRA(engine=smoke, ref_test=kind, **SHORT).fit(IMAGES, LABELS)
        for kind in ("fixed", "mixed_fixed")
    )
    assert fixed.fitted_digest_ == mixed.fitted_digest_


def test_parameters_are_known_without_torch(run_python: Callable[..., str], tmp_path: Path) -> None:
    code = (
        "import sys; from osadbench.registry import METHODS\n"
        "for name in ('dra', 'devnet', 'knn'):\n"
        "    METHODS.get(name)(seed=1); print(METHODS.get(name).resolve_params('paper', {}))\n"
        "print([name for name in ('torch', 'timm', 'sklearn') if name in sys.modules])"
    )
    lines = run_python(code, cwd=tmp_path).splitlines()
    assert "n_ref=5" in lines[0]
    assert "head='mil'" in lines[1]
    assert lines[3] == "[]"
