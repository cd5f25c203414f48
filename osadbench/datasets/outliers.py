"""External outliers: images of other data, which some methods learn from as anomalies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from osadbench.datasets import dataset_names, open_component
from osadbench.datasets.base import Dataset
from osadbench.datasets.findings import Findings
from osadbench.datasets.images import ImageSet
from osadbench.datasets.listing import (
    fingerprint,
    is_folder,
    list_categories,
    list_category,
    list_images,
)
from osadbench.datasets.reading import Reading, read_images
from osadbench.errors import DataError, UsageError, did_you_mean
from osadbench.params import digest, parse_component
from osadbench.types import NORMAL_CLASS, ImageRecord, Manifest

__all__ = ["Outliers", "find_outliers"]

#: Most images taken of a source: with features cached, more would cost more than the training
#: images themselves. Those with the smallest content hashes are taken, which is as good as a draw
#: and depends on no seed, name or order. Number and rule are ours.
MOST = 512
#: A batch repeats outliers where there are few, but two is the least to speak of a distribution.
FEWEST = 2


@dataclass(frozen=True)
class Outliers:
    """The external outliers of one target.

    Attributes:
        source: Name of the dataset or folder that they come from.
        dataset: The dataset, or the folder as one.
        paths: POSIX paths, in the order of the content hashes.
        identities: SHA-256 of each image, sorted.
    """

    source: str
    dataset: Dataset = field(compare=False)
    paths: tuple[str, ...]
    identities: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content hashes: the same images under other names are the same."""
        return digest(list(self.identities))

    def __len__(self) -> int:
        return len(self.paths)

    def images(self) -> ImageSet:
        """Return the images, decoded when asked for."""
        return self.dataset.image_set(self.paths, self.identities)


def find_outliers(
    asked: str, target: Dataset, manifest: Manifest, data_root: Path | None
) -> Outliers:
    """Return the external outliers for one target.

    Of a dataset these are the normal training images, as DRA takes those of MVTec AD (appendix
    B.2); where it is the target's own, without the target's category, as section 4.6 asks. Of a
    folder in the layout of MVTec AD they are ``train/good`` of each category but one named as the
    target's; of any other folder, every image at any depth.

    Args:
        asked: A dataset, such as ``"synthetic[seed=1]"`` or ``"folder/carpet"``, or a folder.
        target: The dataset of the split. Asked for by its bare name, it is the source itself.
        manifest: The target's images.
        data_root: Folder of the target's dataset as the user gave it, or None.

    Raises:
        UsageError: There is no such dataset, category or folder.
        DataError: The source is not there, holds an image of the target, or holds too few.
    """
    if asked.partition("[")[0].partition("/")[0] not in dataset_names():
        return _of_folder(asked, target.cache, manifest)
    name, given = parse_component(asked)
    dataset_name, _, category = name.partition("/")
    is_target = dataset_name == target.name
    if is_target and not given:
        source, only = target, category or None
    else:
        root = data_root if is_target else None
        source, only = open_component(name, given, root, cache=target.cache)
    names = source.categories() if only is None else [only]
    names = [name for name in names if not (is_target and name and name == manifest.category)]
    manifests = [source.manifest(name) for name in names]
    records = [record for m in manifests for record in m.select(split="train", label=0)]
    return _chosen(dataset_name, source, records, manifest)


def _of_folder(asked: str, cache: Path | None, manifest: Manifest) -> Outliers:
    folder = Path(asked).expanduser()
    if not is_folder(folder):
        raise UsageError(
            f"--outliers expects a folder of images or a dataset, got {asked!r}: "
            f"{did_you_mean(asked, dataset_names())}"
        )
    source = _ImageFolder(folder, cache=cache)
    records = source.manifest().select()
    if manifest.category:
        records = tuple(record for record in records if record.group != manifest.category)
    return _chosen(folder.resolve().name, source, records, manifest)


def _chosen(
    name: str, source: Dataset, records: Iterable[ImageRecord], target: Manifest
) -> Outliers:
    by_hash = {record.sha256: record.path for record in records}
    for record in target.records:
        if record.sha256 in by_hash:
            raise DataError(
                f"the external outliers of {name} hold an image of {target.name}: "
                f"{by_hash[record.sha256]} is {record.path}; take it away, or name another source "
                "by --outliers"
            )
    if len(by_hash) < FEWEST:
        raise DataError(
            f"expected {FEWEST} or more images of {name} as external outliers for {target.name}, "
            f"got {len(by_hash)}: name another source by --outliers"
        )
    hashes = tuple(sorted(by_hash)[:MOST])
    paths = tuple(by_hash[sha256] for sha256 in hashes)
    return Outliers(name, source, paths, hashes)


class _ImageFolder(Dataset):
    """Any folder of images, as one manifest of normals; the group names the category."""

    name: ClassVar[str] = "outliers"

    def categories(self) -> list[str]:
        return [""]

    def manifest(self, category: str = "") -> Manifest:
        groups = _grouped(self.root)
        return self._cached(
            "", fingerprint(self.root, groups), lambda findings: self._read(groups, findings)
        )

    def _read(self, groups: dict[str, str | None], findings: Findings) -> Reading:
        facts = read_images(self.root, list(groups), findings)
        records = [
            ImageRecord(path, 0, NORMAL_CLASS, "train", fact.sha256, group=groups[path])
            for path, fact in sorted(facts.items())
        ]
        return Reading(Manifest(self.name, "", tuple(records)), tuple(findings.warnings), facts)


def _grouped(root: Path) -> dict[str, str | None]:
    """Return the paths of a folder's images and their categories, None where there are none."""
    categories = list_categories(root)
    if not categories:
        return dict.fromkeys(list_images(root))
    found: dict[str, str | None] = {}
    for category in categories:
        prefix = f"{category}/" if category else ""
        images = list_category(root / category).images.get(f"train/{NORMAL_CLASS}", ())
        found.update({prefix + path: category for path in images})
    return found
