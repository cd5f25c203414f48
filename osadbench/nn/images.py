"""Any image sequence of the method contract, seen as resized batches with identities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osadbench.images import array_digest, resize
from osadbench.method import check_images
from osadbench.types import ImageSequence, LazyImages, UInt8Array

__all__ = ["ArrayImages", "as_lazy_images"]


class ArrayImages:
    """Arrays in memory as :class:`osadbench.types.LazyImages`.

    Args:
        images: Images of the method contract, already checked.
    """

    def __init__(self, images: Sequence[UInt8Array] | UInt8Array) -> None:
        self._images = images
        self.identities = [array_digest(np.asarray(image)) for image in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> UInt8Array:
        return np.asarray(self._images[index])

    def resized(self, size: int, indices: Sequence[int]) -> UInt8Array:
        """Return the images at ``indices`` as uint8 ``(n, size, size, 3)``."""
        return np.stack([resize(self[index], size) for index in indices])


def as_lazy_images(X: ImageSequence) -> LazyImages:
    """Return ``X`` itself if it is lazy, else wrap its arrays.

    Raises:
        ContractError: ``X`` is no sequence of RGB uint8 images.
    """
    check_images(X)
    if isinstance(X, LazyImages):
        return X
    return ArrayImages(X)
