"""Deep SAD: deep semi-supervised anomaly detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.nn import encoders, sampler
from osadbench.nn.hypersphere import SMOKE, HypersphereMethod, HypersphereParams
from osadbench.registry import register_method
from osadbench.settings import Engine

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EPSILON", "DeepSAD", "DeepSADParams", "deep_sad_loss"]

#: Added to a labelled sample's distance: that of an anomaly is inverted (public code).
EPSILON = 1e-6

#: Both end-to-end presets: the texts name no other values than the public code's.
PAPER: Mapping[str, Any] = {"epochs": 150, "lr_step": 50, "lr_falls": 1, "pretrain_epochs": 0}


class DeepSADParams(HypersphereParams):
    """Parameters of Deep SAD.

    Attributes:
        eta: Weight of the labelled anomalies; 1 in the paper and its public code.
    """

    eta: float = pydantic.Field(default=1.0, gt=0)


def deep_sad_loss(distances: Tensor, targets: Tensor, eta: float = 1.0) -> Tensor:
    """Return the mean of d over unlabelled and of eta (d + 1e-6)^t over labelled samples.

    Public code of Deep SAD. The benchmark's normals are its unlabelled samples; as labelled ones
    they would differ by 1e-6 at eta 1.

    Args:
        distances: Squared distances d to the centre, ``(B,)``.
        targets: t, ``(B,)``: 0 unlabelled, 1 labelled normal, -1 labelled anomaly.
        eta: Weight of the labelled samples.
    """
    labelled = eta * (distances + EPSILON) ** targets
    return distances.where(targets == 0, labelled).mean()


@register_method("deepsad")
class DeepSAD(HypersphereMethod):
    """Normals are pulled towards a fixed centre, labelled anomalies pushed away from it.

    An encoder maps images to vectors. The push is the inverse of the squared distance, so that it
    fades as an anomaly gets away.

    Source: Ruff, Vandermeulen, Görnitz, Binder, Müller, Müller, Kloft: Deep Semi-Supervised Anomaly
    Detection, ICLR 2020, arXiv:1906.02694, and its public code; run on images by Pang, Ding, Shen,
    van den Hengel, arXiv:2108.00462, section 6.3.

    Loss: the squared distance of normals, eta over that distance of labelled anomalies, averaged.
    Sampler: passes over the shuffled training images; nothing is oversampled.
    Score: the squared distance to the centre.
    Paper: the loss; a bias-free encoder; in ``paper`` a ResNet-18 (arXiv:2108.00462).
    Code: Adam with 1e-4, to 1e-5 after 50 of 150 epochs, batches of 128, weight decay 0.5e-6;
    coordinates of the centre that are below 0.1 moved to 0.1 by their sign.
    Ours: the centre is the mean of the normals alone; coordinates of exactly 0 move up; gradients
    are cut at norm 1000, far above ordinary ones, since an anomaly on the centre has a loss of 1e6;
    training images are rotated as DevNet's are, where the code augments nothing. In ``paper`` the
    encoder is the ResNet's average and one linear layer to 128 values without bias. It starts from
    ImageNet and not from an auto-encoder, of which no source says how it was done for a ResNet. The
    ResNet's batch norm has an affine part, so that it can collapse; a collapse is looked for and
    reported.
    Frozen: not end to end, hence the name deepsad-frozen: the pooled features, scaled to a mean
    square of 1 over the training normals, go through two bias-free layers (256, 128), pre-trained
    as an auto-encoder of the training normals, whose weight decay of 0.5e-3 is the code's and whose
    error is summed over a vector as in Deep SVDD's code; 50 epochs of each, at 1e-4 throughout.
    """

    Params: ClassVar[type[DeepSADParams]] = DeepSADParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER,
        "paper-text": PAPER,
        "smoke": SMOKE,
    }

    @classmethod
    def label(cls, engine: Engine) -> str:
        """Return ``deepsad``, or ``deepsad-frozen`` where the backbone is not trained."""
        return cls.name if engine.train_backbone else f"{cls.name}-frozen"

    @property
    def p(self) -> DeepSADParams:
        """The parameters by their own type."""
        return cast(DeepSADParams, self.params)

    def encoder(self, channels: Sequence[int]) -> encoders.Encoder:
        """Return the layers behind the backbone: one if it is trained, two if not."""
        hidden = None if self.engine.train_backbone else self.p.hidden
        return encoders.PooledEncoder(channels[0], hidden, self.p.dimensions)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the loss of the distances."""
        targets = -codes.eq(sampler.SEEN).long()
        return deep_sad_loss(network.distances(maps), targets, self.p.eta)
