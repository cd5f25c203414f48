"""One method under test, with the data that the checks train and score it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from osadbench.method import Method
from osadbench.settings import Engine
from osadbench.testing.results import expect
from osadbench.testing.toys import toy_images
from osadbench.types import FloatArray, UInt8Array

__all__ = ["MethodCase", "expect_form", "expect_same", "scores_of", "unseen_images", "train_images"]

Data = tuple[UInt8Array, npt.NDArray[np.int64]]

N_NORMAL, N_ANOMALY, N_TEST = 24, 6, 12


def train_images(seed: int = 1, *, green: bool = False) -> Data:
    """Return 24 normal images, then 6 labelled anomalies; each call gives a copy of its own."""
    images, labels = _drawn(N_NORMAL, N_ANOMALY, seed, green)
    return images.copy(), labels.copy()


def unseen_images() -> UInt8Array:
    """Return 12 normal test images, then 12 anomalies; each call gives a copy of its own."""
    return _drawn(N_TEST, N_TEST, 3, False)[0].copy()


@cache
def _drawn(n_normal: int, n_anomaly: int, seed: int, green: bool) -> Data:
    return toy_images(n_normal, n_anomaly, 64, seed, green=green)


@dataclass(frozen=True)
class MethodCase:
    """A method's class, how to build it, and one fitted instance that the checks share.

    Attributes:
        method_class: The method.
        engine: Engine settings.
        params: Further arguments of the constructor.
    """

    method_class: type[Method]
    engine: Engine
    params: Mapping[str, Any]

    def new(self, **changes: Any) -> Method:
        """Return an unfitted method."""
        return self.method_class(**{"seed": 5, "engine": self.engine, **self.params, **changes})

    def fit(self, data: Data | None = None) -> Method:
        """Return a new method fitted on data, by default on :func:`train_images`."""
        method = self.new()
        method.fit(*(train_images() if data is None else data))
        return method

    def scores(self, data: Data | None = None) -> FloatArray:
        """Return the scores of the test images by a new method fitted on data."""
        return self.fit(data).score(unseen_images())

    @cached_property
    def fitted(self) -> Method:
        """A method fitted on the default data; checks only score with it."""
        return self.fit()

    @cached_property
    def reference(self) -> FloatArray:
        """What :attr:`fitted` gave when it scored the test images for the first time."""
        return self.fitted.score(unseen_images())


def scores_of(method_class: type[Method], engine: Engine, params: Any) -> FloatArray:
    """Return :meth:`MethodCase.scores`; at the top level, for another process to call."""
    return MethodCase(method_class, engine, params).scores()


def expect_form(scores: FloatArray, n: int) -> None:
    """Check that scores are a finite float64 array ``(n,)``."""
    expect(isinstance(scores, np.ndarray), f"score gave {type(scores).__name__}, expected an array")
    expect(scores.dtype == np.float64, f"the scores are {scores.dtype}, expected float64")
    expect(scores.shape == (n,), f"the scores have shape {scores.shape}, expected ({n},)")
    bad = np.count_nonzero(~np.isfinite(scores))
    expect(not bad, f"{bad} of {n} scores are NaN or infinite")


def expect_same(got: FloatArray, wanted: FloatArray, what: str) -> None:
    """Check that two score arrays are equal bit for bit."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.tobytes() == wanted.tobytes():
        return
    expect(got.shape == wanted.shape, f"{what}: shapes {got.shape} and {wanted.shape} differ")
    gap = np.abs(got - wanted)
    expect(
        False,
        f"{what}: {np.count_nonzero(gap)} of {len(gap)} scores differ, by up to {gap.max():.3g}",
    )
