"""Which training samples make a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = [
    "NORMAL",
    "OUTLIER",
    "PSEUDO",
    "REFERENCE",
    "SEEN",
    "BalancedSampler",
    "Sampler",
    "ShuffledSampler",
    "normals_only",
]

#: Codes of a sample's kind; the first three as in DRA's public code.
NORMAL, SEEN, PSEUDO, OUTLIER, REFERENCE = range(5)


class _Cycle:
    """Draws that go through fresh permutations of a pool: within one, nothing comes twice."""

    def __init__(self, pool: Tensor) -> None:
        self.pool = pool
        self._queue = pool[:0]

    def take(self, n: int) -> Tensor:
        while len(self._queue) < n:
            self._queue = torch.cat([self._queue, self.pool[torch.randperm(len(self.pool))]])
        taken, self._queue = self._queue[:n], self._queue[n:]
        return taken


class Sampler(ABC):
    """What both samplers share. Draws come from torch's default generator.

    Args:
        labels: Integer ``(n,)``: 0 normal, 1 labelled anomaly, 2 external outlier; at least one 0.
        batch_size: Samples per batch.
        pseudo_probability: Chance that a sample of the normals becomes a pseudo anomaly.
        external: Whether pseudo anomalies are external outliers as they are, instead of being made
            from a normal.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        pseudo_probability: float = 0.0,
        external: bool = False,
    ) -> None:
        self.normals = torch.nonzero(labels == 0).flatten()
        self.anomalies = torch.nonzero(labels == 1).flatten()
        self.batch_size = batch_size
        self.pseudo_probability = pseudo_probability
        outliers = torch.nonzero(labels == 2).flatten()
        self._outliers = _Cycle(outliers)
        self._pseudo_pool = outliers if external else self.normals

    @property
    def steps_per_pass(self) -> int:
        """Batches that hold as many samples as there are normals and labelled anomalies."""
        return math.ceil((len(self.normals) + len(self.anomalies)) / self.batch_size)

    @abstractmethod
    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: indices ``(B,)`` into the training images and codes ``(B,)``."""

    def references(self, n: int) -> tuple[Tensor, Tensor]:
        """Return n fresh samples of the normal and pseudo anomalous pool, as :meth:`draw` does."""
        return self._with_pseudo(_random(self.normals, n))

    def outliers(self, n: int) -> tuple[Tensor, Tensor]:
        """Return the next n external outliers."""
        taken = self._outliers.take(n)
        return taken, torch.full_like(taken, OUTLIER)

    def _with_pseudo(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        if not self.pseudo_probability:
            return indices, torch.full_like(indices, NORMAL)
        pseudo = torch.rand(len(indices)) < self.pseudo_probability
        drawn = _random(self._pseudo_pool, len(indices))
        return torch.where(pseudo, drawn, indices), torch.where(pseudo, PSEUDO, NORMAL)


class BalancedSampler(Sampler):
    """Half normals, half seen anomalies, each cycling through fresh permutations.

    DevNet Alg. 1 and the public code of DevNet and DRA: within a cycle nothing is drawn twice; one
    labelled anomaly fills the whole half. Without labelled anomalies all slots are normal. For DRA
    each normal slot becomes, with probability one half, a pseudo anomaly of a freshly drawn normal
    (public code; the paper does not say).

    Args:
        labels: See :class:`Sampler`.
        batch_size: 2 or more.
        pseudo_probability: See :class:`Sampler`.
        external: See :class:`Sampler`.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        batch_size: int,
        pseudo_probability: float = 0.0,
        external: bool = False,
    ) -> None:
        super().__init__(
            labels,
            batch_size=batch_size,
            pseudo_probability=pseudo_probability,
            external=external,
        )
        self.n_seen = batch_size // 2 if len(self.anomalies) else 0
        self.n_normal = batch_size - self.n_seen
        self._cycles = _Cycle(self.normals), _Cycle(self.anomalies)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: indices ``(B,)`` into the training images and codes ``(B,)``."""
        normals, codes = self._with_pseudo(self._cycles[0].take(self.n_normal))
        seen = self._cycles[1].take(self.n_seen)
        return torch.cat([normals, seen]), torch.cat([codes, torch.full_like(seen, SEEN)])


class ShuffledSampler(Sampler):
    """Passes over all normals and labelled anomalies, shuffled afresh; nothing is oversampled.

    As the public code of Deep SAD, Deep SVDD and KDAD loads its data. The last batch of a pass is
    smaller where the numbers don't divide.

    Args:
        labels: See :class:`Sampler`.
        batch_size: 1 or more.
    """

    def __init__(self, labels: Tensor, *, batch_size: int) -> None:
        super().__init__(labels, batch_size=batch_size)
        self._labels = labels
        self._batches: list[Tensor] = []

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: indices ``(B,)`` into the training images and codes ``(B,)``."""
        if not self._batches:
            pool = torch.cat([self.normals, self.anomalies])
            order = pool[torch.randperm(len(pool))]
            batches = order.split(self.batch_size)  # type: ignore[no-untyped-call]
            self._batches = list(batches)[::-1]
        indices = self._batches.pop()
        return indices, self._labels[indices]


def normals_only(labels: Tensor, batch_size: int) -> ShuffledSampler:
    """Return a sampler of passes over the normals; labelled anomalies change none of its draws.

    Args:
        labels: Integer ``(n,)``: 0 normal, anything else is left out.
        batch_size: 1 or more.
    """
    # Passes leave label 2 out.
    return ShuffledSampler(labels.masked_fill(labels != 0, 2), batch_size=batch_size)


def _random(pool: Tensor, n: int) -> Tensor:
    return pool[torch.randint(len(pool), (n,))]
