"""KDAD: a student that imitates a VGG-16 on normal images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.nn import distillation
from osadbench.nn.distillation_method import DistillationMethod, DistillationParams
from osadbench.registry import register_method
from osadbench.taps import Tap
from osadbench.types import Split

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["KDAD", "KDADParams"]

#: The student learns at four points, of which all but the first so many count in the score.
FIRST_SCORED = 1

_PAPER = {
    "backbone": "vgg16.tv_in1k",
    "image_sizes": (128,),
    "normalise": False,
    "train_backbone": False,
}


class KDADParams(DistillationParams):
    """Parameters of KDAD.

    Attributes:
        epochs: The public code's 601 for MVTec AD. For other datasets no source has a number.
    """

    epochs: int = pydantic.Field(default=601, ge=0)


@register_method("kdad")
class KDAD(DistillationMethod):
    """A small student imitates a frozen VGG-16 on normals; where it fails to, there is an anomaly.

    Unsupervised: labelled anomalies never reach it, so one- and ten-shot results are one.

    Source: Salehi, Sadjadi, Baselizadeh, Rohban, Rabiee: Multiresolution Knowledge Distillation for
    Anomaly Detection, CVPR 2021, arXiv:2011.11108, and its public code; a baseline in Ding, Pang,
    Shen: Catching Both Gray and Black Swans, CVPR 2022, appendix B.2.

    Loss: sum over pools two to five of 1 - cos(s, t) + value_weight * MSE(s, t), with the whole map
    of an image as one vector (:func:`osadbench.nn.distillation.discrepancy`).
    Sampler: shuffled passes over the normals.
    Score: the same sum of an image over pools three to five.
    Paper: teacher and student, four points to learn at. DRA and DevNet say only "recommended
    settings".
    Code: the weight stands at the squared error; three points in the score; Xavier's start; no
    bias; Adam at 1e-3 without decay or clipping; 601 epochs; pixels of 0 to 1 without ImageNet's
    normalisation and without augmentation.
    Ours: the last epoch counts, where the public code tests every tenth on the test set; 128 pixels
    and batches of 64 for all datasets; value_weight 0.01 unless it is set; score maps by plain
    gradients, smoothed as DevNet's, where the public code has guided backpropagation by default.
    More image sizes than one are not used. ``paper-text`` is the same as ``paper``.
    Frozen: skipped. The student learns from pixels; heads on the teacher's own features are another
    method, ``featdistill``.
    """

    Params: ClassVar[type[KDADParams]] = KDADParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 10, "batch_size": 12, "lr": 1e-2},
    }
    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": _PAPER,
        "paper-text": _PAPER,
        "smoke": {**_PAPER, "backbone": "vgg11", "image_sizes": (32,)},
    }
    reads_pixels: bool = True
    #: Of VGG-16 these are pools two to five.
    taps: ClassVar[tuple[Tap, ...]] = tuple(Tap(r, max_pool=True) for r in (2, 4, 8, 16))

    @property
    def p(self) -> KDADParams:
        """The parameters by their own type."""
        return cast(KDADParams, self.params)

    def skip(self, split: Split) -> str | None:
        """Return why there is nothing to run with the frozen preset or with a trained teacher."""
        if self.engine.preset == "frozen":
            return (
                "kdad trains a student network from pixels, which the frozen preset does not do: "
                "run it with --preset paper, or run featdistill"
            )
        if self.engine.train_backbone:
            return "kdad's teacher stays as it is: leave engine.train_backbone as the preset has it"
        return None

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the student, whose maps have the teacher's channels."""
        return distillation.Student(channels[: len(self.taps)])

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the batch's mean discrepancy at all four points."""
        # A teacher that learns would come to meet the student.
        teacher = [scale.detach() for scale in maps[: len(self.taps)]]
        return distillation.discrepancy(network(maps[-1]), teacher, self.p.value_weight).mean()

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the discrepancies ``(B,)`` at the last three points."""
        student = network(maps[-1])[FIRST_SCORED:]
        teacher = maps[FIRST_SCORED : len(self.taps)]
        return distillation.discrepancy(student, teacher, self.p.value_weight)
