"""The base of datasets that are read as their sites give them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from osadbench.datasets.copied import read_copy
from osadbench.datasets.counting import check_counts
from osadbench.datasets.duplicates import resolve_duplicates
from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import (
    fingerprint,
    is_file,
    list_categories,
    tree_fingerprint,
)
from osadbench.datasets.locating import LocatedDataset
from osadbench.datasets.masks import check_mask_files
from osadbench.datasets.packed import packed_text
from osadbench.datasets.prepared import FILE
from osadbench.datasets.raw_image import RawImage
from osadbench.datasets.reading import ImageFacts, Reading, read_images, warn_of_shortcuts
from osadbench.datasets.splitting import count_groups, split_images
from osadbench.params import digest
from osadbench.types import ImageRecord, Manifest

__all__ = ["Archive", "PaperCounts", "RawDataset", "RawImage"]


class PaperCounts(NamedTuple):
    """Numbers of images that the papers print."""

    normal_train: int
    normal_test: int
    anomalies: int


class Archive(NamedTuple):
    """A file that may be downloaded without asking anybody.

    Attributes:
        url: Its address.
        sha256: Hex digest of its bytes.
        folder: Where below the dataset's folder it is unpacked; ``""`` for the folder itself.
    """

    url: str
    sha256: str
    folder: str = ""


class RawDataset(LocatedDataset):
    """A dataset with a raw form of its own, which may also stand in the layout of MVTec AD.

    Nothing is copied: paths name the files of the download, or parts of them. Subclasses declare
    what the dataset is and say, by :meth:`find_raw` and :meth:`raw_images`, how its download is to
    be read.

    Class attributes, beside those of :class:`LocatedDataset`:
        archives: What ``osadbench data fetch`` may download; empty where a licence has to be asked
            for, or no address is stable.
        fewest: By category with a ``test/*``, its anomaly classes with the least number of images
            that the complete download has of them; None where no source gives one.
        counts_are_known: Whether somebody counted the numbers of ``counts``, rather than derived
            them; where not, a difference is told apart from an incomplete download.
        paper_counts: By category, what the papers print, which may differ.
        known: By category, the anomaly classes that the papers take as known class. A category that
            is not there has all of its classes.
        aliases: Other names of anomaly classes, such as the papers' ones.
        has_masks: Whether anomalies have pixel masks.
        mask_threshold: Pixels of a mask above it are anomalous.
        group: What images are parts of, such as ``"strip"``; ``""`` where that is not known.
    """

    archives: ClassVar[tuple[Archive, ...]] = ()
    fewest: ClassVar[Mapping[str, Mapping[str, int | None]]] = {}
    counts_are_known: ClassVar[bool] = True
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {}
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    has_masks: ClassVar[bool] = False
    mask_threshold: ClassVar[int] = 127
    group: ClassVar[str] = ""

    @abstractmethod
    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the images of one category of the download, below :attr:`root`.

        Normals without a split come in the order in which they are split: that of the annotation
        file where the public scripts follow one, else sorted.

        Args:
            category: One of :meth:`raw_categories`.
            findings: Takes problems, warnings and exclusions.
        """

    def raw_categories(self) -> list[str]:
        """Return the categories of the download, sorted; ``[""]`` where there are none."""
        return [""]

    def categories(self) -> list[str]:
        """Return the names of the categories; see :meth:`Dataset.categories`."""
        return self.raw_categories() if self.is_raw else list_categories(self.root)

    @property
    def marked_above(self) -> int:
        """The value above which a pixel of a mask is anomalous, by the form that is here."""
        return self.mask_threshold if self.is_raw else super().marked_above

    def _fingerprint(self, category: str) -> str:
        if self.is_raw:
            return tree_fingerprint(self.root)
        layout = super()._fingerprint(category)
        is_copy = is_file(self.root / FILE)
        return digest([layout, fingerprint(self.root, [FILE])]) if is_copy else layout

    def _read(self, category: str, findings: Findings) -> Reading:
        if self.options.split == "group" and not self.group:
            findings.problem(
                f"split=group keeps images of one group together, but of {self.name} no source "
                "says which those are: drop split=group"
            )
        if self.is_raw:
            reading = self._read_raw(category, findings)
        else:
            reading = self._read_split(category, findings)
        findings.warn_of_exclusions()
        manifest = reading.manifest
        found = manifest.anomaly_classes
        known = tuple(name for name in self.known.get(category, found) if name in found)
        aliases = tuple((alias, name) for alias, name in self.aliases.items() if name in found)
        return replace(
            reading,
            manifest=replace(manifest, known_classes=known, aliases=aliases),
            warnings=tuple(findings.warnings),
            exclusions=tuple(findings.exclusions),
            omissions=tuple(findings.omissions),
        )

    def _read_split(self, category: str, findings: Findings) -> Reading:
        """Read one category in the layout of MVTec AD, with what its conversion has noted."""
        start = len(findings.warnings)
        copy = read_copy(self.root, self.name, category, findings)
        remarks = tuple(findings.warnings[start:])
        split = "paper" if copy is None else copy.options["split"]
        if self.group and self.options.split == "group" != split:
            findings.problem(
                "split=group needs the download, but train and test of this folder are split "
                "already: read the download, or convert it by data prepare --split group"
            )
        reading = self._read_layout(category, findings)
        records = reading.manifest.records
        if copy is not None:
            records = copy.grouped(records)
            self._warn_of_torn_groups(records, findings, split)
            copy.compare(self.root, reading.facts, findings, strict=self.options.strict_counts)
        if copy is None or copy.has_all:
            self._check_counts(records, category, findings)
        manifest = replace(reading.manifest, records=records)
        return replace(reading, manifest=manifest, remarks=remarks)

    def _read_raw(self, category: str, findings: Findings) -> Reading:
        start, n_problems = len(findings.warnings), len(findings.problems)
        images = self.raw_images(category, findings)
        remarks = tuple(findings.warnings[start:])
        facts = read_images(self.root, [image.path for image in images], findings)
        usable = [image for image in images if image.path in facts]
        threshold = self.mask_threshold
        check_mask_files(self.root, usable, facts, findings, threshold=threshold)
        on_duplicate = self.options.on_duplicate
        if on_duplicate == "drop":
            # Before the split, which the papers' scripts would make of what is left.
            whole = [
                image.record(image.split or "train", facts[image.path].sha256) for image in usable
            ]
            kept = {record.path for record in resolve_duplicates(whole, "drop", findings)}
            usable = [image for image in usable if image.path in kept]
        records = self._records(usable, facts, findings)
        records = resolve_duplicates(records, on_duplicate, findings)
        warn_of_shortcuts(records, facts, findings)
        self._warn_of_torn_groups(records, findings, self.options.split)
        n_warnings = len(findings.warnings)
        self._check_counts(records, category, findings)
        is_faulty = len(findings.problems) > n_problems
        if is_faulty or len(findings.warnings) > n_warnings:
            packed = packed_text(self.root, unopened=not is_faulty)
            report = findings.problem if is_faulty else findings.warning
            if packed is not None:
                report(packed)
        records.sort(key=lambda record: record.path)
        manifest = Manifest(self.name, category, tuple(records))
        return Reading(manifest, (), facts, remarks=remarks)

    def _records(
        self, images: Sequence[RawImage], facts: Mapping[str, ImageFacts], findings: Findings
    ) -> list[ImageRecord]:
        normal = [image.is_normal for image in images]
        if not any(normal) or all(normal):
            lacking = "anomalous" if any(normal) else "normal"
            findings.problem(f"there is no readable {lacking} image: get the dataset anew")
        splits = split_images(images, findings, by_group=self.options.split == "group")
        return [
            image.record(split, facts[image.path].sha256)
            for image, split in zip(images, splits, strict=True)
        ]

    def _warn_of_torn_groups(
        self, records: Sequence[ImageRecord], findings: Findings, split: str
    ) -> None:
        """Say how many groups have images to train on and images to test on."""
        groups = count_groups(records)
        if groups.torn and self.group:
            why = "as in the papers: split=group keeps normals of one together"
            if split == "group":
                why = "for anomalies are all tested on: split=group keeps only normals together"
            findings.warning(
                f"{groups.torn} of {groups.all} {self.group}s have images in both train and test, "
                f"{why}"
            )

    def _check_counts(
        self, records: Sequence[ImageRecord], category: str, findings: Findings
    ) -> None:
        if category in self.counts:
            fewest = self.fewest.get(category)
            self._compare(records, self.counts[category], findings, fewest)

    def _compare(
        self,
        records: Sequence[ImageRecord],
        expected: Mapping[str, int],
        findings: Findings,
        fewest: Mapping[str, int | None] | None = None,
    ) -> None:
        """Compare the images with their declared numbers, which hold for the papers' split."""
        if self.options.on_duplicate == "drop" or self.options.split == "group":
            return
        remedy = f"this is not the complete {self.title}; get it anew"
        if not self.counts_are_known:
            remedy = "the expected numbers were derived, not counted: check the download"
        strict = self.options.strict_counts
        check_counts(records, expected, findings, fewest=fewest, strict=strict, remedy=remedy)
