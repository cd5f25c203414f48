"""Fixed reference maps for heads that compare a sample with normal images."""

from __future__ import annotations

import torch
from torch import Tensor

from osadbench.errors import ContractError
from osadbench.nn.fitting import Training
from osadbench.nn.random import isolated_rng
from osadbench.seeds import derive_seed

__all__ = ["check_enough", "fixed"]


def check_enough(training: Training, n: int, *, mixed: bool) -> None:
    """Check, before any training, that :func:`fixed` will find its references.

    Raises:
        ContractError: There are fewer normals than references.
    """
    normals = len(training.sampler.normals)
    if not mixed and normals < n:
        raise ContractError(
            f"{n} references need as many normal training images, got {normals}: give more "
            "images, or a smaller n_ref"
        )


def fixed(training: Training, n: int, seed: int, *, mixed: bool) -> list[Tensor]:
    """Return the mean maps ``(C, h, w)`` per scale of references drawn once, from a seed alone.

    Args:
        training: A finished fit.
        n: Number of references; 0 gives no maps.
        seed: Seed of the draw.
        mixed: Draw from the augmented training pool with its pseudo anomalies (DRA, appendix B.1)
            instead of from plain normal images (DRA, section 3.2), of which there must be n.
    """
    if not n:
        return []
    with isolated_rng(derive_seed(seed, axis="references")), torch.no_grad():
        if mixed:
            maps = training.maps(*training.sampler.references(n))
        else:
            normals = training.sampler.normals
            chosen = normals[torch.randperm(len(normals))[:n]]
            maps = training.features.evaluate(training.images, chosen.tolist())
    return [scale.mean(dim=0) for scale in maps]
