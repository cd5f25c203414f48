"""The finite pool of cached views that a frozen backbone's heads are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from osadbench.nn.features import PLAIN, FrozenFeatures, Request, View
from osadbench.nn.sampler import OUTLIER, PSEUDO, SEEN
from osadbench.types import LazyImages

__all__ = ["FrozenTrainingSet"]


class FrozenTrainingSet:
    """A training set's pool of cached views, from which batches are drawn.

    Which views there are depends on the images and the engine alone, not on a fit's seed, so that
    all seeds, shots and settings share them. The finite pool, the missing adaptation of the
    backbone and the missing drift of batch norm are what differs from end-to-end training.

    Args:
        features: Where the maps come from.
        images: The training images.
        labels: Integer ``(n,)``: 0 normal, 1 labelled anomaly, 2 external outlier.
        pseudo: Source of pseudo anomalies, or None for none; ``"external"`` takes the outliers.
        augment: Whether there are rotated views beside the plain ones.
    """

    def __init__(
        self,
        features: FrozenFeatures,
        images: LazyImages,
        labels: Tensor,
        pseudo: str | None,
        *,
        augment: bool = True,
    ) -> None:
        self.features = features
        self.images = images
        engine = features.engine
        self.requests: list[Request] = []
        # Outliers are treated as normals are: with the ordinary views.
        views = (engine.normal_views, engine.seen_views, engine.normal_views)
        self._tables = [
            self._table(labels, label, rotated if augment else 0)
            for label, rotated in enumerate(views)
        ]
        self._pool_start = len(self.requests)
        self._external = pseudo == "external"
        if pseudo is not None and not self._external:
            self.requests += _pseudo_pool(images, labels, pseudo, engine.pseudo_views)
        self._maps: list[Tensor] | None = None

    def _table(self, labels: Tensor, label: int, rotated: int) -> _ViewTable:
        table = _ViewTable(labels, label, rotated, start=len(self.requests))
        self.requests += table.requests
        return table

    def compute(self) -> None:
        """Fill the cache with all views of the pool."""
        self.features.compute(self.images, self.requests)

    def _loaded(self) -> list[Tensor]:
        if self._maps is None:
            self._maps = self.features.rows(self.images, self.requests)
        return self._maps

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return float32 maps ``(B, C, h, w)`` of randomly drawn views.

        Args:
            indices: ``(B,)`` into the training images; of pseudo anomalies only the pool counts,
                unless they are external.
            codes: ``(B,)``: NORMAL, SEEN, PSEUDO or OUTLIER.
        """
        n_pool = len(self.requests) - self._pool_start
        pool = self._pool_start + torch.randint(max(n_pool, 1), (len(indices),))
        normal, seen, outlier = (table.draw(indices) for table in self._tables)
        rows = torch.where(codes == SEEN, seen, normal)
        rows = torch.where(codes == PSEUDO, outlier if self._external else pool, rows)
        rows = torch.where(codes == OUTLIER, outlier, rows)
        # Picked with the channels last, as they lie in memory.
        picked = (scale.permute(0, 2, 3, 1).index_select(0, rows) for scale in self._loaded())
        return [p.permute(0, 3, 1, 2).to(self.features.device).float() for p in picked]


class _ViewTable:
    """Plain and rotated views of the images of one label, as consecutive rows per image."""

    def __init__(self, labels: Tensor, label: int, rotated: int, start: int) -> None:
        chosen = torch.nonzero(labels == label).flatten()
        self.n_views = 1 + rotated
        self._first = torch.zeros(len(labels), dtype=torch.long)
        self._first[chosen] = start + torch.arange(len(chosen)) * self.n_views
        views = [PLAIN, *(View("rotate", number) for number in range(rotated))]
        self.requests: list[Request] = [(int(i), view) for i in chosen for view in views]

    def draw(self, indices: Tensor) -> Tensor:
        return self._first[indices] + torch.randint(self.n_views, (len(indices),))


def _pseudo_pool(images: LazyImages, labels: Tensor, source: str, size: int) -> list[Request]:
    normals = torch.nonzero(labels == 0).flatten().tolist()
    # By digest: the pool must not depend on the order in which the images are given.
    normals.sort(key=lambda index: images.identities[index])
    n = len(normals)
    return [(normals[number % n], View(source, number // n)) for number in range(size)]
