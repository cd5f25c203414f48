"""Finding each anomaly's pixel mask, and checking it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import CategoryListing
from osadbench.datasets.reading import ImageFacts
from osadbench.datasets.threads import in_threads
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
    _check_each(
        [(mask, facts[image].size) for image, mask in readable.items()],
        lambda mask, size: _examine_binary(listing.folder, mask, size),
        findings,
    )
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
    _check_each(
        [(image.mask, facts[image.path].size) for image in images if image.mask is not None],
        lambda mask, size: _examine(root, mask, size, threshold),
        findings,
    )


def _check_each(
    masks: Sequence[tuple[str, tuple[int, int]]],
    examine: Callable[[str, tuple[int, int]], tuple[str | None, bool]],
    findings: Findings,
) -> None:
    """Examine masks in parallel.

    Args:
        masks: The masks, each with the width and height of its image.
        examine: Returns what is wrong with one, or None, and whether it marks nothing.
        findings: Takes the problems, and a warning of masks that mark nothing.
    """
    empty = []
    for (mask, _), (fault, is_empty) in zip(
        masks, in_threads(lambda pair: examine(*pair), masks), strict=True
    ):
        if fault is not None:
            findings.problem(fault)
        if is_empty:
            empty.append(mask)
    if empty:
        findings.warning(f"{len(empty)} masks mark no pixel, such as {empty[0]}")


def _examine(
    root: Path, mask: str, size: tuple[int, int], threshold: int
) -> tuple[str | None, bool]:
    """Examine a mask that marks what is above a threshold; see :func:`_check_each`."""
    try:
        marked = read_mask(root, mask, threshold)
    except DataError as error:
        return str(error), False
    return _size_fault(mask, marked.shape, size), not marked.any()


def _examine_binary(folder: Path, mask: str, size: tuple[int, int]) -> tuple[str | None, bool]:
    """Examine a mask that must hold 0 and 255, or 0 and 1; see :func:`_check_each`."""
    try:
        pixels = decode(folder / mask)
    except DataError as error:
        return str(error), False
    fault = _size_fault(mask, pixels.shape, size)
    if fault is not None:
        return fault, False
    values = set(np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist())
    if values <= {0, 1} or values <= {0, 255}:
        return None, values == {0}
    text = f"{mask} holds {len(values)} values up to {max(values)}"
    return f"{text}: a mask must be binary, 0 and 255 (or 0 and 1); threshold it", False


def _size_fault(mask: str, shape: tuple[int, ...], size: tuple[int, int]) -> str | None:
    height, width = shape[:2]
    if (width, height) == size:
        return None
    text = f"{mask} is {width}x{height} but its image is {size[0]}x{size[1]}"
    return f"{text}: a mask must have its image's size; export it again"
