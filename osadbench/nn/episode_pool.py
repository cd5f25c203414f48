"""The samples of episodes: views of clusters of normals, of anomalies and of pseudo anomalies.

Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osadbench.nn.episodes import KINDS, Episode, Side, pseudo_requests
from osadbench.nn.features import PLAIN, Request, View
from osadbench.nn.fitting import Training
from osadbench.nn.sampler import NORMAL, PSEUDO, REFERENCE, SEEN

__all__ = ["EpisodePool"]

#: Ours: no cluster has fewer pseudo anomalies of a kind, and none keeps more normals than these.
MIN_PSEUDO, MAX_NORMALS = 8, 128
#: Ours: normals that judge an episode's model.
JUDGING_NORMALS = 48
#: Weight of an error: held-out anomalies, and all other samples (the paper's c_j).
HELD_OUT, OTHER = 1.0, 0.5


class EpisodePool:
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
