"""AITEX: woven fabrics, long strips that are cut into square patches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, cast

import pydantic

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder, list_images
from osadbench.datasets.nested import find_below, unnest
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import marked_pixels, probe_size
from osadbench.errors import DataError
from osadbench.images import Region, cut_region, decode, split_region
from osadbench.params import Params as BaseParams
from osadbench.types import ImageRecord

__all__ = ["Aitex", "AitexParams"]

#: Side of a patch in pixels, which is also the height of a strip.
PATCH = 256
NORMALS, DEFECTS, MASKS = FOLDERS = ("NODefect_images", "Defect_images", "Mask_images")
#: The classes by the code in the middle of a strip's name, as the public conversion names them.
CLASSES = {
    "002": "Broken_end",
    "006": "Broken_yarn",
    "010": "Broken_pick",
    "016": "Weft_curling",
    "019": "Fuzzyball",
    "022": "Cut_selvage",
    "023": "Crease",
    "025": "Warp_ball",
    "027": "Knots",
    "029": "Contamination",
    "030": "Nep",
    "036": "Weft_crack",
}
STRIP = re.compile(r"\d+_(\d{3})_\d+")
MASK = re.compile(r"(\d+_\d+_\d+)_mask\d*")
CLEAN = "it shows no defect, but its strip does; the public conversion takes no normals from those"


class AitexParams(BaseParams):
    """How the strips are labelled.

    Attributes:
        mask_above: A patch is anomalous if its mask has a pixel above it, 0 to 254: 0 as in the
            public conversion, 127 for copies whose masks have grey edges.
        drop_blank: Whether patches of one single colour, which are padding, are left out. The
            papers keep them.
    """

    mask_above: int = pydantic.Field(default=0, ge=0, le=254)
    drop_blank: bool = False


class Aitex(RawDataset):
    """Patches of fabric, anomalous ones by the defect of their strip, as DRA and DevNet use them.

    Each strip of 4096x256 pixels gives 16 patches. Those of defect-free strips are normal; those of
    defective strips are anomalous where the mask says so, and else left out. Patches of one strip
    are neighbours, and the papers' split does not keep them together.
    """

    name: ClassVar[str] = "aitex"
    title: ClassVar[str] = "AITEX fabric image database (AFID)"
    task: ClassVar[str] = "weaving faults in fabrics, patches of 256x256 pixels, grey"
    licence: ClassVar[str] = "none stated: for research only, not to be passed on"
    citation: ClassVar[str] = (
        "Silvestre-Blanes et al., A Public Fabric Database for Defect Detection Methods and "
        "Results, AUTEX Research Journal 2019"
    )
    source: ClassVar[str] = "https://www.aitex.es/afid"
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "mvtec"
    # Blank patches are equal to one another.
    default_on_duplicate: ClassVar[str] = "warn"
    layout: ClassVar[str] = (
        "NODefect_images/ROLL/NNNN_000_FF.png, Defect_images/NNNN_DDD_FF.png and "
        "Mask_images/NNNN_DDD_FF_mask.png"
    )
    download: ClassVar[str] = (
        "get NODefect_images.7z, Defect_images.7z and Mask_images.7z from "
        "https://www.aitex.es/afid (on Kaggle: "
        "https://www.kaggle.com/datasets/nexuswho/aitex-fabric-image-database) and unpack them "
        "into one folder"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 1692, "test/good": 564, "test/*": 183}
    }
    #: How many patches each class has was never published.
    fewest: ClassVar[Mapping[str, Mapping[str, int | None]]] = {"": dict.fromkeys(CLASSES.values())}
    counts_are_known: ClassVar[bool] = False
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(1692, 564, 183)}
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "": ("Broken_end", "Broken_pick", "Cut_selvage", "Fuzzyball", "Nep", "Weft_crack")
    }
    has_masks: ClassVar[bool] = True
    group: ClassVar[str] = "strip"
    Params: ClassVar[type[BaseParams]] = AitexParams

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the three archives; see :meth:`RawDataset.find_raw`."""
        return find_below(base, lambda place: any(is_folder(place / name) for name in FOLDERS))

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the patches, sorted; see :meth:`RawDataset.raw_images`."""
        for name in FOLDERS:
            if not is_folder(self.root / name):
                findings.problem(f"there is no folder {name}: {self.download}")
        images = [*self._normal_patches(findings), *self._defective_patches(findings)]
        if cast(AitexParams, self.params).drop_blank:
            images = _drop_blank(self.root, images, findings)
        return sorted(images, key=lambda image: image.path)

    def _strips(self, name: str) -> list[str]:
        folder = unnest(self.root, name)
        return [f"{folder}/{path}" for path in list_images(self.root / folder)]

    def _normal_patches(self, findings: Findings) -> Iterator[RawImage]:
        # Not every normal strip has the code 000, so that the folder decides.
        for strip in self._strips(NORMALS):
            size = probe_size(self.root, strip, findings)
            for region in _cut(strip, size, findings):
                yield RawImage(region.of(strip), group=strip)

    def _defective_patches(self, findings: Findings) -> Iterator[RawImage]:
        masks = _by_strip(self._strips(MASKS))
        for strip in self._strips(DEFECTS):
            stem = PurePosixPath(strip).stem
            match = STRIP.fullmatch(stem)
            if match is None or match[1] not in CLASSES:
                findings.exclude(strip, "its name holds no known code of a defect")
            elif stem not in masks:
                findings.exclude(strip, "it has no mask, so that its patches have no label")
            else:
                yield from self._label(strip, CLASSES[match[1]], masks[stem], findings)

    def _label(
        self, strip: str, class_name: str, masks: Sequence[str], findings: Findings
    ) -> Iterator[RawImage]:
        """Yield the patches of a strip that its masks mark."""
        size = probe_size(self.root, strip, findings)
        if size is None:
            return
        threshold = cast(AitexParams, self.params).mask_above
        marked = marked_pixels(self.root, "|".join(masks), size, threshold, findings)
        if marked is None:
            return
        if not marked.any():
            findings.exclude(strip, "its mask is black, so that its patches have no label")
            return
        for region in _cut(strip, size, findings):
            if region.cut(marked).any():
                mask = "|".join(map(region.of, masks))
                yield RawImage(region.of(strip), class_name, mask=mask, group=strip)
            else:
                findings.omit(region.of(strip), CLEAN)

    def _check_counts(
        self, records: Sequence[ImageRecord], category: str, findings: Findings
    ) -> None:
        if not cast(AitexParams, self.params).drop_blank:
            super()._check_counts(records, category, findings)


def _cut(strip: str, size: tuple[int, int] | None, findings: Findings) -> list[Region]:
    """Return the patches of a strip; none of one without a size, which is a problem elsewhere."""
    if size is None:
        return []
    width, height = size
    if height != PATCH:
        text = f"{strip} is {width}x{height}: a strip is {PATCH} pixels high"
        findings.problem(f"{text}; get the dataset anew")
        return []
    full = width - width % PATCH
    if full < width:
        rest = Region(full, 0, width - full, PATCH)
        findings.exclude(rest.of(strip), f"it is narrower than {PATCH} pixels")
    return [Region(left, 0, PATCH, PATCH) for left in range(0, full, PATCH)]


def _by_strip(masks: Sequence[str]) -> dict[str, list[str]]:
    """Return the masks by the stem of their strip; some strips have two."""
    found: dict[str, list[str]] = {}
    for mask in masks:
        match = MASK.fullmatch(PurePosixPath(mask).stem)
        if match is not None:
            found.setdefault(match[1], []).append(mask)
    return found


def _drop_blank(root: Path, images: Sequence[RawImage], findings: Findings) -> list[RawImage]:
    strips: dict[str | None, list[RawImage]] = {}
    for image in images:
        strips.setdefault(image.group, []).append(image)
    kept = []
    for patches in strips.values():
        try:
            pixels = decode(root / split_region(patches[0].path)[0])
        except DataError:
            kept += patches  # it becomes a problem where all images are read
            continue
        for patch in patches:
            part = cut_region(pixels, patch.path)
            if (part == part[0, 0]).all():
                findings.exclude(patch.path, "it is of one colour")
            else:
                kept.append(patch)
    return kept
