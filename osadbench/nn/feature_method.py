"""The base of methods that only look at the plain maps of a backbone that nobody trains.

The module itself needs no torch: what does the work is loaded when it is called.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from osadbench.method import Method, check_training_data
from osadbench.nn import features, random
from osadbench.nn import images as nn_images
from osadbench.types import ImageSequence, LazyImages

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FROZEN_IN_ALL_PRESETS", "FeatureMethod"]

#: Engine settings of methods that take the backbone as it is where a preset trains it.
FROZEN_IN_ALL_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"train_backbone": False},
    "paper-text": {"train_backbone": False},
}


class FeatureMethod(Method):
    """A method that learns from the plain views of normal images, and from no labels."""

    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = FROZEN_IN_ALL_PRESETS
    supervised: ClassVar[bool] = False
    uses_backbone: bool = True

    _features: features.FrozenFeatures

    @abstractmethod
    def learn(self, images: LazyImages, normals: Sequence[int]) -> None:
        """Learn from the normal images; torch's generator is seeded.

        Args:
            images: The training images.
            normals: Indices of the normal ones.
        """

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Learn from the normal images; see :meth:`osadbench.method.Method.fit`."""
        labels = check_training_data(X, y)
        self._features = features.FrozenFeatures(self.engine, self.taps)
        with random.isolated_rng(self.seed):
            self.learn(nn_images.as_lazy_images(X), np.flatnonzero(labels == 0).tolist())
        return self

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:
        """Fill the feature cache; see :meth:`osadbench.method.Method.precompute`."""
        images = nn_images.as_lazy_images(X)
        wanted = range(len(images)) if y is None else np.flatnonzero(np.asarray(y) == 0).tolist()
        features.FrozenFeatures(self.engine, self.taps).compute(
            images, [(index, features.PLAIN) for index in wanted]
        )

    def batches(
        self, images: LazyImages, indices: Sequence[int], size: int = 64
    ) -> Iterator[list[Tensor]]:
        """Yield float32 maps ``(B, C, h, w)``, one per image size and tap, of up to size images."""
        for start in range(0, len(indices), size):
            yield self._features.evaluate(images, indices[start : start + size])
