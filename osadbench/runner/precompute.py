"""What cells share is computed before them, once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from osadbench.errors import PrecheckError, UsageError
from osadbench.method import Method
from osadbench.plan import Cell
from osadbench.runner.inputs import (
    adaptation_data,
    method_of,
    skip_reason,
    test_images,
    threads_of,
    training_data,
)
from osadbench.runner.limits import limit_threads

__all__ = ["precompute"]


def precompute(cells: Sequence[Cell]) -> None:
    """Fill the shared caches with what cells will need, on instances that are thrown away.

    Raises:
        UsageError: There is no such backbone.
        PrecheckError: Weights, device or cache can't be used.
    """
    methods = [method_of(cell) for cell in cells]
    _check_backbones(method for method in methods if method.uses_backbone)
    for cell, method in zip(cells, methods, strict=True):
        try:
            if skip_reason(method, cell.split) is not None:
                continue
            # On the threads of the cells: features too differ to the last bit on others.
            with limit_threads(threads_of(method, os.cpu_count() or 1)):
                method.precompute(*training_data(cell))
                if cell.split.adaptation is not None:
                    method.precompute(*adaptation_data(cell, cell.split.adaptation))
                method.precompute(test_images(cell))
        except PrecheckError:
            raise
        except (Exception, SystemExit):  # noqa: S112
            # The cell will fail for the same reason, and its record will say so.
            continue


def _check_backbones(methods: Iterable[Method]) -> None:
    """Build each backbone once: what is wrong with it would be wrong with every cell."""
    for engine, taps in dict.fromkeys((m.engine, getattr(m, "taps", None)) for m in methods):
        from osadbench.nn import backbones, device, features

        where = device.resolve_device(engine)
        if engine.train_backbone:
            weights = backbones.resolve_weights(engine)
            backbone = backbones.build_backbone(engine, weights).to(where)
        else:
            backbone = backbones.frozen_backbone(engine, where)
        size = engine.image_sizes[-1]
        pixels = features.to_tensor(np.zeros((1, size, size, 3), np.uint8)).to(where)
        try:
            backbone(pixels) if taps is None else backbone(pixels, taps)
        except (RuntimeError, ValueError, AssertionError) as error:
            # timm's transformers assert that images have the one size that they were made for.
            fault = "does not fit" if isinstance(error, AssertionError) else "is too small for"
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"image size {size} {fault} backbone {engine.backbone}: {reason}"
            ) from error
