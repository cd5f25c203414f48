"""What the tests of several methods share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from torch import Tensor

import osadbench.nn.losses as losses
from osadbench.settings import Engine, engine


def end_to_end(**changes: Any) -> Engine:
    """Return the paper preset with a small backbone of random weights and small images."""
    small = {"backbone": "test_resnet", "weights": "random", "image_sizes": (64, 32)}
    return engine("paper", **{"device": "cpu", **small, **changes})


def standard_normal() -> AbstractContextManager[Any]:
    """Take the deviation loss against mean 0 and standard deviation 1, for a with block."""

    def loss(values: Tensor, targets: Tensor) -> Tensor:
        return losses.deviation_loss(values, targets, mean=0.0, std=1.0)

    return mock.patch.dict(losses.LOSSES, {"deviation": loss})
