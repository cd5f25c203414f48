"""What the protocols share: checking the request, drawing, building the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from osadbench.errors import DataError, UsageError
from osadbench.seeds import derive_seed
from osadbench.types import ImageRecord, Manifest, Split

__all__ = [
    "check_manifest",
    "check_pool",
    "check_request",
    "draw_order",
    "make_splits",
    "refuse_known_classes",
    "sort_paths",
    "test_paths",
]


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


def check_pool(protocol: str, pool: int, shots: Sequence[int]) -> None:
    """Check that a pool of labelled anomalies holds those of every number of shots.

    A pool that grew with the shots would give one protocol several test sets.

    Raises:
        UsageError: There are more shots.
    """
    if max(shots) > pool:
        raise UsageError(
            f"{max(shots)} shots need a pool of as many labelled anomalies, got {pool}: ask for "
            f"{protocol}[pool={max(shots)}], whose numbers of shots share one test set"
        )


def refuse_known_classes(protocol: str, known_classes: Sequence[str] | None) -> None:
    """Check that no known class is asked for of a protocol that has none.

    Raises:
        UsageError: One is.
    """
    if known_classes:
        raise UsageError(
            f"{protocol} has no known class, got {', '.join(known_classes)}: drop --known-class "
            "or use the protocol hard"
        )


def check_manifest(manifest: Manifest) -> None:
    """Check that there are normals to train and to test on.

    Raises:
        DataError: There are none.
    """
    for split in ("train", "test"):
        if not manifest.select(split=split, label=0):
            raise DataError(
                f"{manifest.name} has no normal {split} images: add some, or, if it is only a "
                "source of outliers, name it by --outliers"
            )


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


def test_paths(manifest: Manifest, removed: Iterable[ImageRecord]) -> tuple[str, ...]:
    """Return the test images that are none of the removed ones, nor of the same content as one.

    Mastcam has crops that stand in the folders of two classes, and categories may share images: a
    copy would test what was trained on. The papers don't speak of it; that copies leave the test
    set is ours.

    Raises:
        DataError: What is left is of one label only.
    """
    removed = list(removed)
    paths, contents = {r.path for r in removed}, {r.sha256 for r in removed}
    candidates = manifest.select(split="test")
    kept = [r for r in candidates if r.path not in paths and r.sha256 not in contents]
    if {record.label for record in kept} != {0, 1}:
        raise DataError(
            f"{manifest.name} has only normal images or only anomalies to test on, beside copies "
            "of what is trained on: take the copies out"
        )
    return tuple(sort_paths(record.path for record in kept))


def make_splits(
    protocol: str,
    manifest: Manifest,
    known_class: str,
    *,
    shots: Iterable[int],
    drawn: Mapping[int, Sequence[str]],
    unlabelled: Mapping[int, Sequence[str]] | None = None,
) -> Iterator[Split]:
    """Yield the splits for drawn anomalies, by shots and then by seed.

    Copies of what leaves the test set leave it too, whether or not a split trains on them, so that
    all shots share one test set.

    Args:
        protocol: Name of the protocol.
        manifest: The images.
        known_class: Known class, or ``""``.
        shots: Numbers of labelled anomalies.
        drawn: By seed, the anomalies that leave the test set, in the order they were drawn; the
            first are the labelled ones.
        unlabelled: By seed, those of them that are trained on as if they were normal.

    Raises:
        DataError: See :func:`test_paths`.
    """
    normals = [r.path for r in manifest.select(split="train", label=0)]
    tested = {
        seed: test_paths(manifest, (manifest.by_path[path] for path in paths))
        for seed, paths in drawn.items()
    }
    for count in shots:
        for seed, paths in drawn.items():
            added = () if unlabelled is None else unlabelled[seed]
            yield Split(
                protocol=protocol,
                dataset=manifest.dataset,
                category=manifest.category,
                known_class=known_class,
                shots=count,
                seed=seed,
                manifest_digest=manifest.digest,
                train_normals=tuple(sort_paths([*normals, *added])),
                train_anomalies=tuple(paths[:count]),
                test=tested[seed],
            )
