"""Feature maps of a frozen backbone, computed once per image and view and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from osadbench.cache import ArrayCache
from osadbench.images import DECODER
from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import frozen_backbone, resolve_weights
from osadbench.nn.device import autocast, resolve_device, resolve_precision
from osadbench.nn.random import isolated_rng
from osadbench.params import digest
from osadbench.seeds import derive_seed
from osadbench.settings import Engine
from osadbench.types import LazyImages

__all__ = ["BATCH", "PLAIN", "FrozenFeatures", "FrozenTrainingSet", "View", "to_tensor"]

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


class FrozenFeatures:
    """Maps of images under views, one array per scale, through the cache of ``engine.cache_dir``.

    Rows are float16, keyed by image digest and view, in a folder per backbone, weights, sizes,
    precision and kind of device.

    Args:
        engine: The engine's settings.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.device = resolve_device(engine)
        self.precision = resolve_precision(engine, self.device)
        self._caches = [self._cache(size) for size in engine.image_sizes]

    def _cache(self, size: int) -> ArrayCache | _MemoryCache:
        if self.engine.cache_dir is None:
            return _MemoryCache()
        names = {
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
        with tqdm(total=len(todo), unit="view", leave=False, disable=None) as progress:
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
        """Return float16 maps ``(n, C, h, w)`` per scale, in the order of the requests.

        In memory the channels come last, which makes 1x1 convolutions three times as fast.

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
        """Return float32 maps of the plain views per scale, on the engine's device."""
        rows = self.rows(images, [(index, PLAIN) for index in indices])
        return [scale.to(self.device).float() for scale in rows]

    def _forward(
        self, images: LazyImages, requests: Sequence[Request]
    ) -> Iterator[list[npt.NDArray[np.generic]]]:
        backbone = frozen_backbone(self.engine, self.device)
        base = images.resized(self.engine.image_sizes[0], [index for index, _ in requests])
        for start in range(0, len(requests), BATCH):
            part = requests[start : start + BATCH]
            pixels = to_tensor(base[start : start + BATCH])
            views = [
                _apply(image, view, images.identities[index])
                for image, (index, view) in zip(pixels, part, strict=True)
            ]
            views += [torch.zeros_like(pixels[0])] * (BATCH - len(part))
            batch = torch.stack(views).to(self.device)
            with torch.inference_mode(), autocast(self.device, self.precision):
                maps = [backbone(scale) for scale in backbone.pyramid(batch, self.engine)]
            yield [_to_rows(scale[: len(part)]) for scale in maps]


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


class FrozenTrainingSet:
    """A training set's pool of cached views, from which batches are drawn.

    Which views there are depends on the images and the engine alone, not on a fit's seed, so that
    all seeds, shots and settings share them. The finite pool, the missing adaptation of the
    backbone and the missing drift of batch norm are what differs from end-to-end training.

    Args:
        features: Where the maps come from.
        images: The training images.
        labels: Integer ``(n,)``: 0 normal, 1 labelled anomaly.
        pseudo: Source of pseudo anomalies, or None for none.
    """

    def __init__(
        self, features: FrozenFeatures, images: LazyImages, labels: Tensor, pseudo: str | None
    ) -> None:
        self.features = features
        self.images = images
        engine = features.engine
        self.normal_rows = _ViewTable(labels, 0, engine.normal_views)
        self.seen_rows = _ViewTable(labels, 1, engine.seen_views, start=len(self.normal_rows))
        self.requests = self.normal_rows.requests + self.seen_rows.requests
        self.n_plain_rows = len(self.requests)
        if pseudo is not None:
            self.requests += _pseudo_pool(images, labels, pseudo, engine.pseudo_views)
        self._maps: list[Tensor] | None = None

    def compute(self) -> None:
        """Fill the cache with all views of the pool."""
        self.features.compute(self.images, self.requests)

    @property
    def channels(self) -> int:
        """Number of channels of the maps."""
        return int(self._loaded()[0].shape[1])

    def _loaded(self) -> list[Tensor]:
        if self._maps is None:
            self._maps = self.features.rows(self.images, self.requests)
        return self._maps

    def maps(self, indices: Tensor, codes: Tensor) -> list[Tensor]:
        """Return float32 maps ``(B, C, h, w)`` per scale of randomly drawn views.

        Args:
            indices: ``(B,)`` into the training images; of pseudo anomalies only the pool counts.
            codes: ``(B,)``: NORMAL, SEEN or PSEUDO.
        """
        n_pool = len(self.requests) - self.n_plain_rows
        pool = self.n_plain_rows + torch.randint(max(n_pool, 1), (len(indices),))
        rows = torch.where(codes == 1, self.seen_rows.draw(indices), self.normal_rows.draw(indices))
        rows = torch.where(codes == 2, pool, rows)
        # Picked with the channels last, as they lie in memory.
        picked = (scale.permute(0, 2, 3, 1).index_select(0, rows) for scale in self._loaded())
        return [p.permute(0, 3, 1, 2).to(self.features.device).float() for p in picked]


class _ViewTable:
    """Plain and rotated views of the images of one label, as consecutive rows per image."""

    def __init__(self, labels: Tensor, label: int, rotated: int, start: int = 0) -> None:
        chosen = torch.nonzero(labels == label).flatten()
        self.n_views = 1 + rotated
        self._first = torch.zeros(len(labels), dtype=torch.long)
        self._first[chosen] = start + torch.arange(len(chosen)) * self.n_views
        views = [PLAIN, *(View("rotate", number) for number in range(rotated))]
        self.requests: list[Request] = [(int(i), view) for i in chosen for view in views]

    def __len__(self) -> int:
        return len(self.requests)

    def draw(self, indices: Tensor) -> Tensor:
        return self._first[indices] + torch.randint(self.n_views, (len(indices),))


def _pseudo_pool(images: LazyImages, labels: Tensor, source: str, size: int) -> list[Request]:
    normals = torch.nonzero(labels == 0).flatten().tolist()
    # By digest: the pool must not depend on the order in which the images are given.
    normals.sort(key=lambda index: images.identities[index])
    n = len(normals)
    return [(normals[number % n], View(source, number // n)) for number in range(size)]
