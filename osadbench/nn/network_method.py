"""The base of all methods that train a network of heads on feature maps.

The module itself needs no torch: ``fitting``, which does the work, is loaded when it is called.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy.typing as npt

from osadbench.method import Method
from osadbench.nn import fitting
from osadbench.nn.schedule import OptimiserParams
from osadbench.params import Params
from osadbench.types import FloatArray, ImageSequence

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NetworkMethod"]


class NetworkMethod(Method):
    """A method that trains a network of heads on feature maps with balanced batches.

    The same code runs on the cached maps of a frozen backbone and on a backbone that is trained
    with the heads; the engine's settings decide. A subclass says what its network is, what it
    minimises and how it scores.

    Attributes (after ``fit``):
        network_: The heads.
        losses_: Mean training loss per epoch.
        initial_digest_: Digest of all trained tensors before training.
        fitted_digest_: The same after training.
    """

    Params: ClassVar[type[Params]] = OptimiserParams
    uses_backbone: ClassVar[bool] = True

    network_: nn.Module
    losses_: list[float]
    initial_digest_: str
    fitted_digest_: str
    _features: fitting.Features

    @abstractmethod
    def build(self, channels: int) -> nn.Module:
        """Return the heads for maps of so many channels."""

    @abstractmethod
    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return a batch's loss.

        Args:
            network: What :meth:`build` returned.
            maps: Float maps ``(B + R, C, h, w)`` per scale; the last R are the references that
                :attr:`n_references` asks for.
            codes: ``(B,)``: NORMAL, SEEN or PSEUDO.
        """

    @abstractmethod
    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return anomaly scores ``(B,)`` of maps ``(B, C, h, w)`` per scale."""

    @property
    def pseudo_source(self) -> str | None:
        """Source of pseudo anomalies, or None for none."""
        return None

    @property
    def n_references(self) -> int:
        """Number R of reference samples drawn beside each training batch."""
        return 0

    def after_training(self, training: fitting.Training) -> None:  # noqa: B027
        """Keep what scoring needs besides the network; the default keeps nothing."""

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Train the network; see :meth:`osadbench.method.Method.fit`."""
        fitting.fit(self, X, y)
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        """Score images; see :meth:`osadbench.method.Method.score`."""
        self._require_fitted("network_")
        return fitting.score(self, X)

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:
        """Fill the feature cache; see :meth:`osadbench.method.Method.precompute`."""
        fitting.precompute(self, X, y)

    def __getstate__(self) -> dict[str, Any]:
        """Leave a frozen backbone out: it is no part of the model and is found by its settings."""
        state = dict(self.__dict__)
        if not self.engine.train_backbone:
            state.pop("_features", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "network_" in state and "_features" not in state:
            self._features = fitting.open_features(self.engine)
