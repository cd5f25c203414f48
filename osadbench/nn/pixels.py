"""Plain pixels as the input of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osadbench.nn.device import resolve_device
from osadbench.nn.features import Request, to_tensor
from osadbench.settings import Engine
from osadbench.types import LazyImages

__all__ = ["NoFeatures", "plain_pixels"]


class NoFeatures:
    """Stands where a backbone's features would, for networks that read pixels alone.

    Args:
        engine: The engine's settings.
    """

    channels: Sequence[int] = ()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.device = resolve_device(engine)

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return no maps."""
        return []

    def rows(self, images: LazyImages, requests: Sequence[Request]) -> list[Tensor]:
        """Return no maps."""
        return []

    def evaluate(self, images: LazyImages, indices: Sequence[int]) -> list[Tensor]:
        """Return no maps."""
        return []

    def differentiable(self, pixels: Tensor) -> list[Tensor]:
        """Return no maps."""
        return []


def plain_pixels(
    images: LazyImages, indices: Sequence[int], size: int, device: torch.device
) -> Tensor:
    """Return images resized, as float ``(n, 3, size, size)`` of 0 to 1."""
    return to_tensor(images.resized(size, list(indices))).to(device)
