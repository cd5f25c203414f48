"""The base of all methods that train a network by gradient descent.

The module itself needs no torch: ``fitting``, which does the work, is loaded when it is called.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy.typing as npt

from osadbench.errors import ContractError
from osadbench.method import Method
from osadbench.nn import adapting, fitting, localise
from osadbench.nn import sampler as samplers
from osadbench.nn.schedule import OptimiserParams
from osadbench.params import Params
from osadbench.types import Float32Array, FloatArray, ImageSequence

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NetworkMethod"]


class NetworkMethod(Method):
    """A method that trains a network on feature maps.

    The same code runs on the cached maps of a frozen backbone and on a backbone that is trained
    with the heads; the engine's settings decide. A subclass says what its network is, what it
    minimises and how it scores.

    Maps come as a list of float tensors ``(B, C, h, w)``: one per image size and tap, sizes in the
    outer loop, then the pixels where they are read.

    Class attributes:
        reads_pixels: Whether the plain pixels, ``(B, 3, S, S)`` of 0 to 1 with S the first image
            size, are read too, or alone where ``uses_backbone`` is False. A method that reads them
            gets no augmented views of them.

    Attributes (after ``fit``):
        network_: The heads.
        losses_: Mean training loss per epoch.
        initial_digest_: Digest of all trained tensors before training.
        fitted_digest_: The same after training.

    Attributes (after ``adapt``):
        adapt_losses_: Mean loss per epoch of the training that went on.
    """

    Params: ClassVar[type[Params]] = OptimiserParams
    uses_backbone: bool = True

    network_: nn.Module
    losses_: list[float]
    adapt_losses_: list[float]
    initial_digest_: str
    fitted_digest_: str
    notes_: list[str]
    _features: fitting.Features

    @abstractmethod
    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the network for maps of so many channels: one number per tap, then the pixels'."""

    @abstractmethod
    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return a batch's loss.

        Args:
            network: What :meth:`build` returned.
            maps: The batch's maps, with gradients where the backbone is trained.
            codes: ``(B,)``: NORMAL, SEEN or PSEUDO, then REFERENCE and OUTLIER for the rows that
                :attr:`n_references` and :attr:`n_outliers` ask for.
        """

    @abstractmethod
    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return anomaly scores ``(B,)``."""

    @property
    def pseudo_source(self) -> str | None:
        """Source of pseudo anomalies, or None for none; ``"external"`` takes outliers as they are.

        Every second normal of a batch becomes one, as in DRA's public code.
        """
        return None

    @property
    def n_references(self) -> int:
        """Number of reference samples drawn beside each training batch."""
        return 0

    @property
    def n_outliers(self) -> int:
        """Number of external outliers drawn beside each training batch."""
        return 0

    @property
    def needs_outliers(self) -> bool:
        """Whether external outliers are drawn, as they are or as pseudo anomalies."""
        return self.n_outliers > 0 or self.pseudo_source == "external"

    def sampler(self, labels: Tensor) -> samplers.Sampler:
        """Return what draws the batches, by default half normals and half labelled anomalies.

        Args:
            labels: ``(n,)`` as ``fit`` was given them.
        """
        params: Any = self.params
        source = self.pseudo_source
        return samplers.BalancedSampler(
            labels,
            batch_size=params.batch_size,
            pseudo_probability=0.0 if source is None else 0.5,
            external=source == "external",
        )

    def before_training(self, network: Any, training: fitting.Training) -> None:  # noqa: B027
        """Prepare the network, which is in training mode; the default does nothing."""

    def start_epoch(self, epoch: int) -> None:  # noqa: B027
        """Be told the number of the epoch that starts, from 0; the default does nothing."""

    def after_training(self, network: Any, training: fitting.Training) -> None:  # noqa: B027
        """Keep what scoring needs besides the network, which is in evaluation mode.

        The default keeps nothing.
        """

    def after_adapting(self, network: Any, training: fitting.Training) -> None:
        """Keep what scoring needs on the new domain; the default is :meth:`after_training`."""
        self.after_training(network, training)

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor] | None:
        """Return patch scores ``(B, h, w)`` for score maps, which take their mean.

        None, the default, makes score maps from gradients instead.
        """
        return None

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Train the network; see :meth:`osadbench.method.Method.fit`."""
        fitting.fit(self, X, y)
        return self

    @property
    def adapts(self) -> bool:
        """Whether the method has the shared loop's ``fit``, or says what comes after adapting."""
        cls, shared = type(self), NetworkMethod
        return cls.fit is shared.fit or cls.after_adapting is not shared.after_adapting

    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        """Go on training on normals of another domain; see :meth:`osadbench.method.Method.adapt`.

        DRA (appendix C.3) fine-tunes for ten epochs on the target's normals and says no more. Ours:
        the loss, augmentations and pseudo anomalies are those of the fit, now of the new normals,
        and heads that learn from labelled anomalies see normals only; the optimiser and its
        schedule start anew; what was prepared before training (a centre, a range of inputs) stays;
        what scoring needs beside the network (references, a mean) is taken from the new normals.
        """
        self._require_fitted("network_", "adapt")
        if not self.adapts:
            raise ContractError(
                f"{type(self).__name__} cannot go on training on another domain: its fit is more "
                "than the shared loop"
            )
        adapting.adapt(self, X, y, epochs)
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        """Score images; see :meth:`osadbench.method.Method.score`."""
        self._require_fitted("network_")
        return fitting.score(self, X)

    def score_maps(self, X: ImageSequence) -> list[Float32Array]:
        """Return the patch scores upsampled to the images, else the saliency of the image scores.

        See :meth:`osadbench.method.Method.score_maps` and :mod:`osadbench.nn.localise`.
        """
        self._require_fitted("network_")
        return localise.score_maps(self, X)

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:
        """Fill the feature cache; see :meth:`osadbench.method.Method.precompute`."""
        fitting.precompute(self, X, y)
