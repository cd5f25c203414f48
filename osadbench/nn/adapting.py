"""Training of a fitted method that goes on with images of another domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy.typing as npt
import torch

from osadbench.method import check_adaptation_data
from osadbench.nn import fitting
from osadbench.nn.images import as_lazy_images
from osadbench.nn.optimise import state_digest
from osadbench.nn.random import isolated_rng
from osadbench.nn.schedule import OptimiserParams
from osadbench.nn.training import open_training
from osadbench.seeds import derive_seed
from osadbench.types import ImageSequence

if TYPE_CHECKING:
    from osadbench.nn.network_method import NetworkMethod

__all__ = ["adapt"]


def adapt(method: NetworkMethod, X: ImageSequence, y: npt.ArrayLike, epochs: int) -> None:
    """Go on training a fitted method's network, and its backbone where that is trained.

    See :meth:`osadbench.nn.network_method.NetworkMethod.adapt`.

    Raises:
        ContractError: Wrong images, labels or epochs, or a loss that became NaN.
    """
    labels = check_adaptation_data(X, y, epochs, outliers=method.needs_outliers)
    features, images = method._features, as_lazy_images(X)
    params = cast(OptimiserParams, method.params).model_copy(update={"epochs": epochs})
    notes, method.notes_ = method.notes_, []
    with isolated_rng(derive_seed(method.seed, axis="adapt")):
        training = open_training(method, images, torch.from_numpy(labels), features)
        network = method.network_.to(features.device)
        training.modules.insert(0, network)
        method.adapt_losses_ = fitting.train(method, network, training, params)
        method.after_adapting(network, training)
        method.fitted_digest_ = state_digest(training.parameters)
    method.notes_ = [*notes, *(f"while adapting: {note}" for note in method.notes_)]
