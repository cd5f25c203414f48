"""What several raw downloads have in common: annotation files, folders of images, masks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_image, list_folder
from osadbench.datasets.masks import read_mask
from osadbench.errors import DataError
from osadbench.types import UInt8Array

__all__ = ["images_in", "marked_pixels", "probe_size", "read_rows", "read_text"]


def read_text(root: Path, name: str, findings: Findings) -> str | None:
    """Return the text of an annotation file, None with a problem noted.

    Args:
        root: Where the name starts.
        name: POSIX path of the file.
        findings: Takes the problem.
    """
    try:
        return (root / name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        findings.problem(f"{name} cannot be read ({error}): get the dataset anew")
        return None


def read_rows(root: Path, name: str, findings: Findings) -> list[tuple[int, list[str]]] | None:
    """Return the lines of a comma-separated file, None with a problem noted.

    Args:
        root: Where the name starts.
        name: POSIX path of the file.
        findings: Takes the problem.

    Returns:
        The number of each line, counted from 1, and its fields; none of an empty line.
    """
    text = read_text(root, name, findings)
    if text is None:
        return None
    reader = csv.reader(text.splitlines())
    try:
        return [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        findings.problem(f"{name} cannot be read ({error}): get the dataset anew")
        return None


def images_in(root: Path, folder: str, findings: Findings) -> list[str]:
    """Return the images of one folder, not of those below it, as sorted POSIX paths.

    Args:
        root: Where the paths start.
        folder: POSIX path of the folder.
        findings: Takes a warning of files that are no images.
    """
    files = list_folder(root / folder)[1]
    images = list(filter(is_image, files))
    others = sorted(set(files) - set(images))
    if others:
        findings.warning(f"{len(others)} files are not read, such as {folder}/{others[0]}")
    return [f"{folder}/{name}" for name in images]


def probe_size(root: Path, path: str, findings: Findings) -> tuple[int, int] | None:
    """Return the width and height of an image without decoding it, None with a problem noted.

    Args:
        root: Where the path starts.
        path: POSIX path of the image.
        findings: Takes the problem.
    """
    try:
        with Image.open(root / path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        findings.problem(f"{path} cannot be read ({error}): get the dataset anew")
        return None


def marked_pixels(
    root: Path, mask: str, size: tuple[int, int], threshold: int, findings: Findings
) -> UInt8Array | None:
    """Return which pixels of an image a mask marks, None with a problem noted.

    Args:
        root: Where the paths start.
        mask: One or more files, as in :func:`osadbench.datasets.masks.read_mask`.
        size: Width and height of the image.
        threshold: Values above it are marked.
        findings: Takes the problem.

    Returns:
        1 where the mask marks the image and 0 elsewhere, uint8 ``(H, W)``.
    """
    try:
        marked = read_mask(root, mask, threshold)
    except DataError as error:
        findings.problem(str(error))
        return None
    height, width = marked.shape
    if (width, height) == size:
        return marked.astype(np.uint8)
    findings.problem(
        f"{mask} is {width}x{height} but its image is {size[0]}x{size[1]}: get the dataset anew"
    )
    return None
