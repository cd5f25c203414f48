"""Magnetic tiles: five kinds of defects, with masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder, list_folder
from osadbench.datasets.masks import read_mask
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import RawDataset, RawImage
from osadbench.errors import DataError
from osadbench.types import NORMAL_CLASS

__all__ = ["MagneticTile"]

#: The folders, and the classes of the images in them.
CLASSES = {
    "MT_Free": NORMAL_CLASS,
    "MT_Blowhole": "blowhole",
    "MT_Break": "break",
    "MT_Crack": "crack",
    "MT_Fray": "fray",
    "MT_Uneven": "uneven",
}
#: Below each of them; a mask is a PNG beside its JPEG, of the same stem.
IMAGES = "Imgs"
IMAGE_SUFFIXES, MASK_SUFFIX = (".jpg", ".jpeg"), ".png"


class MagneticTile(RawDataset):
    """Magnetic tiles, with and without defects. None of the papers uses them.

    A coarse perceptual hash puts 322 of the 1344 images into groups of near copies, nine of them
    across classes, so train and test may show the same tile. Four masks of ``uneven`` are black:
    those images stay anomalies and have no mask.
    """

    name: ClassVar[str] = "magnetic-tile"
    title: ClassVar[str] = "Magnetic tile defects"
    task: ClassVar[str] = "blowholes, breaks, cracks, frays and uneven tiles, 103 to 632 px, grey"
    licence: ClassVar[str] = (
        "none given; the authors ask for a citation: research only, do not pass on"
    )
    citation: ClassVar[str] = (
        "Huang, Qiu and Yuan, Surface defect saliency of magnetic tile, The Visual Computer 2020"
    )
    source: ClassVar[str] = "https://github.com/abin24/Magnetic-tile-defect-datasets."
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "mvtec"
    layout: ClassVar[str] = "MT_Free/Imgs, MT_Blowhole/Imgs and four more"
    download: ClassVar[str] = (
        "get https://github.com/abin24/Magnetic-tile-defect-datasets. (with the full stop) and "
        "keep its folders MT_Free, MT_Blowhole, ... together"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {
            "train/good": 714,
            "test/good": 238,
            "test/blowhole": 115,
            "test/break": 85,
            "test/crack": 57,
            "test/fray": 32,
            "test/uneven": 103,
        }
    }
    aliases: ClassVar[Mapping[str, str]] = {
        folder: name for folder, name in CLASSES.items() if name != NORMAL_CLASS
    }
    has_masks: ClassVar[bool] = True

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the ``MT_`` folders; see :meth:`RawDataset.find_raw`."""
        return find_below(
            base, lambda place: any(is_folder(place / name / IMAGES) for name in CLASSES)
        )

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the images, sorted by folder and name; see :meth:`RawDataset.raw_images`."""
        images = [
            image
            for folder, class_name in sorted(CLASSES.items())
            for image in _tiles(self.root, f"{folder}/{IMAGES}", class_name, findings)
        ]
        findings.warning(
            "some images are near copies of others, of their own class or another: train and test "
            "may show the same tile"
        )
        return _without_black_masks(self.root, images, self.mask_threshold, findings)


def _tiles(root: Path, folder: str, class_name: str, findings: Findings) -> list[RawImage]:
    """Return the images of one folder with their masks; normals need none."""
    files = [PurePosixPath(folder, name) for name in list_folder(root / folder)[1]]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    masks = {file.stem: str(file) for file in files if file.suffix.lower() == MASK_SUFFIX}
    stems = {file.stem for file in images}
    lone = [mask for stem, mask in masks.items() if stem not in stems]
    bare = [str(file) for file in images if file.stem not in masks]
    others = [str(file) for file in {*files} - {*images} if str(file) not in masks.values()]
    for found, fault in (
        (lone, "are masks without an image"),
        (bare, "are images without a mask"),
        (sorted(others), "are neither and not read"),
    ):
        if found:
            findings.warning(f"{len(found)} files of {folder} {fault}, such as {found[0]}")
    if class_name == NORMAL_CLASS:
        return [RawImage(str(file)) for file in images]
    return [RawImage(str(file), class_name, mask=masks.get(file.stem)) for file in images]


def _without_black_masks(
    root: Path, images: list[RawImage], threshold: int, findings: Findings
) -> list[RawImage]:
    """Take masks away that mark no pixel of an anomaly, and name them."""
    black = [
        image.path
        for image in images
        if image.mask is not None and _is_black(root, image.mask, threshold)
    ]
    if not black:
        return images
    findings.warning(
        f"{len(black)} masks mark no pixel, so their images count as anomalies without a mask: "
        f"{', '.join(black)}"
    )
    return [replace(image, mask=None) if image.path in black else image for image in images]


def _is_black(root: Path, mask: str, threshold: int) -> bool:
    try:
        return not read_mask(root, mask, threshold).any()
    except DataError:
        # It is reported with the others that cannot be read.
        return False
