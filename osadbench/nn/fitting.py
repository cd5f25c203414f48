"""Fitting and scoring of :class:`osadbench.nn.network_method.NetworkMethod`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from osadbench.method import check_training_data
from osadbench.nn.endtoend import TrainedFeatures, TrainingImages
from osadbench.nn.features import PLAIN, FrozenFeatures, FrozenTrainingSet
from osadbench.nn.images import as_lazy_images
from osadbench.nn.optimise import optimise, state_digest
from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import BalancedSampler
from osadbench.nn.schedule import OptimiserParams
from osadbench.settings import Engine
from osadbench.types import FloatArray, ImageSequence, LazyImages

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = ["Features", "Training", "fit", "open_features", "precompute", "score"]

Features = FrozenFeatures | TrainedFeatures
TrainingSet = FrozenTrainingSet | TrainingImages

#: Images per scoring step; the last one is padded, so that no score depends on the others.
SCORE_BATCH = 32


class Training(NamedTuple):
    """What a fit was made with, for :meth:`NetworkMethod.after_training`."""

    images: LazyImages
    features: Features
    training_set: TrainingSet
    sampler: BalancedSampler


def open_features(engine: Engine) -> Features:
    """Return the source of feature maps that the settings ask for."""
    return TrainedFeatures(engine) if engine.train_backbone else FrozenFeatures(engine)


def fit(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike) -> None:
    """Train a method's network and leave it on the method, in eval mode.

    Raises:
        ContractError: Wrong images or labels, or a loss that became NaN.
    """
    labels = torch.from_numpy(check_training_data(X, y))
    with isolated_rng(method.seed):
        training = _open_training(method, as_lazy_images(X), labels)
        network = method.build(_channels(training.training_set)).to(training.features.device)
        modules = _trained_modules(network, training.features)
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        method.initial_digest_ = state_digest(parameters)
        for module in modules:
            module.train()
        method.losses_ = optimise(
            parameters,
            lambda: _batch_loss(method, network, training),
            cast(OptimiserParams, method.params),
        )
        for module in modules:
            module.eval()
        method.fitted_digest_ = state_digest(parameters)
        method.network_, method._features = network, training.features
        method.after_training(training)


def score(method: NetworkMethod, X: ImageSequence) -> FloatArray:
    """Return a fitted method's scores, float64 ``(n,)``."""
    images = as_lazy_images(X)
    device = method._features.device
    network = method.network_.to(device)
    parts = []
    for start in range(0, len(images), SCORE_BATCH):
        indices = range(start, min(start + SCORE_BATCH, len(images)))
        maps = method._features.evaluate(images, indices)
        with torch.inference_mode():
            scores = method.image_scores(network, [_pad(scale) for scale in maps])
        parts.append(scores[: len(indices)].double().cpu().numpy())
    return np.concatenate(parts)


def precompute(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike | None) -> None:
    """Fill the feature cache with what ``fit`` (with labels) or ``score`` will ask for."""
    if method.engine.train_backbone:
        return
    images = as_lazy_images(X)
    if y is None:
        requests = [(index, PLAIN) for index in range(len(images))]
        FrozenFeatures(method.engine).compute(images, requests)
    else:
        labels = torch.from_numpy(check_training_data(X, y))
        features = FrozenFeatures(method.engine)
        FrozenTrainingSet(features, images, labels, method.pseudo_source).compute()


def _open_training(method: NetworkMethod, images: LazyImages, labels: Tensor) -> Training:
    features = open_features(method.engine)
    source = method.pseudo_source
    training_set: TrainingSet = (
        TrainingImages(features, images, source)
        if isinstance(features, TrainedFeatures)
        else FrozenTrainingSet(features, images, labels, source)
    )
    sampler = BalancedSampler(
        labels,
        batch_size=cast(OptimiserParams, method.params).batch_size,
        # DRA's public code makes every second normal a pseudo anomaly; no method differs.
        pseudo_probability=0.0 if source is None else 0.5,
    )
    return Training(images, features, training_set, sampler)


def _channels(training_set: TrainingSet) -> int:
    if isinstance(training_set, TrainingImages):
        return training_set.features.backbone.channels
    return training_set.channels


def _trained_modules(network: nn.Module, features: Features) -> list[nn.Module]:
    return [network, features.backbone] if isinstance(features, TrainedFeatures) else [network]


def _batch_loss(method: NetworkMethod, network: nn.Module, training: Training) -> Tensor:
    indices, codes = training.sampler.draw()
    extra = training.sampler.references(method.n_references)
    # In one pass with the batch, as the public code does: where the backbone is trained, its batch
    # norm sees the references too.
    maps = training.training_set.maps(torch.cat([indices, extra[0]]), torch.cat([codes, extra[1]]))
    return method.loss(network, maps, codes.to(maps[0].device))


def _pad(maps: Tensor) -> Tensor:
    missing = SCORE_BATCH - len(maps)
    if not missing:
        return maps
    zeros = maps.new_zeros(missing, *maps.shape[1:])
    # In the layout of the maps: sums over a map in another layout differ in their last bits.
    return torch.cat([maps, zeros.to(memory_format=torch.channels_last)])
