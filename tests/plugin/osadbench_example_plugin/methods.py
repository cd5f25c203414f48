"""The method of the example plug-in."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from osadbench.method import Method, check_images, check_training_data
from osadbench.params import Params
from osadbench.registry import register_method
from osadbench.types import FloatArray, ImageSequence


class BrightnessParams(Params):
    power: float = Field(default=1.0, gt=0)


@register_method("brightness")
class Brightness(Method):
    """Distance of an image's mean colour to that of the normal images."""

    Params = BrightnessParams
    params: BrightnessParams
    supervised = False

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        normal = check_training_data(X, y) == 0
        self.mean_ = _mean_colours(X)[normal].mean(axis=0)
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        self._require_fitted("mean_")
        check_images(X)
        distance = np.abs(_mean_colours(X) - self.mean_).sum(axis=1)
        return np.asarray(distance**self.params.power, dtype=np.float64)


def _mean_colours(X: ImageSequence) -> FloatArray:
    return np.stack([np.mean(X[index], axis=(0, 1)) for index in range(len(X))])
