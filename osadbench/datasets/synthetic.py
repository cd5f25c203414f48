"""A dataset that is drawn from a seed: for tests, for learning the tool, for use offline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import pydantic
from PIL import Image

from osadbench.cache import cache_dir, unwritable_cache
from osadbench.datasets.counting import check_counts
from osadbench.datasets.defects import DEFECTS
from osadbench.datasets.findings import Findings
from osadbench.datasets.folder import Folder
from osadbench.datasets.reading import Reading
from osadbench.datasets.surfaces import SURFACES
from osadbench.datasets.temporary import name_beside
from osadbench.params import Params as BaseParams
from osadbench.params import digest
from osadbench.seeds import derive_seed
from osadbench.types import NORMAL_CLASS, FloatArray, UInt8Array

__all__ = ["Synthetic", "SyntheticParams", "draw_image"]

#: Raised when the same parameters give other pixels.
VERSION = 1


class SyntheticParams(BaseParams):
    """What is drawn.

    Attributes:
        seed: Seed of all draws.
        size: Side length of the images in pixels.
        n_train: Normal training images of each category.
        n_test_normal: Normal test images of each category.
        n_per_class: Anomalies of each class in each category.
        difficulty: Above 0 (defects large and strong) to 1 (small and faint).
    """

    seed: int = pydantic.Field(default=0, ge=0)
    size: int = pydantic.Field(default=128, ge=32, le=2048)
    n_train: int = pydantic.Field(default=60, ge=1)
    n_test_normal: int = pydantic.Field(default=30, ge=1)
    n_per_class: int = pydantic.Field(default=15, ge=1)
    difficulty: float = pydantic.Field(default=0.5, gt=0, le=1)


class Synthetic(Folder):
    """Two textures and an object, each with four classes of defects and their masks.

    The images are drawn at first use, into ``datasets`` below the cache folder (the user's own
    cache folder if none is given), as PNG files in the layout of MVTec AD, and read from there like
    any folder. ``root`` has no meaning here. Numbers on it say that a method works, not how well it
    does on real defects.
    """

    name: ClassVar[str] = "synthetic"
    title: ClassVar[str] = "Synthetic surfaces with drawn defects"
    task: ClassVar[str] = "holes, scratches, specks and stains on a disc, on wood and on a weave"
    licence: ClassVar[str] = "MIT, as osadbench itself"
    citation: ClassVar[str] = "osadbench; there is no publication"
    source: ClassVar[str] = "drawn on this machine at first use"
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "synthetic"
    Params: ClassVar[type[BaseParams]] = SyntheticParams

    def _locate(self) -> Path:
        name = f"synthetic-{digest([VERSION, self.params])[:16]}"
        folder = (self.cache or cache_dir()) / "datasets" / name
        if not folder.is_dir():
            _write(folder, cast(SyntheticParams, self.params))
        return folder

    def categories(self) -> list[str]:
        """Return the names of the surfaces; draws nothing."""
        return sorted(SURFACES)

    def _read(self, category: str, findings: Findings) -> Reading:
        reading = super()._read(category, findings)
        plan = _plan(cast(SyntheticParams, self.params))
        expected = {f"{split}/{name}": count for split, name, count in plan}
        remedy = f"delete {self.root}, and it is drawn anew"
        records = reading.manifest.records
        check_counts(records, expected, findings, strict=True, remedy=remedy)
        return reading


def draw_image(
    params: SyntheticParams, category: str, split: str, class_name: str, index: int
) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Draw one image.

    Each image has its own seed, so that no count changes another image. The difficulty changes the
    defect and leaves the surface, the light and the noise as they are.

    Args:
        params: What is drawn.
        category: Name of the surface.
        split: ``"train"`` or ``"test"``.
        class_name: ``"good"`` or the name of a defect.
        index: Number of the image in its folder.

    Returns:
        The image, uint8 ``(size, size, 3)``, and the mask of the defect, bool ``(size, size)``.
    """
    names = {"dataset": "synthetic", "category": category, "split": split, "class": class_name}
    rng = np.random.default_rng(derive_seed(params.seed, **names, index=index))
    surface = SURFACES[category](rng, params.size)
    light = _light(rng, params.size)
    noise = 0.012 * rng.standard_normal(surface.colour.shape)
    colour, mask = surface.colour, np.zeros((params.size, params.size), dtype=bool)
    if class_name != NORMAL_CLASS:
        layer = DEFECTS[class_name](rng, surface, 1 - 0.5 * params.difficulty)
        cover = (1 - 0.7 * params.difficulty) * layer.cover[..., None]
        colour, mask = (1 - cover) * colour + cover * layer.colour, layer.cover > 0
    pixels = np.rint(255 * (colour * light + noise)).clip(0, 255)
    return pixels.astype(np.uint8), mask


def _light(rng: np.random.Generator, size: int) -> FloatArray:
    """Return the light ``(size, size, 3)``: a level, a hue, and a slope in some direction."""
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.16)
    steps = np.linspace(-0.5, 0.5, size)
    tilt: FloatArray = np.cos(angle) * steps[:, None] + np.sin(angle) * steps[None, :]
    return slope * tilt[..., None] + rng.uniform(0.88, 1.06) * rng.uniform(0.95, 1.05, 3)


def _plan(params: SyntheticParams) -> list[tuple[str, str, int]]:
    """Return split, class and number of images of each class folder."""
    normals = [
        ("train", NORMAL_CLASS, params.n_train),
        ("test", NORMAL_CLASS, params.n_test_normal),
    ]
    return normals + [("test", name, params.n_per_class) for name in sorted(DEFECTS)]


def _write(folder: Path, params: SyntheticParams) -> None:
    """Draw the dataset under a temporary name and move it into place.

    Raises:
        CacheError: The folder cannot be written.
    """
    temporary = name_beside(folder, "tmp")
    try:
        for category in SURFACES:
            _write_category(temporary / category, category, params)
        temporary.rename(folder)
    except OSError as error:
        # Another process may have been faster; it drew the same.
        if not folder.is_dir():
            raise unwritable_cache(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_category(folder: Path, category: str, params: SyntheticParams) -> None:
    for split, class_name, count in _plan(params):
        images = folder / split / class_name
        masks = folder / "ground_truth" / class_name
        images.mkdir(parents=True)
        if class_name != NORMAL_CLASS:
            masks.mkdir(parents=True)
        for index in range(count):
            image, mask = draw_image(params, category, split, class_name, index)
            Image.fromarray(image).save(images / f"{index:03d}.png")
            if class_name != NORMAL_CLASS:
                Image.fromarray(np.uint8(255) * mask).save(masks / f"{index:03d}_mask.png")
