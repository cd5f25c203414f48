"""Small folders of images for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    """Write an image of random pixels that depend on its path below the temporary folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(hashlib.sha256("/".join(path.parts[-4:]).encode()).hexdigest()[:8], 16)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def write_mask(
    path: Path, size: tuple[int, int] = (8, 8), values: tuple[int, ...] = (255,)
) -> Path:
    """Write a mask that is 0 but for one pixel of each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
    pixels.flat[: len(values)] = values
    Image.fromarray(pixels).save(path)
    return path


def write_category(
    folder: Path,
    train: int = 6,
    test: int = 4,
    classes: Mapping[str, int] | None = None,
    masks: bool = True,
) -> Path:
    """Write one category in the layout of MVTec AD."""
    for index in range(train):
        write_image(folder / "train" / "good" / f"{index:03d}.png")
    for index in range(test):
        write_image(folder / "test" / "good" / f"{index:03d}.png")
    for name, count in (classes or {"hole": 3, "scratch": 3}).items():
        for index in range(count):
            write_image(folder / "test" / name / f"{index:03d}.png")
            if masks:
                write_mask(folder / "ground_truth" / name / f"{index:03d}_mask.png")
    return folder


def write_elpv(folder: Path, normals: int = 8, mono: int = 3, poly: int = 3) -> Path:
    """Write a small folder in the form of ELPV, with one undecided cell of each fraction."""
    kinds = ["0.0  mono"] * normals + ["1.0  mono"] * mono + ["1.0   poly"] * poly
    kinds += ["0.3333333333333333  poly", "0.6666666666666666  mono"]
    lines = []
    for index, kind in enumerate(kinds):
        name = f"images/cell{index:04d}.png"
        write_image(folder / name, mode="L")
        lines.append(f"{name}  {kind}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
