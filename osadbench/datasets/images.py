"""A dataset's images as methods see them: a sequence without labels, resized copies on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osadbench.cache import ArrayCache
from osadbench.datasets.threads import in_threads
from osadbench.images import DECODER, cut_region, decode, resize, split_region
from osadbench.params import digest
from osadbench.types import UInt8Array

__all__ = ["ImageSet", "JoinedImages"]

#: Images that one cache file holds. A missing image brings its whole block in, so that reading in
#: small batches does not end in thousands of small files.
BLOCK = 256


class ImageSet:
    """Images of one dataset in a fixed order; implements :class:`osadbench.types.LazyImages`.

    It knows files and content digests, and nothing of labels, classes or splits. It can be pickled.

    Args:
        root: Where the paths start.
        paths: POSIX paths of the images, with regions behind those that are parts of files.
        identities: SHA-256 of each image, as in its manifest.
        cache: Folder of the cache; None decodes anew at every call.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        identities: Sequence[str],
        cache: Path | None = None,
    ) -> None:
        self._root = root
        self._paths = tuple(paths)
        self._identities = tuple(identities)
        self._cache = cache
        self._stores: dict[int, ArrayCache] = {}

    @property
    def identities(self) -> Sequence[str]:
        """SHA-256 hex digest of each image."""
        return self._identities

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> UInt8Array:
        """Decode one image at full resolution, uint8 ``(H, W, 3)``.

        Raises:
            DataError: The file is gone or damaged.
        """
        return decode(self._root / self._paths[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images)"

    def __getstate__(self) -> dict[str, Any]:
        # Memory maps would be pickled as whole arrays.
        return {**self.__dict__, "_stores": {}}

    def resized(self, size: int, indices: Sequence[int]) -> UInt8Array:
        """Return the images at ``indices`` as uint8 ``(n, size, size, 3)``.

        Args:
            size: Side length in pixels.
            indices: Any order; repetitions are allowed.

        Raises:
            DataError: A file is gone or damaged.
            CacheError: The cache cannot be written.
        """
        images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        rows = self._rows(size, indices)
        lost = [index for index in dict.fromkeys(indices) if self._identities[index] not in rows]
        decoded = dict(zip(lost, self._decode(size, lost), strict=True))
        for row, index in enumerate(indices):
            found = rows.get(self._identities[index])
            images[row] = decoded[index] if found is None else found
        return images

    def _rows(self, size: int, indices: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the cached rows by identity, after adding those that are missing."""
        if self._cache is None:
            return {}
        store = self._store(size, self._cache)
        keys = [self._identities[index] for index in indices]
        missing = set(store.missing(keys))
        wanted = [i % len(self) for i, key in zip(indices, keys, strict=True) if key in missing]
        for block in sorted({index // BLOCK for index in wanted}):
            self._add_block(store, size, range(len(self))[block * BLOCK : (block + 1) * BLOCK])
        return store.get(keys)

    def _add_block(self, store: ArrayCache, size: int, block: range) -> None:
        missing = set(store.missing([self._identities[index] for index in block]))
        first = {self._identities[index]: index for index in reversed(block)}
        todo = {key: index for key, index in first.items() if key in missing}
        decoded = self._decode(size, list(todo.values()))
        store.put(dict(zip(todo, decoded, strict=True)))

    def _decode(self, size: int, indices: Sequence[int]) -> list[UInt8Array]:
        # Parts of one file are cut from one decoding of it.
        files: dict[str, list[int]] = {}
        for index in indices:
            files.setdefault(split_region(self._paths[index])[0], []).append(index)

        def parts(item: tuple[str, list[int]]) -> dict[int, UInt8Array]:
            whole = decode(self._root / item[0])
            return {i: resize(cut_region(whole, self._paths[i]), size) for i in item[1]}

        found = {k: v for part in in_threads(parts, files.items()) for k, v in part.items()}
        return [found[index] for index in indices]

    def _store(self, size: int, cache: Path) -> ArrayCache:
        if size not in self._stores:
            name = f"{size}-{digest([DECODER, 'bilinear, antialiased', size])[:16]}"
            self._stores[size] = ArrayCache(cache / "images" / name, (size, size, 3), np.uint8)
        return self._stores[size]


class JoinedImages:
    """Images of several sets, one after the other; implements :class:`osadbench.types.LazyImages`.

    Args:
        parts: The sets, which may have roots and caches of their own.
    """

    def __init__(self, *parts: ImageSet) -> None:
        self._parts = parts

    @property
    def identities(self) -> Sequence[str]:
        """SHA-256 hex digest of each image's file."""
        return tuple(identity for part in self._parts for identity in part.identities)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, index: int) -> UInt8Array:
        """Decode one image at full resolution, uint8 ``(H, W, 3)``."""
        part, place = self._place(index)
        return self._parts[part][place]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} images)"

    def resized(self, size: int, indices: Sequence[int]) -> UInt8Array:
        """Return the images at ``indices`` as uint8 ``(n, size, size, 3)``."""
        images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
        places = [self._place(index) for index in indices]
        for number, part in enumerate(self._parts):
            rows = [row for row, place in enumerate(places) if place[0] == number]
            if rows:
                images[rows] = part.resized(size, [places[row][1] for row in rows])
        return images

    def _place(self, index: int) -> tuple[int, int]:
        """Return the number of the part that an image stands in, and its index there."""
        rest = range(len(self))[index]
        for number, part in enumerate(self._parts):
            if rest < len(part):
                return number, rest
            rest -= len(part)
        raise IndexError(index)
