"""The papers' augmentations, on single images as float tensors ``(3, H, W)`` in 0 to 1.

Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from osadbench.nn.perlin import perlin

__all__ = ["PSEUDO_SOURCES", "cutmix", "cutpaste_scar", "pseudo_anomaly", "random_rotation"]

#: Sources of pseudo anomalies made from a normal image.
PSEUDO_SOURCES = ("cutmix", "cutpaste-scar", "cutpaste-mix", "perlin")


def uniform(low: float, high: float) -> float:
    """Draw one number from U(low, high)."""
    return low + (high - low) * torch.rand(()).item()


def _integer(high: int) -> int:
    """Draw one integer from 0 to ``high`` inclusive."""
    return int(torch.randint(high + 1, ()).item())


def random_rotation(image: Tensor) -> Tensor:
    """Rotate by an angle from U(-180, 180) degrees: nearest neighbour, same size, black corners.

    As the public code of DevNet and DRA augments normals and seen anomalies, before normalisation.
    """
    rotated: Tensor = functional.rotate(image, uniform(-180.0, 180.0))
    return rotated


def _jitter(patch: Tensor) -> Tensor:
    jittered: Tensor = v2.ColorJitter(0.1, 0.1, 0.1, 0.1)(patch)
    return jittered


def cutmix(image: Tensor) -> Tensor:
    """Paste a colour-jittered rectangle of the image at another place of it.

    DRA's CutMix (section 4.1; numbers from its public code): area 2 to 15 % of the image, aspect
    ratio 0.3 to 1/0.3 on a log scale, hard edge.
    """
    height, width = image.shape[-2:]
    area = uniform(0.02, 0.15) * width * height
    aspect = math.exp(uniform(math.log(0.3), math.log(1 / 0.3)))
    w = min(max(round(math.sqrt(area * aspect)), 1), width)
    h = min(max(round(math.sqrt(area / aspect)), 1), height)
    left, top = _integer(width - w), _integer(height - h)
    patch = _jitter(image[:, top : top + h, left : left + w])
    left, top = _integer(width - w), _integer(height - h)
    result = image.clone()
    result[:, top : top + h, left : left + w] = patch
    return result


def cutpaste_scar(image: Tensor) -> Tensor:
    """Paste a thin, rotated, colour-jittered strip of the image at another place of it.

    Scar of CutPaste (Li et al., CVPR 2021): width 2 to 16 and length 10 to 25 pixels at 256 pixels,
    rotated by U(-45, 45) degrees. Scaling the strip with the image is our choice.
    """
    height, width = image.shape[-2:]
    scale = min(height, width) / 256
    w = min(max(round(uniform(2, 16) * scale), 1), width)
    h = min(max(round(uniform(10, 25) * scale), 1), height)
    left, top = _integer(width - w), _integer(height - h)
    patch = _jitter(image[:, top : top + h, left : left + w])
    with_mask = torch.cat([patch, torch.ones_like(patch[:1])])
    turned = functional.rotate(with_mask, uniform(-45.0, 45.0), expand=True)
    turned = turned[:, :height, :width]
    h, w = turned.shape[-2:]
    left, top = _integer(width - w), _integer(height - h)
    result = image.clone()
    target = result[:, top : top + h, left : left + w]
    result[:, top : top + h, left : left + w] = torch.where(turned[3:] > 0.5, turned[:3], target)
    return result


def pseudo_anomaly(image: Tensor, source: str) -> Tensor:
    """Make a pseudo anomaly of a normal image: local damage first, then rotation (DRA code order).

    Args:
        image: Float ``(3, H, W)``, 0 to 1.
        source: One of :data:`PSEUDO_SOURCES`. ``"cutpaste-mix"`` takes CutMix or Scar with equal
            chance; the paper does not say how it mixes, so this is our choice. ``"perlin"`` is
            one of AHL's.
    """
    if source == "cutpaste-mix":
        source = "cutpaste-scar" if uniform(0, 1) < 0.5 else "cutmix"
    damage = {"cutmix": cutmix, "cutpaste-scar": cutpaste_scar, "perlin": perlin}[source]
    return random_rotation(damage(image))
