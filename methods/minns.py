"""MINNS: multiple-instance networks with deep supervision on patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import pydantic

from osadbench.nn import heads, losses
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MINNS", "MINNSParams", "mil_pool"]

#: Widths of the three layers on instances, each of which has a branch of its own.
WIDTHS = (256, 128, 64)

Pooling = Literal["max", "mean", "lse"]


class MINNSParams(OptimiserParams):
    """Parameters of MINNS.

    Attributes:
        pooling: How a bag's instances become one: ``"max"`` (the public code's default),
            ``"mean"``, or ``"lse"``; see :func:`mil_pool`.
        pool: What is pooled: ``"features"`` before the linear layer (MI-Net) or instance
            ``"scores"`` after it (mi-Net).
        score: Mean of the branches' ``"logits"``, or of their ``"probabilities"`` as in the public
            code, which round to ties near 0 and 1.
        dropout: Share of the features that training leaves out in each branch; 0.5 in the public
            code.
    """

    pooling: Pooling = "max"
    pool: Literal["features", "scores"] = "features"
    score: Literal["logits", "probabilities"] = "logits"
    dropout: float = pydantic.Field(default=0.5, ge=0, lt=1)


def mil_pool(instances: Tensor, pooling: Pooling) -> Tensor:
    """Pool the instances of each bag.

    ``"lse"`` is the logarithm of the mean of exponentials, as the public code computes it; its
    documentation has the sum instead of the mean.

    Args:
        instances: Float ``(B, N, D)``: B bags of N instances.
        pooling: ``"max"``, ``"mean"`` or ``"lse"``.

    Returns:
        ``(B, D)``.
    """
    if pooling == "max":
        return instances.amax(dim=1)
    if pooling == "mean":
        return instances.mean(dim=1)
    return instances.logsumexp(dim=1) - math.log(instances.shape[1])


@register_method("minns")
class MINNS(NetworkMethod):
    """An image is a bag of patches; three layers of a multiple-instance network each classify it.

    Anomalous images are positive bags: at least one patch of theirs is anomalous, none of a normal
    image is.

    Source: Wang, Yan, Tang, Bai, Liu: Revisiting Multiple Instance Neural Networks, Pattern
    Recognition 2018, arXiv:1610.02501 (MI-Net with deep supervision), and its public code; a
    baseline in Pang, Ding, Shen, van den Hengel, arXiv:2108.00462, sections 6.2 and 6.3.

    Loss: sum of the three branches' binary cross-entropies.
    Sampler: half normals, half labelled anomalies, as DevNet.
    Score: mean of the three logits.
    Paper: pooling on intermediate and last layers; DevNet's backbone, optimiser (its code's in the
    preset ``paper``, the text's in ``paper-text``) and sampler, which take the place of the public
    code's SGD with an L2 penalty and one bag per batch.
    Code: widths 256, 128 and 64 with ReLU; dropout in the branches only; pooling by the maximum of
    each feature; 50 epochs; equal weights of the branches.
    Ours: the patches of the backbone's last stage are the instances; each scale is a bag of its
    own, and their logits are averaged before the loss, as DevNet averages its scores; the mean of
    logits, which ranks without ties, where the code has that of probabilities; instance scores are
    pooled as logits, which for the maximum is the same; PyTorch's initial weights; score maps from
    gradients, as DevNet's.
    Frozen: the backbone stays as it is and rotated views come from a finite pool; the optimiser
    takes the text's values and the gradient norm of DevNet's code; 8 epochs in place of 50, for
    time: on ELPV (general protocol, ten shots, seed 0) the training loss falls from 1.44 in the
    first to 0.10 in the last.
    """

    Params: ClassVar[type[MINNSParams]] = MINNSParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": {"epochs": 8},
        "paper": PAPER_CODE,
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    @property
    def p(self) -> MINNSParams:
        """The parameters by their own type."""
        return cast(MINNSParams, self.params)

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the layers on instances, their branches and the dropout."""
        from torch import nn

        inputs = (channels[0], *WIDTHS)
        layers = [
            nn.Sequential(nn.Linear(i, o), nn.ReLU())
            for i, o in zip(inputs[:-1], WIDTHS, strict=True)
        ]
        return heads.NamedHeads(
            {
                "layers": nn.ModuleList(layers),
                "branches": nn.ModuleList(nn.Linear(width, 1) for width in WIDTHS),
                "dropout": nn.Dropout(self.p.dropout),
            }
        )

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the sum of the branches' losses."""
        first, *others = (
            losses.binary_cross_entropy(branch, codes)
            for branch in self.logits(network, maps).unbind(dim=1)
        )
        return sum(others, first)

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the image scores ``(B,)``."""
        logits = self.logits(network, maps)
        return (logits if self.p.score == "logits" else logits.sigmoid()).mean(dim=1)

    def logits(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the branches' logits ``(B, 3)``, averaged over scales."""
        return heads.mean_over_scales(lambda scale: self._bag_logits(network, scale), maps)

    def _bag_logits(self, network: Any, maps: Tensor) -> Tensor:
        import torch

        instances = maps.permute(0, 2, 3, 1).flatten(1, 2)
        logits = []
        for layer, branch in zip(network["layers"], network["branches"], strict=True):
            instances = layer(instances)
            kept = network["dropout"](instances)
            logits.append(
                branch(mil_pool(kept, self.p.pooling))
                if self.p.pool == "features"
                else mil_pool(branch(kept), self.p.pooling)
            )
        return torch.cat(logits, dim=1)
