"""DevNet: deviation network with a top-K multiple-instance head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import pydantic

from osadbench.nn import heads, losses
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DevNet", "DevNetParams"]


class DevNetParams(OptimiserParams):
    """Parameters of DevNet.

    Attributes:
        head: ``"mil"``: mean of the top-K patch scores (the paper's MIL-DS). ``"ds"``: mean of all
            patch scores. ``"patch-ds"``: every patch trained with the image's label, mean at test.
            ``"rep"``: no scores; the deviation of the pooled representation, per dimension.
        top_k: Share of the patches that counts in ``"mil"``; 0.1 in the paper, Fig. 6 sweeps it.
        signed: Take signed scores before the top K, as Eq. 6 does; the public code takes absolute
            values.
        loss: ``"deviation"`` (the paper), ``"bce"`` or ``"focal"``.
        rep_channels: Width of the projection that ``"rep"`` trains on a frozen backbone.
    """

    head: Literal["mil", "ds", "patch-ds", "rep"] = "mil"
    top_k: float = pydantic.Field(default=0.1, gt=0, le=1)
    signed: bool = False
    loss: Literal["deviation", "bce", "focal"] = "deviation"
    rep_channels: int = pydantic.Field(default=128, ge=1)

    @pydantic.model_validator(mode="after")
    def _rep_needs_deviations(self) -> DevNetParams:
        if self.head == "rep" and self.loss != "deviation":
            raise ValueError("head=rep is defined for loss=deviation only")
        return self


@register_method("devnet")
class DevNet(NetworkMethod):
    """One scalar score per image by top-K patches, driven away from a Gaussian prior by anomalies.

    Patches are scored by one linear layer; the few largest make the image's score, which normal
    images keep near the prior's mean and anomalies raise by five standard deviations.

    Source: Pang, Ding, Shen, van den Hengel: Explainable Deep Few-shot Anomaly Detection with
    Deviation Networks, arXiv:2108.00462, and its public code.

    Loss: deviation loss (Eq. 8) of the image score, after the mean over two scales.
    Sampler: half normals, half labelled anomalies (Alg. 1).
    Score: the image score; the z-score of Eq. 7 ranks alike.
    Paper: the head and its variants (section 6.8.1), the loss, the top 10 %. The ``paper-text``
    preset has the text's optimiser, learning rate 1e-3 and weight decay 1e-2.
    Code: absolute patch scores, but signed ones in ``ds``; two scales and their mean; pre-trained
    weights; normals and anomalies rotated by any angle; in the ``paper`` preset learning rate 2e-4
    with steps, weight decay 1e-5 and gradient norm at most 1.
    Ours: ``patch-ds`` with signed scores; for ``rep``, whose score no source gives, the mean of the
    deviations.
    Frozen: the backbone stays as it is and rotated views come from a finite pool; the optimiser
    takes the text's values and the code's gradient norm; ``rep``, which would have nothing to
    train, gets a linear projection.
    """

    Params: ClassVar[type[DevNetParams]] = DevNetParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER_CODE,
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    @property
    def p(self) -> DevNetParams:
        """The parameters by their own type."""
        return cast(DevNetParams, self.params)

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the 1x1 convolution to patch scores, or for ``rep`` the pooling."""
        if self.p.head == "rep":
            width = None if self.engine.train_backbone else self.p.rep_channels
            return heads.Projection(channels[0], width)
        return heads.PatchHead(channels[0], top_k=self.p.top_k, signed=self.p.signed)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the loss of the scores that the head's kind defines."""
        loss = losses.LOSSES[self.p.loss]
        if self.p.head == "rep":
            return loss(heads.mean_over_scales(network, maps), codes)
        if self.p.head == "patch-ds":
            patches = [network.patch_scores(scale) for scale in maps]
            values = [loss(s.flatten(), codes.repeat_interleave(s.shape[1])) for s in patches]
            return sum(values[1:], values[0]) / len(values)
        return loss(self.image_scores(network, maps), codes)

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the image scores ``(B,)``."""
        if self.p.head == "rep":
            return heads.mean_over_scales(network, maps).mean(dim=1)
        if self.p.head == "mil":
            return heads.mean_over_scales(network, maps)
        return heads.mean_over_scales(lambda scale: network.patch_scores(scale).mean(dim=1), maps)
