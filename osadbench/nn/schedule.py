"""Parameters of the shared training loop, and its learning rate. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from osadbench.params import Params

__all__ = ["PAPER_CODE", "PAPER_TEXT", "SMOKE", "OptimiserParams", "learning_rate"]


class OptimiserParams(Params):
    """Parameters of the shared training loop: Adam with coupled L2, steps of equal learning rate.

    The defaults are those of the ``frozen`` preset. The papers' text has learning rate 1e-3 and
    weight decay 1e-2, which suits heads that start near 0 with a target of 5; the public code of
    DevNet and DRA has 2e-4, 1e-5, and a schedule. The limit of the gradients is that code's, too;
    the text has none.

    Attributes:
        lr: Learning rate.
        weight_decay: Coupled L2 penalty of Adam (not AdamW).
        batch_size: Samples per step.
        epochs: Number of epochs.
        steps_per_epoch: Steps per epoch; 0 for as many as one pass over the training images takes.
        lr_step: The learning rate falls to a tenth every so many epochs; 0 keeps it.
        lr_falls: How often it falls at most; 0 for no limit.
        lr_step_at: Whether the schedule counts an epoch at its ``"end"`` (DevNet's public code) or
            already at its ``"start"`` (DRA's: the first fall comes one epoch early).
        gradient_clip: Largest norm of all gradients together; 0 for no limit.
    """

    lr: float = pydantic.Field(default=1e-3, gt=0)
    weight_decay: float = pydantic.Field(default=1e-2, ge=0)
    batch_size: int = pydantic.Field(default=48, ge=2)
    epochs: int = pydantic.Field(default=50, ge=0)
    steps_per_epoch: int = pydantic.Field(default=20, ge=0)
    lr_step: int = pydantic.Field(default=0, ge=0)
    lr_falls: int = pydantic.Field(default=0, ge=0)
    lr_step_at: Literal["start", "end"] = "end"
    gradient_clip: float = pydantic.Field(default=1.0, ge=0)


#: The two end-to-end presets' values, for the methods' ``presets``.
PAPER_CODE: Mapping[str, Any] = {"lr": 2e-4, "weight_decay": 1e-5, "lr_step": 10}
PAPER_TEXT: Mapping[str, Any] = {"lr": 1e-3, "weight_decay": 1e-2, "gradient_clip": 0.0}
SMOKE: Mapping[str, Any] = {"epochs": 2, "steps_per_epoch": 10, "lr": 1e-2, "batch_size": 12}


def learning_rate(params: OptimiserParams, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0."""
    if not params.lr_step:
        return params.lr
    falls = (epoch + (params.lr_step_at == "start")) // params.lr_step
    if params.lr_falls:
        falls = min(falls, params.lr_falls)
    return float(params.lr * 0.1**falls)
