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
from osadbench.testing.toys import toy_images, toy_manifest, toy_outliers
from osadbench.types import FloatArray, Split, UInt8Array

__all__ = ["MethodCase", "expect_form", "expect_same", "scores_of", "unseen_images"]

Data = tuple[UInt8Array, npt.NDArray[np.int64]]

N_NORMAL, N_ANOMALY, N_TEST, N_OUTLIERS = 24, 6, 12, 12
#: Seed of the data that most checks train on.
TRAIN = 1


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

    def data(
        self,
        n_normal: int = N_NORMAL,
        n_anomaly: int = N_ANOMALY,
        seed: int = TRAIN,
        *,
        green: bool = False,
    ) -> Data:
        """Return training images and labels; each call gives copies of its own.

        Normal images come first, then labelled anomalies, then 12 external outliers, which are
        there for methods that need them only.
        """
        images, labels = _drawn(n_normal, n_anomaly, seed, green)
        if not self.needs_outliers:
            return images.copy(), labels.copy()
        outliers = toy_outliers(N_OUTLIERS, 64, seed)
        return np.concatenate([images, outliers]), np.append(labels, np.full(N_OUTLIERS, 2))

    def fit(self, data: Data | None = None) -> Method:
        """Return a new method fitted on data, by default on :meth:`data`."""
        method = self.new()
        method.fit(*(self.data() if data is None else data))
        return method

    def scores(self, data: Data | None = None) -> FloatArray:
        """Return the scores of the test images by a new method fitted on data."""
        return self.fit(data).score(unseen_images())

    @cached_property
    def needs_outliers(self) -> bool:
        """Whether the method, with these parameters, takes external outliers."""
        return self.new().needs_outliers

    @cached_property
    def skip_reason(self) -> str | None:
        """Why the method has no form on any toy split, or None where it has one."""
        method = self.new()
        reasons = [method.skip(split) for split in toy_splits(method.supervised)]
        for reason in reasons:
            expect(reason is None or isinstance(reason, str), f"skip gave {reason!r}, no text")
        return None if None in reasons else reasons[0]

    @cached_property
    def fitted(self) -> Method:
        """A method fitted on the default data; checks only score with it."""
        return self.fit()

    @cached_property
    def reference(self) -> FloatArray:
        """What :attr:`fitted` gave when it scored the test images for the first time."""
        return self.fitted.score(unseen_images())


def toy_splits(supervised: bool) -> list[Split]:
    """Return splits of the toy manifest, of one and of ten shots, or without labels."""
    manifest = toy_manifest()
    normals, anomalies, test = (
        tuple(record.path for record in manifest.select(split=split, label=label))
        for split, label in (("train", 0), ("test", 1), ("test", 0))
    )
    splits = [
        Split(
            protocol="toy",
            dataset=manifest.dataset,
            category=manifest.category,
            known_class="",
            shots=shots,
            seed=0,
            manifest_digest=manifest.digest,
            train_normals=normals,
            train_anomalies=anomalies[:shots],
            test=tuple(sorted([*anomalies[10:], *test])),
        )
        for shots in (1, 10)
    ]
    return splits if supervised else [splits[0].without_labels()]


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
