"""Fixed reference maps for heads that compare a sample with normal images."""

from __future__ import annotations

import torch
from torch import Tensor

from osadbench.nn.fitting import Training
from osadbench.nn.random import isolated_rng
from osadbench.seeds import derive_seed

__all__ = ["fixed"]


def fixed(training: Training, n: int, seed: int, *, mixed: bool) -> list[Tensor]:
    """Return the mean maps ``(C, h, w)`` per scale of references drawn once, from a seed alone.

    Args:
        training: A finished fit.
        n: Number of references; 0 gives no maps.
        seed: Seed of the draw.
        mixed: Draw from the augmented training pool with its pseudo anomalies (DRA, appendix B.1)
            instead of from plain normal images (DRA, section 3.2).
    """
    if not n:
        return []
    with isolated_rng(derive_seed(seed, axis="references")), torch.no_grad():
        if mixed:
            maps = training.training_set.maps(*training.sampler.references(n))
        else:
            normals = training.sampler.normals
            chosen = normals[torch.randperm(len(normals))[:n]]
            maps = training.features.evaluate(training.images, chosen.tolist())
    return [scale.mean(dim=0) for scale in maps]
