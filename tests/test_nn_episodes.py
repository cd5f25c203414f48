from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn

import osadbench.nn.episode_pool
import osadbench.nn.episodes
import osadbench.nn.meta_learning
from osadbench.errors import ContractError
from osadbench.nn.episode_pool import EpisodePool
from osadbench.nn.episodes import KINDS, Episode, Side
from osadbench.nn.features import Request
from osadbench.nn.fitting import Training
from osadbench.nn.meta_learning import MetaLearner
from osadbench.nn.optimise import optimise
from osadbench.nn.sampler import NORMAL, PSEUDO, REFERENCE, SEEN, BalancedSampler
from osadbench.nn.schedule import OptimiserParams
from osadbench.settings import engine

episodes = osadbench.nn.episodes
meta_learning = osadbench.nn.meta_learning
VIEW_KINDS = ("plain", "rotate", *KINDS)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def clouds(sizes: Sequence[int], width: float = 0.1) -> npt.NDArray[np.float64]:
    """Return points around distant centres, dealt out in turn as far as each cloud reaches."""
    generator = np.random.default_rng(1)
    order = [c for turn in range(max(sizes)) for c, size in enumerate(sizes) if turn < size]
    centres = np.array([[10.0 * c, -7.0 * c, 0.0] for c in order])
    return centres + width * generator.standard_normal(centres.shape)


def cloud_of(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.rint(vectors[:, 0] / 10).astype(int)


# Clusters


def check_clusters_are_the_clouds() -> None:
    vectors = clouds([7, 5, 4])
    groups = episodes.normal_clusters(vectors, 3, 0)
    found = sorted(sorted(group.tolist()) for group in groups)
    wanted = [np.flatnonzero(cloud_of(vectors) == cloud).tolist() for cloud in range(3)]
    assert found == sorted(wanted)


def test_small_clusters_are_dropped() -> None:
    vectors = clouds([7, 5, 2])
    groups = episodes.normal_clusters(vectors, 3, 0)
    assert sorted(map(len, groups)) == [5, 7]
    assert all(len(set(cloud_of(vectors)[group])) == 1 for group in groups)


def test_odd_images_do_not_keep_the_rest_together() -> None:
    vectors = np.concatenate([clouds([8, 8]), [[1e4, 0, 0], [-1e4, 0, 0]]])
    groups = episodes.normal_clusters(vectors, 3, 0)
    assert len(groups) >= 2
    assert max(map(max, groups)) < 16
    assert all(len(set(cloud_of(vectors)[group])) == 1 for group in groups)


@pytest.mark.parametrize(
    "vectors", [clouds([5]), np.ones((20, 3)), clouds([2, 2, 2]), np.zeros((0, 3))]
)
def test_too_few_or_equal_normals_are_refused(vectors: npt.NDArray[np.float64]) -> None:
    message = f"two or more clusters of 3, got {len(vectors)} that it does not: give more"
    with pytest.raises(ContractError, match=message) as caught:
        episodes.normal_clusters(vectors, 3, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [12, 20, 60])
def test_one_cloud_splits_too(n: int) -> None:
    generator = np.random.default_rng(2)
    for seed in range(5):
        groups = episodes.normal_clusters(generator.standard_normal((n, 320)), 3, seed)
        members = np.concatenate(groups)
        assert len(set(members)) == len(members) <= n
        assert min(map(len, groups)) >= 3


def test_a_seed_decides_the_clusters_and_no_global_state() -> None:
    vectors = np.random.default_rng(2).standard_normal((40, 8))
    before = repr(np.random.get_state())  # noqa: NPY002 - the state under test
    draws = torch.get_rng_state()
    first, again, big = (episodes.normal_clusters(vectors, 3, seed) for seed in (1, 1, 2**62 + 1))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert big
    assert repr(np.random.get_state()) == before  # noqa: NPY002 - the state under test
    assert torch.equal(torch.get_rng_state(), draws)


# Episodes


def check_halves_are_disjoint() -> None:
    anomalies = torch.arange(20, 30)
    for _ in range(5):
        for support, query in episodes.make_episodes(3, anomalies):
            assert len(support.anomalies) == len(query.anomalies) == 5
            together = torch.cat([support.anomalies, query.anomalies])
            assert sorted(together.tolist()) == anomalies.tolist()


def check_kinds_differ() -> None:
    made = [episode for _ in range(10) for episode in episodes.make_episodes(3, torch.tensor([7]))]
    assert all(support.kind != query.kind for support, query in made)
    pairs = {(support.kind, query.kind) for support, query in made}
    assert pairs == set(itertools.permutations(KINDS, 2))


def test_every_ordered_pair_of_clusters_is_an_episode() -> None:
    for n, count in ((2, 2), (3, 6), (4, 12)):
        made = episodes.make_episodes(n, torch.arange(4))
        pairs = [(support.cluster, query.cluster) for support, query in made]
        assert len(pairs) == count
        assert set(pairs) == set(itertools.permutations(range(n), 2))


def test_one_anomaly_is_in_both_and_of_three_the_query_has_two() -> None:
    for support, query in episodes.make_episodes(3, torch.tensor([9])):
        assert support.anomalies.tolist() == query.anomalies.tolist() == [9]
    for support, query in episodes.make_episodes(3, torch.tensor([7, 8, 9])):
        assert (len(support.anomalies), len(query.anomalies)) == (1, 2)
        assert set(support.anomalies.tolist()).isdisjoint(query.anomalies.tolist())
    for support, query in episodes.make_episodes(3, torch.tensor([], dtype=torch.long)):
        assert len(support.anomalies) == len(query.anomalies) == 0


def test_episodes_draw_halves_of_their_own() -> None:
    made = episodes.make_episodes(3, torch.arange(10))
    assert len({tuple(sorted(support.anomalies.tolist())) for support, _ in made}) > 3


# Pool


class Recorded:
    """A fit of which only the views matter: each map holds its image, kind and number."""

    def __init__(self, n_normals: int, n_anomalies: int, **settings: Any) -> None:
        labels = torch.tensor([0] * n_normals + [1] * n_anomalies)
        self.sampler = BalancedSampler(labels, batch_size=4)
        self.images = SimpleNamespace(identities=[f"{(7 * i) % 97:02d}" for i in range(97)])
        self.features = SimpleNamespace(engine=engine("smoke", **{"normal_views": 0, **settings}))
        self.requests: list[Request] = []

    def views(self, requests: Sequence[Request]) -> list[Tensor]:
        self.requests = list(requests)
        values = [[index, VIEW_KINDS.index(v.kind), v.number] for index, v in requests]
        maps = torch.tensor(values, dtype=torch.float32).view(-1, 3, 1, 1)
        return [maps.expand(-1, -1, side, side) for side in (4, 2)]


CLUSTERS = [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8, 10, 11]]


def pool_of(recorded: Recorded, n_pseudo: int = 24) -> EpisodePool:
    return EpisodePool(cast(Training, recorded), CLUSTERS, n_pseudo)


def rows(maps: Sequence[Tensor]) -> list[tuple[int, str, int]]:
    """Return image, kind and number of a batch's rows."""
    return [(int(i), VIEW_KINDS[int(k)], int(n)) for i, k, n in maps[0][:, :, 0, 0]]


def check_a_side_holds_its_own_cluster_anomalies_and_kind() -> None:
    pool = pool_of(Recorded(12, 4, normal_views=1))
    seen: dict[int, set[int]] = {NORMAL: set(), SEEN: set(), PSEUDO: set(), REFERENCE: set()}
    side = Side(1, torch.tensor([13, 15]), "perlin")
    for _ in range(20):
        maps, codes = pool.draw(side, 12, 5)
        for (index, kind, _), code in zip(rows(maps), codes.tolist(), strict=True):
            seen[code].add(index)
            if code == PSEUDO:
                assert kind == "perlin"
            elif code == REFERENCE:
                assert kind in {"plain", "rotate", "perlin"}
            else:
                assert kind in {"plain", "rotate"}
    assert seen == {
        NORMAL: {1, 4, 7},
        SEEN: {13, 15},
        PSEUDO: {1, 4, 7},
        REFERENCE: {1, 4, 7},
    }


@pytest.mark.parametrize(
    ("batch_size", "n_anomalies", "wanted"),
    [(12, 4, [4, 4, 4]), (48, 1, [16] * 3), (5, 2, [3, 1, 1]), (3, 1, [1] * 3), (12, 0, [8, 0, 4])],
)
def test_a_batch_has_thirds(batch_size: int, n_anomalies: int, wanted: list[int]) -> None:
    pool = pool_of(Recorded(12, n_anomalies))
    side = Side(0, torch.arange(12, 12 + n_anomalies), "cutmix")
    for n_references in (0, 5):
        maps, codes = pool.draw(side, batch_size, n_references)
        assert torch.bincount(codes, minlength=5).tolist() == [*wanted, 0, n_references]
        # The references come last, where the base looks for them.
        assert (codes[batch_size:] == REFERENCE).all()
        assert all(len(scale) == len(codes) for scale in maps)


def check_scales_belong_together() -> None:
    pool = pool_of(Recorded(12, 4))
    large, small = pool.draw(Side(2, torch.tensor([12]), "cutmix"), 24, 5)[0]
    assert (large.shape[2:], small.shape[2:]) == ((4, 4), (2, 2))
    assert torch.equal(large[:, :, :2, :2], small)


def test_references_mix_normals_and_pseudo_anomalies() -> None:
    pool = pool_of(Recorded(12, 4))
    maps, codes = pool.draw(Side(0, torch.tensor([12]), "cutmix"), 3, 400)
    kinds = [kind for (_, kind, _), code in zip(rows(maps), codes, strict=True) if code > PSEUDO]
    assert 140 < kinds.count("cutmix") < 260
    assert kinds.count("cutmix") + kinds.count("plain") == 400


def test_all_views_come_from_training_images_and_only_once() -> None:
    recorded = Recorded(12, 4, seen_views=3, normal_views=2)
    pool_of(recorded)
    assert len(set(recorded.requests)) == len(recorded.requests)
    kinds = {
        kind: [index for index, view in recorded.requests if view.kind == kind]
        for kind in VIEW_KINDS
    }
    assert sorted(kinds["plain"]) == list(range(16))
    assert sorted(kinds["rotate"]) == sorted([*range(12)] * 2 + [*range(12, 16)] * 3)
    for kind in KINDS:
        assert set(kinds[kind]) == set(range(12)), kind


def test_end_to_end_normals_have_a_rotated_view() -> None:
    recorded = Recorded(12, 4, train_backbone=True, normal_views=7)
    pool_of(recorded)
    rotated = [index for index, v in recorded.requests if v.kind == "rotate" and index < 12]
    assert sorted(rotated) == list(range(12))


def test_a_pool_stays_small_and_leaves_no_cluster_without() -> None:
    recorded = Recorded(60, 1)
    clusters = [[0, 1, 2], list(range(3, 40)), list(range(40, 60))]
    EpisodePool(cast(Training, recorded), clusters, 6)
    for kind in KINDS:
        made = [index for index, view in recorded.requests if view.kind == kind]
        for members in clusters:
            assert sum(index in members for index in made) >= 8
        assert len(made) <= 6 + 3 * 8
    many = Recorded(400, 0)
    many.images.identities = [f"{i:03d}" for i in range(400)]
    EpisodePool(cast(Training, many), [list(range(300)), list(range(300, 400))], 6)
    plain = [index for index, view in many.requests if view.kind == "plain"]
    assert len(plain) == 128 + 100


def test_pseudo_requests_do_not_depend_on_the_order() -> None:
    images = Recorded(12, 0).images
    one = episodes.pseudo_requests(cast(Any, images), list(range(12)), "perlin", 30)
    other = episodes.pseudo_requests(cast(Any, images), list(range(12))[::-1], "perlin", 30)
    assert one == other
    assert len(set(one)) == 30
    assert [view.number for _, view in one] == [0] * 12 + [1] * 12 + [2] * 6


# Weights


def check_judges() -> None:
    pool = pool_of(Recorded(12, 4, normal_views=2))
    support, query = (
        Side(1, torch.tensor([12, 15]), "cutmix"),
        Side(0, torch.tensor([13]), "perlin"),
    )
    maps, labels, weights = pool.judges(Episode(support, query))
    found = {
        (index, kind): (label, weight)
        for (index, kind, _), label, weight in zip(
            rows(maps), labels.tolist(), weights.tolist(), strict=True
        )
    }
    wanted = {(index, "plain"): (0.0, 0.5) for index in [*CLUSTERS[0], *CLUSTERS[2]]}
    wanted |= {(index, "plain"): (1.0, 0.5) for index in (12, 15)}
    wanted |= {(index, "plain"): (1.0, 1.0) for index in (13, 14)}
    assert found == wanted


def test_there_are_not_too_many_judges() -> None:
    recorded = Recorded(90, 0)
    pool = EpisodePool(cast(Training, recorded), [list(range(10)), list(range(10, 90))], 6)
    nobody = torch.tensor([], dtype=torch.long)
    maps, labels, _ = pool.judges(Episode(Side(0, nobody, "cutmix"), Side(1, nobody, "perlin")))
    assert len(labels) == 48
    assert len(set(rows(maps))) == 48


def check_weights() -> None:
    weights = meta_learning.episode_weights(torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64))
    assert weights.tolist() == pytest.approx([0.446947, 0.331106, 0.221947], abs=1e-6)
    # What the public code makes of these weights, on a sum in place of a mean.
    factors = 0.5 + 0.5 * weights
    assert factors.tolist() == pytest.approx([0.723473, 0.665553, 0.610974], abs=1e-6)


def check_error() -> None:
    scores, labels = torch.tensor([0.2, 1.4, 0.5]), torch.tensor([0.0, 1.0, 1.0])
    error = meta_learning.episode_error(scores, labels, torch.tensor([0.5, 0.5, 1.0]))
    assert error.item() == pytest.approx((0.5 * 0.04 + 0.5 * 0.16 + 0.25) / 3, abs=1e-6)


# Learning


class Targets:
    """A pool whose batches are single numbers: ten times the cluster."""

    def __init__(self, judged: Sequence[float] = ()) -> None:
        self.judged = list(judged)

    def draw(self, side: Side, batch_size: int, n: int) -> tuple[list[Tensor], Tensor]:
        return [torch.tensor(10.0 * side.cluster)], torch.zeros(1)

    def judges(self, episode: Episode) -> tuple[list[Tensor], Tensor, Tensor]:
        # A copy is judged by how far it is from a number of its support cluster.
        value = self.judged[episode.support.cluster]
        return [torch.zeros(1)], torch.tensor([value]), torch.ones(1)


class Scalar(nn.Module):
    """A model of one number, and a number that nothing needs."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value))
        self.unused = nn.Parameter(torch.tensor(3.0))


def squared(network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
    distance: Tensor = network.w - maps[0]
    return 0.5 * distance.square()


def learner_of(network: nn.Module, pool: Any, **changes: Any) -> MetaLearner:
    values: dict[str, Any] = {
        "inner_steps": 3,
        "inner_lr": 0.1,
        "batch_size": 3,
        "n_references": 0,
        "uniform_epochs": 5,
        "episodes": episodes.make_episodes(3, torch.tensor([1])),
    }
    return MetaLearner(
        network=network,
        loss=squared,
        scores=lambda network, maps: cast(Any, network).w.expand(1),
        pool=pool,
        **{**values, **changes},
    )


def adapted(start: float, target: float, steps: int = 3, rate: float = 0.1) -> float:
    return target + (start - target) * (1 - rate) ** steps


def check_first_order_gradient() -> None:
    network = Scalar(1.0)
    learner = learner_of(network, Targets())
    loss = learner.query_loss()
    loss.backward()  # type: ignore[no-untyped-call]
    pairs = list(itertools.permutations([0.0, 10.0, 20.0], 2))
    gradients = [adapted(1.0, support) - query for support, query in pairs]
    assert network.w.grad is not None
    assert network.w.grad.item() == pytest.approx(np.mean(gradients), rel=1e-5)
    assert loss.item() == pytest.approx(np.mean(0.5 * np.square(gradients)), rel=1e-5)
    assert network.w.item() == 1.0


def check_the_step_follows_its_gradient() -> None:
    network = Scalar(1.0)
    learner = learner_of(network, Targets())
    params = OptimiserParams(lr=0.5, weight_decay=0.0, epochs=1, steps_per_epoch=1)
    optimise([network.w], learner.query_loss, params, on_epoch=learner.start_epoch)
    # Adam's first step is the learning rate against the gradient's sign.
    assert network.w.item() == pytest.approx(1.5, abs=1e-5)


def check_epochs_are_weighed() -> None:
    network = Scalar(1.0)
    learner = learner_of(network, Targets(judged=[0.0, 2.0, 3.0]), uniform_epochs=2)
    uniform = pytest.approx([1 / 6] * 6)
    for epoch in (0, 1):
        learner.start_epoch(epoch)
        assert learner.weights.tolist() == uniform
        learner.query_loss()
    learner.start_epoch(2)
    supports = [support.cluster for support, _ in learner.episodes]
    errors = [(adapted(1.0, 10.0 * c) - [0.0, 2.0, 3.0][c]) ** 2 for c in supports]
    wanted = np.exp(-np.array(errors)) / np.exp(-np.array(errors)).sum()
    assert learner.weights.tolist() == pytest.approx(wanted, rel=1e-4)
    assert learner.weights.sum().item() == pytest.approx(1.0)
    loss = learner.query_loss()
    pairs = itertools.permutations([0.0, 10.0, 20.0], 2)
    losses = [0.5 * (adapted(1.0, support) - query) ** 2 for support, query in pairs]
    assert loss.item() == pytest.approx(float(wanted @ losses), rel=1e-4)


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def test_no_weights_without_copies() -> None:
    learner = learner_of(Scalar(1.0), Targets(), uniform_epochs=0)
    learner.start_epoch(0)
    assert learner.weights.tolist() == pytest.approx([1 / 6] * 6)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 1, 1)


def test_batch_norm_keeps_its_mode_and_statistics() -> None:
    network = Normed().eval()
    network.norm.running_mean = torch.full((3,), 2.0)
    modes = []

    def loss(network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        modes.append(network.norm.training)
        result: Tensor = network.last(network.norm(maps[0])).square().mean()
        return result

    pool = pool_of(Recorded(12, 4))
    learner = learner_of(
        network, pool, episodes=episodes.make_episodes(3, torch.arange(12, 16)), n_references=2
    )
    learner.loss = loss
    params = OptimiserParams(epochs=2, steps_per_epoch=2)
    optimise(network.parameters(), learner.query_loss, params)
    assert len(modes) == 4 * 6 * 4
    assert not any(modes)
    assert network.norm.running_mean.tolist() == [2.0] * 3
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


# Faults of public code, planted


def prefixes(vectors: Any, n_clusters: int, seed: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(size) for size in (7, 5, 4)]


def overlapping(anomalies: Tensor) -> tuple[Tensor, Tensor]:
    n = len(anomalies) // 2
    return anomalies[torch.randperm(len(anomalies))[:n]], anomalies[:n]


def all_normals(
    self: EpisodePool, side: Side, batch_size: int, n: int
) -> tuple[list[Tensor], Tensor]:
    return DRAW(self, side._replace(cluster=0), batch_size, n)


def scales_apart(self: EpisodePool, chosen: Tensor) -> list[Tensor]:
    return [TAKE(self, chosen)[0], TAKE(self, chosen.flip(0))[1]]


def without_steps(self: MetaLearner, support: Side) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) for name, p in self.network.named_parameters()}


DRAW, TAKE = EpisodePool.draw, EpisodePool._take

FAULTS: list[Fault] = [
    Fault(
        "clusters are prefixes",
        episodes,
        "normal_clusters",
        prefixes,
        check_clusters_are_the_clouds,
    ),
    Fault("halves overlap", episodes, "_halves", overlapping, check_halves_are_disjoint),
    Fault(
        "one kind for both", episodes, "KINDS", ("cutmix", "cutmix", "cutmix"), check_kinds_differ
    ),
    Fault(
        "normals of another cluster",
        EpisodePool,
        "draw",
        all_normals,
        check_a_side_holds_its_own_cluster_anomalies_and_kind,
    ),
    Fault(
        "scales of different draws",
        EpisodePool,
        "_take",
        scales_apart,
        check_scales_belong_together,
    ),
    Fault(
        "held-out anomalies count as seen", osadbench.nn.episode_pool, "HELD_OUT", 0.5, check_judges
    ),
    Fault(
        "large errors are rewarded",
        meta_learning,
        "episode_weights",
        lambda errors: torch.softmax(errors, dim=0),
        check_weights,
    ),
    Fault(
        "rewards are divided twice",
        meta_learning,
        "episode_error",
        lambda s, y, w: (w * (s - y).square()).mean() / len(s),
        check_error,
    ),
    Fault("copies do not adapt", MetaLearner, "_adapt", without_steps, check_first_order_gradient),
    Fault(
        "weights have no effect",
        MetaLearner,
        "start_epoch",
        lambda self, epoch: None,
        check_epochs_are_weighed,
    ),
]
