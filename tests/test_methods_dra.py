from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from method_tools import standard_normal
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn

import osadbench.methods.dra as dra
import osadbench.nn.heads as heads
import osadbench.nn.losses as losses
from osadbench.errors import ContractError, ParameterError
from osadbench.methods.dra import DRA
from osadbench.nn.features import PLAIN, FrozenFeatures
from osadbench.nn.heads import HolisticHead, PatchHead, ResidualHead
from osadbench.nn.images import ArrayImages
from osadbench.nn.sampler import NORMAL, PSEUDO, REFERENCE, SEEN
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


def check_the_score_sums_abnormality_and_subtracts_normality() -> None:
    assert score(NORMAL_LIKE, ANOMALY_LIKE) == pytest.approx([-3.5, 11.4], abs=1e-6)


def check_ablations_score_with_their_heads_alone() -> None:
    for chosen, wanted in zip(ABLATIONS, (5.0, 7.5, 11.7, 7.2, 11.4), strict=True):
        assert score(ANOMALY_LIKE, heads=chosen) == pytest.approx([wanted], abs=1e-6)


def check_the_sign_of_each_head() -> None:
    for head, sign in (*((head, 1) for head in HEADS[:3]), ("holistic", -1)):
        first, second = ANOMALY_LIKE[head]
        raised = {**ANOMALY_LIKE, head: (first + 1, second + 1)}
        before, after = score(ANOMALY_LIKE, raised)
        assert after - before == pytest.approx(sign)
        alone = dra.anomaly_score({head: torch.tensor([2.0])})
        assert alone.item() == 2 * sign


def check_what_each_head_learns_from() -> None:
    codes = torch.tensor([NORMAL, SEEN, PSEUDO, NORMAL, PSEUDO])
    for head, mask, targets in (
        ("seen", [1, 1, 0, 1, 0], [0, 1, 0]),
        ("pseudo", [1, 0, 1, 1, 1], [0, 1, 0, 1]),
        ("residual", [1, 1, 1, 1, 1], [0, 1, 1, 0, 1]),
        ("holistic", [1, 1, 1, 1, 1], [1, 0, 0, 1, 0]),
    ):
        used, wanted = dra.head_targets(head, codes)
        assert used.tolist() == [bool(value) for value in mask]
        assert wanted.tolist() == targets
        assert wanted.dtype == torch.long


def only(head: str, *scores: float) -> list[Tensor]:
    samples = [{name: (0.0, 0.0) for name in HEADS} | {head: (s, s)} for s in scores]
    return as_maps(*samples)


def check_the_holistic_head_learns_normality() -> None:
    maps = only("holistic", 4, 5.5, 1)
    codes = torch.tensor([NORMAL, NORMAL, SEEN])
    with standard_normal():
        loss = DRA(heads="holistic").loss({"holistic": NETWORK["holistic"]}, maps, codes)
    assert loss.item() == pytest.approx(0.666667, abs=1e-6)


def check_the_loss_sums_the_heads_means_over_their_own_samples() -> None:
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
    with standard_normal():
        loss = DRA().loss(NETWORK, as_maps(*samples), torch.tensor(codes))
    assert loss.item() == pytest.approx(seen + pseudo + residual + holistic, abs=1e-6)


def check_the_residual_is_mean_reference_minus_sample() -> None:
    given: list[Tensor] = []

    class Block(nn.Identity):
        def forward(self, input: Tensor) -> Tensor:
            given.append(input)
            return input

    head = ResidualHead(2)
    head.block = nn.Sequential(Block())
    sample = torch.tensor([1.5, 0.0]).view(1, 2, 1, 1)
    references = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(2, 2, 1, 1)
    codes = torch.tensor([SEEN, REFERENCE, REFERENCE])
    method = DRA(heads="residual", n_ref=2)
    method.loss({"residual": head}, [torch.cat([sample, references])], codes)
    assert given[0].flatten().tolist() == [0.5, 4.0]
    method.references_ = [references.mean(dim=0)]
    method.image_scores({"residual": head}, [sample])
    assert given[1].flatten().tolist() == [0.5, 4.0]


def check_every_head_learns_from_the_first_step() -> None:
    torch.manual_seed(0)
    network: Any = DRA().build([6])
    maps = [torch.randn(9, 6, side, side) for side in (3, 2)]
    codes = torch.tensor([NORMAL, SEEN, PSEUDO, NORMAL, REFERENCE, REFERENCE, *[REFERENCE] * 3])
    DRA().loss(network, maps, codes).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # The pulls of a normal and of an anomalous sample on a bias can cancel exactly.
        assert parameter.grad.any() or parameter.shape == (1,), name


def fitted(**params: Any) -> DRA:
    settings = engine("smoke", device="cpu")
    return DRA(engine=settings, seed=1, **{**SHORT, **params}).fit(IMAGES, LABELS)


def check_a_score_depends_on_its_own_image() -> None:
    method = fitted()
    scores = method.score(UNSEEN)
    assert (method.score(UNSEEN) == scores).all()
    order = np.random.default_rng(0).permutation(len(UNSEEN))
    assert (method.score(UNSEEN[order]) == scores[order]).all()
    assert [method.score(UNSEEN[[n]])[0] for n in (0, 5, 20)] == scores[[0, 5, 20]].tolist()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


# What goes wrong in implementations of it, planted to see that it is found.

_head_targets, _residual_init = dra.head_targets, ResidualHead.__init__


def normality_added(scores: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(scores.values())).sum(dim=0)


def holistic_as_the_others(head: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    return _head_targets("residual" if head == "holistic" else head, codes)


def all_samples_for_all_heads(head: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    mask = torch.ones_like(codes, dtype=torch.bool)
    positive = {"seen": codes == SEEN, "pseudo": codes == PSEUDO, "holistic": codes == NORMAL}
    return mask, positive.get(head, codes != NORMAL).long()


def residual_knows_seen_only(head: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    mask, targets = _head_targets(head, codes)
    return mask, (codes == SEEN).long() if head == "residual" else targets


def squared(scores: Tensor, targets: Tensor, *, mean: float, std: float) -> Tensor:
    y = targets.to(scores.dtype)
    return ((1 - y) * scores**2 + y * (5 - scores).clamp(min=0) ** 2).mean()


def first_scale_only(head: Any, *scales: Any) -> Tensor:
    first = [tensors[0] for tensors in scales]
    return cast(Tensor, head(*first))


def sample_minus_reference(maps: Tensor, reference: Tensor) -> Tensor:
    return maps - reference


def dead_residual_head(self: ResidualHead, *arguments: Any, **options: Any) -> None:
    # Scale and shift of the batch norm 0 and a patch bias of 0: no gradient reaches any of it.
    _residual_init(self, *arguments, **options)
    batch_norm: Any = self.block[1]
    for tensor in (batch_norm.weight, batch_norm.bias, self.head.convolution.bias):
        nn.init.zeros_(cast(Tensor, tensor))


def references_of_the_batch(self: DRA, network: Any, maps: Sequence[Tensor]) -> Tensor:
    reference = [scale.mean(dim=0) for scale in maps]
    return dra.anomaly_score(self._head_scores(network, maps, reference))


def new_references_every_time(self: DRA, network: Any, maps: Sequence[Tensor]) -> Tensor:
    noise = float(torch.rand(()))
    reference = [scale * (1 + noise) for scale in self.references_]
    return dra.anomaly_score(self._head_scores(network, maps, reference))


FAULTS: list[Fault] = [
    Fault(
        "normality is added",
        dra,
        "anomaly_score",
        normality_added,
        check_the_score_sums_abnormality_and_subtracts_normality,
    ),
    Fault(
        "normality is added, seen by its sign",
        dra,
        "anomaly_score",
        normality_added,
        check_the_sign_of_each_head,
    ),
    Fault(
        "one scale is scored",
        heads,
        "mean_over_scales",
        first_scale_only,
        check_ablations_score_with_their_heads_alone,
    ),
    Fault(
        "holistic head learns anomalies",
        dra,
        "head_targets",
        holistic_as_the_others,
        check_the_holistic_head_learns_normality,
    ),
    Fault(
        "all samples for all heads",
        dra,
        "head_targets",
        all_samples_for_all_heads,
        check_what_each_head_learns_from,
    ),
    Fault(
        "pseudo anomalies in the seen head",
        dra,
        "head_targets",
        all_samples_for_all_heads,
        check_the_loss_sums_the_heads_means_over_their_own_samples,
    ),
    Fault(
        "no pseudo residuals",
        dra,
        "head_targets",
        residual_knows_seen_only,
        check_the_loss_sums_the_heads_means_over_their_own_samples,
    ),
    Fault(
        "terms squared",
        losses,
        "deviation_loss",
        squared,
        check_the_loss_sums_the_heads_means_over_their_own_samples,
    ),
    Fault(
        "sample minus reference",
        ResidualHead,
        "residual",
        staticmethod(sample_minus_reference),
        check_the_residual_is_mean_reference_minus_sample,
    ),
    Fault(
        "a dead residual head",
        ResidualHead,
        "__init__",
        dead_residual_head,
        check_every_head_learns_from_the_first_step,
    ),
    Fault(
        "references of the test batch",
        DRA,
        "image_scores",
        references_of_the_batch,
        check_a_score_depends_on_its_own_image,
    ),
    Fault(
        "references drawn anew",
        DRA,
        "image_scores",
        new_references_every_time,
        check_a_score_depends_on_its_own_image,
    ),
]


def test_a_head_without_samples_is_left_out() -> None:
    maps, codes = only("seen", 1, 2), torch.tensor([PSEUDO, PSEUDO])
    assert torch.isfinite(DRA().loss(NETWORK, maps, codes))
    maps, codes = only("pseudo", 1, 2), torch.tensor([SEEN, SEEN])
    assert torch.isfinite(DRA().loss(NETWORK, maps, codes))


def test_the_references_of_a_batch_are_told_by_their_code() -> None:
    given: list[tuple[Tensor, Tensor]] = []

    def residual(maps: Tensor, reference: Tensor) -> Tensor:
        given.append((maps, reference))
        return maps.sum(dim=(1, 2, 3))

    maps = [torch.randn(7, 3, side, side) for side in (4, 2)]
    codes = torch.tensor([NORMAL, SEEN, *[REFERENCE] * 5])
    DRA(heads="residual", n_ref=5).loss({"residual": residual}, maps, codes)
    for (samples, reference), scale in zip(given, maps, strict=True):
        assert torch.equal(samples, scale[:2])
        torch.testing.assert_close(reference, scale[2:].mean(dim=0))


def test_the_networks_heads() -> None:
    network: Any = DRA().build([64])
    kinds: list[Any] = [PatchHead, PatchHead, ResidualHead, HolisticHead]
    assert list(network) == list(HEADS)
    assert [type(head) for head in network.values()] == kinds
    assert not torch.equal(network["seen"].convolution.weight, network["pseudo"].convolution.weight)
    assert list(DRA(heads="holistic+seen").build([64])) == ["seen", "holistic"]  # type: ignore[call-overload]


def test_switches_reach_the_heads() -> None:
    network: Any = DRA(top_k=0.25, signed=True).build([8])
    assert (network["pseudo"].top_k, network["residual"].head.top_k) == (0.25, 0.25)
    assert network["seen"].signed and network["residual"].head.signed and network["holistic"].signed
    network = DRA().build([8])
    assert network["seen"].top_k == 0.1
    assert not network["holistic"].signed


@pytest.mark.parametrize("heads", ABLATIONS)
def test_every_ablation_runs(smoke: Engine, heads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Tensor] = []
    loss = DRA.loss

    def noted(self: DRA, network: Any, maps: Any, codes: Tensor) -> Tensor:
        batches.append(codes)
        assert len(maps[0]) == len(codes) == 12 + self.n_references
        return loss(self, network, maps, codes)

    monkeypatch.setattr(DRA, "loss", noted)
    method = DRA(engine=smoke, heads=heads, **SHORT).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(UNSEEN)
    trained = {name.split(".")[0] for name, _ in method.network_.named_parameters()}
    assert trained == set(heads.split("+"))
    kinds = {NORMAL, SEEN} if heads == "seen" else {NORMAL, SEEN, PSEUDO}
    kinds |= {REFERENCE} if "residual" in heads else set()
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
        ({"pseudo": "perlin"}, "dra.pseudo='perlin': input should be 'cutmix', 'cutpaste-scar', "),
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


def test_as_many_references_as_normals_take_them_all(smoke: Engine) -> None:
    for reference, maps in zip(references(smoke, 1, n_ref=12), plain_maps(smoke), strict=True):
        torch.testing.assert_close(reference, maps.mean(dim=0))


def test_more_references_than_normals_are_refused(smoke: Engine) -> None:
    with pytest.raises(ContractError) as caught:
        references(smoke, 1, n_ref=13)
    assert str(caught.value) == (
        "13 references need as many normal training images, got 12: give more images, or a "
        "smaller n_ref"
    )
    # Drawn from the pool, with repetition, they can be more; without a residual head none are.
    assert len(references(smoke, 1, n_ref=13, ref_test="mixed_fixed")) == 2
    assert references(smoke, 1, n_ref=13, heads="seen+holistic") == []


def test_external_pseudo_anomalies_are_images_of_other_data(smoke: Engine) -> None:
    others, _ = toy_images(0, 5, 64, 7, green=True)
    images, labels = np.concatenate([IMAGES, others]), np.r_[LABELS, [2] * 5]
    method = DRA(engine=smoke, seed=1, pseudo="external", **SHORT)
    assert method.needs_outliers
    scores = method.fit(images, labels).score(UNSEEN)
    assert np.isfinite(scores).all()
    other = DRA(engine=smoke, seed=1, pseudo="external", **SHORT)
    assert (other.fit(images[::-1].copy(), labels[::-1].copy()).score(UNSEEN) != scores).any()
    with pytest.raises(ContractError, match=r"external outliers \(label 2\), got none"):
        method.fit(IMAGES, LABELS)
    assert not DRA(pseudo="cutmix").needs_outliers
    assert not DRA(pseudo="external", heads="seen").needs_outliers, "it makes no pseudo anomalies"


def test_the_external_images_matter(smoke: Engine) -> None:
    scores = []
    for green in (True, False):
        others, _ = toy_images(0, 5, 64, 7, green=green)
        images, labels = np.concatenate([IMAGES, others]), np.r_[LABELS, [2] * 5]
        method = DRA(engine=smoke, seed=1, pseudo="external", **SHORT)
        scores.append(method.fit(images, labels).score(UNSEEN))
    assert (scores[0] != scores[1]).all()


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
