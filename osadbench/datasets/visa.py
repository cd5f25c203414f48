"""VisA: twelve kinds of objects, by the one-class split of its authors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_file, is_folder, list_folder, list_images
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import Archive, RawDataset, RawImage
from osadbench.datasets.raw_files import read_rows
from osadbench.errors import DataError
from osadbench.types import NORMAL_CLASS

__all__ = ["Visa"]

SPLIT_FILE = "split_csv/1cls.csv"
FIELDS = ["object", "split", "label", "image", "mask"]
#: The one class of anomalies: an image may have defects of several kinds.
DEFECT = "bad"
#: By label, where an object's images lie.
FOLDERS = {"normal": "Data/Images/Normal", "anomaly": "Data/Images/Anomaly"}
MASKS = "Data/Masks/Anomaly"
#: A file name that leads nowhere else.
NAME = re.compile(r"[^./\\:][^/\\:]*")


def _object(train: int, test: int) -> dict[str, int]:
    return {"train/good": train, "test/good": test, f"test/{DEFECT}": 100}


COUNTS = {
    "candle": _object(900, 100),
    "capsules": _object(542, 60),
    "cashew": _object(450, 50),
    "chewinggum": _object(453, 50),
    "fryum": _object(450, 50),
    "macaroni1": _object(900, 100),
    "macaroni2": _object(900, 100),
    "pcb1": _object(904, 100),
    "pcb2": _object(901, 100),
    "pcb3": _object(905, 101),
    "pcb4": _object(904, 101),
    "pipe_fryum": _object(450, 50),
}


class Visa(RawDataset):
    """VisA by the file ``split_csv/1cls.csv``. None of the papers uses it.

    All anomalies of an object are one class, so the hard protocol has nothing to do here. Masks
    hold the numbers of kinds of defects: whatever isn't 0 is anomalous.
    """

    name: ClassVar[str] = "visa"
    title: ClassVar[str] = "VisA: twelve kinds of objects"
    task: ClassVar[str] = "surface and structural defects of boards, candles, pasta and other food"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "Zou et al., SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and "
        "Segmentation, ECCV 2022"
    )
    source: ClassVar[str] = "https://github.com/amazon-science/spot-diff"
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "mvtec"
    layout: ClassVar[str] = f"{SPLIT_FILE} and, for each object, candle/Data/Images and the like"
    download: ClassVar[str] = (
        "get VisA_20220922.tar, which https://github.com/amazon-science/spot-diff links to, and "
        "unpack it"
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
            "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        ),
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = COUNTS
    has_masks: ClassVar[bool] = True
    mask_threshold: ClassVar[int] = 0

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the objects; see :meth:`RawDataset.find_raw`."""
        root = find_below(base, lambda place: bool(_objects(place)))
        if root is not None and not is_file(root / SPLIT_FILE):
            raise DataError(
                f"expected {SPLIT_FILE} beside the objects in {root}, got none: copy the folder "
                "split_csv of https://github.com/amazon-science/spot-diff there"
            )
        return root

    def raw_categories(self) -> list[str]:
        """Return the objects that are there; see :meth:`RawDataset.raw_categories`."""
        return _objects(self.root)

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return an object's images as the file splits them; see :meth:`RawDataset.raw_images`."""
        images: dict[str, RawImage] = {}
        for line, fields in _read_lines(self.root, category, findings):
            image = _parse(fields)
            if image is None or image.path in images:
                fault = "is a repetition"
                if image is None:
                    fault = f"is not '{','.join(FIELDS)}' with files of {category}/Data"
                text = f"{SPLIT_FILE}, line {line} {fault}: {','.join(fields)!r}"
                findings.problem(f"{text}; get the file anew")
            else:
                images[image.path] = image
        _warn_of_others(self.root, category, images, findings)
        return sorted(images.values(), key=lambda image: image.path)


def _objects(root: Path) -> list[str]:
    return [name for name in list_folder(root)[0] if is_folder(root / name / "Data" / "Images")]


def _read_lines(
    root: Path, category: str, findings: Findings
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the number and the fields of the lines of one object, or of no form."""
    rows = read_rows(root, SPLIT_FILE, findings)
    if rows is None:
        return
    lines = [(number, fields) for number, fields in rows if fields]
    if not lines or lines[0][1] != FIELDS:
        found = ",".join(lines[0][1]) if lines else ""
        findings.problem(
            f"{SPLIT_FILE} must begin with '{','.join(FIELDS)}', got {found!r}: get the file anew"
        )
        return
    for number, fields in lines[1:]:
        if fields[0] == category or len(fields) != len(FIELDS):
            yield number, fields


def _parse(fields: Sequence[str]) -> RawImage | None:
    """Return a line's image; None where a path leads elsewhere or the fields contradict."""
    if len(fields) != len(FIELDS):
        return None
    category, split, label, image, mask = fields
    if label not in FOLDERS or not _is_in(image, f"{category}/{FOLDERS[label]}/"):
        return None
    if label == "normal":
        return RawImage(image, NORMAL_CLASS, split) if split in ("train", "test") else None
    is_whole = split == "test" and _is_in(mask, f"{category}/{MASKS}/")
    return RawImage(image, DEFECT, split, mask) if is_whole else None


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(folder) and NAME.fullmatch(path.removeprefix(folder)) is not None


def _warn_of_others(
    root: Path, category: str, images: Mapping[str, RawImage], findings: Findings
) -> None:
    folder = f"{category}/Data/Images"
    others = [path for path in list_images(root / folder) if f"{folder}/{path}" not in images]
    if others:
        findings.warning(
            f"{len(others)} images of {folder} are not in {SPLIT_FILE} and not read, such as "
            f"{others[0]}"
        )
