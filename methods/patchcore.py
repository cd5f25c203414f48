"""PatchCore: nearest neighbours among a coreset of normal patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pydantic

from osadbench.errors import ContractError
from osadbench.nn import images as nn_images
from osadbench.nn import localise, patch_memory
from osadbench.nn.feature_method import FeatureMethod
from osadbench.params import Params
from osadbench.registry import register_method
from osadbench.taps import Tap
from osadbench.types import Float32Array, FloatArray, ImageSequence, LazyImages

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PatchCore", "PatchCoreParams"]


class PatchCoreParams(Params):
    """Parameters of PatchCore.

    Attributes:
        coreset_ratio: Share of all normal patches that is kept; 0.01 in the paper's largest
            comparison, where 0.1 and 0.25 were hardly better.
        candidates: Normal patches, drawn at random, that the coreset is chosen from; 0 for all of
            them, as in the paper. Ours, for time: choosing takes coreset size times candidates.
        projection: Dimensions of the random projection in which the coreset is chosen; 128 in the
            public code.
        neighbours: Patches b of the memory that re-weight an image's score (Eq. 7); 9 as in the
            re-implementation of anomalib.
    """

    coreset_ratio: float = pydantic.Field(default=0.01, gt=0, le=1)
    candidates: int = pydantic.Field(default=0, ge=0)
    projection: int = pydantic.Field(default=128, ge=1)
    neighbours: int = pydantic.Field(default=9, ge=2)


_ONE_SCALE: Mapping[str, Any] = {"image_sizes": (224,)}
_WIDE = {**_ONE_SCALE, "backbone": "wide_resnet50_2.tv_in1k", "train_backbone": False}


@register_method("patchcore")
class PatchCore(FeatureMethod):
    """Distance to the nearest of a memory of normal patches; no labels and no training.

    Patches are described by their neighbourhood in two middle stages of a backbone; the memory is
    a coreset that covers the normal patches, chosen greedily.

    Source: Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial
    Anomaly Detection, CVPR 2022, arXiv:2106.08265, and its public code. AHL's Table 4 quotes it.

    Loss: none.
    Sampler: none; every normal once.
    Score: the largest distance of an image's patches to the memory, times one minus the softmax
    weight of the nearest patch among its neighbours in the memory (Eq. 7).
    Paper: stages of stride 8 and 16, 3x3 neighbourhoods, the greedy k-centre coreset (Alg. 1), the
    re-weighting, maps smoothed by a Gaussian of standard deviation 4, 224 pixels.
    Code: WideResNet-50 in the ``paper`` presets; the random projection to 128 dimensions.
    Ours: the stages' channels side by side as they are, where the code averages them to 1024 each
    and again to 1024 together; the whole image, where the code crops its middle; a random subset
    of the patches as candidates where ``candidates`` says so.
    Frozen: the preset's backbone; half a percent of the patches, from 50,000 candidates.
    """

    Params: ClassVar[type[PatchCoreParams]] = PatchCoreParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": {"coreset_ratio": 0.005, "candidates": 50_000},
        "smoke": {"coreset_ratio": 0.1},
    }
    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": _ONE_SCALE,
        "paper": _WIDE,
        "paper-text": _WIDE,
        "smoke": {"image_sizes": (64,)},
    }
    taps: ClassVar[tuple[Tap, ...]] = (Tap(8), Tap(16))

    @property
    def p(self) -> PatchCoreParams:
        """The parameters by their own type."""
        return cast(PatchCoreParams, self.params)

    def learn(self, images: LazyImages, normals: Sequence[int]) -> None:
        """Choose the memory among the patches of the normal images."""
        patches, n_patches = patch_memory.draw_candidates(
            (patch_memory.describe(maps) for maps in self.batches(images, normals)),
            n_images=len(normals),
            most=self.p.candidates,
        )
        size = min(max(1, round(self.p.coreset_ratio * n_patches)), len(patches))
        if size < self.p.neighbours:
            raise ContractError(
                f"expected a memory of {self.p.neighbours} patches or more, got {size} of "
                f"{n_patches}: give more normal images, or a larger coreset_ratio or candidates"
            )
        chosen = patch_memory.greedy_coreset(patches, size, projection=self.p.projection)
        self.memory_ = patches[chosen.to(patches.device)]

    def score(self, X: ImageSequence) -> FloatArray:
        """Return the re-weighted distances of the images' most distant patches."""
        self._require_fitted("memory_")
        images = nn_images.as_lazy_images(X)
        scores = [
            patch_memory.reweighted_score(patches.flatten(0, 1), self.memory_, self.p.neighbours)
            for patches in self._patches(images)
        ]
        return np.array(scores, dtype=np.float64)

    def score_maps(self, X: ImageSequence) -> list[Float32Array]:
        """Return the patches' distances to the memory, upsampled and smoothed."""
        self._require_fitted("memory_")
        images = nn_images.as_lazy_images(X)
        return [self._map(p, images[i].shape) for i, p in enumerate(self._patches(images))]

    def _map(self, patches: Tensor, shape: Sequence[int]) -> Float32Array:
        distances, _ = patch_memory.nearest(patches.flatten(0, 1), self.memory_)
        size = self.engine.image_sizes[0]
        full = localise.upsampled(distances.view(1, *patches.shape[:2]), size)
        return localise.resized_map(localise.smoothed(full)[0], shape)

    def _patches(self, images: LazyImages) -> Iterator[Tensor]:
        # Image by image: a matrix product's last bits depend on its shape.
        for maps in self.batches(images, range(len(images))):
            yield from patch_memory.describe(maps)
