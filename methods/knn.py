"""k-nearest-neighbour distance: the control that every comparison should show."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
import pydantic

from osadbench.method import Method, check_training_data
from osadbench.nn import features
from osadbench.nn import images as nn_images
from osadbench.params import Params
from osadbench.registry import register_method
from osadbench.types import FloatArray, ImageSequence, LazyImages

__all__ = ["KNN", "KNNParams"]


class KNNParams(Params):
    """Parameters of the control.

    Attributes:
        k: Number of neighbours whose mean distance is the score.
    """

    k: int = pydantic.Field(default=5, ge=1)


@register_method("knn")
class KNN(Method):
    """Mean Euclidean distance to the k nearest training normals in frozen, pooled features.

    A control of ours, not of any paper: it learns nothing but the normals' features and ignores
    labelled anomalies. The features are the global averages of the frozen backbone's maps, of both
    scales side by side. Where a preset trains the backbone, this method still takes it as it is.
    """

    Params: ClassVar[type[Params]] = KNNParams
    supervised: ClassVar[bool] = False
    uses_backbone: ClassVar[bool] = True

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Keep the features of the normal images."""
        from sklearn.neighbors import NearestNeighbors

        labels = check_training_data(X, y)
        images = nn_images.as_lazy_images(X)
        self._features = features.FrozenFeatures(self.engine)
        normals = np.flatnonzero(labels == 0)
        vectors = self._vectors(images, normals)
        k = min(cast(KNNParams, self.params).k, len(normals))
        self.neighbours_ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(vectors)
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        """Return the mean distances to the k nearest normals."""
        self._require_fitted("neighbours_")
        images = nn_images.as_lazy_images(X)
        vectors = self._vectors(images, np.arange(len(images)))
        distances, _ = self.neighbours_.kneighbors(vectors)
        return cast(FloatArray, distances.mean(axis=1).astype(np.float64))

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:
        """Fill the feature cache with the plain views."""
        images = nn_images.as_lazy_images(X)
        indices = range(len(images)) if y is None else np.flatnonzero(np.asarray(y) == 0).tolist()
        features.FrozenFeatures(self.engine).compute(
            images, [(index, features.PLAIN) for index in indices]
        )

    def _vectors(self, images: LazyImages, indices: npt.NDArray[np.int64]) -> FloatArray:
        # Pooled in double precision: a vector must not depend on how many stand beside it.
        maps = self._features.rows(images, [(int(index), features.PLAIN) for index in indices])
        return np.concatenate([scale.double().mean(dim=(2, 3)).numpy() for scale in maps], axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_features"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if hasattr(self, "neighbours_"):
            self._features = features.FrozenFeatures(self.engine)
