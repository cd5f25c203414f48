"""MVTec AD: fifteen kinds of textures and objects, in the layout that bears its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_category, is_folder, list_folder
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.errors import DataError

__all__ = ["Mvtec"]

#: What only other releases of MVTec have in a category's folder.
OTHER_RELEASES = {
    "MVTec LOCO AD": "test/logical_anomalies",
    "MVTec 3D-AD": "train/good/rgb",
    "MVTec AD 2": "test_public",
}


def _category(train: int, test: int, **anomalies: int) -> dict[str, int]:
    """Return one category's numbers of images by ``split/class``."""
    classes = {f"test/{name}": count for name, count in anomalies.items()}
    return {"train/good": train, "test/good": test, **classes}


#: Normals as the papers print them; the classes add up to the papers' numbers of anomalies.
COUNTS = {
    "bottle": _category(209, 20, broken_large=20, broken_small=22, contamination=21),
    "cable": _category(
        224,
        58,
        bent_wire=13,
        cable_swap=12,
        combined=11,
        cut_inner_insulation=14,
        cut_outer_insulation=10,
        missing_cable=12,
        missing_wire=10,
        poke_insulation=10,
    ),
    "capsule": _category(219, 23, crack=23, faulty_imprint=22, poke=21, scratch=23, squeeze=20),
    "carpet": _category(280, 28, color=19, cut=17, hole=17, metal_contamination=17, thread=19),
    "grid": _category(264, 21, bent=12, broken=12, glue=11, metal_contamination=11, thread=11),
    "hazelnut": _category(391, 40, crack=18, cut=17, hole=18, print=17),
    "leather": _category(245, 32, color=19, cut=19, fold=17, glue=19, poke=18),
    "metal_nut": _category(220, 22, bent=25, color=22, flip=23, scratch=23),
    "pill": _category(
        267,
        26,
        color=25,
        combined=17,
        contamination=21,
        crack=26,
        faulty_imprint=19,
        pill_type=9,
        scratch=24,
    ),
    "screw": _category(
        320,
        41,
        manipulated_front=24,
        scratch_head=24,
        scratch_neck=25,
        thread_side=23,
        thread_top=23,
    ),
    "tile": _category(230, 33, crack=17, glue_strip=18, gray_stroke=16, oil=18, rough=15),
    "toothbrush": _category(60, 12, defective=30),
    "transistor": _category(213, 60, bent_lead=10, cut_lead=10, damaged_case=10, misplaced=10),
    "wood": _category(247, 19, color=8, combined=11, hole=10, liquid=10, scratch=21),
    "zipper": _category(
        240,
        32,
        broken_teeth=19,
        combined=16,
        fabric_border=17,
        fabric_interior=16,
        rough=17,
        split_teeth=18,
        squeezed_teeth=16,
    ),
}


def _as_printed(counts: Mapping[str, int]) -> PaperCounts:
    train, test = counts["train/good"], counts["test/good"]
    return PaperCounts(train, test, sum(counts.values()) - train - test)


class Mvtec(RawDataset):
    """MVTec AD with its own split, as all three papers use it.

    The papers' hard setting takes each class of carpet and of metal_nut as the known class.
    """

    name: ClassVar[str] = "mvtec"
    title: ClassVar[str] = "MVTec AD: fifteen kinds of textures and objects"
    task: ClassVar[str] = "73 classes of defects on 5 textures and 10 objects, 700 to 1024 pixels"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    citation: ClassVar[str] = (
        "Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly "
        "Detection, CVPR 2019"
    )
    source: ClassVar[str] = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
    paper_image_size: ClassVar[int] = 448
    default_outliers: ClassVar[str | None] = "mvtec"
    layout: ClassVar[str] = "one folder for each category, such as carpet/train/good"
    download: ClassVar[str] = (
        "get mvtec_anomaly_detection.tar.xz from "
        "https://www.mvtec.com/company/research/datasets/mvtec-ad and unpack it"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = COUNTS
    counts_are_known: ClassVar[bool] = False
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {
        name: _as_printed(counts) for name, counts in COUNTS.items()
    }
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "carpet": ("color", "cut", "hole", "metal_contamination", "thread"),
        "metal_nut": ("bent", "color", "flip", "scratch"),
    }
    aliases: ClassVar[Mapping[str, str]] = {"metal": "metal_contamination"}
    has_masks: ClassVar[bool] = True

    def find_raw(self, base: Path) -> Path | None:
        """Return None: the download has the layout of MVTec AD; see :meth:`RawDataset.find_raw`.

        Raises:
            DataError: It is one category, or another dataset of MVTec.
        """
        if is_category(base):
            raise DataError(
                f"{base} is one category, but mvtec needs the folder of the categories: give "
                f"{base.absolute().parent} and name mvtec/{base.absolute().name}"
            )
        for name in list_folder(base)[0]:
            for release, mark in OTHER_RELEASES.items():
                if is_folder(base / name / mark):
                    raise DataError(
                        f"{base} is {release}, for there is {name}/{mark}, but mvtec is the MVTec "
                        f"AD of 2019: {self.download}"
                    )
        return None

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Refuse: there is no raw form beside the layout; see :meth:`RawDataset.raw_images`."""
        raise DataError(f"mvtec has no other form than {self.layout}: {self.download}")
