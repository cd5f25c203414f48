"""The protocol of the example plug-in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from osadbench.errors import DataError, UsageError
from osadbench.protocol import Protocol
from osadbench.registry import register_protocol
from osadbench.seeds import derive_seed
from osadbench.types import Manifest, Split


@register_protocol("first-come")
class FirstCome(Protocol):
    """Labelled anomalies drawn from all classes alike; the rest is tested."""

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        if min(shots) < 1:
            raise UsageError(f"expected 1 or more shots, got {min(shots)}")
        normals = tuple(r.path for r in manifest.select(split="train", label=0))
        pool = [r.path for r in manifest.select(label=1)]
        if not normals or not pool:
            raise DataError(f"{manifest.name} needs normal training images and anomalies")
        for seed in seeds:
            rng = np.random.default_rng(derive_seed(seed, dataset=manifest.name))
            order = [str(path) for path in rng.permutation(pool)]
            for n in shots:
                yield _split(manifest, normals, tuple(order[:n]), n, seed)


def _split(
    manifest: Manifest, normals: tuple[str, ...], drawn: tuple[str, ...], n: int, seed: int
) -> Split:
    test = tuple(r.path for r in manifest.select(split="test") if r.path not in drawn)
    return Split(
        "first-come",
        manifest.dataset,
        manifest.category,
        known_class="",
        shots=n,
        seed=seed,
        manifest_digest=manifest.digest,
        train_normals=normals,
        train_anomalies=drawn,
        test=test,
    )
