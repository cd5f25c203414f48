"""The training loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from osadbench.errors import ContractError
from osadbench.nn.schedule import OptimiserParams, learning_rate

__all__ = ["optimise", "state_digest"]


def optimise(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    params: OptimiserParams,
    *,
    steps: int | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> list[float]:
    """Minimise a loss for the fixed number of steps and return its mean per epoch.

    No epoch is preferred over another: the last one stays.

    Args:
        parameters: The tensors to train.
        loss: Draws a batch and returns its loss.
        params: The loop's parameters.
        steps: Steps per epoch, where not those of the parameters.
        on_epoch: Called with the number of each epoch, from 0, before its first step.

    Raises:
        ContractError: The loss became NaN or infinite.
    """
    trained = list(parameters)
    optimiser = torch.optim.Adam(trained, lr=params.lr, weight_decay=params.weight_decay)
    steps = steps or params.steps_per_epoch
    history = []
    for epoch in range(params.epochs):
        if on_epoch is not None:
            on_epoch(epoch)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(params, epoch)
        total = 0.0
        for _ in range(steps):
            value = loss()
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            if params.gradient_clip:
                nn.utils.clip_grad_norm_(trained, params.gradient_clip)
            optimiser.step()
            total += value.item()
        if not math.isfinite(total):
            raise ContractError(
                f"the training loss became {total} in epoch {epoch + 1}: try a lower learning rate"
            )
        history.append(total / steps)
    return history


def state_digest(parameters: Iterable[Tensor]) -> str:
    """Return the SHA-256 hex digest of tensors' values."""
    digest = hashlib.sha256()
    for tensor in parameters:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
