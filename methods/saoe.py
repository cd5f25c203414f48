"""SAOE: classification of synthetic anomalies with outlier exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pydantic

from osadbench.nn import exposure, heads, sampler
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["SAOE", "SAOEParams"]


class SAOEParams(OptimiserParams):
    """Parameters of SAOE.

    Attributes:
        epochs: As DRA, 30.
        top_k: Share of the patches that counts in each class's logit; 0.1 as in DRA's heads.
        n_outliers: External images beside each batch. Ours: 24, as many as a batch's normal slots;
            0 leaves outlier exposure out.
        exposure_weight: Weight of outlier exposure; 0.5 in its public code.
    """

    epochs: int = pydantic.Field(default=30, ge=0)
    top_k: float = pydantic.Field(default=0.1, gt=0, le=1)
    n_outliers: int = pydantic.Field(default=24, ge=0)
    exposure_weight: float = pydantic.Field(default=0.5, ge=0)


@register_method("saoe")
class SAOE(NetworkMethod):
    """A classifier of normal, seen and pseudo anomalous images, made unsure about external images.

    Pseudo anomalies stand for unseen ones; outlier exposure keeps the classifier from being sure of
    an image that belongs to none of its classes.

    Source: the baseline SAOE of Ding, Pang, Shen: Catching Both Gray and Black Swans: Open-set
    Supervised Anomaly Detection, CVPR 2022, section 4.1 and appendix B.2; outlier exposure of
    Hendrycks, Mazeika, Dietterich, ICLR 2019, and its public code. SAOE has no public code.

    Loss: cross-entropy over the three classes, plus 0.5 times the cross-entropy from the uniform
    distribution to the softmax of the external images.
    Sampler: half labelled anomalies, half normals of which every second becomes a pseudo anomaly
    by CutMix; external images beside them.
    Score: log-odds of seen or pseudo anomalous against normal. An image that the classifier is
    unsure about scores ln 2.
    Paper: the three classes on DRA's plain features, external data with outlier exposure, and
    training as for DRA.
    Code: the form and the weight of outlier exposure; DRA's pseudo anomalies, and in the preset
    ``paper`` its optimiser with the schedule's early fall, in ``paper-text`` the text's.
    Ours: the head's shape (:class:`osadbench.nn.exposure.ThreeClassHead`), the score, 24 external
    images a step, which are rotated as normals are and go through the backbone together with the
    batch, and CutMix for all datasets.
    Frozen: the backbone stays as it is and augmented views come from a finite pool; the optimiser
    takes the text's values and the code's gradient norm, for 30 epochs.
    """

    Params: ClassVar[type[SAOEParams]] = SAOEParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER_CODE, "lr_step_at": "start"},
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    @property
    def p(self) -> SAOEParams:
        """The parameters by their own type."""
        return cast(SAOEParams, self.params)

    @property
    def pseudo_source(self) -> str | None:
        """CutMix, on every dataset: external images come in by outlier exposure alone."""
        return "cutmix"

    @property
    def n_outliers(self) -> int:
        """External images beside each batch."""
        return self.p.n_outliers

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the head with three classes."""
        return exposure.ThreeClassHead(channels[0], top_k=self.p.top_k)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return cross-entropy of the batch plus weighted outlier exposure of the external rows."""
        logits = heads.mean_over_scales(network, maps)
        external = codes == sampler.OUTLIER
        inside = exposure.class_loss(logits[~external], codes[~external])
        if not self.n_outliers:
            return inside
        return inside + self.p.exposure_weight * exposure.outlier_exposure(logits[external])

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the log-odds ``(B,)``."""
        return exposure.log_odds(heads.mean_over_scales(network, maps))

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return each patch's log-odds ``(B, h, w)`` per scale."""
        return [exposure.log_odds(network.patch_logits(scale)) for scale in maps]
