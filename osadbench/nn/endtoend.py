"""Feature maps of a backbone that is trained with the heads, as the papers do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import build_backbone, resolve_weights
from osadbench.nn.features import (
    BATCH,
    PLAIN,
    FeatureSource,
    Request,
    padded,
    to_tensor,
    view_pixels,
)
from osadbench.nn.sampler import PSEUDO
from osadbench.settings import Engine
from osadbench.taps import LAST, Tap
from osadbench.types import LazyImages

__all__ = ["TrainedFeatures", "TrainingImages"]


class TrainedFeatures(FeatureSource):
    """A backbone with gradients, and the maps it gives.

    Args:
        engine: The engine's settings.
        taps: The stages to read.
    """

    def __init__(self, engine: Engine, taps: Sequence[Tap] = (LAST,)) -> None:
        super().__init__(engine, taps)
        self.backbone = build_backbone(engine, resolve_weights(engine)).to(self.device)

    @property
    def channels(self) -> list[int]:
        """Number of channels of the maps of every tap."""
        return self.backbone.channels(self.taps)

    def differentiable(self, pixels: Tensor) -> list[Tensor]:
        """Return float32 maps of images ``(B, 3, S, S)`` of 0 to 1, with gradients."""
        return self._maps(self.backbone, pixels)

    def rows(self, images: LazyImages, requests: Sequence[Request]) -> list[Tensor]:
        """Return float32 maps of images under views, in eval mode and without gradients."""
        self.backbone.eval()
        size = self.engine.image_sizes[0]
        parts = []
        for start in range(0, len(requests), BATCH):
            part = requests[start : start + BATCH]
            with torch.no_grad():
                maps = self.differentiable(padded(view_pixels(images, part, size), BATCH))
            parts.append([scale[: len(part)] for scale in maps])
        return [torch.cat(scale) for scale in zip(*parts, strict=True)]

    def evaluate(self, images: LazyImages, indices: Sequence[int]) -> list[Tensor]:
        """Return maps of the plain images, in eval mode and without gradients."""
        return self.rows(images, [(index, PLAIN) for index in indices])


class TrainingImages:
    """A training set whose batches are augmented afresh and run through the backbone.

    Args:
        features: The backbone.
        images: The training images.
        pseudo: Source of pseudo anomalies, or None for none; ``"external"`` makes none of its own.
        augment: Whether images are rotated.
    """

    def __init__(
        self,
        features: TrainedFeatures,
        images: LazyImages,
        pseudo: str | None,
        *,
        augment: bool = True,
    ) -> None:
        self.augment = augment
        self.features = features
        self.images = images
        self.pseudo = None if pseudo == "external" else pseudo

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return float32 maps ``(B, C, h, w)``, with gradients.

        Args:
            indices: ``(B,)`` into the training images.
            codes: ``(B,)``: NORMAL, SEEN, PSEUDO or OUTLIER.
        """
        size = self.features.engine.image_sizes[0]
        pixels = to_tensor(self.images.resized(size, indices.tolist()))
        views = [
            pseudo_anomaly(image, self.pseudo)
            if self.pseudo is not None and code == PSEUDO
            else (random_rotation(image) if self.augment else image)
            for image, code in zip(pixels, codes.tolist(), strict=True)
        ]
        return self.features.differentiable(torch.stack(views))
