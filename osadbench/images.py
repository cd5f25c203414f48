"""Reading images: decoding, the one rule for each pixel format, resizing, content digests."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError

from osadbench.errors import DataError
from osadbench.types import UInt8Array

__all__ = [
    "DECODER",
    "EXTENSIONS",
    "Region",
    "array_digest",
    "cut_region",
    "decode",
    "file_digest",
    "resize",
    "split_region",
    "to_rgb8",
]

#: Named in every record: another decoder or version may give other pixels.
DECODER = f"Pillow {PIL.__version__}"

#: File name endings that count as images, lower case.
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy"})


#: What Pillow and NumPy raise on files that are damaged, hostile or no images.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    AttributeError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    # a damaged .npy that begins like an archive of arrays
    zipfile.BadZipFile,
)


class Region(NamedTuple):
    """A rectangle of an image, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    def of(self, path: str) -> str:
        """Return the path of this part of a file, with a media fragment as the W3C defines it."""
        return f"{path}#xywh={self.left},{self.top},{self.width},{self.height}"

    def cut(self, image: UInt8Array) -> UInt8Array:
        """Return this part of an image ``(H, W)`` or ``(H, W, C)``, as a view.

        Raises:
            ValueError: It reaches beyond the image, or is empty.
        """
        height, width = image.shape[:2]
        right, bottom = self.left + self.width, self.top + self.height
        if not (self.left < right <= width and self.top < bottom <= height):
            raise ValueError(f"the image of {width}x{height} pixels has no region {tuple(self)}")
        return image[self.top : bottom, self.left : right]


_FRAGMENT = re.compile(r"(.+)#xywh=(\d+),(\d+),(\d+),(\d+)")


def split_region(path: str) -> tuple[str, Region | None]:
    """Return the file that a path names and the region that stands behind it, None for all of it.

    Args:
        path: A path, or one with a fragment such as ``strip.png#xywh=256,0,256,256``.
    """
    match = _FRAGMENT.fullmatch(path)
    if match is None:
        return path, None
    return match[1], Region(*map(int, match.groups()[1:]))


def decode(path: Path) -> UInt8Array:
    """Read an image file as RGB uint8 ``(H, W, 3)``, by content, whatever its name says.

    EXIF rotation is not applied. ``.npy`` files are never unpickled.

    Args:
        path: The file; with a region behind it (:func:`split_region`), that part of it.

    Raises:
        DataError: The file is missing, empty, truncated, of no supported form, or smaller than the
            region.
    """
    return cut_region(_decode_file(Path(split_region(str(path))[0])), str(path))


def cut_region(whole: UInt8Array, path: str) -> UInt8Array:
    """Return the part of a file's image that a path names, as a view; all of it without a region.

    Args:
        whole: The image ``(H, W)`` or ``(H, W, C)``.
        path: A path, with a region behind it or not (:func:`split_region`).

    Raises:
        DataError: The image has no such region.
    """
    region = split_region(path)[1]
    if region is None:
        return whole
    try:
        return region.cut(whole)
    except ValueError as error:
        raise DataError(f"cannot read image {path}: {error}: get the dataset anew") from None


def _decode_file(path: Path) -> UInt8Array:
    try:
        if path.suffix.lower() == ".npy":
            return to_rgb8(np.load(path, allow_pickle=False))
        with Image.open(path) as image:
            return _pil_to_rgb8(image)
    except FileNotFoundError:
        raise DataError(f"image {path} is gone: restore it or rebuild the dataset") from None
    except _UNREADABLE as error:
        raise DataError(
            f"cannot read image {path} ({error}): replace the file or take it out of the dataset"
        ) from error


def _pil_to_rgb8(image: Image.Image) -> UInt8Array:
    if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
        return to_rgb8(np.asarray(image))
    # Alpha is dropped, not blended: what lies under it is what the camera saw.
    if image.mode in {"RGBA", "LA", "PA", "RGBa"}:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def to_rgb8(values: npt.NDArray[np.generic]) -> UInt8Array:
    """Bring an array of pixels to RGB uint8 ``(H, W, 3)``.

    Grey ``(H, W)`` is repeated, of more than three channels the first three are kept. 16-bit values
    are divided by 257 (65535 becomes 255). 32-bit integers and floats must lie in 0 to 255, except
    that floats of 0 to 1 are scaled by 255 and integers up to 65535 count as 16-bit.

    Raises:
        ValueError: Wrong rank or dtype, NaN, or values out of range.
    """
    if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "uif":
        raise ValueError(f"expected numbers (H, W) or (H, W, C), got {values.dtype} {values.shape}")
    if values.dtype != np.uint8:
        values = _scale(values)
    if values.ndim == 2 or values.shape[2] < 3:
        grey = values if values.ndim == 2 else values[..., 0]
        values = np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(values[..., :3], dtype=np.uint8)


def _scale(values: npt.NDArray[np.generic]) -> UInt8Array:
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("the pixels hold NaN or infinity")
    low, high = numbers.min(), numbers.max()
    if values.dtype == np.uint16 or (values.dtype.kind in "ui" and 255 < high <= 65535):
        numbers = numbers / 257.0
    elif values.dtype.kind == "f" and high <= 1.0:
        numbers = numbers * 255.0
    elif high > 255:
        raise ValueError(f"pixels reach {high:g}, above 255")
    if low < 0:
        raise ValueError(f"pixels reach {low:g}, below 0")
    return np.rint(numbers).astype(np.uint8)


def resize(image: UInt8Array, size: int) -> UInt8Array:
    """Resize to ``(size, size, 3)``, bilinear with antialiasing; the aspect is not kept.

    As torchvision's ``Resize`` does on a PIL image, which the public code of DevNet and DRA uses.
    """
    if image.shape[:2] == (size, size):
        return image
    pil = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(pil)


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's bytes.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): check the file") from error


def array_digest(image: UInt8Array) -> str:
    """Return a SHA-256 hex digest of an image's shape and pixels."""
    head = f"{image.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()
