"""FLOS: DevNet's network with the focal loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.nn import heads, losses
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FLOS", "FLOSParams"]


class FLOSParams(OptimiserParams):
    """Parameters of FLOS.

    Attributes:
        top_k: Share of the patches that counts in the logit; 0.1 as in DevNet.
        signed: Take signed patch scores. By default absolute values are taken, as in DevNet's
            public code, so that no logit is below 0 and a perfect normal still costs ln(2) / 4.
        alpha: Factor of the focal loss; 1 in DevNet's public code, which has no class weight.
        gamma: Exponent of the focal loss; 2 in DevNet's public code.
    """

    top_k: float = pydantic.Field(default=0.1, gt=0, le=1)
    signed: bool = False
    alpha: float = pydantic.Field(default=1.0, gt=0)
    gamma: float = pydantic.Field(default=2.0, ge=0)


@register_method("flos")
class FLOS(NetworkMethod):
    """DevNet's image score as the logit of a binary classifier that is trained by the focal loss.

    Well classified samples weigh little; the few anomalies are balanced by drawing them often.

    Source: Pang, Ding, Shen, van den Hengel: Explainable Deep Few-shot Anomaly Detection with
    Deviation Networks, arXiv:2108.00462, sections 6.2 and 6.3; focal loss of Lin, Goyal, Girshick,
    He, Dollár, ICCV 2017, as in DevNet's public code.

    Loss: alpha (1 - p_t)^gamma times the cross-entropy of the logit, averaged over the batch.
    Sampler: half normals, half labelled anomalies.
    Score: the logit, averaged over the scales before the loss.
    Paper: network, sampler and optimiser of DevNet.
    Code: alpha 1, gamma 2, no class weight; absolute patch scores before the top K, scales and
    rotated images as DevNet; in the preset ``paper`` the optimiser of DevNet's code, in
    ``paper-text`` the text's.
    Ours: none.
    Frozen: the backbone stays as it is and rotated views come from a finite pool; the optimiser
    takes the text's values and the code's gradient norm.
    """

    Params: ClassVar[type[FLOSParams]] = FLOSParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": PAPER_CODE,
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    @property
    def p(self) -> FLOSParams:
        """The parameters by their own type."""
        return cast(FLOSParams, self.params)

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return DevNet's 1x1 convolution to patch scores."""
        return heads.PatchHead(channels[0], top_k=self.p.top_k, signed=self.p.signed)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the focal loss of the logits."""
        logits = self.image_scores(network, maps)
        return losses.focal_loss(logits, codes, alpha=self.p.alpha, gamma=self.p.gamma)

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the logits ``(B,)``."""
        return heads.mean_over_scales(network, maps)
