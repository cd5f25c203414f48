"""Fitting and scoring of :class:`osadbench.nn.network_method.NetworkMethod`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from osadbench.method import check_training_data
from osadbench.nn.features import PLAIN, FrozenFeatures, padded
from osadbench.nn.images import as_lazy_images
from osadbench.nn.optimise import optimise, state_digest
from osadbench.nn.pixels import plain_pixels
from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import REFERENCE
from osadbench.nn.schedule import OptimiserParams
from osadbench.nn.training import (
    SCORE_BATCH,
    Features,
    Training,
    batches,
    frozen_training_set,
    open_features,
    open_training,
)
from osadbench.types import FloatArray, ImageSequence, LazyImages

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = ["SCORE_BATCH", "Features", "Training", "evaluate", "fit", "precompute", "score", "train"]


def fit(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike) -> None:
    """Train a method's network and leave it on the method, in evaluation mode.

    Raises:
        ContractError: Wrong images or labels, or a loss that became NaN.
    """
    labels = torch.from_numpy(check_training_data(X, y, outliers=method.needs_outliers))
    method.notes_ = []
    with isolated_rng(method.seed):
        training = open_training(method, as_lazy_images(X), labels, open_features(method))
        channels = [*training.features.channels, *([3] if method.reads_pixels else [])]
        network = method.build(channels).to(training.features.device)
        training.modules.insert(0, network)
        parameters = training.parameters
        method.initial_digest_ = state_digest(parameters)
        for module in training.modules:
            module.train()
        method.before_training(network, training)
        params = cast(OptimiserParams, method.params)
        method.losses_ = train(method, network, training, params)
        method.network_, method._features = network, training.features
        method.after_training(network, training)
        method.fitted_digest_ = state_digest(parameters)


def train(
    method: NetworkMethod, network: nn.Module, training: Training, params: OptimiserParams
) -> list[float]:
    """Minimise a method's loss and leave everything in evaluation mode.

    Args:
        method: Says what the loss is.
        network: What is trained, beside the backbone where it is.
        training: The data; the network is one of its modules.
        params: The loop's parameters.

    Returns:
        The mean loss of each epoch.

    Raises:
        ContractError: The loss became NaN or infinite.
    """
    for module in training.modules:
        module.train()
    losses = optimise(
        training.parameters,
        lambda: _batch_loss(method, network, training),
        params,
        steps=params.steps_per_epoch or training.sampler.steps_per_pass,
        on_epoch=method.start_epoch,
    )
    for module in training.modules:
        module.eval()
    return losses


def score(method: NetworkMethod, X: ImageSequence) -> FloatArray:
    """Return a fitted method's scores, float64 ``(n,)``."""
    images = as_lazy_images(X)
    network = method.network_.to(method._features.device)
    parts = []
    for batch in batches(range(len(images))):
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
        frozen_training_set(method, features, images, labels).compute()


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
