"""Deep SVDD: deep support vector data description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import pydantic

from osadbench.nn import encoders
from osadbench.nn import sampler as samplers
from osadbench.nn.hypersphere import SMOKE, HypersphereMethod, HypersphereParams
from osadbench.registry import register_method
from osadbench.settings import Engine

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeepSVDD", "DeepSVDDParams", "radius_of", "soft_boundary_loss"]

#: Both presets of the original network: the texts name no other values than the public code's.
PAPER: Mapping[str, Any] = {
    "network": "lenet",
    "epochs": 150,
    "lr_step": 50,
    "lr_falls": 1,
    "batch_size": 200,
    "pretrain_epochs": 350,
    "pretrain_lr_step": 250,
    "pretrain_weight_decay": 0.5e-6,
}
LENET_ENGINE: Mapping[str, Any] = {"image_sizes": (32,), "train_backbone": False}


class DeepSVDDParams(HypersphereParams):
    """Parameters of Deep SVDD.

    Attributes:
        network: ``"mlp"``, two bias-free layers on the pooled features of the backbone (ours), or
            ``"lenet"``, the public code's network for CIFAR-10, on pixels and without a backbone.
        objective: ``"one-class"`` (paper, Eq. 4) or ``"soft-boundary"`` (Eq. 3).
        nu: Soft boundary: upper bound on the share of training images outside; 0.1 in the public
            code.
        warm_up_epochs: Soft boundary: epochs before the radius, first 0, is fitted; 10 in the
            public code.
        gradient_clip: See the base; no limit, as in the public code: this loss has no pole.
    """

    network: Literal["mlp", "lenet"] = "mlp"
    objective: Literal["one-class", "soft-boundary"] = "one-class"
    nu: float = pydantic.Field(default=0.1, gt=0, le=1)
    warm_up_epochs: int = pydantic.Field(default=10, ge=0)
    gradient_clip: float = pydantic.Field(default=0.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _radius_is_fitted(self) -> DeepSVDDParams:
        if self.objective == "soft-boundary" and self.epochs <= self.warm_up_epochs:
            raise ValueError(
                "objective=soft-boundary needs more epochs than warm_up_epochs, or its radius "
                "stays 0"
            )
        return self


def soft_boundary_loss(distances: Tensor, radius: Tensor, nu: float) -> Tensor:
    """Return the squared radius plus 1 / nu times the mean excess over it (Eq. 3).

    Args:
        distances: Squared distances ``(B,)`` to the centre.
        radius: A scalar.
        nu: 0 to 1.
    """
    return radius**2 + (distances - radius**2).clamp(min=0).mean() / nu


def radius_of(distances: Tensor, nu: float) -> Tensor:
    """Return the (1 - nu) quantile of the distances, whose squares are given (public code)."""
    return distances.detach().sqrt().quantile(1 - nu)


@register_method("dsvdd")
class DeepSVDD(HypersphereMethod):
    """Normals are pulled towards a fixed centre; what lies far from it is anomalous.

    An encoder maps images to vectors. Labelled anomalies are not used.

    Source: Ruff, Vandermeulen, Görnitz, Deecke, Siddiqui, Binder, Müller, Kloft: Deep One-Class
    Classification, ICML 2018, and its public code; run on images by Pang, Ding, Shen, van den
    Hengel, arXiv:2108.00462, section 6.3.

    Loss: the mean squared distance to the centre; with ``soft-boundary`` the squared radius plus
    1 / nu times the mean excess over it, the radius being a quantile of each batch.
    Sampler: passes over the shuffled normals.
    Score: the squared distance to the centre, minus the squared radius with ``soft-boundary``.
    Paper: the losses; a bias-free encoder; the original small network in ``paper``, where larger
    ones did worse (arXiv:2108.00462).
    Code: that network for 32x32 pixels, its auto-encoder, and its preparation of the pixels; Adam
    with 1e-4, to 1e-5 after 50 of 150 epochs, batches of 200, weight decay 0.5e-6; 350 epochs of
    the auto-encoder, to 1e-5 after 250; coordinates of the centre that are below 0.1 moved to 0.1
    by their sign.
    Ours: the range of the normalised pixels is that of the training normals (the code has constants
    of CIFAR-10's classes); images are resized to 32x32, which no source says how to do; coordinates
    of the centre of exactly 0 move up.
    Frozen: another network, hence the name dsvdd-frozen: the pooled features of the backbone,
    scaled to a mean square of 1 over the training normals, go through two bias-free layers (256,
    128); batches of 128, 50 epochs of the auto-encoder and of the training, at 1e-4 throughout,
    with the auto-encoder's weight decay of Deep SAD's code, 0.5e-3. ``meanfeature`` is the control
    that has no trained layers.
    """

    Params: ClassVar[type[DeepSVDDParams]] = DeepSVDDParams
    supervised: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER,
        "paper-text": PAPER,
        "smoke": {**SMOKE, "warm_up_epochs": 2},
    }
    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Its public code augments nothing, and there are no rotated anomalies to match.
        "frozen": {"normal_views": 0},
        "smoke": {"normal_views": 0},
        "paper": LENET_ENGINE,
        "paper-text": LENET_ENGINE,
    }

    _epoch = 0

    @classmethod
    def label(cls, engine: Engine) -> str:
        """Return ``dsvdd``, or ``dsvdd-frozen`` where the preset has another network."""
        network = cls.presets.get(engine.preset, {}).get("network", "mlp")
        return cls.name if network == "lenet" else f"{cls.name}-frozen"

    @property
    def p(self) -> DeepSVDDParams:
        """The parameters by their own type."""
        return cast(DeepSVDDParams, self.params)

    @property
    def reads_pixels(self) -> bool:  # type: ignore[override]
        """Whether the network takes pixels."""
        return self.p.network == "lenet"

    @property
    def uses_backbone(self) -> bool:  # type: ignore[override]
        """Whether the network takes a backbone's features."""
        return self.p.network == "mlp"

    def encoder(self, channels: Sequence[int]) -> encoders.Encoder:
        """Return the network."""
        if self.p.network == "lenet":
            return encoders.LeNetEncoder(self.p.dimensions)
        return encoders.PooledEncoder(channels[0], self.p.hidden, self.p.dimensions)

    def sampler(self, labels: Tensor) -> samplers.Sampler:
        """Return shuffled passes over the normals, whatever else is there."""
        return samplers.normals_only(labels, self.p.batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Note the epoch: the radius is fitted after the warm-up only."""
        self._epoch = epoch

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the loss of the distances; the radius for the next batch comes from this one."""
        distances: Tensor = network.distances(maps)
        if self.p.objective == "one-class":
            return distances.mean()
        loss = soft_boundary_loss(distances, network.radius, self.p.nu)
        if self._epoch >= self.p.warm_up_epochs:
            network.radius.copy_(radius_of(distances, self.p.nu))
        return loss
