"""SDD: the surfaces of electrical commutators, KolektorSDD."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import list_folder
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import Archive, PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import marked_pixels, probe_size
from osadbench.errors import DataError
from osadbench.images import Region
from osadbench.types import NORMAL_CLASS, UInt8Array

__all__ = ["Sdd"]

ITEM = re.compile(r"kos\d\d")
PART = re.compile(r"(Part\d+)\.jpg", re.IGNORECASE)
#: Bands that an image is cut into, one below the other.
BANDS = 3


class Sdd(RawDataset):
    """Commutators, cut into bands, as DRA and DevNet use them.

    Each image gives three bands along its long side. A band is anomalous if its mask marks a pixel;
    the clean bands of a defective image are normal. The papers print 594 normal images to train on,
    which no split of this release gives; their 286 and 54 to test on are those found here.
    """

    name: ClassVar[str] = "sdd"
    title: ClassVar[str] = "SDD: Kolektor surface-defect dataset (KolektorSDD)"
    task: ClassVar[str] = "cracks in the plastic of commutators, about 500x417 pixels, grey"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    citation: ClassVar[str] = (
        "Tabernik et al., Segmentation-based deep-learning approach for surface-defect detection, "
        "Journal of Intelligent Manufacturing 2020"
    )
    source: ClassVar[str] = "https://www.vicos.si/resources/kolektorsdd/"
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "mvtec"
    layout: ClassVar[str] = "kosNN/PartM.jpg and kosNN/PartM_label.bmp"
    download: ClassVar[str] = (
        "get KolektorSDD.zip, with fine annotations, from "
        "https://www.vicos.si/resources/kolektorsdd/ and unpack it"
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://data.vicos.si/datasets/KSDD/KolektorSDD.zip",
            "65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc",
        ),
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 857, "test/good": 286, "test/defect": 54}
    }
    counts_are_known: ClassVar[bool] = False
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(594, 286, 54)}
    has_masks: ClassVar[bool] = True
    mask_threshold: ClassVar[int] = 0
    group: ClassVar[str] = "commutator"

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the items; see :meth:`RawDataset.find_raw`."""
        fine = find_below(base, lambda place: bool(_items(place)) and not _holds_boxes(place))
        if fine is None:
            self._refuse_other_releases(base)
        return fine

    def _refuse_other_releases(self, base: Path) -> None:
        boxes = find_below(base, lambda place: bool(_items(place)))
        if boxes is not None:
            raise DataError(
                f"{boxes} is the release of KolektorSDD whose masks are boxes: {self.download}"
            )
        second = find_below(base, _is_second)
        if second is not None:
            raise DataError(f"{second} is KolektorSDD2, another dataset: {self.download}")

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the bands, sorted; see :meth:`RawDataset.raw_images`."""
        images: list[RawImage] = []
        boxes: list[bool] = []
        for item, image, label in _parts(self.root):
            size = probe_size(self.root, image, findings)
            if size is None:
                continue
            threshold = self.mask_threshold
            marked = marked_pixels(self.root, label, size, threshold, findings)
            if marked is None:
                continue
            if marked.any():
                boxes.append(_is_box(marked))
            images += _bands(item, image, label, marked)
        if len(boxes) > 1 and sum(boxes) > len(boxes) / 2:
            findings.problem(f"the masks are boxes, so it is another release: {self.download}")
        return sorted(images, key=lambda image: image.path)


def _items(folder: Path) -> list[str]:
    return [name for name in list_folder(folder)[0] if ITEM.fullmatch(name)]


def _holds_boxes(folder: Path) -> bool:
    return "boxes" in folder.resolve().name.lower()


def _is_second(folder: Path) -> bool:
    names = [name for part in ("train", "test") for name in list_folder(folder / part)[1]]
    return any(name.endswith("_GT.png") for name in names)


def _parts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield item, image and label of each image."""
    for item in _items(root):
        for name in list_folder(root / item)[1]:
            match = PART.fullmatch(name)
            if match is not None:
                yield item, f"{item}/{name}", f"{item}/{match[1]}_label.bmp"


def _bands(item: str, image: str, label: str, marked: UInt8Array) -> Iterator[RawImage]:
    """Yield the bands of an image; they differ by a row where its height is no multiple of 3."""
    height, width = marked.shape
    edges = [height * band // BANDS for band in range(BANDS + 1)]
    for top, bottom in zip(edges, edges[1:], strict=False):
        region = Region(0, top, width, bottom - top)
        if region.cut(marked).any():
            yield RawImage(region.of(image), "defect", mask=region.of(label), group=item)
        else:
            yield RawImage(region.of(image), NORMAL_CLASS, group=item)


def _is_box(marked: UInt8Array) -> bool:
    """Tell whether a mask marks a filled rectangle of more than one row and column."""
    rows, columns = marked.any(axis=1).sum(), marked.any(axis=0).sum()
    return bool(rows > 1 and columns > 1 and marked.sum() == rows * columns)
