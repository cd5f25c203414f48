"""Hyper-Kvasir: the upper digestive tract as an endoscope sees it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder, list_folder, list_images
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import images_in
from osadbench.errors import DataError
from osadbench.types import NORMAL_CLASS

__all__ = ["HyperKvasir"]

UPPER, LOWER = "upper-gi-tract", "lower-gi-tract"
#: By folder of the upper tract, its class folders in the site's spelling.
FOLDERS = {
    "anatomical-landmarks": ("pylorus", "retroflex-stomach", "z-line"),
    "pathological-findings": (
        "barretts",
        "barretts-short-segment",
        "esophagitis-a",
        "esophagitis-b-d",
    ),
}
#: The spelling of the site's label file and README.
OTHER_SPELLINGS = {
    "normal-pylorus": "pylorus",
    "normal-z-line": "z-line",
    "short-segment-barretts": "barretts-short-segment",
    "oesophagitis-a": "esophagitis-a",
    "oesophagitis-b-d": "esophagitis-b-d",
}
#: Folders of the same site that are not read.
OTHER_PARTS = (LOWER, "segmented-images", "unlabeled-images", "labeled-videos")
#: Folders that together tell its predecessor.
KVASIR = ("esophagitis", "normal-pylorus", "ulcerative-colitis")


class HyperKvasir(RawDataset):
    """Landmarks of the upper tract as normals, its pathological findings as anomalies.

    As DRA and DevNet use it: the labelled images of the upper tract only. Images of one patient
    cannot be told, so some may stand in both train and test.
    """

    name: ClassVar[str] = "hyper-kvasir"
    title: ClassVar[str] = "Hyper-Kvasir: endoscopy of the upper digestive tract"
    task: ClassVar[str] = "Barrett's and inflamed oesophagus against sound landmarks, colour"
    licence: ClassVar[str] = (
        "CC BY 4.0 by its licence file; its README asks for written permission for competitions "
        "and commercial use"
    )
    citation: ClassVar[str] = (
        "Borgli et al., HyperKvasir, a comprehensive multi-class image and video dataset for "
        "gastrointestinal endoscopy, Scientific Data 2020"
    )
    source: ClassVar[str] = "https://datasets.simula.no/hyper-kvasir"
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "lag"
    layout: ClassVar[str] = f"labeled-images/{UPPER}/anatomical-landmarks/pylorus and the like"
    download: ClassVar[str] = (
        "get the labelled images from https://datasets.simula.no/hyper-kvasir and unpack them"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {
            "train/good": 2021,
            "test/good": 674,
            "test/barretts": 41,
            "test/barretts-short-segment": 53,
            "test/esophagitis-a": 403,
            "test/esophagitis-b-d": 260,
        }
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(2021, 674, 757)}
    aliases: ClassVar[Mapping[str, str]] = {
        "barretts-short-seg": "barretts-short-segment",
        "short-segment-barretts": "barretts-short-segment",
        "oesophagitis-a": "esophagitis-a",
        "oesophagitis-b-d": "esophagitis-b-d",
    }

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of ``upper-gi-tract``; see :meth:`RawDataset.find_raw`."""
        root = find_below(base, lambda place: is_folder(place / UPPER))
        if root is None:
            self._refuse_other_releases(base)
        return root

    def _refuse_other_releases(self, base: Path) -> None:
        place = find_below(base, lambda place: _other_release(place) is not None)
        release = _other_release(place) if place is not None else None
        if base.name in OTHER_PARTS:
            place, release = base, f"another part of Hyper-Kvasir ({base.name})"
        if release is not None:
            raise DataError(
                f"{place} holds {release}, but hyper-kvasir needs {self.layout}: {self.download}"
            )

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the upper tract's images by class and name; see :meth:`RawDataset.raw_images`.

        The order is that of the site's spelling, so that both spellings give one split.
        """
        found = [
            (class_name, PurePosixPath(path).name, path)
            for part in FOLDERS
            for class_name, folder in _class_folders(self.root, part, findings)
            for path in images_in(self.root, folder, findings)
        ]
        for path in list_images(self.root / LOWER):
            findings.omit(f"{LOWER}/{path}", "the papers take images of the upper tract only")
        normal = FOLDERS["anatomical-landmarks"]
        return [
            RawImage(path, NORMAL_CLASS if class_name in normal else class_name)
            for class_name, _, path in sorted(found)
        ]


def _other_release(folder: Path) -> str | None:
    """Return what a folder without the upper tract holds instead, None where nobody knows."""
    if all(is_folder(folder / name) for name in KVASIR):
        return "the older Kvasir"
    parts = [name for name in OTHER_PARTS if is_folder(folder / name)]
    return f"another part of Hyper-Kvasir ({', '.join(parts)})" if parts else None


def _class_folders(root: Path, part: str, findings: Findings) -> list[tuple[str, str]]:
    """Return the classes of a part of the upper tract and their folders; name the others."""
    known = {name: name for name in FOLDERS[part]} | OTHER_SPELLINGS
    names = list_folder(root / UPPER / part)[0]
    others = [name for name in names if known.get(name.lower()) not in FOLDERS[part]]
    if others:
        for name in others:
            for path in list_images(root / UPPER / part / name):
                findings.omit(
                    f"{UPPER}/{part}/{name}/{path}", "its folder is no class of the papers"
                )
        findings.warning(f"{UPPER}/{part}: no class of the papers, not read: {', '.join(others)}")
    return [(known[name.lower()], f"{UPPER}/{part}/{name}") for name in names if name not in others]
