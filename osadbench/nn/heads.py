"""Heads: from feature maps ``(B, C, h, w)`` to scores ``(B,)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "HolisticHead",
    "NamedHeads",
    "PatchHead",
    "Projection",
    "ResidualHead",
    "mean_over_scales",
    "top_k_mean",
]


def top_k_mean(patch_scores: Tensor, fraction: float, *, signed: bool = False) -> Tensor:
    """Mean of the ``max(floor(fraction N), 1)`` largest of N patch scores.

    DevNet Eq. 6 takes the largest signed scores; all public code takes absolute values first, so
    that a strongly negative patch counts as anomalous and the result is never negative.

    Args:
        patch_scores: Float ``(B, N)``.
        fraction: Share of the patches, 0 to 1.
        signed: Leave the absolute value out, as the papers' equations do.
    """
    k = max(int(fraction * patch_scores.shape[1]), 1)
    values = patch_scores if signed else patch_scores.abs()
    return values.topk(k, dim=1).values.mean(dim=1)


class PatchHead(nn.Module):
    """A 1x1 convolution to one score per patch, pooled by :func:`top_k_mean` (DevNet section 4.3).

    Args:
        channels: C of the feature maps.
        top_k: Share of the patches that counts; 0.1 in the papers.
        signed: See :func:`top_k_mean`.
    """

    def __init__(self, channels: int, *, top_k: float = 0.1, signed: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, kernel_size=1)
        self.top_k = top_k
        self.signed = signed

    def patch_scores(self, maps: Tensor) -> Tensor:
        """Return one score per patch, ``(B, h w)``."""
        # The same sums as the convolution's own call, and faster on a CPU.
        patches = maps.permute(0, 2, 3, 1).flatten(1, 2)
        weight = self.convolution.weight.flatten(1)
        return functional.linear(patches, weight, self.convolution.bias).squeeze(2)

    def patch_map(self, maps: Tensor) -> Tensor:
        """Return the patch scores in their places, ``(B, h, w)``, as :meth:`forward` ranks them."""
        scores = self.patch_scores(maps).view(-1, *maps.shape[2:])
        return scores if self.signed else scores.abs()

    def forward(self, maps: Tensor) -> Tensor:
        """Return scores ``(B,)`` of maps ``(B, C, h, w)``."""
        return top_k_mean(self.patch_scores(maps), self.top_k, signed=self.signed)


class ResidualHead(nn.Module):
    """DRA's latent residual head: a patch head on the difference to a reference map (Eq. 7).

    The 3x3 convolution with batch norm and ReLU before the patch head stands in the public code
    only; it is what produced the published numbers.

    Args:
        channels: C of the feature maps.
        top_k: See :class:`PatchHead`.
        signed: See :func:`top_k_mean`.
    """

    def __init__(self, channels: int, *, top_k: float = 0.1, signed: bool = False) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.head = PatchHead(channels, top_k=top_k, signed=signed)

    @staticmethod
    def residual(maps: Tensor, reference: Tensor) -> Tensor:
        """Return reference minus sample: ``(C, h, w)`` minus ``(B, C, h, w)``."""
        return reference - maps

    def forward(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return scores ``(B,)`` of maps ``(B, C, h, w)`` against the mean reference map."""
        scores: Tensor = self.head(self.block(self.residual(maps, reference)))
        return scores

    def patch_map(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Return the patch scores in their places, ``(B, h, w)``."""
        return self.head.patch_map(self.block(self.residual(maps, reference)))


class HolisticHead(nn.Module):
    """DRA's normality head: global average pooling and two linear layers (Eq. 9).

    The absolute value of the output stands in the public code only.

    Args:
        channels: C of the feature maps.
        hidden: Width of the hidden layer; 256 in DRA's public code.
        signed: Leave the absolute value out.
    """

    def __init__(self, channels: int, *, hidden: int = 256, signed: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.signed = signed

    def forward(self, maps: Tensor) -> Tensor:
        """Return scores ``(B,)`` of maps ``(B, C, h, w)``; large for normal images."""
        scores: Tensor = self.layers(maps.mean(dim=(2, 3))).squeeze(1)
        return scores if self.signed else scores.abs()


class NamedHeads(nn.ModuleDict):
    """Several heads by name; a method applies them itself."""


class Projection(nn.Module):
    """Global average pooling, then a linear layer unless ``width`` is None.

    Args:
        channels: C of the feature maps.
        width: Number of outputs per image.
    """

    def __init__(self, channels: int, width: int | None) -> None:
        super().__init__()
        self.layer = nn.Identity() if width is None else nn.Linear(channels, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Return vectors ``(B, width)`` of maps ``(B, C, h, w)``."""
        vectors: Tensor = self.layer(maps.mean(dim=(2, 3)))
        return vectors


def mean_over_scales(head: Callable[..., Tensor], *scales: Sequence[Tensor]) -> Tensor:
    """Apply a head at every scale and average the scores, before any loss (DevNet's public code).

    Args:
        head: Called with one tensor of each sequence.
        *scales: Sequences with one tensor per scale, all of one length.
    """
    return torch.stack([head(*tensors) for tensors in zip(*scales, strict=True)]).mean(dim=0)
