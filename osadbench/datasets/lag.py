"""LAG: photographs of eyes, the external outliers of the medical datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import RawDataset, RawImage
from osadbench.datasets.raw_files import images_in
from osadbench.datasets.reading import ImageFacts
from osadbench.types import NORMAL_CLASS, ImageRecord

__all__ = ["Lag"]

#: What is read: the download's two folders of images, not their attention maps, which have the
#: images' names; or the images alone, as DRA's public code keeps the sources of outliers.
FOLDERS = ("non_glaucoma/image", "suspicious_glaucoma/image", "train/good")


class Lag(RawDataset):
    """Eyes, healthy or with a suspected glaucoma: a source of outliers, not a target.

    DRA takes these images as outliers of BrainMRI, HeadCT and Hyper-Kvasir and does not say which
    of them; here all of them are normal images to train on, of no class and of no expected number.
    """

    name: ClassVar[str] = "lag"
    title: ClassVar[str] = "LAG: large-scale attention-based glaucoma database"
    task: ClassVar[str] = "fundus photographs as external outliers, about 500x500 pixels, colour"
    licence: ClassVar[str] = "for research, on request; not to be passed on"
    citation: ClassVar[str] = (
        "Li et al., Attention Based Glaucoma Detection: A Large-Scale Database and CNN Model, "
        "CVPR 2019"
    )
    source: ClassVar[str] = "https://github.com/smilell/AG-CNN"
    paper_image_size: ClassVar[int] = 448
    layout: ClassVar[str] = "non_glaucoma/image/*.jpg and suspicious_glaucoma/image/*.jpg"
    download: ClassVar[str] = "ask its authors for it as https://github.com/smilell/AG-CNN says"
    #: Copies of several sizes are in circulation.
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    counts_are_known: ClassVar[bool] = False

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the images, or one above; see :meth:`RawDataset.find_raw`."""
        return find_below(base, lambda place: bool(_folders(place)))

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the photographs, sorted; see :meth:`RawDataset.raw_images`."""
        return [
            RawImage(path, split="train")
            for folder in _folders(self.root)
            for path in images_in(self.root, folder, findings)
        ]

    def _records(
        self, images: Sequence[RawImage], facts: Mapping[str, ImageFacts], findings: Findings
    ) -> list[ImageRecord]:
        if not images:
            findings.problem("there is no readable image: get the dataset anew")
        return [
            ImageRecord(image.path, 0, NORMAL_CLASS, "train", facts[image.path].sha256)
            for image in images
        ]


def _folders(base: Path) -> list[str]:
    return [folder for folder in FOLDERS if is_folder(base / folder)]
