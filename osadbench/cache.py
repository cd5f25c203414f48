"""An append-only, content-addressed cache of equal-shaped arrays, shared by processes.

One folder holds shards: a ``.npy`` file that is memory-mapped and a ``.json`` index that names the
row of each key and its checksum. A shard is written under a temporary name and moved into place,
index last, so that a killed process leaves nothing half-written and no process needs a lock. Two
processes that compute the same rows write the same values twice, which does no harm.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from osadbench.errors import CacheError
from osadbench.files import write_atomically, writing_remedy

__all__ = ["ArrayCache", "cache_dir", "unwritable_cache"]

logger = logging.getLogger("osadbench")


def cache_dir(given: str | Path | None = None) -> Path:
    """Return the cache folder: the one given, else ``OSADBENCH_CACHE_DIR``, else the user's."""
    import platformdirs

    return Path(
        given or os.environ.get("OSADBENCH_CACHE_DIR") or platformdirs.user_cache_dir("osadbench")
    )


def unwritable_cache(folder: Path, error: OSError) -> CacheError:
    """Return the error of a cache folder that cannot be written."""
    return CacheError(
        f"cannot write the cache in {folder} ({error.strerror}): {writing_remedy(error)} or name "
        "another folder by OSADBENCH_CACHE_DIR"
    )


class ArrayCache:
    """Rows of one shape and dtype, by key.

    Args:
        folder: The cache's folder; made at the first write.
        shape: Shape of one row, or None to take what the shards hold.
        dtype: Dtype of the rows.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...] | None, dtype: npt.DTypeLike) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._rows: dict[str, tuple[str, int, int]] = {}
        self._known: set[str] = set()
        self._maps: dict[str, npt.NDArray[np.generic]] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return the keys that have no row, each once, in order."""
        if any(key not in self._rows for key in keys):
            self._refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def get(self, keys: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the rows that are there and whole.

        A row whose bytes don't match their checksum is left out, its shard is deleted, and that is
        logged once; the caller computes the missing rows again.
        """
        found: dict[str, npt.NDArray[np.generic]] = {}
        if any(key not in self._rows for key in keys):
            self._refresh()
        for key in keys:
            if key in self._rows and key not in found:
                shard, row, checksum = self._rows[key]
                values = self._open(shard)
                if values is None:
                    continue
                if zlib.crc32(np.ascontiguousarray(values[row]).data) != checksum:
                    self._drop(shard)
                    continue
                found[key] = values[row]
        # A shard that proved bad half-way takes its rows with it.
        return {key: value for key, value in found.items() if key in self._rows}

    def put(self, rows: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add rows as one shard.

        Raises:
            ValueError: Rows are not all of the cache's shape.
            CacheError: The folder cannot be written, or is full.
        """
        if not rows:
            return
        arrays = [np.ascontiguousarray(row, dtype=self.dtype) for row in rows.values()]
        shape = arrays[0].shape if self.shape is None else self.shape
        for array in arrays:
            if array.shape != shape:
                raise ValueError(f"expected rows of shape {shape}, got {array.shape}")
        name = uuid.uuid4().hex
        temporary = self.folder / f".{name}.tmp"
        index = {key: zlib.crc32(array.data) for key, array in zip(rows, arrays, strict=True)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                self._write(file, arrays)
            temporary.replace(self.folder / f"{name}.npy")
            write_atomically(self.folder / f"{name}.json", json.dumps(index).encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
                (self.folder / f"{name}.npy").unlink(missing_ok=True)
            raise unwritable_cache(self.folder, error) from error

    def _write(self, file: IO[bytes], arrays: Sequence[npt.NDArray[np.generic]]) -> None:
        """Write arrays as ``np.save`` writes their stack, which would be a copy of them all."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (len(arrays), *arrays[0].shape),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            file.write(array.data)

    def _refresh(self) -> None:
        for path in sorted(self.folder.glob("*.json")):
            if path.stem in self._known:
                continue
            try:
                index = json.loads(path.read_bytes())
                rows = {key: (path.stem, row, int(index[key])) for row, key in enumerate(index)}
            except (ValueError, TypeError, LookupError):
                self._drop(path.stem)
                continue
            except FileNotFoundError:
                continue
            self._known.add(path.stem)
            self._rows.update(rows)

    def _open(self, shard: str) -> npt.NDArray[np.generic] | None:
        if shard not in self._maps:
            rows = sum(1 for name, _, _ in self._rows.values() if name == shard)
            try:
                values = np.load(self.folder / f"{shard}.npy", mmap_mode="r", allow_pickle=False)
            except (FileNotFoundError, ValueError, EOFError):
                values = None
            if (
                values is None
                or self.shape not in (None, values.shape[1:])
                or values.dtype != self.dtype
                or len(values) < rows
            ):
                self._drop(shard)
                return None
            self._maps[shard] = values
        return self._maps[shard]

    def _drop(self, shard: str) -> None:
        logger.warning("cache file %s was damaged and will be rebuilt", self.folder / shard)
        self._rows = {key: row for key, row in self._rows.items() if row[0] != shard}
        self._maps.pop(shard, None)
        for suffix in (".json", ".npy"):
            (self.folder / f"{shard}{suffix}").unlink(missing_ok=True)
