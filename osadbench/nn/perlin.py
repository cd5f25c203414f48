"""Pseudo anomalies under masks of Perlin noise, on single images as float tensors of 0 to 1.

After DRAEM (Zavrtanik, Kristan, Skocaj, ICCV 2021, section 3.3) and its public code. DRAEM fills
the mask from a data set of textures; here the image itself, strongly transformed, stands in for it,
which is our choice. Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

__all__ = ["TRANSFORMS", "perlin", "perlin_mask", "perlin_noise", "transformed"]

#: Noise above this is anomalous (public code).
THRESHOLD = 0.5
#: Largest share of the old pixels that shines through (public code).
MAX_TRANSPARENCY = 0.8
#: DRAEM has at most 32 grid cells on 256 pixels, thus cells of 8 pixels or more.
MAX_EXPONENT, MIN_CELL = 5, 8


def perlin_noise(height: int, width: int, rows: int, columns: int) -> Tensor:
    """Return Perlin noise, float ``(height, width)``, of one freshly drawn gradient per node.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rows: Grid cells from top to bottom; 1 or more.
        columns: Grid cells from left to right; 1 or more.

    Returns:
        Values of about -1 to 1, that is sqrt(2) times the sum of the four corners' products, faded
        by ``6 t^5 - 15 t^4 + 10 t^3`` (Perlin 2002).
    """
    angles = 2 * math.pi * torch.rand(rows + 1, columns + 1)
    # At the pixels' centres: at a grid node the noise is 0, whatever the gradients.
    y = (torch.arange(height) + 0.5) * rows / height
    x = (torch.arange(width) + 0.5) * columns / width
    top, left = y.long(), x.long()
    down, right = (y - top)[:, None], (x - left)[None]

    def corner(below: int, beside: int) -> Tensor:
        angle = angles[top + below][:, left + beside]
        return (right - beside) * angle.cos() + (down - below) * angle.sin()

    upper = torch.lerp(corner(0, 0), corner(0, 1), _fade(right))
    lower = torch.lerp(corner(1, 0), corner(1, 1), _fade(right))
    return math.sqrt(2) * torch.lerp(upper, lower, _fade(down))


def _fade(t: Tensor) -> Tensor:
    return t**3 * (t * (6 * t - 15) + 10)


def perlin_mask(height: int, width: int) -> Tensor:
    """Return a mask, bool ``(height, width)``: noise on a random grid, turned, then thresholded.

    Public code: cells per side 2^0 to 2^5, each side for itself; the noise is turned by an angle
    from U(-90, 90) degrees. Ours: on images below 256 pixels a cell keeps 8 pixels, and an empty
    mask is drawn anew, where DRAEM calls the image normal.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    while not mask.any():
        noise = perlin_noise(height, width, _cells(height), _cells(width))
        mask = functional.rotate(noise[None], _uniform(-90.0, 90.0))[0] > THRESHOLD
    return mask


def _cells(pixels: int) -> int:
    largest = int(math.log2(max(pixels // MIN_CELL, 1)))
    return 1 << int(torch.randint(min(largest, MAX_EXPONENT) + 1, ()))


#: After DRAEM's list, with its ranges where torchvision has the same operation.
TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "gamma": lambda image: functional.adjust_gamma(image, _uniform(0.5, 2.0)),
    "brightness": lambda image: (image * _uniform(0.8, 1.2) + _uniform(-30, 30) / 255).clamp(0, 1),
    "sharpness": lambda image: functional.adjust_sharpness(image, _uniform(0.0, 4.0)),
    "hue": lambda image: functional.adjust_hue(image, _uniform(-0.2, 0.2)),
    "solarise": lambda image: functional.solarize(image, _uniform(32, 128) / 255),
    "posterise": lambda image: functional.posterize(image, 1 + int(torch.randint(4, ()))),
    "invert": functional.invert,
    "autocontrast": functional.autocontrast,
    "equalise": functional.equalize,
    "rotate": lambda image: functional.rotate(image, _uniform(-45.0, 45.0)),
}


def transformed(image: Tensor) -> Tensor:
    """Return an image under three different transforms of :data:`TRANSFORMS`, in random order."""
    names = list(TRANSFORMS)
    for chosen in torch.randperm(len(names))[:3].tolist():
        image = TRANSFORMS[names[chosen]](image)
    return image


def perlin(image: Tensor) -> Tensor:
    """Blend a strongly transformed copy into the image where Perlin noise is high.

    ``(1 - b) source + b image`` under the mask with b from U(0, 0.8), as in DRAEM's public code.
    Ours: the source is the image itself (:func:`transformed`), turned by 90, 180 or 270 degrees, so
    that no place keeps its content.

    Args:
        image: Float ``(3, H, W)``, 0 to 1. Left as it is.

    Returns:
        A new image of the same form, changed under the mask only.
    """
    height, width = image.shape[-2:]
    mask = perlin_mask(height, width)
    quarters = 1 + int(torch.randint(3, ()))
    turned = functional.resize(torch.rot90(image, quarters, (1, 2)), [height, width])
    transparency = _uniform(0.0, MAX_TRANSPARENCY)
    blended = (1 - transparency) * transformed(turned) + transparency * image
    return torch.where(mask, blended, image).clamp(0, 1)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
