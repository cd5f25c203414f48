"""Feature distillation: small auto-encoders imitate a frozen backbone's maps of normals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.nn import distillation, heads
from osadbench.nn.distillation_method import DistillationMethod, DistillationParams
from osadbench.registry import register_method
from osadbench.taps import Tap

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FeatDistill", "FeatDistillParams"]

_PAPER = {"image_sizes": (224,), "train_backbone": False}


class FeatDistillParams(DistillationParams):
    """Parameters of feature distillation. All are ours but those that are KDAD's.

    Attributes:
        width: Channels between the two layers of an auto-encoder.
        lr: Five times that of KDAD's public code: see ``epochs``.
        epochs: Passes over the normals. Chosen by the training loss, for time: on ELPV's 1,131
            normals (general protocol, seed 0) 12 passes at 5e-3 end at 0.49, 30 at 1e-3 at 0.55.
    """

    width: int = pydantic.Field(default=16, ge=1)
    lr: float = pydantic.Field(default=5e-3, gt=0)
    epochs: int = pydantic.Field(default=12, ge=0)


@register_method("featdistill")
class FeatDistill(DistillationMethod):
    """A narrow auto-encoder per backbone stage rebuilds normals' features; it fails on anomalies.

    A light relative of KDAD for a frozen backbone: the same discrepancy, but no student network
    that sees pixels. Its numbers are not KDAD's. Unsupervised, so one- and ten-shot results are
    one.

    Source: ours, with the loss of the public code of Salehi et al.: Multiresolution Knowledge
    Distillation for Anomaly Detection, CVPR 2021.

    Loss: sum over the stages with strides 8, 16 and 32 of 1 - cos(s, t) + value_weight * MSE(s, t)
    between rebuilt and true maps, mean over the image sizes
    (:func:`osadbench.nn.distillation.discrepancy`).
    Sampler: shuffled passes over the normals.
    Score: the same of an image.
    Paper: none.
    Code: the loss; Adam without decay or clipping; batches of 64.
    Ours: all else: the stages, 16 channels between two 1x1 convolutions with ReLU, 12 epochs at
    5e-3, one image size of 224 pixels, and the cosine distance of each patch as score maps.
    Frozen: as described; the other presets differ by their backbone only, which stays frozen.
    """

    Params: ClassVar[type[FeatDistillParams]] = FeatDistillParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 10, "batch_size": 12, "lr": 1e-2},
    }
    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": {"image_sizes": (224,), "normal_views": 0},
        "paper": _PAPER,
        "paper-text": _PAPER,
        "smoke": {"image_sizes": (64,), "normal_views": 0},
    }
    taps: ClassVar[tuple[Tap, ...]] = tuple(Tap(reduction) for reduction in (8, 16, 32))

    @property
    def p(self) -> FeatDistillParams:
        """The parameters by their own type."""
        return cast(FeatDistillParams, self.params)

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return one auto-encoder per stage, by the stage's number."""
        return heads.NamedHeads(
            {str(n): distillation.Bottleneck(c, self.p.width) for n, c in enumerate(channels)}
        )

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the batch's mean discrepancy."""
        # A target with a gradient would draw a trained backbone to maps that are easy to rebuild.
        return self.image_scores(network, [scale.detach() for scale in maps]).mean()

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the discrepancies ``(B,)``, summed over stages and averaged over sizes."""
        n_sizes = len(maps) // len(self.taps)
        rebuilt = self._rebuild(network, maps)
        return distillation.discrepancy(rebuilt, maps, self.p.value_weight) / n_sizes

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return each patch's cosine distance, ``(B, h, w)`` per size and stage."""
        pairs = zip(self._rebuild(network, maps), maps, strict=True)
        return [distillation.direction_distance(student, teacher) for student, teacher in pairs]

    def _rebuild(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        # Sizes are in the outer loop: after the last stage of one comes the first of the next.
        return [network[str(n % len(self.taps))](scale) for n, scale in enumerate(maps)]
