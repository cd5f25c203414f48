"""What Deep SAD and Deep SVDD share: vectors of images, and their distances to a fixed centre.

The module itself needs no torch: :mod:`osadbench.nn.encoders` is loaded when it is needed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.errors import ContractError
from osadbench.nn import encoders, features, optimise
from osadbench.nn import sampler as samplers
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import OptimiserParams
from osadbench.params import Params

if TYPE_CHECKING:
    from torch import Tensor

    from osadbench.nn.encoders import Encoder, Hypersphere
    from osadbench.nn.fitting import Training

__all__ = ["SMOKE", "HypersphereMethod", "HypersphereParams", "check_not_collapsed"]

#: Values of the ``smoke`` preset.
SMOKE: Mapping[str, Any] = {"epochs": 30, "pretrain_epochs": 10, "batch_size": 12, "lr": 1e-3}

#: Smallest difference between two scores that tells images apart, relative to the largest score.
LEAST_SPREAD = 1e-4
#: Largest squared distance that counts as lying on the centre, relative to its own squared norm.
ON_THE_CENTRE = 1e-10
#: Labelled anomalies that the check for collapse looks at.
MOST_ANOMALIES = 64


class HypersphereParams(OptimiserParams):
    """Parameters of the methods that train a hypersphere.

    The training loop's defaults are those of the public code of Deep SAD: Adam with learning rate
    1e-4, weight decay 0.5e-6, batches of 128. Ours, for the ``frozen`` preset, are 50 epochs in
    place of 150, for time, and no fall of the rate. The limit of the gradients is ours too: Deep
    SAD's on ELPV's frozen features (general protocol, ten shots, seed 0) have norms up to 163; an
    anomaly on the centre has a loss of 1e6.

    Attributes:
        hidden: Width of the hidden layer between pooled features and vectors, on a frozen backbone
            (ours).
        dimensions: Length of the vectors; 128 in the public code's network for CIFAR-10.
        pretrain_epochs: Epochs of the auto-encoder that the training starts from; 0 for none.
        pretrain_lr: Its learning rate; 1e-4 in the public code.
        pretrain_weight_decay: Its weight decay; 0.5e-3 in the public code of Deep SAD.
        pretrain_lr_step: Epochs after which its learning rate falls to a tenth, once; 0 for never.
    """

    lr: float = pydantic.Field(default=1e-4, gt=0)
    weight_decay: float = pydantic.Field(default=0.5e-6, ge=0)
    batch_size: int = pydantic.Field(default=128, ge=2)
    steps_per_epoch: int = pydantic.Field(default=0, ge=0)
    gradient_clip: float = pydantic.Field(default=1000.0, ge=0)
    hidden: int = pydantic.Field(default=256, ge=1)
    dimensions: int = pydantic.Field(default=128, ge=16, multiple_of=16)
    pretrain_epochs: int = pydantic.Field(default=50, ge=0)
    pretrain_lr: float = pydantic.Field(default=1e-4, gt=0)
    pretrain_weight_decay: float = pydantic.Field(default=0.5e-3, ge=0)
    pretrain_lr_step: int = pydantic.Field(default=0, ge=0)


class HypersphereMethod(NetworkMethod):
    """A method that trains an encoder around a fixed centre and scores by the distance to it.

    Before training the encoder is the first half of an auto-encoder of the training normals. The
    centre is then the mean of the training normals' vectors, kept away from zero
    (:func:`osadbench.nn.encoders.away_from_zero`), and stays as it is. The public code takes all
    training images for it, labelled anomalies too; that these are left out is ours. Batches are
    passes over the shuffled training images, as in the public code; nothing is oversampled.

    Attributes (after ``fit``, beside those of the base):
        pretrain_losses_: Mean loss of the auto-encoder per epoch.
    """

    Params: ClassVar[type[Params]] = HypersphereParams

    pretrain_losses_: list[float]

    @abstractmethod
    def encoder(self, channels: Sequence[int]) -> Encoder:
        """Return the encoder for maps of so many channels."""

    @property
    def sphere(self) -> HypersphereParams:
        """The parameters by their shared type."""
        return cast(HypersphereParams, self.params)

    def build(self, channels: Sequence[int]) -> Hypersphere:
        """Return the encoder with a place for its centre."""
        return encoders.Hypersphere(self.encoder(channels), self.sphere.dimensions)

    def sampler(self, labels: Tensor) -> samplers.Sampler:
        """Return shuffled passes over the training images."""
        return samplers.ShuffledSampler(labels, batch_size=self.sphere.batch_size)

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return squared distances ``(B,)`` to the centre, minus the squared radius."""
        distances: Tensor = network.distances(maps) - network.radius**2
        return distances

    def before_training(self, network: Any, training: Training) -> None:
        """Fit the inputs' range, pre-train the encoder, and place the centre."""
        encoder = network.encoder
        encoder.calibrate(training.over_normals(encoder.raw))
        self.pretrain_losses_ = []
        if self.sphere.pretrain_epochs:
            self.pretrain_losses_ = self._pretrain(encoder, training.over_normals(encoder.inputs))
        centre = training.over_normals(network).mean(dim=0)
        network.centre.copy_(encoders.away_from_zero(centre))

    def after_training(self, network: Any, training: Training) -> None:
        """Check that the training has left something to score by.

        Raises:
            ContractError: The network has collapsed; see :func:`check_not_collapsed`.
        """
        scores = training.over_normals(network.distances)
        if self.supervised:
            seen = training.labels.eq(samplers.SEEN).nonzero().flatten()[:MOST_ANOMALIES]
            requests = [(index, features.PLAIN) for index in seen.tolist()]
            others = network.distances(training.views(requests)).tolist() if requests else []
            scores = scores.new_tensor([*scores.tolist(), *others])
        check_not_collapsed(self.name, scores, network.centre)

    def _pretrain(self, encoder: Encoder, inputs: Tensor) -> list[float]:
        """Train encoder and decoder to restore the training normals' inputs."""
        decoder = encoder.decoder().to(inputs.device)
        n, size = len(inputs), self.sphere.batch_size
        batches = samplers.ShuffledSampler(inputs.new_zeros(n).long().cpu(), batch_size=size)

        def loss() -> Tensor:
            batch = inputs[batches.draw()[0].to(inputs.device)]
            # Summed over an image's values as in Deep SVDD's public code; Deep SAD's averages.
            error: Tensor = (decoder(encoder(batch)) - batch).square().flatten(1).sum(dim=1)
            return error.mean()

        params = OptimiserParams(
            lr=self.sphere.pretrain_lr,
            weight_decay=self.sphere.pretrain_weight_decay,
            batch_size=size,
            epochs=self.sphere.pretrain_epochs,
            steps_per_epoch=math.ceil(n / size),
            lr_step=self.sphere.pretrain_lr_step,
            lr_falls=1,
            gradient_clip=0.0,
        )
        parameters = [*encoder.parameters(), *decoder.parameters()]
        return optimise.optimise(parameters, loss, params)


def check_not_collapsed(name: str, distances: Tensor, centre: Tensor) -> None:
    """Refuse a network that maps all training images to one vector, or to no number.

    Such a network ranks test images by its rounding errors, and its table looks like any other.

    Args:
        name: The method's name, for the message.
        distances: Squared distances ``(n,)`` of training images to the centre.
        centre: ``(D,)``.

    Raises:
        ContractError: A distance is not finite, all are nearly equal, or all are nearly 0.
    """
    advice = "try a lower lr or fewer epochs"
    if not distances.isfinite().all():
        raise ContractError(f"{name} collapsed: its training images have no finite score: {advice}")
    # Of one image there is nothing to tell apart.
    if len(distances) < 2:
        return
    smallest, largest = distances.min().item(), distances.max().item()
    if largest <= ON_THE_CENTRE * centre.square().sum().item():
        raise ContractError(
            f"{name} collapsed: all {len(distances)} training images lie on the centre, with "
            f"squared distances up to {largest:.3g}: {advice}"
        )
    if largest - smallest <= LEAST_SPREAD * largest:
        raise ContractError(
            f"{name} collapsed: its {len(distances)} training images all score between "
            f"{smallest:.6g} and {largest:.6g}: {advice}"
        )
