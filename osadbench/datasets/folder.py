"""Any folder of images in the layout of MVTec AD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.base import Dataset
from osadbench.datasets.duplicates import resolve_duplicates
from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import (
    CategoryListing,
    is_category,
    list_categories,
    list_category,
    list_folder,
)
from osadbench.datasets.manifest_cache import save_reading
from osadbench.datasets.masks import pair_masks
from osadbench.datasets.reading import ImageFacts, Reading, read_images, warn_of_shortcuts
from osadbench.errors import DataError
from osadbench.types import NORMAL_CLASS, ImageRecord, Manifest

__all__ = ["Folder"]


class Folder(Dataset):
    """Images of your own, or MVTec AD itself, as ``ROOT/CATEGORY/{train,test,ground_truth}``.

    ``train/good`` holds the normal training images, ``test/good`` the normal test images,
    ``test/<class>`` the anomalies of a class, ``ground_truth/<class>/<stem>_mask.png`` their masks,
    which may be absent. ``ROOT`` may also be one category itself.
    """

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "Images in the layout of MVTec AD"
    task: ClassVar[str] = "whatever the folder holds: good images, and classes of anomalies"
    licence: ClassVar[str] = "that of the images in the folder"
    citation: ClassVar[str] = (
        "layout: Bergmann et al., MVTec AD: A Comprehensive Real-World Dataset for Unsupervised "
        "Anomaly Detection, CVPR 2019"
    )
    source: ClassVar[str] = "a folder on this machine, given by --data-root"
    paper_image_size: ClassVar[int] = 448

    def categories(self) -> list[str]:
        """Return the subfolders that have a ``train`` or ``test`` folder, or ``[""]``."""
        return _find_categories(self.root)

    def manifest(self, category: str = "") -> Manifest:
        """Return one category's images; see :meth:`Dataset.manifest`."""
        self.check_category(category)
        return self._cached(
            category, self._fingerprint(category), lambda findings: self._read(category, findings)
        )

    def read(self, category: str, findings: Findings) -> Reading:
        """Read one category from its files, whatever the cache holds.

        Args:
            category: Name of the category.
            findings: Takes problems and warnings. With problems, the reading is incomplete.
        """
        self.check_category(category)
        return self._read(category, findings)

    def store(self, reading: Reading) -> None:
        """Keep what :meth:`read` gave, without problems, for :meth:`manifest` to find.

        Raises:
            CacheError: The cache cannot be written.
        """
        category = reading.manifest.category
        stored = self._stored_at(category, self._fingerprint(category))
        if stored is not None:
            save_reading(stored, reading)

    def _fingerprint(self, category: str) -> str:
        """Return a digest that changes with the files of a category."""
        return list_category(self.root / category).fingerprint

    def _read(self, category: str, findings: Findings) -> Reading:
        if self.options.split == "group":
            findings.problem(
                "split=group is for a download that is split here, but the folders train and test "
                "are a split already: drop split=group"
            )
        return self._read_layout(category, findings)

    def _read_layout(self, category: str, findings: Findings) -> Reading:
        """Read one category whose split is that of its folders."""
        listing = list_category(self.root / category)
        _check_layout(listing, findings)
        paths = [p for name in _class_folders(listing) for p in listing.images[name]]
        facts = read_images(listing.folder, paths, findings)
        masks = pair_masks(listing, facts, findings)
        records = [_record(path, fact, masks.get(path)) for path, fact in facts.items()]
        records = resolve_duplicates(records, self.options.on_duplicate, findings)
        warn_of_shortcuts(records, facts, findings)
        _check_sides(listing, records, findings)
        return _reading(self.name, category, records, facts, findings)


def _find_categories(root: Path) -> list[str]:
    found = list_categories(root)
    if not found:
        raise DataError(
            f"{root} holds no category (a folder with train/good and test): {_hint(root)}"
        )
    return found


def _hint(root: Path) -> str:
    subfolders = list_folder(root)[0]
    for name in subfolders:
        below = list_categories(root / name)
        if below:
            return f"one level down, {root / name} holds {', '.join(below)}; give that folder"
    for above in root.absolute().parents[:2]:
        if is_category(above):
            return f"it is a part of the category {above}; give that folder, or the one above"
    return f"it holds {', '.join(subfolders) or 'no folders'}; give the folder of the categories"


def _class_folders(listing: CategoryListing) -> list[str]:
    tests = [f"test/{name}" for name in listing.classes("test")]
    return [name for name in (f"train/{NORMAL_CLASS}", *tests) if name in listing.images]


def _check_layout(listing: CategoryListing, findings: Findings) -> None:
    for class_name in listing.classes("train"):
        if class_name != NORMAL_CLASS:
            findings.problem(
                f"train/{class_name}: train may hold the class {NORMAL_CLASS} only; move the "
                f"anomalies to test/{class_name}"
            )
    for class_name in listing.classes("test"):
        if class_name != NORMAL_CLASS and not listing.images[f"test/{class_name}"]:
            findings.warning(f"test/{class_name} holds no image")
    if listing.others:
        findings.warning(
            f"{len(listing.others)} files or folders are not read, such as {listing.others[0]}"
        )


def _check_sides(listing: CategoryListing, records: list[ImageRecord], findings: Findings) -> None:
    for split in ("train", "test"):
        name = f"{split}/{NORMAL_CLASS}"
        if not any(record.split == split and not record.label for record in records):
            state = "holds no usable image" if name in listing.images else "is missing"
            findings.problem(f"{name} {state}: put normal images there")
    if not any(record.label for record in records):
        findings.problem(
            "test holds no anomaly: AUROC needs some; put them at test/<class>, one folder a class"
        )


def _record(path: str, fact: ImageFacts, mask: str | None) -> ImageRecord:
    split, class_name, _ = path.split("/", 2)
    label = int(class_name != NORMAL_CLASS)
    return ImageRecord(path, label, class_name, split, fact.sha256, mask)


def _reading(
    dataset: str,
    category: str,
    records: list[ImageRecord],
    facts: dict[str, ImageFacts],
    findings: Findings,
) -> Reading:
    """Return what was read, its paths no longer below the category's folder but the dataset's."""
    prefix = f"{category}/" if category else ""
    moved = [
        replace(r, path=prefix + r.path, mask=prefix + r.mask if r.mask else None) for r in records
    ]
    moved.sort(key=lambda record: record.path)
    classes = tuple(sorted({record.class_name for record in moved if record.label}))
    manifest = Manifest(dataset, category, tuple(moved), classes)
    return Reading(
        manifest, tuple(findings.warnings), {prefix + path: fact for path, fact in facts.items()}
    )
