"""A memory of patches: describing patches, choosing a few that cover all, measuring distances."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["describe", "draw_candidates", "greedy_coreset", "nearest", "reweighted_score"]


def describe(maps: Sequence[Tensor]) -> Tensor:
    """Return a descriptor per patch, ``(B, h, w, D)``, of maps ``(B, C, h, w)`` of several stages.

    Each map is averaged over 3x3 neighbourhoods, those of later stages are brought to the first's
    size by bilinear interpolation, and the channels stand side by side (PatchCore, section 3.1).
    Averages at the border count the patches that are there.
    """
    pooled = [
        functional.avg_pool2d(m, 3, stride=1, padding=1, count_include_pad=False) for m in maps
    ]
    size = pooled[0].shape[2:]
    same = [
        functional.interpolate(m, size=size, mode="bilinear", align_corners=False)
        for m in pooled[1:]
    ]
    return torch.cat([pooled[0], *same], dim=1).permute(0, 2, 3, 1).contiguous()


def draw_candidates(batches: Iterable[Tensor], *, n_images: int, most: int) -> tuple[Tensor, int]:
    """Return patches ``(n, D)`` from which a memory is chosen, and how many there were in all.

    Args:
        batches: Descriptors ``(B, h, w, D)`` of ``n_images`` images.
        n_images: Number of images.
        most: About so many, as many from each image; the number per image is rounded up. 0 for all.
    """
    parts, total = [], 0
    for batch in batches:
        patches = batch.flatten(1, 2)
        total += patches.shape[0] * patches.shape[1]
        each = math.ceil(most / n_images)
        if most and each < patches.shape[1]:
            order = torch.rand(patches.shape[:2]).argsort(dim=1)[:, :each].to(patches.device)
            patches = patches.gather(1, order[..., None].expand(-1, -1, patches.shape[2]))
        parts.append(patches.flatten(0, 1))
    return torch.cat(parts), total


def greedy_coreset(patches: Tensor, size: int, *, projection: int) -> Tensor:
    """Return the indices ``(size,)`` of patches that cover all, by greedy k-centre selection.

    PatchCore, Alg. 1: each next one is the patch that is farthest from those chosen. The first is
    drawn at random.

    Args:
        patches: Float ``(n, D)``.
        size: How many to choose; all where there are fewer.
        projection: Distances are measured after a random projection to so many dimensions, unless
            D is no more than that.
    """
    n, dimensions = patches.shape
    if size >= n:
        return torch.arange(n)
    if dimensions > projection:
        matrix = torch.randn(dimensions, projection) / math.sqrt(projection)
        patches = patches @ matrix.to(patches)
    squares = patches.square().sum(dim=1)
    index = int(torch.randint(n, ()))
    closest = torch.full_like(squares, torch.inf)
    chosen = []
    for _ in range(size):
        chosen.append(index)
        distances = squares + squares[index] - 2 * (patches @ patches[index])
        torch.minimum(closest, distances, out=closest)
        closest[index] = -torch.inf
        index = int(closest.argmax())
    return torch.tensor(chosen)


def nearest(patches: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return each patch's Euclidean distance ``(n,)`` to the memory, and whom it is nearest to.

    Args:
        patches: Float ``(n, D)``.
        memory: Float ``(m, D)``.
    """
    products = torch.addmm(memory.square().sum(dim=1), patches, memory.T, alpha=-2)
    indices = products.argmin(dim=1)
    # Anew from the difference: the expanded square loses digits where patches are alike.
    return (patches - memory[indices]).norm(dim=1), indices


def reweighted_score(patches: Tensor, memory: Tensor, neighbours: int) -> float:
    """Return an image's score: the largest distance, lowered where the memory is dense (Eq. 7).

    ``s = (1 - exp(d*) / sum_b exp(d_b)) d*``, with d* the distance of the most distant patch to its
    nearest one in the memory, and d_b its distances to that one's b nearest in the memory, itself
    among them.

    Args:
        patches: Float ``(n, D)``: all patches of one image.
        memory: Float ``(m, D)``, m at least ``neighbours``.
        neighbours: b.
    """
    distances, indices = nearest(patches, memory)
    worst = int(distances.argmax())
    centre = memory[indices[worst]]
    around = (memory - centre).norm(dim=1).topk(neighbours, largest=False).indices
    spread = (memory[around] - patches[worst]).norm(dim=1).double()
    # The nearest one is its own nearest neighbour, and so stands among them.
    weight = 1 - torch.exp(distances[worst].double() - spread.logsumexp(dim=0))
    return float(weight * distances[worst].double())
