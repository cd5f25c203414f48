"""Optical: ten drawn textures with flaws, DAGM 2007."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder
from osadbench.datasets.nested import find_below, unnest
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import read_text
from osadbench.errors import DataError

__all__ = ["Optical"]

#: In this order, and not in that of their names, the public conversion splits the normals.
TEXTURES = tuple(f"Class{number}" for number in range(1, 11))
PARTS = ("Train", "Test")
LABELS = "Label/Labels.txt"
#: Folder of flawed images in the competition's first release.
FIRST_RELEASE = re.compile(r"Class\d+_def")
#: What Labels.txt may name: nothing outside its folder.
FILE = re.compile(r"[^./\\:][^/\\:]*\.png", re.IGNORECASE)


class Optical(RawDataset):
    """Textures, flawed or not, all ten taken together, as DRA and DevNet use them.

    The site's own training and test images are pooled, and the normals split 3:1 in the order of
    the files ``Labels.txt``, texture by texture, which is the public code's split. The masks are
    coarse ellipses.
    """

    name: ClassVar[str] = "optical"
    title: ClassVar[str] = "Optical: DAGM 2007, industrial optical inspection"
    task: ClassVar[str] = "flaws on ten drawn textures, 512x512 pixels, grey"
    licence: ClassVar[str] = 'none stated; the site says "publicly available"'
    citation: ClassVar[str] = (
        "Wieler and Hahn, Weakly Supervised Learning for Industrial Optical Inspection, DAGM 2007"
    )
    source: ClassVar[str] = "https://hci.iwr.uni-heidelberg.de/node/3616"
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "mvtec"
    layout: ClassVar[str] = "ClassC/{Train,Test}/NNNN.PNG and ClassC/{Train,Test}/Label/Labels.txt"
    download: ClassVar[str] = (
        "get the ten classes from https://hci.iwr.uni-heidelberg.de/node/3616 (on Kaggle: "
        "https://www.kaggle.com/datasets/mhskjelvareid/"
        "dagm-2007-competition-dataset-optical-inspection) and unpack them into one folder"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 10500, "test/good": 3500, "test/defect": 2100}
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(10500, 3500, 2100)}
    has_masks: ClassVar[bool] = True

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the textures; see :meth:`RawDataset.find_raw`."""
        root = find_below(base, lambda place: bool(_folders(place)))
        if root is None:
            self._refuse_first_release(base)
        return root

    def _refuse_first_release(self, base: Path) -> None:
        first = find_below(base, lambda place: FIRST_RELEASE.fullmatch(place.name) is not None)
        if first is not None:
            raise DataError(
                f"{first.parent} holds {first.name}, so it is DAGM 2007 as first released, where "
                f"{self.layout} are expected: {self.download}"
            )

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the images in the order of the files; see :meth:`RawDataset.raw_images`."""
        folders = _folders(self.root)
        return [image for f in folders for image in _read_labels(self.root, f, findings)]


def _folders(base: Path) -> list[str]:
    """Return both parts of each texture that is there with one of them."""
    found = []
    for texture in TEXTURES:
        parts = [f"{unnest(base, texture)}/{part}" for part in PARTS]
        if any(is_folder(base / part) for part in parts):
            found += parts
    return found


def _read_labels(root: Path, folder: str, findings: Findings) -> list[RawImage]:
    """Return the images that one ``Labels.txt`` names, in its order."""
    name = f"{folder}/{LABELS}"
    text = read_text(root, name, findings) or ""
    images: dict[str, RawImage] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        # The first line is a number by itself.
        if not line.strip() or (number == 1 and line.strip().isdigit()):
            continue
        image = _parse(folder, line)
        if image is None or image.path in images:
            fault = "is not 'ID FLAG IMAGE X MASK'" if image is None else "is a repetition"
            findings.problem(f"{name}, line {number} {fault}: {line.strip()!r}; correct it")
        else:
            images[image.path] = image
    return list(images.values())


def _parse(folder: str, line: str) -> RawImage | None:
    """Return the image of a line, None if the line has another form."""
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) < 3 or fields[1] not in ("0", "1") or not FILE.fullmatch(fields[2]):
        return None
    path = f"{folder}/{fields[2]}"
    if fields[1] == "0":
        return RawImage(path)
    if len(fields) < 5 or not FILE.fullmatch(fields[4]):
        return None
    return RawImage(path, "defect", mask=f"{folder}/Label/{fields[4]}")
