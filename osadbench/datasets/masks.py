"""Finding each anomaly's pixel mask, and checking it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import CategoryListing
from osadbench.datasets.reading import ImageFacts
from osadbench.errors import DataError
from osadbench.images import decode
from osadbench.types import NORMAL_CLASS

__all__ = ["pair_masks"]


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
    black = [mask for mask, (_, is_black) in results.items() if is_black]
    if black:
        findings.warning(f"{len(black)} masks mark no pixel, such as {black[0]}")


def _examine(folder: Path, mask: str, size: tuple[int, int]) -> tuple[str | None, bool]:
    """Return what is wrong with a mask, or None, and whether it marks nothing."""
    try:
        pixels = decode(folder / mask)
    except DataError as error:
        return str(error), False
    found = (pixels.shape[1], pixels.shape[0])
    if found != size:
        text = f"{mask} is {found[0]}x{found[1]} but its image is {size[0]}x{size[1]}"
        return f"{text}: a mask must have its image's size; export it again", False
    values = set(np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist())
    if values <= {0, 1} or values <= {0, 255}:
        return None, values == {0}
    text = f"{mask} holds {len(values)} values up to {max(values)}"
    return f"{text}: a mask must be binary, 0 and 255 (or 0 and 1); threshold it", False
