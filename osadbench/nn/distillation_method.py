"""What the methods share that imitate a frozen network on normal images.

The module itself needs no torch: :mod:`osadbench.nn.distillation` has the networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import pydantic

from osadbench.nn import sampler as samplers
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import OptimiserParams
from osadbench.params import Params

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DistillationMethod", "DistillationParams"]


class DistillationParams(OptimiserParams):
    """Parameters of the methods that imitate a frozen network.

    The training loop's defaults are those of KDAD's public code: Adam with learning rate 1e-3,
    neither weight decay nor a limit of the gradients, batches of 64, an epoch being a pass over the
    normal images.

    Attributes:
        value_weight: Weight of the squared error beside the direction: 0.01 in KDAD's public code;
            for MVTec AD its configuration's comments say 0.5.
    """

    lr: float = pydantic.Field(default=1e-3, gt=0)
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    batch_size: int = pydantic.Field(default=64, ge=2)
    steps_per_epoch: int = pydantic.Field(default=0, ge=0)
    gradient_clip: float = pydantic.Field(default=0.0, ge=0)
    value_weight: float = pydantic.Field(default=0.01, ge=0)


class DistillationMethod(NetworkMethod):
    """A method that imitates a frozen network on normals, by passes over these alone."""

    Params: ClassVar[type[Params]] = DistillationParams
    supervised: ClassVar[bool] = False

    def sampler(self, labels: Tensor) -> samplers.Sampler:
        """Return shuffled passes over the normals, whatever else is there."""
        batch_size = cast(DistillationParams, self.params).batch_size
        return samplers.normals_only(labels, batch_size)
