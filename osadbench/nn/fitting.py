"""Fitting and scoring of :class:`osadbench.nn.network_method.NetworkMethod`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from osadbench.method import check_training_data
from osadbench.nn.endtoend import TrainedFeatures, TrainingImages
from osadbench.nn.features import PLAIN, FrozenFeatures, Request, padded
from osadbench.nn.images import as_lazy_images
from osadbench.nn.optimise import optimise, state_digest
from osadbench.nn.pixels import NoFeatures, plain_pixels
from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import REFERENCE, Sampler
from osadbench.nn.schedule import OptimiserParams
from osadbench.nn.view_pool import FrozenTrainingSet
from osadbench.types import FloatArray, ImageSequence, LazyImages

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = ["SCORE_BATCH", "Features", "Training", "evaluate", "fit", "precompute", "score"]

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
                for batch in _batches(indices)
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


def fit(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike) -> None:
    """Train a method's network and leave it on the method, in evaluation mode.

    Raises:
        ContractError: Wrong images or labels, or a loss that became NaN.
    """
    labels = torch.from_numpy(check_training_data(X, y, outliers=method.needs_outliers))
    method.notes_ = []
    with isolated_rng(method.seed):
        training = _open_training(method, as_lazy_images(X), labels)
        channels = [*training.features.channels, *([3] if method.reads_pixels else [])]
        network = method.build(channels).to(training.features.device)
        training.modules.insert(0, network)
        parameters = [p for m in training.modules for p in m.parameters() if p.requires_grad]
        method.initial_digest_ = state_digest(parameters)
        for module in training.modules:
            module.train()
        method.before_training(network, training)
        params = cast(OptimiserParams, method.params)
        method.losses_ = optimise(
            parameters,
            lambda: _batch_loss(method, network, training),
            params,
            steps=params.steps_per_epoch or training.sampler.steps_per_pass,
            on_epoch=method.start_epoch,
        )
        for module in training.modules:
            module.eval()
        method.network_, method._features = network, training.features
        method.after_training(network, training)
        method.fitted_digest_ = state_digest(parameters)


def score(method: NetworkMethod, X: ImageSequence) -> FloatArray:
    """Return a fitted method's scores, float64 ``(n,)``."""
    images = as_lazy_images(X)
    network = method.network_.to(method._features.device)
    parts = []
    for batch in _batches(range(len(images))):
        (scores,) = evaluate(method, images, batch, lambda m: [method.image_scores(network, m)])
        parts.append(scores.double().cpu().numpy())
    return np.concatenate(parts)


def evaluate(
    method: NetworkMethod,
    images: LazyImages,
    indices: Sequence[int],
    function: Callable[[list[Tensor]], list[Tensor]],
) -> list[Tensor]:
    """Return a function's results on the maps of up to :data:`SCORE_BATCH` images."""
    maps = method._features.evaluate(images, indices)
    if method.reads_pixels:
        size, device = method.engine.image_sizes[0], method._features.device
        maps.append(plain_pixels(images, indices, size, device))
    with torch.inference_mode():
        results = function([padded(scale, SCORE_BATCH) for scale in maps])
    return [result[: len(indices)] for result in results]


def precompute(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike | None) -> None:
    """Fill the feature cache with what ``fit`` (with labels) or ``score`` will ask for."""
    if method.engine.train_backbone or not method.uses_backbone:
        return
    images = as_lazy_images(X)
    features = FrozenFeatures(method.engine, method.taps)
    if y is None:
        features.compute(images, [(index, PLAIN) for index in range(len(images))])
    else:
        labels = torch.from_numpy(check_training_data(X, y, outliers=method.needs_outliers))
        _frozen_training_set(method, features, images, labels).compute()


def _open_training(method: NetworkMethod, images: LazyImages, labels: Tensor) -> Training:
    modules: list[nn.Module] = []
    features: Features
    training_set: TrainingSet
    if not method.uses_backbone:
        features = training_set = NoFeatures(method.engine)
    elif method.engine.train_backbone:
        features = TrainedFeatures(method.engine, method.taps)
        augment = not method.reads_pixels
        training_set = TrainingImages(features, images, method.pseudo_source, augment=augment)
        modules.append(features.backbone)
    else:
        features = FrozenFeatures(method.engine, method.taps)
        training_set = _frozen_training_set(method, features, images, labels)
    sampler = method.sampler(labels)
    return Training(images, labels, features, training_set, sampler, modules, method.reads_pixels)


def _frozen_training_set(
    method: NetworkMethod, features: FrozenFeatures, images: LazyImages, labels: Tensor
) -> FrozenTrainingSet:
    # The pixels that a method reads are plain, and so must the maps beside them be.
    augment = not method.reads_pixels
    return FrozenTrainingSet(features, images, labels, method.pseudo_source, augment=augment)


def _batch_loss(method: NetworkMethod, network: nn.Module, training: Training) -> Tensor:
    indices, codes = training.sampler.draw()
    references = training.sampler.references(method.n_references)
    outliers = training.sampler.outliers(method.n_outliers)
    # In one pass with the batch, as the public code does: where the backbone is trained, its batch
    # norm sees the references too.
    parts = [(indices, codes), references, outliers]
    maps = training.maps(torch.cat([part[0] for part in parts]), torch.cat([p[1] for p in parts]))
    roles = torch.cat([codes, torch.full_like(references[1], REFERENCE), outliers[1]])
    return method.loss(network, maps, roles.to(training.features.device))


def _batches(indices: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), SCORE_BATCH):
        yield list(indices[start : start + SCORE_BATCH])
