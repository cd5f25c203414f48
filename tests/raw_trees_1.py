"""Small folders in the raw forms of MVTec AD, VisA, Magnetic tile, Mastcam and Hyper-Kvasir."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from image_trees import write_category, write_image, write_mask

from osadbench.datasets.findings import Findings
from osadbench.datasets.raw import RawDataset
from osadbench.datasets.reading import Reading
from osadbench.datasets.visa import FIELDS
from osadbench.errors import DataError


def look(dataset: RawDataset, category: str = "") -> tuple[Reading, list[str]]:
    """Return the reading of one category, and its problems."""
    findings = Findings()
    reading = dataset.read(category, findings)
    return reading, findings.problems


def refusal(dataset: RawDataset, category: str = "") -> str:
    """Return the error that reading one category raises."""
    with pytest.raises(DataError) as caught:
        dataset.manifest(category)
    return str(caught.value)


def moved_into(root: Path, wrapper: str) -> Path:
    """Move a folder into others, as archives do; return its old place, which then holds those."""
    aside = root.rename(root.with_name("aside"))
    (root / wrapper).parent.mkdir(parents=True)
    aside.rename(root / wrapper)
    return root


def write_mvtec(folder: Path) -> Path:
    """Write three categories of MVTec AD, numbered anew in every folder, with their texts."""
    classes = {"color": 2, "cut": 1, "metal_contamination": 2}
    write_category(folder / "carpet", train=4, test=2, classes=classes)
    write_category(folder / "metal_nut", train=3, test=2, classes={"bent": 2, "flip": 1})
    write_category(folder / "toothbrush", train=3, test=1, classes={"defective": 2})
    for name in ("carpet", "metal_nut", "toothbrush"):
        (folder / name / "license.txt").write_text("CC BY-NC-SA 4.0")
        (folder / name / "readme.txt").write_text("a category")
    (folder / "license.txt").write_text("CC BY-NC-SA 4.0")
    return folder


def write_visa(folder: Path, objects: tuple[str, ...] = ("candle", "pcb1")) -> Path:
    """Write objects of VisA: upper-case names, masks of small numbers, the split in a file."""
    lines = [FIELDS]
    for name in objects:
        images, masks = f"{name}/Data/Images", f"{name}/Data/Masks/Anomaly"
        for index in range(7):
            path = f"{images}/Normal/{index:04d}.JPG"
            write_image(folder / path)
            # The file lists images in no order.
            split = "test" if index in (1, 4) else "train"
            lines.insert(1, [name, split, "normal", path, ""])
        for index in range(3):
            path, mask = f"{images}/Anomaly/{index:03d}.JPG", f"{masks}/{index:03d}.png"
            write_image(folder / path)
            write_mask(folder / mask, values=(1, 3, 7)[: index + 1])
            lines.append([name, "test", "anomaly", path, mask])
        (folder / name / "image_anno.csv").write_text("image,label,mask\n")
    (folder / "split_csv").mkdir()
    for name in ("1cls", "2cls_fewshot", "2cls_highshot"):
        with (folder / "split_csv" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    (folder / "LICENSE-DATASET").write_text("CC BY 4.0")
    return folder


#: Numbers of images that :func:`write_magnetic_tile` makes.
TILES = {"Free": 8, "Blowhole": 3, "Break": 2, "Crack": 2, "Fray": 1, "Uneven": 3}


def write_magnetic_tile(folder: Path) -> Path:
    """Write magnetic tiles, a mask beside each image; the first of Uneven is black."""
    for kind, count in TILES.items():
        for index in range(count):
            place = folder / f"MT_{kind}" / "Imgs"
            suffix = ".JPG" if index == 1 else ".jpg"
            stem = f"exp{index % 7}_num_{len(kind)}{index}"
            write_image(place / f"{stem}{suffix}", mode="L")
            black = kind == "Free" or (kind == "Uneven" and index == 0)
            # The edges of the marked regions are smoothed.
            write_mask(place / f"{stem}.png", values=(0, 64) if black else (255, 64, 200))
    (folder / "README.md").write_text("please cite")
    return folder


#: Numbers of crops by folder of test_novel; one of veins is one of bedrock, too.
NOVEL = {
    "bedrock": 2,
    "broken-rock": 2,
    "drill-hole": 2,
    "drt": 2,
    "dump-pile": 2,
    "edge cases": 1,
    "float": 1,
    "meteorite": 2,
    "other": 1,
    "scuff": 1,
    "veins": 2,
}


def crop(seed: int, bands: int = 6, side: int = 64) -> npt.NDArray[np.uint8]:
    """Return a bright crop whose bands differ."""
    base = np.full((side, side, bands), 20 + seed % 200, dtype=np.uint8)
    base[..., 1] += 10
    base[..., 2] += 20
    base[0, 0] = seed % 255
    return base


def write_crop(path: Path, values: npt.NDArray[np.generic]) -> Path:
    """Write an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def write_mastcam(folder: Path) -> Path:
    """Write Mastcam's archives side by side, with the folder of all novel crops."""
    number = 0
    typical = {"train_typical": 5, "validation_typical": 1, "test_typical": 3}
    for name, count in typical.items():
        for index in range(count):
            number += 1
            write_crop(folder / name / f"mcam{number:05d}_L0_sol0001_{index}.npy", crop(number))
    for name, count in NOVEL.items():
        for index in range(count):
            number += 1
            values = crop(number if (name, index) != ("veins", 1) else 10)
            file = f"mcam{number:05d}_R0_sol0002_{index}.npy"
            write_crop(folder / "test_novel" / name / file, values)
            write_crop(folder / "test_novel" / "all" / file, values)
    return folder


#: The class folders of Hyper-Kvasir and how many images :func:`write_hyper_kvasir` puts there.
KVASIR: Mapping[str, int] = {
    "upper-gi-tract/anatomical-landmarks/pylorus": 4,
    "upper-gi-tract/anatomical-landmarks/retroflex-stomach": 2,
    "upper-gi-tract/anatomical-landmarks/z-line": 4,
    "upper-gi-tract/pathological-findings/barretts": 1,
    "upper-gi-tract/pathological-findings/barretts-short-segment": 2,
    "upper-gi-tract/pathological-findings/esophagitis-a": 3,
    "upper-gi-tract/pathological-findings/esophagitis-b-d": 2,
    "lower-gi-tract/anatomical-landmarks/cecum": 2,
    "lower-gi-tract/pathological-findings/polyps": 2,
    "lower-gi-tract/quality-of-mucosal-views/bbps-0-1": 1,
}


def write_hyper_kvasir(folder: Path, spelling: Mapping[str, str] | None = None) -> Path:
    """Write the labelled images of Hyper-Kvasir.

    Args:
        folder: Where ``upper-gi-tract`` comes.
        spelling: Other names for class folders.
    """
    for below, count in KVASIR.items():
        part, _, name = below.rpartition("/")
        place = folder / part / (spelling or {}).get(name, name)
        for index in range(count):
            suffix = ".JPG" if index == 2 else ".jpg"
            # The pixels come with the site's name, so that both spellings are the same images.
            original = write_image(folder / below / f"{index}f8a2c{suffix}", size=(8 + index, 8))
            place.mkdir(parents=True, exist_ok=True)
            original.rename(place / original.name)
        if place != folder / below:
            (folder / below).rmdir()
    (folder / "image-labels.csv").write_text("Video file,Organ,Finding,Classification\n")
    return folder
