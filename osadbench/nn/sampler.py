"""Balanced batches of normal, seen and pseudo anomalous samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NORMAL", "PSEUDO", "SEEN", "BalancedSampler"]

#: Codes of a sample's kind, as in DRA's public code.
NORMAL, SEEN, PSEUDO = 0, 1, 2


class BalancedSampler:
    """Half normals, half seen anomalies, each cycling through fresh permutations.

    DevNet Alg. 1 and the public code of DevNet and DRA: within a cycle nothing is drawn twice; one
    labelled anomaly fills the whole half. Without labelled anomalies all slots are normal. For DRA
    each normal slot becomes, with probability one half, a pseudo anomaly of a freshly drawn normal
    (public code; the paper does not say).

    Draws come from torch's default generator.

    Args:
        labels: Integer ``(n,)``, 0 normal and 1 labelled anomaly; at least one 0.
        batch_size: Samples per batch, 2 or more.
        pseudo_probability: Chance that a normal slot becomes a pseudo anomaly.
    """

    def __init__(self, labels: Tensor, *, batch_size: int, pseudo_probability: float = 0.0) -> None:
        self.normals = torch.nonzero(labels == 0).flatten()
        self.anomalies = torch.nonzero(labels == 1).flatten()
        self.n_seen = batch_size // 2 if len(self.anomalies) else 0
        self.n_normal = batch_size - self.n_seen
        self.pseudo_probability = pseudo_probability
        self._queues = {NORMAL: torch.empty(0, dtype=torch.long), SEEN: torch.empty(0).long()}

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: indices ``(B,)`` into the training images and codes ``(B,)``."""
        normals, codes = self._with_pseudo(self._cycle(NORMAL, self.normals, self.n_normal))
        seen = self._cycle(SEEN, self.anomalies, self.n_seen)
        return torch.cat([normals, seen]), torch.cat([codes, torch.full_like(seen, SEEN)])

    def references(self, n: int) -> tuple[Tensor, Tensor]:
        """Return n fresh samples of the normal and pseudo anomalous pool, as :meth:`draw` does."""
        return self._with_pseudo(self._random_normals(n))

    def _cycle(self, kind: int, pool: Tensor, n: int) -> Tensor:
        while len(self._queues[kind]) < n:
            fresh = pool[torch.randperm(len(pool))]
            self._queues[kind] = torch.cat([self._queues[kind], fresh])
        taken, self._queues[kind] = self._queues[kind][:n], self._queues[kind][n:]
        return taken

    def _with_pseudo(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if not self.pseudo_probability:
            return indices, torch.full_like(indices, NORMAL)
        pseudo = torch.rand(len(indices)) < self.pseudo_probability
        drawn = self._random_normals(len(indices))
        return torch.where(pseudo, drawn, indices), torch.where(pseudo, PSEUDO, NORMAL)

    def _random_normals(self, n: int) -> Tensor:
        return self.normals[torch.randint(len(self.normals), (n,))]
