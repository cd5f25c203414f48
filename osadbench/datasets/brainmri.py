"""BrainMRI: slices of magnetic resonance images of heads, with and without a tumour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_folder, list_folder, list_images
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import images_in
from osadbench.types import NORMAL_CLASS

__all__ = ["BrainMri"]

#: Classes by folder.
FOLDERS = {"no": NORMAL_CLASS, "yes": "defect"}
SECOND = "the archive holds all of its images a second time, one level below"


class BrainMri(RawDataset):
    """Brains, those with a tumour anomalous, as DRA and DevNet use them.

    Several images stand there two or three times, and the papers' split puts copies of training
    images into the test set; ``on_duplicate=drop`` takes them out, and then no published number is
    comparable.
    """

    name: ClassVar[str] = "brainmri"
    title: ClassVar[str] = "Brain MRI images for brain tumor detection"
    task: ClassVar[str] = "tumours in slices of brains, sizes differ, mostly grey"
    licence: ClassVar[str] = "unclear, see its page on Kaggle; not to be passed on"
    citation: ClassVar[str] = "Chakrabarty, Brain MRI Images for Brain Tumor Detection, Kaggle"
    source: ClassVar[str] = (
        "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
    )
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "lag"
    default_on_duplicate: ClassVar[str] = "warn"
    layout: ClassVar[str] = "the folders no and yes with images"
    download: ClassVar[str] = (
        "get https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection "
        "and unpack it"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 73, "test/good": 25, "test/defect": 155}
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(73, 25, 155)}

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder with ``no`` and ``yes``; see :meth:`RawDataset.find_raw`."""
        # The archive holds both twice, beside each other and again one level below.
        return find_below(base, _holds_both)

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the slices, sorted; see :meth:`RawDataset.raw_images`."""
        for name in filter(lambda name: _holds_both(self.root / name), list_folder(self.root)[0]):
            for path in list_images(self.root / name):
                findings.omit(f"{name}/{path}", SECOND)
        return [
            RawImage(path, class_name)
            for folder, class_name in FOLDERS.items()
            for path in images_in(self.root, folder, findings)
        ]


def _holds_both(folder: Path) -> bool:
    return all(is_folder(folder / name) for name in FOLDERS)
