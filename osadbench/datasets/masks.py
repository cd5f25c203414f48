"""Finding each anomaly's pixel mask, and checking it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import CategoryListing
from osadbench.datasets.reading import ImageFacts
from osadbench.errors import DataError
from osadbench.images import decode
from osadbench.types import NORMAL_CLASS

__all__ = ["check_mask_files", "pair_masks", "read_mask"]


def pair_masks(
    listing: CategoryListing, facts: Mapping[str, ImageFacts], findings: Findings
) -> dict[str, str]:
    """Pair the test images of each anomaly class with the masks of ``ground_truth``.

    A mask is named ``<stem>_mask`` or ``<stem>``, has its image's size, and holds 0 and 255 or 0
    and 1. A class without a mask folder has no masks, which is allowed.

    Args:
        listing: The category's files.
        facts: Facts of the readable images by path below the category's folder.
        findings: Takes problems and warnings.

    Returns:
        Masks by image, both as paths below the category's folder.
    """
    pairs: dict[str, str] = {}
    for class_name in listing.classes("ground_truth"):
        masks = listing.images[f"ground_truth/{class_name}"]
        if class_name == NORMAL_CLASS:
            if masks:
                findings.warning(f"{len(masks)} masks in ground_truth/{NORMAL_CLASS} are not used")
        elif f"test/{class_name}" not in listing.images:
            findings.problem(
                f"ground_truth/{class_name} has masks but there is no test/{class_name}: "
                "add the images or take the masks away"
            )
        else:
            pairs.update(_pair_class(listing, class_name, findings))
    readable = {image: mask for image, mask in pairs.items() if image in facts}
    _check_masks(listing.folder, readable, facts, findings)
    return readable


def _pair_class(listing: CategoryListing, class_name: str, findings: Findings) -> dict[str, str]:
    images = listing.images[f"test/{class_name}"]
    folder = f"ground_truth/{class_name}"
    for stem, count in Counter(PurePosixPath(image).stem for image in images).items():
        if count > 1:
            findings.problem(
                f"test/{class_name} has {count} images named {stem}: their masks cannot be told "
                "apart; rename them"
            )
    by_stem = {PurePosixPath(image).stem: image for image in images}
    pairs: dict[str, str] = {}
    for mask in listing.images[folder]:
        stem = PurePosixPath(mask).stem
        image = by_stem.get(stem.removesuffix("_mask")) or by_stem.get(stem)
        if image is None:
            findings.problem(
                f"{mask} has no image in test/{class_name}: add it, or remove the mask"
            )
        elif image in pairs:
            findings.problem(f"{pairs[image]} and {mask} are masks of one image: remove one")
        else:
            pairs[image] = mask
    without = [image for image in images if image not in pairs]
    if without and pairs:
        findings.warning(
            f"{len(without)} of {len(images)} images of test/{class_name} have no mask, "
            f"such as {without[0]}"
        )
    return pairs


def _check_masks(
    folder: Path, pairs: Mapping[str, str], facts: Mapping[str, ImageFacts], findings: Findings
) -> None:
    def examine(pair: tuple[str, str]) -> tuple[str | None, bool]:
        image, mask = pair
        return _examine(folder, mask, facts[image].size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(zip(pairs.values(), pool.map(examine, pairs.items()), strict=True))
    for fault, _ in results.values():
        if fault:
            findings.problem(fault)
    _warn_of_empty([mask for mask, (_, is_black) in results.items() if is_black], findings)


def read_mask(root: Path, mask: str, threshold: int = 127) -> npt.NDArray[np.bool_]:
    """Return which pixels a mask marks, bool ``(H, W)``.

    Args:
        root: Where the paths start.
        mask: The mask of an :class:`osadbench.types.ImageRecord`; of several files, joined by
            ``|``, a pixel that one of them marks is marked.
        threshold: Values above it are marked.

    Raises:
        DataError: A file cannot be read, or two of them differ in size.
    """
    marked = [decode(root / part)[..., 0] > threshold for part in mask.split("|")]
    if len({part.shape for part in marked}) > 1:
        raise DataError(f"the masks {mask} differ in size: get the dataset anew")
    union: npt.NDArray[np.bool_] = np.logical_or.reduce(marked)
    return union


class _HasMask(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def mask(self) -> str | None: ...


def check_mask_files(
    root: Path,
    images: Iterable[_HasMask],
    facts: Mapping[str, ImageFacts],
    findings: Findings,
    *,
    threshold: int = 127,
) -> None:
    """Check that the masks of images can be read, have the images' sizes, and mark something.

    Args:
        root: Where the paths start.
        images: Images with their masks.
        facts: Facts of all these images by path.
        findings: Takes the problems, and a warning of masks that mark nothing.
        threshold: See :func:`read_mask`.
    """
    pairs = [(image, image.mask) for image in images if image.mask is not None]

    def examine(pair: tuple[_HasMask, str]) -> tuple[str | None, bool]:
        image, mask = pair
        try:
            marked = read_mask(root, mask, threshold)
        except DataError as error:
            return str(error), False
        size = (marked.shape[1], marked.shape[0])
        return _size_fault(mask, size, facts[image.path].size), not marked.any()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(examine, pairs))
    for text, _ in results:
        if text is not None:
            findings.problem(text)
    empty = [mask for (_, mask), (_, is_empty) in zip(pairs, results, strict=True) if is_empty]
    _warn_of_empty(empty, findings)


def _warn_of_empty(masks: Sequence[str], findings: Findings) -> None:
    if masks:
        findings.warning(f"{len(masks)} masks mark no pixel, such as {masks[0]}")


def _size_fault(mask: str, found: tuple[int, int], wanted: tuple[int, int]) -> str | None:
    if found == wanted:
        return None
    text = f"{mask} is {found[0]}x{found[1]} but its image is {wanted[0]}x{wanted[1]}"
    return f"{text}: a mask must have its image's size; export it again"


def _examine(folder: Path, mask: str, size: tuple[int, int]) -> tuple[str | None, bool]:
    """Return what is wrong with a mask, or None, and whether it marks nothing."""
    try:
        pixels = decode(folder / mask)
    except DataError as error:
        return str(error), False
    fault = _size_fault(mask, (pixels.shape[1], pixels.shape[0]), size)
    if fault is not None:
        return fault, False
    values = set(np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist())
    if values <= {0, 1} or values <= {0, 255}:
        return None, values == {0}
    text = f"{mask} holds {len(values)} values up to {max(values)}"
    return f"{text}: a mask must be binary, 0 and 255 (or 0 and 1); threshold it", False
