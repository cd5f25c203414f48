"""Losses on anomaly scores ``(n,)`` with targets ``(n,)`` of 0 (normal) and 1 (anomaly)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["DRAWS", "LOSSES", "MARGIN", "binary_cross_entropy", "deviation_loss", "focal_loss"]

#: Size of the reference sample and margin of the deviation loss (DevNet, section 4.2).
DRAWS = 5000
MARGIN = 5.0


def deviation_loss(
    scores: Tensor, targets: Tensor, *, mean: float | None = None, std: float | None = None
) -> Tensor:
    """Deviation loss, linear as in DevNet Eq. 8 and all public code (DRA Eq. 11 squares it).

    ``(1 - y) |d| + y max(0, 5 - d)`` with ``d = (s - mean) / std``, averaged over the batch.

    Args:
        scores: Float ``(n,)`` or, for a vector of deviations per image, ``(n, k)``.
        targets: 0 or 1, ``(n,)``.
        mean: Mean of the reference scores. By default, and as in the public code, the mean and
            unbiased standard deviation of 5,000 fresh draws from N(0, 1) at every call; of a vector
            each dimension has draws of its own.
        std: Standard deviation of the reference scores.
    """
    if mean is None or std is None:
        reference = torch.randn(DRAWS, *scores.shape[1:])
        deviation = (scores - reference.mean(dim=0).to(scores)) / reference.std(dim=0).to(scores)
    else:
        deviation = (scores - mean) / std
    y = targets.to(scores.dtype).reshape(-1, *[1] * (scores.ndim - 1))
    return ((1 - y) * deviation.abs() + y * (MARGIN - deviation).clamp(min=0)).mean()


def binary_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy with the scores as logits (DRA, appendix C.2)."""
    return functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype))


def focal_loss(
    scores: Tensor, targets: Tensor, *, alpha: float = 1.0, gamma: float = 2.0
) -> Tensor:
    """Focal loss with the scores as logits: ``alpha (1 - p_t)^gamma`` times cross-entropy.

    Lin et al., ICCV 2017, with alpha 1 and gamma 2 as in DevNet's public code; no class weight.
    """
    entropy = functional.binary_cross_entropy_with_logits(
        scores, targets.to(scores.dtype), reduction="none"
    )
    return (alpha * (1 - torch.exp(-entropy)) ** gamma * entropy).mean()


#: Losses by their parameter value.
LOSSES = {"deviation": deviation_loss, "bce": binary_cross_entropy, "focal": focal_loss}
