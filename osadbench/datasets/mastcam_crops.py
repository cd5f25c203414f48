"""The arrays of Mastcam: which of them can serve, and in which order their bands are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osadbench.datasets.images import ImageSet
from osadbench.types import UInt8Array

__all__ = ["NOTEBOOK_ORDER", "ReorderedCrops", "crop_fault"]

SIDE, BANDS = 64, 6
#: Red, green and blue as the official notebook shows a crop.
NOTEBOOK_ORDER = (2, 0, 1)
#: Of the official loader: sequences left out, and what makes an edge a stripe: in a band of 10
#: columns, more than a tenth of the values below 10.
SEQUENCES = ("mcam01052", "mcam06606")
EDGE, DARK, SHARE = 10, 10, 0.10


def crop_fault(path: Path, *, official: bool) -> str | None:
    """Return why an array is left out, None where it isn't or where it cannot be read.

    Args:
        path: A ``.npy`` file, which is never unpickled.
        official: Whether the official loader's rules hold, too.
    """
    try:
        # Unlike np.load it opens nothing but arrays, and no pickled ones.
        crop = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError):
        # Whoever decodes it will say what is wrong.
        return None
    shape = crop.shape
    if len(shape) != 3 or shape[:2] != (SIDE, SIDE) or shape[2] < 3:
        return f"its shape is not {SIDE}x{SIDE} with 3 or more bands"
    return _official_fault(path, crop) if official else None


def _official_fault(path: Path, crop: npt.NDArray[Any]) -> str | None:
    if any(sequence in path.name for sequence in SEQUENCES):
        return "the official loader leaves its sequence out"
    if crop.shape[2] != BANDS:
        return f"the official loader asks for {BANDS} bands"
    edges = crop[:, :EDGE], crop[:, -EDGE:]
    if any(float(np.mean(edge < DARK)) > SHARE for edge in edges):
        return "it has a dark stripe at an edge, which the official loader leaves out"
    return None


class ReorderedCrops(ImageSet):
    """Crops with their bands in another order.

    Args:
        root: See :class:`ImageSet`.
        paths: There, too.
        identities: Digests that differ from those of the same files in their own order.
        cache: There, too.
        order: Which of the file's first three bands are red, green and blue.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        identities: Sequence[str],
        cache: Path | None,
        order: Sequence[int],
    ) -> None:
        super().__init__(root, paths, identities, cache)
        self._order = list(order)

    def __getitem__(self, index: int) -> UInt8Array:
        """Decode one crop, uint8 ``(H, W, 3)``; see :class:`ImageSet`."""
        return np.ascontiguousarray(super().__getitem__(index)[..., self._order])

    def _decode(self, size: int, indices: Sequence[int]) -> list[UInt8Array]:
        return [image[..., self._order] for image in super()._decode(size, indices)]
