"""What cells share is computed before them, once."""

from __future__ import annotations

import os
from collections.abc import Sequence

from osadbench.errors import PrecheckError
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
    if used := {(m.engine, m.taps): None for m in methods if m.uses_backbone}:
        from osadbench.nn.backbones import check_backbone

        # What is wrong with one would be wrong with every cell.
        for engine, taps in used:
            check_backbone(engine, taps)
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
