"""Randomness of a fit: one seed, and the caller's random state left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["isolated_rng"]


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block and restore its state after it.

    All draws of the package come from this generator, on the CPU, whatever the device, so that a
    seed means the same on every device and no other random state needs guarding.

    Args:
        seed: Any integer; those of 0 to 2**63 - 1 differ from each other.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed % 2**63)
    try:
        yield
    finally:
        torch.set_rng_state(state)
