"""Distance to the mean feature: Deep SVDD without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osadbench.nn import images as nn_images
from osadbench.nn.feature_method import FeatureMethod
from osadbench.registry import register_method
from osadbench.types import FloatArray, ImageSequence, LazyImages

__all__ = ["MeanFeature"]


@register_method("meanfeature")
class MeanFeature(FeatureMethod):
    """Euclidean distance to the mean of the training normals' frozen, pooled features.

    The control for ``dsvdd`` and ``deepsad``: their frozen form without its trained layers. What
    they do not gain over it their training has not earned.

    Source: none; ours.

    Loss: none.
    Sampler: none; every normal once.
    Score: the distance; a vector is the global average of the backbone's maps, averaged over the
    scales as for ``dsvdd``.
    Paper: none.
    Code: none.
    Ours: everything.
    Frozen: nothing differs; where a preset trains the backbone, this method takes it as it is.
    """

    def learn(self, images: LazyImages, normals: Sequence[int]) -> None:
        """Keep the mean of the normal images' features."""
        self.mean_ = self._vectors(images, normals).mean(axis=0)

    def score(self, X: ImageSequence) -> FloatArray:
        """Return the distances to the mean."""
        self._require_fitted("mean_")
        images = nn_images.as_lazy_images(X)
        vectors = self._vectors(images, range(len(images)))
        distances: FloatArray = np.sqrt(((vectors - self.mean_) ** 2).sum(axis=1))
        return distances

    def _vectors(self, images: LazyImages, indices: Sequence[int]) -> FloatArray:
        # Pooled in double precision: a vector must not depend on how many stand beside it.
        parts = [
            np.mean([scale.double().mean(dim=(2, 3)).cpu().numpy() for scale in maps], axis=0)
            for maps in self.batches(images, indices)
        ]
        return np.concatenate(parts)
