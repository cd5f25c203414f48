"""Score maps: patch scores brought to the image's size, or the saliency of its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from osadbench.nn import fitting
from osadbench.nn.features import PLAIN, view_pixels
from osadbench.nn.images import as_lazy_images
from osadbench.types import Float32Array, ImageSequence, LazyImages

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = ["SIGMA", "resized_map", "saliency", "score_maps", "smoothed", "upsampled"]

#: Standard deviation of the smoothing, in pixels of the network's input (DevNet, section 4.4).
SIGMA = 4.0


def score_maps(method: NetworkMethod, X: ImageSequence) -> list[Float32Array]:
    """Return one map per image in the image's size.

    A method's patch scores are brought to the input's size by bilinear interpolation and averaged
    over scales; that is ours. Without patch scores the map is :func:`saliency`.
    """
    images = as_lazy_images(X)
    network = method.network_.to(method._features.device)
    maps: list[Float32Array] = []
    for start in range(0, len(images), fitting.SCORE_BATCH):
        batch = list(range(start, min(start + fitting.SCORE_BATCH, len(images))))
        for index, values in zip(batch, _maps(method, network, images, batch), strict=True):
            maps.append(resized_map(values, images[index].shape[:2]))
    return maps


def _maps(
    method: NetworkMethod, network: nn.Module, images: LazyImages, batch: list[int]
) -> Tensor:
    size = method.engine.image_sizes[0]
    patches = fitting.evaluate(
        method, images, batch, lambda maps: method.patch_maps(network, maps) or []
    )
    if patches:
        return torch.stack([upsampled(patch, size) for patch in patches]).mean(dim=0).cpu()
    pixels = view_pixels(images, [(index, PLAIN) for index in batch], size)
    return saliency(_input_gradients(method, network, pixels))


def saliency(gradients: Tensor) -> Tensor:
    """Return maps ``(B, H, W)`` of gradients ``(B, 3, H, W)`` of the scores for the input.

    DevNet, section 4.4, and its public code: the sum over channels of absolute gradients, brought
    to 0 to 1 between its minimum and its 99th percentile, then smoothed by a Gaussian of standard
    deviation 4, cut off at 4 standard deviations, with reflected borders. The text has a 16x16
    kernel; the code's is followed.
    """
    total = gradients.abs().sum(dim=1).double().cpu().numpy()
    low = total.min(axis=(1, 2), keepdims=True)
    high = np.percentile(total, 99, axis=(1, 2), keepdims=True)
    # A constant gradient has no range, and nothing in it stands out.
    clipped = np.clip((total - low) / np.where(high > low, high - low, 1), 0, 1)
    return smoothed(torch.from_numpy(clipped))


def smoothed(maps: Tensor) -> Tensor:
    """Return maps ``(B, H, W)`` smoothed by a Gaussian of standard deviation :data:`SIGMA`."""
    from scipy.ndimage import gaussian_filter

    values = maps.cpu().numpy()
    return torch.from_numpy(
        np.stack([gaussian_filter(image, sigma=SIGMA, truncate=4.0) for image in values])
    )


def resized_map(values: Tensor, shape: Sequence[int]) -> Float32Array:
    """Return a map ``(h, w)`` as float32 of the given height and width, by bilinear resizing."""
    size = (int(shape[0]), int(shape[1]))
    resized = functional.interpolate(
        values[None, None].float(), size=size, mode="bilinear", align_corners=False
    )
    return resized[0, 0].numpy()


def upsampled(patches: Tensor, size: int) -> Tensor:
    """Return patch scores ``(B, h, w)`` as ``(B, size, size)``, by bilinear interpolation."""
    resized = functional.interpolate(
        patches[:, None], size=(size, size), mode="bilinear", align_corners=False
    )
    return resized[:, 0]


def _input_gradients(method: NetworkMethod, network: nn.Module, pixels: Tensor) -> Tensor:
    """Return the gradients of the scores for the network's (normalised) input."""
    with torch.enable_grad():
        pixels = pixels.to(method._features.device).requires_grad_()
        maps = method._features.differentiable(pixels)
        if method.reads_pixels:
            maps.append(pixels)
        scores = method.image_scores(network, maps)
        gradients: Tensor = torch.autograd.grad(scores.sum(), pixels)[0]
    backbone = getattr(method._features, "backbone", None)
    if backbone is None or not method.engine.normalise:
        return gradients
    # By the chain rule: the network saw (pixels - mean) / std.
    std: Tensor = backbone.std
    return gradients * std.to(gradients)
