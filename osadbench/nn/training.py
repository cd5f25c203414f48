"""What training on images works with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from osadbench.nn.endtoend import TrainedFeatures, TrainingImages
from osadbench.nn.features import FrozenFeatures, Request
from osadbench.nn.pixels import NoFeatures, plain_pixels
from osadbench.nn.sampler import Sampler
from osadbench.nn.view_pool import FrozenTrainingSet
from osadbench.types import LazyImages

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = [
    "SCORE_BATCH",
    "Features",
    "Training",
    "batches",
    "frozen_training_set",
    "open_features",
    "open_training",
]

Features = FrozenFeatures | TrainedFeatures | NoFeatures
TrainingSet = FrozenTrainingSet | TrainingImages | NoFeatures

#: Images per scoring step; the last one is padded, so that no score depends on the others.
SCORE_BATCH = 32


@dataclass
class Training:
    """What a fit works with.

    Attributes:
        images: The training images.
        labels: Integer ``(n,)``: 0 normal, 1 labelled anomaly, 2 external outlier.
        features: Where maps come from.
        training_set: Where augmented maps come from.
        sampler: Draws the batches.
        modules: What is trained: the network, and the backbone where it is.
        reads_pixels: Whether pixels are appended to the maps.
    """

    images: LazyImages
    labels: Tensor
    features: Features
    training_set: TrainingSet
    sampler: Sampler
    modules: list[nn.Module]
    reads_pixels: bool

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The tensors to train."""
        return [p for m in self.modules for p in m.parameters() if p.requires_grad]

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return the maps ``(B, C, h, w)`` of training samples, augmented afresh.

        Args:
            indices: ``(B,)`` into the training images.
            codes: ``(B,)``: NORMAL, SEEN, PSEUDO or OUTLIER.
        """
        maps = self.training_set.maps(indices, codes)
        return maps + self._pixels(indices.tolist())

    def views(self, requests: Sequence[Request]) -> list[Tensor]:
        """Return float32 maps of training images under views, in evaluation mode, no gradients."""
        with self._evaluating():
            maps = self.features.rows(self.images, requests)
        return [scale.to(self.features.device).float() for scale in maps]

    def over_normals(self, function: Callable[[list[Tensor]], Tensor]) -> Tensor:
        """Return a function's results on the plain training normals, joined along the first axis.

        Args:
            function: Called with the maps of a batch, in evaluation mode and without gradients.
        """
        indices = self.sampler.normals.tolist()
        with self._evaluating():
            parts = [
                function(self.features.evaluate(self.images, batch) + self._pixels(batch))
                for batch in batches(indices)
            ]
        return torch.cat(parts)

    def _pixels(self, indices: Sequence[int]) -> list[Tensor]:
        if not self.reads_pixels:
            return []
        size = self.features.engine.image_sizes[0]
        return [plain_pixels(self.images, indices, size, self.features.device)]

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        modes = [module.training for module in self.modules]
        try:
            for module in self.modules:
                module.eval()
            with torch.no_grad():
                yield
        finally:
            for module, mode in zip(self.modules, modes, strict=True):
                module.train(mode)


def open_features(method: NetworkMethod) -> Features:
    """Return where a method's maps come from, by its engine's settings."""
    if not method.uses_backbone:
        return NoFeatures(method.engine)
    if method.engine.train_backbone:
        return TrainedFeatures(method.engine, method.taps)
    return FrozenFeatures(method.engine, method.taps)


def open_training(
    method: NetworkMethod, images: LazyImages, labels: Tensor, features: Features
) -> Training:
    """Return what training on images works with; the network is still to be put in.

    Args:
        method: Says how batches are drawn and augmented.
        images: The training images.
        labels: Integer ``(n,)``.
        features: Where maps come from.
    """
    modules: list[nn.Module] = []
    training_set: TrainingSet
    if isinstance(features, NoFeatures):
        training_set = features
    elif isinstance(features, TrainedFeatures):
        augment = not method.reads_pixels
        training_set = TrainingImages(features, images, method.pseudo_source, augment=augment)
        modules.append(features.backbone)
    else:
        training_set = frozen_training_set(method, features, images, labels)
    sampler = method.sampler(labels)
    return Training(images, labels, features, training_set, sampler, modules, method.reads_pixels)


def frozen_training_set(
    method: NetworkMethod, features: FrozenFeatures, images: LazyImages, labels: Tensor
) -> FrozenTrainingSet:
    """Return the cached views that a method draws its batches from."""
    # The pixels that a method reads are plain, and so must the maps beside them be.
    augment = not method.reads_pixels
    return FrozenTrainingSet(features, images, labels, method.pseudo_source, augment=augment)


def batches(indices: Sequence[int]) -> Iterator[list[int]]:
    """Yield consecutive parts of up to :data:`SCORE_BATCH` indices."""
    for start in range(0, len(indices), SCORE_BATCH):
        yield list(indices[start : start + SCORE_BATCH])
