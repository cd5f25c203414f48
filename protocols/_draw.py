"""What both protocols of the papers share: checking the request, drawing, building the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from osadbench.errors import DataError, UsageError
from osadbench.seeds import derive_seed
from osadbench.types import ImageRecord, Manifest, Split

__all__ = ["check_manifest", "check_request", "draw_order", "make_splits", "sort_paths"]


def sort_paths(paths: Iterable[str]) -> list[str]:
    """Sort by the bytes of the paths, which no locale and no file system changes."""
    return sorted(paths, key=lambda path: path.encode("utf-8", "surrogateescape"))


def check_request(seeds: Sequence[int], shots: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return seeds and shots sorted, each once.

    Raises:
        UsageError: One of them is empty, or a number of shots is below 1.
    """
    if not seeds or not shots:
        raise UsageError("expected at least one seed and one number of shots, got none")
    if min(shots) < 1:
        raise UsageError(
            f"expected 1 or more shots (labelled anomalies), got {min(shots)}; methods that need "
            "none run on the same splits"
        )
    return sorted(set(seeds)), sorted(set(shots))


def check_manifest(manifest: Manifest) -> None:
    """Check that there are normals to train and to test on.

    Raises:
        DataError: There are none.
    """
    for split in ("train", "test"):
        if not manifest.select(split=split, label=0):
            raise DataError(f"{manifest.name} has no normal {split} images: add some")


def draw_order(
    protocol: str, manifest: Manifest, known_class: str, seed: int, anomalies: Iterable[ImageRecord]
) -> list[str]:
    """Return the paths of anomalies in the order in which they are drawn.

    The order depends on the seed and on what the split is for, not on the method, nor on the
    number of shots: fewer shots take a prefix.
    """
    paths = sort_paths(record.path for record in anomalies)
    axes = {"dataset": manifest.dataset, "category": manifest.category}
    derived = derive_seed(seed, protocol=protocol, known_class=known_class, **axes)
    return [paths[index] for index in np.random.default_rng(derived).permutation(len(paths))]


def make_splits(
    protocol: str,
    manifest: Manifest,
    known_class: str,
    *,
    shots: Iterable[int],
    drawn: dict[int, list[str]],
) -> Iterator[Split]:
    """Yield the splits for drawn anomalies, by shots and then by seed.

    Args:
        protocol: Name of the protocol.
        manifest: The images.
        known_class: Known class, or ``""``.
        shots: Numbers of labelled anomalies.
        drawn: By seed, the anomalies that leave the test set, in the order they were drawn.
    """
    train_normals = sort_paths(r.path for r in manifest.select(split="train", label=0))
    candidates = sort_paths(r.path for r in manifest.records if r.split == "test")
    for count in shots:
        for seed, paths in drawn.items():
            removed = set(paths)
            yield Split(
                protocol=protocol,
                dataset=manifest.dataset,
                category=manifest.category,
                known_class=known_class,
                shots=count,
                seed=seed,
                manifest_digest=manifest.digest,
                train_normals=tuple(train_normals),
                train_anomalies=tuple(paths[:count]),
                test=tuple(path for path in candidates if path not in removed),
            )
