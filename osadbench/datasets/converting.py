"""Which files a dataset becomes in the layout of MVTec AD, and writing them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from osadbench.datasets.masks import read_mask
from osadbench.datasets.naming import portable_stems
from osadbench.images import cut_region, decode, file_digest
from osadbench.types import ImageRecord, Manifest, UInt8Array

__all__ = ["Source", "Written", "convert_file", "plan_files"]

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Written:
    """One image of a converted folder.

    Attributes:
        category: Category of the image.
        record: The image as it was found.
        path: POSIX path of the file written, below the converted folder.
        mask: The same of its mask, or None.
        sha256: Hex digest of the file written.
        size: Its bytes.
    """

    category: str
    record: ImageRecord
    path: str
    mask: str | None
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True)
class Source:
    """Where images are converted from.

    Attributes:
        root: Folder that the records' paths start from.
        modes: Pixel format of each image by its path, as in
            :class:`osadbench.datasets.reading.ImageFacts`.
        threshold: Pixels of a mask above it are anomalous.
    """

    root: Path
    modes: Mapping[str, str]
    threshold: int


def plan_files(manifest: Manifest) -> Iterator[Written]:
    """Yield what will be written of a category, in the order of its manifest."""
    category = manifest.category
    prefix = f"{category}/" if category else ""
    by_class: dict[str, list[ImageRecord]] = {}
    for record in manifest.records:
        by_class.setdefault(f"{record.split}/{record.class_name}", []).append(record)
    for place, records in by_class.items():
        # What already has the layout keeps its names.
        names = {record.path: record.path.removeprefix(f"{prefix}{place}/") for record in records}
        stems = portable_stems(names.values())
        for record in records:
            stem = stems[names[record.path]]
            masked = record.mask is not None and record.label
            mask = f"{prefix}ground_truth/{record.class_name}/{stem}_mask.png" if masked else None
            yield Written(category, record, f"{prefix}{place}/{stem}.png", mask)


def convert_file(source: Source, file: str, planned: Sequence[Written], out: Path) -> list[Written]:
    """Write the images that come from one file, and their masks.

    A PNG file that is one image is copied; all else is decoded and stored as PNG.

    Args:
        source: Where the file is.
        file: Its path below the source's root.
        planned: Its images, of :func:`plan_files`.
        out: The converted folder, which has the folders for them.

    Returns:
        The images with digests and sizes.

    Raises:
        DataError: The file or a mask cannot be read.
        OSError: The folder cannot be written.
    """
    path = source.root / file
    as_it_is = planned[0].record.path == file and _is_png(path)
    whole = None if as_it_is else decode(path)
    done = []
    for one in planned:
        target = out / one.path
        if whole is None:
            shutil.copyfile(path, target)
        else:
            part = cut_region(whole, one.record.path)
            _save(part[..., 0] if _is_grey(source.modes[one.record.path]) else part, target)
        if one.mask is not None and one.record.mask is not None:
            marked = read_mask(source.root, one.record.mask, source.threshold)
            _save(marked.astype(np.uint8) * np.uint8(255), out / one.mask)
        done.append(replace(one, sha256=file_digest(target), size=target.stat().st_size))
    return done


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


def _is_grey(mode: str) -> bool:
    """Tell whether an image of one channel is what Pillow's mode says."""
    return mode in ("1", "L", "LA") or mode.startswith(("I", "F"))


def _save(pixels: UInt8Array, path: Path) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, format="PNG")
