"""Episodes of clusters of normals and random anomalies, of which one model is learnt.

Zhu, Ding, Tian, Pang: Anomaly Heterogeneity Learning for Open-set Supervised Anomaly Detection,
CVPR 2024. Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from osadbench.errors import ContractError
from osadbench.nn.features import Request, View
from osadbench.types import LazyImages

__all__ = [
    "KINDS",
    "MIN_MEMBERS",
    "Episode",
    "Side",
    "make_episodes",
    "normal_clusters",
    "pseudo_requests",
]

#: Kinds of pseudo anomalies, of which an episode takes two.
KINDS = ("cutmix", "cutpaste-scar", "perlin")
#: Clusters of fewer normals are dropped (public code).
MIN_MEMBERS = 3


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
