"""Small imitations of raw downloads, with the oddities of the real ones, and what tests ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from image_trees import write_image
from PIL import Image

from osadbench.datasets.findings import Findings
from osadbench.datasets.raw import RawDataset
from osadbench.datasets.reading import Reading
from osadbench.errors import DataError
from osadbench.types import Manifest


def read(dataset: RawDataset) -> tuple[Reading, list[str]]:
    """Return the reading of a dataset without categories, and its problems."""
    findings = Findings()
    reading = dataset.read("", findings)
    return reading, findings.problems


def counts(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(f"{record.split}/{record.class_name}" for record in manifest.records))


def refusal(dataset: RawDataset) -> str:
    """Return the error that a dataset raises."""
    with pytest.raises(DataError) as caught:
        dataset.manifest()
    return str(caught.value)


# --- AITEX ---------------------------------------------------------------------------------------


def write_strip(path: Path, number: int, width: int = 4096, blank: Sequence[int] = ()) -> Path:
    """Write a strip whose patches of 256 pixels all differ, but for blank white ones."""
    pixels = np.empty((256, width), dtype=np.uint8)
    for index, left in enumerate(range(0, width, 256)):
        patch = pixels[:, left : left + 256]
        patch[:] = 255 if index in blank else 10 * index
        if index not in blank:
            patch[0, :3] = number, index, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_strip_mask(
    path: Path, columns: Sequence[int] = (), value: int = 255, width: int = 4096
) -> Path:
    """Write a mask of a strip that marks a pixel in each of some columns."""
    pixels = np.zeros((256, width), dtype=np.uint8)
    pixels[100, list(columns)] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


#: The strips with a defect: number of pixels across, and by mask the columns it marks.
AITEX_DEFECTS: Mapping[str, tuple[int, Mapping[str, Sequence[int]]]] = {
    "0003_002_00": (4096, {"_mask": (255, 256)}),
    "0044_019_04": (4096, {"_mask1": (800,), "_mask2": (801, 1300)}),
    "0050_030_00": (4096, {"_mask": (4095,)}),
    "0094_027_05": (4000, {"_mask": (600, 3990)}),
    "0100_025_08": (4096, {}),
    "0106_010_03": (4096, {"_mask": ()}),
}


def write_aitex(folder: Path, doubled: bool = False, blank: Sequence[int] = ()) -> Path:
    """Write three normal strips, one of them with an odd name, and six with a defect."""
    normals = folder / "NODefect_images"
    write_strip(normals / "2306881-210020u" / "0001_000_00.png", 1, blank=blank)
    write_strip(normals / "2306881-210020u" / "0002_000_00.png", 2, blank=blank)
    write_strip(normals / "2608691-202020u" / "0018_00_01.png", 18)
    (normals / "Thumbs.db").write_bytes(b"x")
    defects, masks = folder / "Defect_images", folder / "Mask_images"
    if doubled:
        defects, masks = defects / defects.name, masks / masks.name
    for number, (stem, (width, marks)) in enumerate(AITEX_DEFECTS.items(), start=100):
        write_strip(defects / f"{stem}.png", number, width)
        for ending, columns in marks.items():
            write_strip_mask(masks / f"{stem}{ending}.png", columns, width=width)
    return folder


# --- SDD -----------------------------------------------------------------------------------------


def write_part(image: Path, height: int, marked: Sequence[tuple[int, int]], value: int) -> Path:
    """Write an image of a commutator, 20 pixels wide, and its label with some pixels marked."""
    write_image(image, size=(20, height), mode="L")
    label = np.zeros((height, 20), dtype=np.uint8)
    for row, column in marked:
        label[row, column] = value
    Image.fromarray(label).save(image.with_name(f"{image.stem}_label.bmp"))
    return image


def write_sdd(folder: Path) -> Path:
    """Write five images of three commutators; of their 15 bands, three have a defect."""
    write_part(folder / "kos01" / "Part0.jpg", 60, [], 0)
    write_part(folder / "kos01" / "Part1.jpg", 61, [(25, 3), (26, 4)], 255)
    write_part(folder / "kos02" / "Part0.jpg", 62, [(40, 7), (41, 7), (41, 8)], 1)
    write_part(folder / "kos02" / "Part7.jpg", 63, [], 0)
    write_part(folder / "kos50" / "Part3.jpg", 62, [], 0)
    (folder / "kos50" / "readme.txt").write_text("about")
    return folder


def write_sdd2(folder: Path) -> Path:
    """Write a folder in the form of KolektorSDD2."""
    for part in ("train", "test"):
        for number in (10000, 10001):
            write_image(folder / part / f"{number}.png")
            write_image(folder / part / f"{number}_GT.png", mode="L")
    return folder


# --- Optical -------------------------------------------------------------------------------------

#: Normals and anomalies of each part, by texture.
OPTICAL = {"Class1": (3, 1), "Class2": (2, 2), "Class10": (1, 1)}


def write_optical_part(folder: Path, first: int, normals: int, anomalies: int) -> Path:
    """Write ``Train`` or ``Test`` of one texture, flawed images first."""
    lines = ["1"]
    for number in range(first, first + normals + anomalies):
        flawed = number < first + anomalies
        write_image(folder / f"{number:04d}.PNG", mode="L")
        mask = f"{number:04d}_label.PNG" if flawed else "0"
        lines.append(f"{number}\t{int(flawed)}\t{number:04d}.PNG\t0\t{mask}")
        if flawed:
            pixels = np.zeros((8, 8), dtype=np.uint8)
            pixels[2:5, 3:7] = 255
            (folder / "Label").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / "Label" / mask)
    (folder / "Label" / "Labels.txt").write_bytes("\r\n".join([*lines, ""]).encode())
    return folder


def write_optical(folder: Path, doubled: bool = False) -> Path:
    """Write three of the ten textures."""
    for texture, (normals, anomalies) in OPTICAL.items():
        inner = folder / texture / texture if doubled else folder / texture
        for part, first in (("Train", 576), ("Test", 1)):
            write_optical_part(inner / part, first, normals, anomalies)
    return folder


# --- the medical sets ----------------------------------------------------------------------------


def write_as_png(path: Path, mode: str) -> Path:
    """Write a PNG whatever the name says."""
    pixels = np.asarray(Image.open(write_image(path.with_suffix(".bmp"))))
    path.with_suffix(".bmp").unlink()
    Image.fromarray(pixels).convert(mode).save(path, format="PNG")
    return path


def write_brainmri(folder: Path) -> Path:
    """Write eight normal images and five tumours, in two copies as the archive has them."""
    for place in (folder, folder / "brain_tumor_dataset"):
        for name in ("1 no.jpeg", "N26.JPG", "no.jpg", "no 9.png", "N3.jpg"):
            write_image(place / "no" / name, size=(9, 12))
        write_image(place / "no" / "grey.jpg", size=(10, 8), mode="L")
        write_as_png(place / "no" / "44no.jpg", "RGBA")
        (place / "no" / "no 98.jpg").write_bytes((place / "no" / "no.jpg").read_bytes())
        for name in ("Y1.jpg", "Y2.JPG", "Y3.JPG", "Y4.png"):
            write_image(place / "yes" / name, size=(9, 12))
        write_image(place / "yes" / "Y5.jpg", size=(10, 8), mode="L")
        (place / "yes" / "Thumbs.db").write_bytes(b"x")
    return folder


def write_headct(folder: Path, doubled: bool = True) -> Path:
    """Write four bleeding heads and eight others, the last two with an opaque alpha channel."""
    images = folder / "head_ct" / "head_ct" if doubled else folder / "head_ct"
    lines = ["id, hemorrhage"]
    for number in range(12):
        write_image(images / f"{number:03d}.png", size=(9, 12))
        lines.append(f"{number},{int(number < 4)}")
    for number in (10, 11):
        Image.open(images / f"{number:03d}.png").convert("RGBA").save(images / f"{number:03d}.png")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_lag(folder: Path) -> Path:
    """Write five photographs, each with an attention map and a label of its name."""
    for name, numbers in (("non_glaucoma", range(3)), ("suspicious_glaucoma", range(3, 5))):
        for number in numbers:
            for part in ("image", "attention_map", "label"):
                write_image(folder / name / part / f"{number:04d}.jpg")
    return folder
