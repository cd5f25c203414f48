"""k-nearest-neighbour distance: the control that every comparison should show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
import pydantic

from osadbench.errors import ContractError
from osadbench.nn import images as nn_images
from osadbench.nn.feature_method import FeatureMethod
from osadbench.params import Params
from osadbench.registry import register_method
from osadbench.types import FloatArray, ImageSequence, LazyImages

__all__ = ["KNN", "KNNParams"]


class KNNParams(Params):
    """Parameters of the control.

    Attributes:
        k: Number of neighbours whose mean distance is the score. Ours.
    """

    k: int = pydantic.Field(default=5, ge=1)


@register_method("knn")
class KNN(FeatureMethod):
    """Mean Euclidean distance to the k nearest training normals in frozen, pooled features.

    A control: it learns nothing but the normals' features and ignores labelled anomalies.

    Source: none; ours.

    Loss: none.
    Sampler: none; every normal once.
    Score: the mean distance to the k nearest normals; vectors are the global averages of the
    backbone's maps, of both scales side by side.
    Paper: none.
    Code: none.
    Ours: everything.
    Frozen: nothing differs; where a preset trains the backbone, this method takes it as it is.
    """

    Params: ClassVar[type[Params]] = KNNParams

    def learn(self, images: LazyImages, normals: Sequence[int]) -> None:
        """Keep the features of the normal images."""
        from sklearn.neighbors import NearestNeighbors

        k = cast(KNNParams, self.params).k
        if k > len(normals):
            raise ContractError(
                f"k={k} neighbours need as many normal training images, got {len(normals)}: give "
                "more images, or a smaller k"
            )
        vectors = self._vectors(images, normals)
        self.neighbours_ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors)

    def score(self, X: ImageSequence) -> FloatArray:
        """Return the mean distances to the k nearest normals."""
        self._require_fitted("neighbours_")
        images = nn_images.as_lazy_images(X)
        distances, _ = self.neighbours_.kneighbors(self._vectors(images, range(len(images))))
        return cast(FloatArray, distances.mean(axis=1).astype(np.float64))

    def _vectors(self, images: LazyImages, indices: Sequence[int]) -> FloatArray:
        # Pooled in double precision: a vector must not depend on how many stand beside it.
        parts = [
            np.concatenate(
                [scale.double().mean(dim=(2, 3)).cpu().numpy() for scale in maps], axis=1
            )
            for maps in self.batches(images, indices)
        ]
        return np.concatenate(parts)
