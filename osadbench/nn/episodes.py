"""Episodes of clusters of normals and random anomalies, and one model learnt from all of them.

Zhu, Ding, Tian, Pang: Anomaly Heterogeneity Learning for Open-set Supervised Anomaly Detection,
CVPR 2024. Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from osadbench.errors import ContractError
from osadbench.nn.features import PLAIN, Request, View
from osadbench.nn.fitting import Training
from osadbench.nn.sampler import NORMAL, PSEUDO, REFERENCE, SEEN
from osadbench.types import LazyImages

__all__ = [
    "KINDS",
    "MIN_MEMBERS",
    "Episode",
    "MetaLearner",
    "Side",
    "ViewPool",
    "episode_error",
    "episode_weights",
    "make_episodes",
    "normal_clusters",
    "pseudo_requests",
]

#: Kinds of pseudo anomalies, of which an episode takes two.
KINDS = ("cutmix", "cutpaste-scar", "perlin")
#: Clusters of fewer normals are dropped (public code).
MIN_MEMBERS = 3
#: Ours: no cluster has fewer pseudo anomalies of a kind, and none keeps more normals than these.
MIN_PSEUDO, MAX_NORMALS = 8, 128
#: Ours: normals that judge an episode's model.
JUDGING_NORMALS = 48
#: Weight of an error: held-out anomalies, and all other samples (the paper's c_j).
HELD_OUT, OTHER = 1.0, 0.5


def normal_clusters(
    vectors: npt.NDArray[np.float64], n_clusters: int, seed: int
) -> list[npt.NDArray[np.int64]]:
    """Group normals by K-means and drop groups of one or two.

    Ours: where that leaves one group, a few odd images have taken the other centres; the rest is
    grouped again without them.

    Args:
        vectors: Float ``(n, d)``.
        n_clusters: Groups asked for; 2 or more.
        seed: Seed of K-means; the best of its ten starts counts.

    Returns:
        Indices into the vectors for each of two or more groups.

    Raises:
        ContractError: Fewer than two groups of :data:`MIN_MEMBERS` can be made.
    """
    left = np.arange(len(vectors))
    while len(np.unique(vectors[left], axis=0)) >= max(n_clusters, 2 * MIN_MEMBERS):
        k_means = KMeans(n_clusters, n_init=10, random_state=seed % 2**32)
        labels = k_means.fit_predict(vectors[left])
        groups = [left[labels == cluster] for cluster in range(n_clusters)]
        large = [group for group in groups if len(group) >= MIN_MEMBERS]
        if len(large) >= 2:
            return large
        left = np.sort(np.concatenate([left[:0], *large]))
    raise ContractError(
        f"expected normal images that K-means splits into two or more clusters of {MIN_MEMBERS}, "
        f"got {len(vectors)} that it does not: give more or more varied normal images"
    )


class Side(NamedTuple):
    """One of the two data sets of an episode.

    Attributes:
        cluster: Number of the cluster that normals and pseudo anomalies come from.
        anomalies: Indices of labelled anomalies among the training images, ``(m,)``.
        kind: Kind of the pseudo anomalies.
    """

    cluster: int
    anomalies: Tensor
    kind: str


class Episode(NamedTuple):
    """A set to learn from, and one of other normals and anomalies to be tested on."""

    support: Side
    query: Side


def make_episodes(n_clusters: int, anomalies: Tensor) -> list[Episode]:
    """Return an episode for every ordered pair of clusters: six for three.

    The paper's rules: support and query share neither labelled anomalies, unless there is only one,
    nor a kind of pseudo anomaly. Of an odd number the query gets one more, which is ours.

    Args:
        n_clusters: Number of clusters.
        anomalies: Indices of the labelled anomalies; there may be none.
    """
    episodes = []
    for support, query in itertools.permutations(range(n_clusters), 2):
        first, second = _halves(anomalies)
        one, other = (KINDS[number] for number in torch.randperm(len(KINDS))[:2])
        episodes.append(Episode(Side(support, first, one), Side(query, second, other)))
    return episodes


def _halves(anomalies: Tensor) -> tuple[Tensor, Tensor]:
    if len(anomalies) < 2:
        return anomalies, anomalies
    shuffled = anomalies[torch.randperm(len(anomalies))]
    half = len(anomalies) // 2
    return shuffled[:half], shuffled[half:]


def pseudo_requests(
    images: LazyImages, normals: Sequence[int], kind: str, size: int
) -> list[Request]:
    """Return so many pseudo anomalies of a kind, spread evenly over normal images.

    They depend on the images alone, not on their order or a seed, so that all fits share them.
    """
    ordered = sorted(normals, key=lambda index: images.identities[index])
    n = len(ordered)
    return [(ordered[number % n], View(kind, number // n)) for number in range(size)]


class ViewPool:
    """The maps that episodes are drawn from: views of training images, each taken once.

    Ours: which views there are. Of normals the plain image and the engine's rotated views (end to
    end one, because there the base has only seen rotated ones); of labelled anomalies the plain
    image and the engine's rotated views; pseudo anomalies spread over all normals, each belonging
    to the cluster of the image that it is made from.

    Args:
        training: A fit whose backbone no longer changes.
        clusters: Indices of normal training images per cluster.
        n_pseudo: Pseudo anomalies per kind, over all clusters.
    """

    def __init__(
        self, training: Training, clusters: Sequence[Sequence[int]], n_pseudo: int
    ) -> None:
        engine = training.features.engine
        self._requests: dict[Request, int] = {}
        rotated = 1 if engine.train_backbone else engine.normal_views
        self._plain: dict[int, Tensor] = {}
        self._normals: dict[int, Tensor] = {}
        self._pseudo: dict[tuple[int, str], Tensor] = {}
        for number, members in enumerate(clusters):
            order = torch.randperm(len(members))[:MAX_NORMALS].tolist()
            chosen = [members[position] for position in order]
            self._plain[number] = self._add([(index, PLAIN) for index in chosen])
            self._normals[number] = self._add(_with_rotations(chosen, rotated))
        everyone = training.sampler.normals.tolist()
        for kind in KINDS:
            shared = pseudo_requests(training.images, everyone, kind, n_pseudo)
            for number, members in enumerate(clusters):
                own = set(members)
                made = [request for request in shared if request[0] in own]
                if len(made) < MIN_PSEUDO:
                    extra = pseudo_requests(training.images, members, kind, MIN_PSEUDO)
                    made = list(dict.fromkeys(made + extra))
                self._pseudo[number, kind] = self._add(made)
        anomalies = training.sampler.anomalies.tolist()
        self._seen = {
            index: self._add(_with_rotations([index], engine.seen_views)) for index in anomalies
        }
        self._maps = training.views(list(self._requests))

    def _add(self, requests: Sequence[Request]) -> Tensor:
        return torch.tensor([self._requests.setdefault(r, len(self._requests)) for r in requests])

    def _take(self, rows: Tensor) -> list[Tensor]:
        # With the channels last, as cached maps lie in memory.
        last = (scale.permute(0, 2, 3, 1) for scale in self._maps)
        taken = (scale.index_select(0, rows.to(scale.device)) for scale in last)
        return [scale.permute(0, 3, 1, 2) for scale in taken]

    def draw(self, side: Side, batch_size: int, n_references: int) -> tuple[list[Tensor], Tensor]:
        """Return a batch of one side of an episode: maps and codes.

        A third each of normals, labelled anomalies and pseudo anomalies (public code), then the
        references: every one a normal or, with chance one half, a pseudo anomaly of this side, as
        in DRA's training. A sample is one row: its maps at all scales belong together.

        Args:
            side: What to draw from.
            batch_size: Samples besides the references.
            n_references: Number of references.
        """
        third = batch_size // 3
        n_seen = third if len(side.anomalies) else 0
        normals, pseudo = self._normals[side.cluster], self._pseudo[side.cluster, side.kind]
        seen = _random(side.anomalies, n_seen).tolist()
        references = torch.where(
            torch.rand(n_references) < 0.5,
            _random(normals, n_references),
            _random(pseudo, n_references),
        )
        parts = {
            NORMAL: _random(normals, batch_size - third - n_seen),
            SEEN: torch.tensor([int(_random(self._seen[i], 1)) for i in seen], dtype=torch.long),
            PSEUDO: _random(pseudo, third),
            REFERENCE: references,
        }
        codes = [torch.full_like(rows, code) for code, rows in parts.items()]
        maps = self._take(torch.cat(list(parts.values())))
        return maps, torch.cat(codes).to(maps[0].device)

    def judges(self, episode: Episode) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return what an episode's model is judged on: maps, labels and weights.

        Plain training images outside the support's own cluster of normals: up to
        :data:`JUDGING_NORMALS` normals, freshly drawn, and all labelled anomalies. An anomaly that
        the support set does not hold weighs 1, everything else 0.5.
        """
        others = [rows for number, rows in self._plain.items() if number != episode.support.cluster]
        normals = torch.cat(others)
        normals = normals[torch.randperm(len(normals))[:JUDGING_NORMALS]]
        own = set(episode.support.anomalies.tolist())
        anomalies = torch.tensor([int(rows[0]) for rows in self._seen.values()], dtype=torch.long)
        maps = self._take(torch.cat([normals, anomalies]))
        labels = [0.0] * len(normals) + [1.0] * len(anomalies)
        weights = [OTHER] * len(normals)
        weights += [OTHER if index in own else HELD_OUT for index in self._seen]
        device = maps[0].device
        return maps, torch.tensor(labels, device=device), torch.tensor(weights, device=device)


def _with_rotations(indices: Sequence[int], rotated: int) -> list[Request]:
    views = [PLAIN, *(View("rotate", number) for number in range(rotated))]
    return [(index, view) for index in indices for view in views]


def _random(pool: Tensor, n: int) -> Tensor:
    # An empty pool is asked for nothing, and still has no valid upper end.
    return pool[torch.randint(max(len(pool), 1), (n,))]


def episode_error(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the weighted squared errors, a scalar.

    Args:
        scores: Float ``(n,)``, on the scale of the labels.
        labels: 0 or 1, ``(n,)``.
        weights: Float ``(n,)``.
    """
    return (weights * (scores - labels).square()).mean()


def episode_weights(errors: Tensor) -> Tensor:
    """Return the weights ``(T,)`` of T episodes, softmax of the negative errors ``(T,)``."""
    return torch.softmax(-errors, dim=0)


Tensors = Mapping[str, Tensor]


@dataclass
class MetaLearner:
    """First-order meta-learning of one model from episodes.

    For every episode a copy of the model takes a few plain gradient steps on the support set; the
    gradient of the copy's loss on the query set is then applied to the model itself. That no
    gradient goes through those steps (first order) is ours; the public code's first pass has one.
    Each step is one call of :meth:`query_loss`, whose gradients
    :func:`osadbench.nn.optimise.optimise` applies at once.

    Args:
        network: The model; its mode is the caller's choice.
        loss: Called with the network, maps and codes.
        scores: Called with the network and maps; scores ``(B,)`` on the scale of the labels.
        pool: Where samples come from.
        episodes: The episodes.
        inner_steps: Steps on the support set.
        inner_lr: Learning rate of these steps.
        batch_size: Samples per batch.
        n_references: References beside each batch.
        uniform_epochs: Epochs in which all episodes weigh the same.

    Attributes:
        weights: Weights ``(T,)`` of the episodes in this epoch; their sum is 1.
    """

    network: nn.Module
    loss: Callable[[nn.Module, list[Tensor], Tensor], Tensor]
    scores: Callable[[nn.Module, list[Tensor]], Tensor]
    pool: ViewPool
    episodes: Sequence[Episode]
    inner_steps: int
    inner_lr: float
    batch_size: int
    n_references: int
    uniform_epochs: int
    weights: Tensor = field(init=False)
    _offsets: list[Tensors] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.weights = torch.full((len(self.episodes),), 1 / len(self.episodes))

    def query_loss(self) -> Tensor:
        """Return the weighted sum of the adapted copies' losses on their query sets.

        Its gradient in the network's parameters is that of the copies in theirs.
        """
        self._offsets = [self._adapt(episode.support) for episode in self.episodes]
        terms = [
            weight * self._loss_of(self._shifted(offsets), episode.query)
            for weight, offsets, episode in zip(
                self.weights.tolist(), self._offsets, self.episodes, strict=True
            )
        ]
        return torch.stack(terms).sum()

    def start_epoch(self, epoch: int) -> None:
        """Weigh the episodes by the errors of the copies that the last epoch ended with.

        The paper predicts a copy's scores from those of the last five epochs by an LSTM; taking the
        last ones as they are is ours.
        """
        if epoch < self.uniform_epochs or not self._offsets:
            return
        with torch.no_grad():
            pairs = zip(self._offsets, self.episodes, strict=True)
            errors = [self._error(offsets, episode) for offsets, episode in pairs]
        self.weights = episode_weights(torch.stack(errors))

    def _error(self, offsets: Tensors, episode: Episode) -> Tensor:
        maps, labels, weights = self.pool.judges(episode)
        scores = _with_parameters(self.network, self._shifted(offsets), self.scores, maps)
        return episode_error(scores, labels, weights)

    def _adapt(self, support: Side) -> Tensors:
        start = {name: p.detach() for name, p in self.network.named_parameters()}
        values = {name: p.clone().requires_grad_() for name, p in start.items()}
        for _ in range(self.inner_steps):
            loss = self._loss_of(values, support)
            gradients = torch.autograd.grad(
                loss, list(values.values()), allow_unused=True, materialize_grads=True
            )
            values = {
                name: (value - self.inner_lr * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(values.items(), gradients, strict=True)
            }
        return {name: value.detach() - start[name] for name, value in values.items()}

    def _shifted(self, offsets: Tensors) -> Tensors:
        return {name: p + offsets[name] for name, p in self.network.named_parameters()}

    def _loss_of(self, values: Tensors, side: Side) -> Tensor:
        maps, codes = self.pool.draw(side, self.batch_size, self.n_references)
        return _with_parameters(self.network, values, self.loss, maps, codes)


class _Call(nn.Module):
    """A function of a network as a module, because ``functional_call`` takes only those."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *arguments: object) -> Tensor:
        return self.function(self.network, *arguments)


def _with_parameters(
    network: nn.Module, values: Tensors, function: Callable[..., Tensor], *arguments: object
) -> Tensor:
    named = {f"network.{name}": value for name, value in values.items()}
    # A new module is in training mode, but it hands nothing down: the network keeps its own.
    result: Tensor = torch.func.functional_call(_Call(network, function), named, arguments)
    return result
