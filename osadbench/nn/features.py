"""Feature maps of a frozen backbone, computed once per image and view and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from osadbench.cache import ArrayCache
from osadbench.images import DECODER
from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import Backbone, frozen_backbone, resolve_weights
from osadbench.nn.device import autocast, resolve_device, resolve_precision
from osadbench.nn.random import isolated_rng
from osadbench.params import digest
from osadbench.progress import progress_bar
from osadbench.seeds import derive_seed
from osadbench.settings import Engine
from osadbench.taps import LAST, Tap
from osadbench.types import LazyImages

__all__ = [
    "BATCH",
    "PLAIN",
    "FeatureSource",
    "FrozenFeatures",
    "Request",
    "View",
    "padded",
    "to_tensor",
    "view_pixels",
]

logger = logging.getLogger("osadbench")

#: Every forward pass of a frozen backbone takes exactly this many images, the last one padded: the
#: features of an image then don't depend, to the last bit, on the images beside it.
BATCH = 8
#: Rows per cache file: what a killed run loses at most.
SHARD = 256
#: Raised when the features of the same image and view change.
VERSION = 2


class View(NamedTuple):
    """One augmented version of an image: a kind, and a number that seeds its draws."""

    kind: str
    number: int


PLAIN = View("plain", 0)
Request = tuple[int, View]


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return uint8 ``(n, H, W, 3)`` as float ``(n, 3, H, W)`` of 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


class _MemoryCache:
    """The interface of ArrayCache, kept in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, npt.NDArray[np.generic]] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def get(self, keys: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
        return {key: self._rows[key] for key in keys if key in self._rows}

    def put(self, rows: dict[str, npt.NDArray[np.generic]]) -> None:
        self._rows.update(rows)


class FeatureSource:
    """A backbone with its device and precision, and the maps it gives.

    Maps come as a list: one tensor per image size and tap, sizes in the outer loop.

    Args:
        engine: The engine's settings.
        taps: The stages to read.
    """

    def __init__(self, engine: Engine, taps: Sequence[Tap] = (LAST,)) -> None:
        self.engine = engine
        self.taps = tuple(taps)
        self.device = resolve_device(engine)
        self.precision = resolve_precision(engine, self.device)

    def _maps(self, backbone: Backbone, pixels: Tensor) -> list[Tensor]:
        pixels = pixels.to(self.device)
        with autocast(self.device, self.precision):
            scales = backbone.pyramid(pixels, self.engine)
            return [maps for scale in scales for maps in backbone(scale, self.taps)]


class FrozenFeatures(FeatureSource):
    """Maps of images under views, through the cache of ``engine.cache_dir``.

    Rows are float16, keyed by image digest and view, in a folder per backbone, weights, sizes,
    stage, precision and kind of device.

    Args:
        engine: The engine's settings.
        taps: The stages to read.
    """

    def __init__(self, engine: Engine, taps: Sequence[Tap] = (LAST,)) -> None:
        super().__init__(engine, taps)
        self._caches = [self._cache(size, tap) for size in engine.image_sizes for tap in self.taps]

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the backbone out of a pickle: it is found by its settings."""
        return FrozenFeatures, (self.engine, self.taps)

    @property
    def channels(self) -> list[int]:
        """Number of channels of the maps of every tap."""
        return self.backbone.channels(self.taps)

    @property
    def backbone(self) -> Backbone:
        """The backbone, shared within the process."""
        return frozen_backbone(self.engine, self.device)

    def _cache(self, size: int, tap: Tap) -> ArrayCache | _MemoryCache:
        if self.engine.cache_dir is None:
            return _MemoryCache()
        names: dict[str, Any] = {
            "version": VERSION,
            "backbone": self.engine.backbone,
            "weights": resolve_weights(self.engine).identity,
            "first_size": self.engine.image_sizes[0],
            "size": size,
            "pyramid": self.engine.pyramid,
            "precision": self.precision,
            "device": self.device.type,
            "decoder": DECODER,
        }
        if tap != LAST:
            names["tap"] = list(tap)
        if not self.engine.normalise:
            names["normalise"] = False
        folder = Path(self.engine.cache_dir, "features", f"{digest(names)[:16]}-{size}")
        return ArrayCache(folder, None, np.float16)

    def compute(self, images: LazyImages, requests: Sequence[Request]) -> None:
        """Compute and keep the rows that are missing."""
        keys = [_key(images, request) for request in requests]
        missing = {key for cache in self._caches for key in cache.missing(keys)}
        todo = list({k: r for k, r in zip(keys, requests, strict=True) if k in missing}.items())
        if not todo:
            return
        # A full shard takes seconds; less than that is not worth a line.
        level = logging.INFO if len(todo) >= SHARD else logging.DEBUG
        name = self.engine.backbone
        logger.log(level, "computing features of %d image views with %s", len(todo), name)
        with progress_bar(len(todo), "view") as progress:
            for start in range(0, len(todo), SHARD):
                shard = todo[start : start + SHARD]
                rows: list[list[npt.NDArray[np.generic]]] = [[] for _ in self._caches]
                for batch in self._forward(images, [request for _, request in shard]):
                    for scale, maps in zip(rows, batch, strict=True):
                        scale.extend(maps)
                    progress.update(len(batch[0]))
                for cache, scale in zip(self._caches, rows, strict=True):
                    cache.put({key: row for (key, _), row in zip(shard, scale, strict=True)})

    def rows(self, images: LazyImages, requests: Sequence[Request]) -> list[Tensor]:
        """Return float16 maps ``(n, C, h, w)``, in the order of the requests.

        In memory the channels come last, as layers on single patches read them.

        Args:
            images: The images that the requests' indices point into.
            requests: Pairs of index and view.
        """
        keys = [_key(images, request) for request in requests]
        self.compute(images, requests)
        found = [cache.get(keys) for cache in self._caches]
        if any(key not in rows for rows in found for key in keys):
            # A damaged file was found on reading and taken out; its rows are computed anew.
            self.compute(images, requests)
            found = [cache.get(keys) for cache in self._caches]
        return [_to_maps(np.stack([rows[key] for key in keys])) for rows in found]

    def evaluate(self, images: LazyImages, indices: Sequence[int]) -> list[Tensor]:
        """Return float32 maps of the plain views, on the engine's device."""
        rows = self.rows(images, [(index, PLAIN) for index in indices])
        return [scale.to(self.device).float() for scale in rows]

    def differentiable(self, pixels: Tensor) -> list[Tensor]:
        """Return maps through which gradients reach pixels ``(B, 3, S, S)`` of 0 to 1."""
        return self._maps(self.backbone, pixels)

    def _forward(
        self, images: LazyImages, requests: Sequence[Request]
    ) -> Iterator[list[npt.NDArray[np.generic]]]:
        for start in range(0, len(requests), BATCH):
            part = requests[start : start + BATCH]
            pixels = view_pixels(images, part, self.engine.image_sizes[0])
            with torch.inference_mode():
                maps = self._maps(self.backbone, padded(pixels, BATCH))
            yield [_to_rows(scale[: len(part)]) for scale in maps]


def view_pixels(images: LazyImages, requests: Sequence[Request], size: int) -> Tensor:
    """Return images under their views, resized, as float ``(n, 3, size, size)`` of 0 to 1."""
    pixels = to_tensor(images.resized(size, [index for index, _ in requests]))
    views = [
        _apply(image, view, images.identities[index])
        for image, (index, view) in zip(pixels, requests, strict=True)
    ]
    return torch.stack(views)


def padded(batch: Tensor, n: int) -> Tensor:
    """Return a batch with zeros added to make it n samples.

    Networks are run on batches of one size only: the last bits of a result depend on it.
    """
    if len(batch) == n:
        return batch
    zeros = batch.new_zeros(n - len(batch), *batch.shape[1:])
    # In the layout of the batch: sums over a map in another layout differ in their last bits.
    if batch.ndim == 4 and batch.is_contiguous(memory_format=torch.channels_last):
        zeros = zeros.to(memory_format=torch.channels_last)
    return torch.cat([batch, zeros])


def _to_rows(maps: Tensor) -> npt.NDArray[np.generic]:
    rows: npt.NDArray[np.generic] = maps.permute(0, 2, 3, 1).half().cpu().numpy()
    return rows


def _to_maps(rows: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def _key(images: LazyImages, request: Request) -> str:
    index, view = request
    return f"{images.identities[index]}:{view.kind}:{view.number}"


def _apply(image: Tensor, view: View, identity: str) -> Tensor:
    if view == PLAIN:
        return image
    seed = derive_seed(0, axis="view", identity=identity, kind=view.kind, number=view.number)
    with isolated_rng(seed):
        if view.kind == "rotate":
            return random_rotation(image)
        return pseudo_anomaly(image, view.kind)
