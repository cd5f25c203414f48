"""Mastcam: the surface of Mars in six bands, typical and novel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, cast

from osadbench.datasets.findings import Findings
from osadbench.datasets.images import ImageSet
from osadbench.datasets.listing import is_folder, list_folder
from osadbench.datasets.mastcam_crops import NOTEBOOK_ORDER, ReorderedCrops, crop_fault
from osadbench.datasets.nested import find_below, unnest
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.reading import Reading
from osadbench.errors import DataError, first_of
from osadbench.images import file_digest
from osadbench.params import Params as BaseParams
from osadbench.params import digest
from osadbench.types import NORMAL_CLASS, ImageRecord

__all__ = ["Mastcam"]

TRAIN, TEST, NOVEL = "train_typical", "test_typical", "test_novel"
#: Typical crops that the papers use neither to train nor to test.
VALIDATION = "validation_typical"
#: A folder of test_novel that is no class, but all of them.
ALL = "all"
#: What the official loader's rules leave of the typical crops.
FILTERED = {"train/good": 9124, "test/good": 420}
#: Crops in several classes that one warning names.
SHOWN = 20


class MastcamParams(BaseParams):
    """How the crops are read.

    Attributes:
        bands: Which of the shorter wavelengths are red, green and blue: ``"012"``, the first three
            as they come, as DRA's public code takes them, or ``"201"``, as the official notebook
            shows them.
        official_filter: Whether to leave out what the official loader does: two sequences, crops
            of other shapes than 64x64x6, and crops with a dark stripe at an edge. The papers don't.
    """

    bands: Literal["012", "201"] = "012"
    official_filter: bool = False


class Mastcam(RawDataset):
    """Typical and novel crops of Mars with their own split, as DRA and DevNet use them.

    Only the shorter wavelengths are read. Some crops stand in the folders of two classes; the
    papers keep all of them, so copies are a warning here. No source says how many images
    ``edge-cases``, ``other`` and ``scuff`` have, and the other classes were counted after the
    official loader's filter, which leaves some out: those numbers are the least that a complete
    download has, and of all anomalies it has the papers' 451.
    """

    name: ClassVar[str] = "mastcam"
    title: ClassVar[str] = "Mastcam: novel geology on Mars"
    task: ClassVar[str] = "11 kinds of novel geology seen by the Curiosity rover, 64x64 pixels"
    licence: ClassVar[str] = "that of its Zenodo record, CC BY 4.0 as far as we know: look there"
    citation: ClassVar[str] = (
        "Kerner et al., Novelty Detection for Multispectral Images with Application to Planetary "
        "Exploration, IAAI 2019"
    )
    source: ClassVar[str] = "https://doi.org/10.5281/zenodo.1486195"
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "mvtec"
    default_on_duplicate: ClassVar[str] = "warn"
    Params: ClassVar[type[BaseParams]] = MastcamParams
    layout: ClassVar[str] = f"{TRAIN}, {TEST} and {NOVEL}/bedrock and the like, with .npy files"
    download: ClassVar[str] = (
        f"get {TRAIN}.zip, {TEST}.zip and {NOVEL}.zip from https://zenodo.org/record/3732485 and "
        "unpack them side by side"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 9302, "test/good": 426, "test/*": 451}
    }
    fewest: ClassVar[Mapping[str, Mapping[str, int | None]]] = {
        "": {
            "bedrock": 11,
            "broken-rock": 76,
            "drill-hole": 62,
            "drt": 111,
            "dump-pile": 93,
            "edge-cases": None,
            "float": 18,
            "meteorite": 34,
            "other": None,
            "scuff": None,
            "veins": 30,
        }
    }
    counts_are_known: ClassVar[bool] = False
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(9302, 426, 451)}
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "": (
            "bedrock",
            "broken-rock",
            "drill-hole",
            "drt",
            "dump-pile",
            "float",
            "meteorite",
            "scuff",
            "veins",
        )
    }

    @property
    def _crop_params(self) -> MastcamParams:
        return cast(MastcamParams, self.params)

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the unpacked archives; see :meth:`RawDataset.find_raw`."""
        return find_below(
            base, lambda place: any(is_folder(place / name) for name in (TRAIN, TEST, NOVEL))
        )

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the crops, typical ones first; see :meth:`RawDataset.raw_images`."""
        images = [*self._typical(TRAIN, "train", findings), *self._typical(TEST, "test", findings)]
        unused = unnest(self.root, VALIDATION)
        for file in list_folder(self.root / unused)[1]:
            findings.omit(f"{unused}/{file}", f"the papers do not use {VALIDATION}")
        novel = list(self._novel(findings))
        if not novel:
            findings.problem(_packed_problem(NOVEL))
        _warn_of_two_classes(self.root, novel, findings)
        return images + novel

    def _typical(self, name: str, split: str, findings: Findings) -> list[RawImage]:
        paths = self._crops(unnest(self.root, name), findings)
        if not paths:
            findings.problem(_packed_problem(name))
        return [RawImage(path, NORMAL_CLASS, split) for path in paths]

    def _novel(self, findings: Findings) -> Iterator[RawImage]:
        top = unnest(self.root, NOVEL)
        for name in list_folder(self.root / top)[0]:
            folder = f"{top}/{name}"
            if name.lower() == ALL:
                for file in list_folder(self.root / folder)[1]:
                    findings.omit(f"{folder}/{file}", "all/ repeats the classes' own folders")
                continue
            class_name = name.lower().replace("_", "-").replace(" ", "-")
            yield from (RawImage(path, class_name) for path in self._crops(folder, findings))

    def _crops(self, folder: str, findings: Findings) -> list[str]:
        """Return the arrays of a folder that can serve, sorted."""
        kept = []
        others = []
        for name in list_folder(self.root / folder)[1]:
            path = f"{folder}/{name}"
            if PurePosixPath(name).suffix.lower() != ".npy":
                others.append(path)
                continue
            fault = crop_fault(self.root / path, official=self._crop_params.official_filter)
            if fault is None:
                kept.append(path)
            else:
                findings.exclude(path, fault)
        if others:
            findings.warning(
                f"{len(others)} files of {folder} are no arrays and not read, such as {others[0]}"
            )
        return kept

    def _read(self, category: str, findings: Findings) -> Reading:
        if self._crop_params.official_filter and not self.is_raw:
            findings.problem(
                "official_filter needs the arrays of the download, not the layout of MVTec AD: "
                f"drop it, or {self.download}"
            )
        reading = super()._read(category, findings)
        manifest = reading.manifest
        if ALL in manifest.anomaly_classes:
            findings.problem(
                f"test/{ALL} repeats the crops of the other classes, as public scripts make it: "
                "remove this folder"
            )
        bands = self._crop_params.bands
        if bands == MastcamParams().bands:
            return reading
        # Other pixels of the same files: whatever is kept by content has to tell them apart.
        records = tuple(replace(r, sha256=digest([r.sha256, bands])) for r in manifest.records)
        return replace(reading, manifest=replace(manifest, records=records))

    def image_set(self, paths: Sequence[str], identities: Sequence[str]) -> ImageSet:
        """Return crops in the order of bands that was asked for; see :meth:`Dataset.image_set`."""
        if self._crop_params.bands == MastcamParams().bands:
            return super().image_set(paths, identities)
        return ReorderedCrops(self.root, paths, identities, self.cache, NOTEBOOK_ORDER)

    def _check_counts(
        self, records: Sequence[ImageRecord], category: str, findings: Findings
    ) -> None:
        if self._crop_params.official_filter:
            # How many anomalies it leaves in all classes together is not known.
            self._compare([record for record in records if not record.label], FILTERED, findings)
        else:
            super()._check_counts(records, category, findings)


def _packed_problem(name: str) -> str:
    return (
        f"{name} holds no usable .npy file: unpack {name}.zip of https://zenodo.org/record/3732485"
    )


def _warn_of_two_classes(root: Path, images: Sequence[RawImage], findings: Findings) -> None:
    """Name the crops that stand in the folders of several classes."""
    copies: defaultdict[str, list[RawImage]] = defaultdict(list)
    for image in images:
        # What cannot be read is reported with the others.
        with suppress(DataError):
            copies[file_digest(root / image.path)].append(image)
    doubtful = []
    for group in copies.values():
        classes = sorted({image.class_name for image in group})
        if len(classes) > 1:
            doubtful.append(f"{PurePosixPath(group[0].path).name} ({' and '.join(classes)})")
    if doubtful:
        findings.warning(
            f"{len(doubtful)} crops stand in the folders of several classes: "
            f"{first_of(doubtful, SHOWN)}"
        )
