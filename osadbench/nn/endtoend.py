"""Feature maps of a backbone that is trained with the heads, as the papers do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import build_backbone, resolve_weights
from osadbench.nn.device import autocast, resolve_device, resolve_precision
from osadbench.nn.features import BATCH, to_tensor
from osadbench.settings import Engine
from osadbench.types import LazyImages

__all__ = ["TrainedFeatures", "TrainingImages"]


class TrainedFeatures:
    """A backbone with gradients, and the maps it gives.

    Args:
        engine: The engine's settings.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.device = resolve_device(engine)
        self.precision = resolve_precision(engine, self.device)
        self.backbone = build_backbone(engine, resolve_weights(engine)).to(self.device)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return float32 maps per scale of images ``(B, 3, S, S)`` of 0 to 1."""
        pixels = pixels.to(self.device)
        with autocast(self.device, self.precision):
            scales = self.backbone.pyramid(pixels, self.engine)
            return [self.backbone(scale) for scale in scales]

    def evaluate(self, images: LazyImages, indices: Sequence[int]) -> list[Tensor]:
        """Return maps of the plain images per scale, in eval mode and without gradients.

        Batches have one fixed size, for the reason that :data:`osadbench.nn.features.BATCH` gives.
        """
        self.backbone.eval()
        parts = []
        for start in range(0, len(indices), BATCH):
            part = list(indices[start : start + BATCH])
            pixels = to_tensor(images.resized(self.engine.image_sizes[0], part))
            padding = torch.zeros(BATCH - len(part), *pixels.shape[1:])
            with torch.no_grad():
                maps = self.forward(torch.cat([pixels, padding]))
            parts.append([scale[: len(part)] for scale in maps])
        return [torch.cat(scale) for scale in zip(*parts, strict=True)]


class TrainingImages:
    """A training set whose batches are augmented afresh and run through the backbone.

    Args:
        features: The backbone.
        images: The training images.
        pseudo: Source of pseudo anomalies, or None for none.
    """

    def __init__(self, features: TrainedFeatures, images: LazyImages, pseudo: str | None) -> None:
        self.features = features
        self.images = images
        self.pseudo = pseudo

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return float32 maps ``(B, C, h, w)`` per scale, with gradients.

        Args:
            indices: ``(B,)`` into the training images.
            codes: ``(B,)``: NORMAL, SEEN or PSEUDO.
        """
        size = self.features.engine.image_sizes[0]
        pixels = to_tensor(self.images.resized(size, indices.tolist()))
        views = [
            pseudo_anomaly(image, self.pseudo)
            if self.pseudo is not None and code == 2
            else random_rotation(image)
            for image, code in zip(pixels, codes.tolist(), strict=True)
        ]
        return self.features.forward(torch.stack(views))
