"""A small method that keeps the contract, and one for each planted fault."""

from __future__ import annotations

import hashlib
import random
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from osadbench.errors import ContractError
from osadbench.method import (
    Method,
    check_adaptation_data,
    check_images,
    check_training_data,
)
from osadbench.params import Params
from osadbench.types import FloatArray, ImageSequence, Split

GRID = 4


def thumbnails(X: ImageSequence) -> FloatArray:
    """Return the mean colours of a 4 x 4 grid, float64 ``(n, 48)``, in 0 to 1."""

    def grid(image: npt.NDArray[np.uint8]) -> FloatArray:
        high, wide = (side // GRID for side in image.shape[:2])
        cells = image[: high * GRID, : wide * GRID].reshape(GRID, high, GRID, wide, 3)
        means: FloatArray = cells.mean((1, 3)).ravel() / 255.0
        return means

    return np.stack([grid(np.asarray(X[index])) for index in range(len(X))])


class NearestParams(Params):
    neighbours: int = Field(default=3, ge=1)
    weight: float = Field(default=0.2, ge=0, le=1)


class Nearest(Method):
    """Distance to the nearest normals less that to the labelled anomalies, after a projection."""

    Params = NearestParams
    params: NearestParams

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        labels = check_training_data(X, y)
        self.projection_ = self._rng().normal(size=(3 * GRID**2, 32))
        features = thumbnails(X) @ self.projection_
        self.normals_, self.anomalies_ = features[labels == 0], features[labels == 1]
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        self._require_fitted("normals_")
        check_images(X)
        # One image at a time: a matrix product may round differently in another batch.
        return np.array([self._score_one(f @ self.projection_) for f in thumbnails(X)])

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def _score_one(self, feature: FloatArray) -> float:
        near = np.sort(np.linalg.norm(self.normals_ - feature, axis=1))
        score = float(near[: self.params.neighbours].mean())
        if len(self.anomalies_):
            score -= self.params.weight * np.linalg.norm(self.anomalies_ - feature, axis=1).min()
        return score


class NearestNormal(Nearest):
    """The same without labels, and honest about it."""

    supervised = False

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        self.anomalies_ = self.anomalies_[:0]
        return self


class IgnoresLabelledAnomalies(NearestNormal):
    supervised = True


class Constant(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        return np.zeros_like(super().score(X))


class FlippedSign(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        return -super().score(X)


class BatchNormalised(Nearest):
    """What batch normalisation in training mode does, in one line."""

    def score(self, X: ImageSequence) -> FloatArray:
        scores = super().score(X)
        return np.asarray(scores - scores.mean())


class SortedScores(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        return np.sort(super().score(X))


class Float32(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        return super().score(X).astype(np.float32)


class NotANumber(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        scores = super().score(X)
        scores[0] = np.nan
        return scores


class SeedsNumpy(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        np.random.seed(self.seed)  # noqa: NPY002
        return super().fit(X, y)


class SeedsPython(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        random.seed(self.seed)
        return super().fit(X, y)


class SeedsTorch(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        import torch

        torch.manual_seed(self.seed)
        return super().fit(X, y)


class Unseeded(Nearest):
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng()


class HashSeeded(Nearest):
    """Same scores within one process, others in the next."""

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(hash("some string") % 2**32)


class IgnoresTraining(Nearest):
    """Measures the distance to mid-grey, whatever it was trained on."""

    def _score_one(self, feature: FloatArray) -> float:
        grey = np.full(3 * GRID**2, 0.4) @ self.projection_
        return float(np.linalg.norm(feature - grey))


class RemembersFirstFit(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        known = getattr(self, "normals_", None)
        super().fit(X, y)
        if known is not None:
            self.normals_ = np.concatenate([known, self.normals_])
        return self


class ReturnsNone(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        return None  # type: ignore[return-value]


class MutatesImages(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        scores = super().score(X)
        if isinstance(X, np.ndarray):
            X[:, 0] = 0
        return scores


class MutatesLabels(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        if isinstance(y, np.ndarray):
            y[0] = 1
        return self


class ScoresBeforeFit(Nearest):
    def score(self, X: ImageSequence) -> FloatArray:
        if not hasattr(self, "normals_"):
            return np.zeros(len(X))
        return super().score(X)


class NotPicklable(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        self.distance_ = lambda a, b: abs(a - b)
        return super().fit(X, y)


class WorksInConstructor(Nearest):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cells_ = np.zeros(GRID)


class LosesParameters(Nearest):
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"seed": 0, "engine": self.engine}


class TakesAnything(Nearest):
    """Scores whatever it is given, grey images and wrong labels among them."""

    def fit(self, X: Any, y: Any) -> Self:
        images = np.asarray(X)
        rgb = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
        labels = np.resize(y, len(rgb)) if np.any(np.equal(y, 0)) else np.zeros(len(rgb), int)
        return super().fit(rgb.astype(np.uint8), labels)


class OneSizeOnly(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        check_training_data(X, y)
        return super().fit(np.stack(list(X)), y)


class NeedsManyAnomalies(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        if 0 < np.sum(y) < 3:
            raise ZeroDivisionError("too few anomalies to split")
        return super().fit(X, y)


class NeedsManyNormals(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        if len(self.normals_) < 24:
            raise ZeroDivisionError("too few normals for a batch")
        return self


class UnsupervisedNeedsAnomalies(NearestNormal):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        if not np.any(y):
            raise ContractError("expected labelled anomalies, got none")
        return self


class NeedsColour(Nearest):
    """Divides by the saturation, as a conversion to hues does."""

    def score(self, X: ImageSequence) -> FloatArray:
        scores = super().score(X)
        spread = np.array([np.ptp(np.asarray(image), axis=2).mean() for image in X])
        return np.where(spread > 0, scores, np.nan)


class Exposed(Nearest):
    """Takes external outliers, and is farther from them."""

    @property
    def needs_outliers(self) -> bool:
        return True

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        labels = check_training_data(X, y, outliers=True)
        inside = np.flatnonzero(labels != 2).tolist()
        super().fit([X[index] for index in inside], labels[inside])
        outliers = [X[index] for index in np.flatnonzero(labels == 2).tolist()]
        self.outliers_ = thumbnails(outliers) @ self.projection_
        return self

    def _score_one(self, feature: FloatArray) -> float:
        nearest = np.linalg.norm(self.outliers_ - feature, axis=1).min()
        return super()._score_one(feature) - 0.01 * float(nearest)


class WorksWithoutOutliers(Exposed):
    """Says that it needs outliers, and does without them."""

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        if not np.equal(y, 2).any():
            X, y = [*X, np.zeros((8, 8, 3), np.uint8)], np.append(y, 2)
        return super().fit(X, y)


class TakesOutliersForAnomalies(Nearest):
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        return super().fit(X, np.minimum(y, 1) if np.equal(y, 2).any() else y)


class Control(IgnoresTraining):
    """Learns nothing, on purpose."""

    is_control = True


class SkipsEverySplit(Nearest):
    def skip(self, split: Split) -> str | None:
        return "never has a form"


class SkipsEverySplitButUnderSmoke(Nearest):
    def skip(self, split: Split) -> str | None:
        return None if self.engine.preset == "smoke" else "has a form under smoke only"


class Adapts(Nearest):
    """Forgets the normals that it knows for those of another domain."""

    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        self._require_fitted("normals_", "adapt")
        check_adaptation_data(X, y, epochs)
        return self._take(X)

    def _take(self, X: ImageSequence) -> Self:
        self.normals_ = self.moved(thumbnails(X) @ self.projection_)
        return self

    def moved(self, features: FloatArray) -> FloatArray:
        return features


class AdaptsInVain(Adapts):
    def _take(self, X: ImageSequence) -> Self:
        return self


class AdaptsAtRandom(Adapts):
    def moved(self, features: FloatArray) -> FloatArray:
        noise: FloatArray = np.random.default_rng().normal(0, 9, features.shape)
        return features + noise


class AdaptsToAnything(Adapts):
    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        self._require_fitted("normals_", "adapt")
        return self._take(X)


class AdaptsUnfitted(Adapts):
    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        check_adaptation_data(X, y, epochs)
        return self._take(X) if hasattr(self, "normals_") else self


class AdaptReturnsNone(Adapts):
    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        super().adapt(X, y, epochs=epochs)
        return None  # type: ignore[return-value]


class SaysThatItCanAdapt(Nearest):
    """Says so, and has none."""

    @property
    def adapts(self) -> bool:
        return True


class WithMaps(Nearest):
    """Scores each pixel by its distance to the mean colour of the training normals."""

    dtype: type = np.float32

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        super().fit(X, y)
        normals = np.flatnonzero(np.equal(y, 0)).tolist()
        self.colour_ = np.mean([np.mean(X[index], axis=(0, 1)) for index in normals], axis=0)
        return self

    def score_maps(self, X: ImageSequence) -> list[npt.NDArray[np.float32]]:
        images = (np.asarray(X[index]) for index in range(len(X)))
        return [np.linalg.norm(i - self.colour_, axis=2).astype(self.dtype) for i in images]


class Float64Maps(WithMaps):
    dtype = np.float64


class MapsOfOneSize(WithMaps):
    def score_maps(self, X: ImageSequence) -> list[npt.NDArray[np.float32]]:
        return [scores[:32, :32] for scores in super().score_maps(X)]


class MapsOfFirstImage(WithMaps):
    def score_maps(self, X: ImageSequence) -> list[npt.NDArray[np.float32]]:
        return super().score_maps(X)[:1]


class StackedMaps(WithMaps):
    def score_maps(self, X: ImageSequence) -> list[npt.NDArray[np.float32]]:
        return np.stack([scores[:8, :8] for scores in super().score_maps(X)])  # type: ignore[return-value]


class MapsWithNaN(WithMaps):
    def score_maps(self, X: ImageSequence) -> list[npt.NDArray[np.float32]]:
        maps = super().score_maps(X)
        maps[-1][0, 0] = np.nan
        return maps


class Network(Method):
    """A small torch network on thumbnails, trained as it should be."""

    epochs = 30
    mode_at_score = False

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        import torch

        labels = check_training_data(X, y)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = torch.nn.Sequential(
                torch.nn.BatchNorm1d(3 * GRID**2),
                torch.nn.Linear(3 * GRID**2, 8),
                torch.nn.Tanh(),
                torch.nn.Linear(8, 1),
            )
        self.initial_digest_ = self._digest()
        self._train(thumbnails(X), labels)
        self.fitted_digest_ = self._digest()
        return self

    def _train(self, features: FloatArray, labels: npt.NDArray[np.int64]) -> None:
        import torch

        inputs = torch.tensor(features, dtype=torch.float32)
        targets = torch.tensor(labels, dtype=torch.float32)[:, None]
        optimiser = torch.optim.Adam(self.network_.parameters(), lr=0.01)
        self.network_.train()
        for _ in range(self.epochs):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                self.network_(inputs), targets
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def score(self, X: ImageSequence) -> FloatArray:
        import torch

        self._require_fitted("network_")
        check_images(X)
        self.network_.train(self.mode_at_score)
        with torch.inference_mode():
            logits = self.network_(torch.tensor(thumbnails(X), dtype=torch.float32))
        return np.asarray(logits[:, 0].numpy(), dtype=np.float64)

    def _digest(self) -> str:
        tensors = [p.detach().numpy().tobytes() for p in self.network_.parameters()]
        return hashlib.sha256(b"".join(tensors)).hexdigest()


class TrainModeNetwork(Network):
    """Batch normalisation left in training mode."""

    mode_at_score = True


class UntrainedNetwork(Network):
    """The loop never steps, but batch statistics move: the scores alone don't give it away."""

    epochs = 0

    def _train(self, features: FloatArray, labels: npt.NDArray[np.int64]) -> None:
        import torch

        self.network_.train()
        with torch.no_grad():
            self.network_(torch.tensor(features, dtype=torch.float32))
