"""HeadCT: slices of computed tomographies of heads, with and without a haemorrhage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_file, is_folder
from osadbench.datasets.nested import find_below, unnest
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import read_rows
from osadbench.types import NORMAL_CLASS

__all__ = ["HeadCt"]

LABELS, IMAGES = "labels.csv", "head_ct"
HEADER = ["id", "hemorrhage"]


class HeadCt(RawDataset):
    """Heads, those with a haemorrhage anomalous, as DRA and DevNet use them.

    Normals are split 3:1 in the order of the file, which is the public code's split.
    """

    name: ClassVar[str] = "headct"
    title: ClassVar[str] = "Head CT hemorrhage"
    task: ClassVar[str] = "haemorrhages in slices of heads, sizes differ, mostly grey"
    licence: ClassVar[str] = "see its page on Kaggle; not to be passed on"
    citation: ClassVar[str] = "Kitamura, Head CT - hemorrhage, Kaggle"
    source: ClassVar[str] = "https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage"
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "lag"
    # Of its one pair of equal normals the papers' split puts one into the test set.
    default_on_duplicate: ClassVar[str] = "warn"
    layout: ClassVar[str] = "labels.csv and head_ct/NNN.png"
    download: ClassVar[str] = (
        "get https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage and unpack it"
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 75, "test/good": 25, "test/defect": 100}
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(75, 25, 100)}

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder with ``labels.csv``; see :meth:`RawDataset.find_raw`."""
        return find_below(base, lambda place: is_file(place / LABELS) and is_folder(place / IMAGES))

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the slices in the order of the file; see :meth:`RawDataset.raw_images`."""
        folder = unnest(self.root, IMAGES)
        return [
            RawImage(f"{folder}/{number:03d}.png", "defect" if bleeds else NORMAL_CLASS)
            for number, bleeds in _read_labels(self.root, findings).items()
        ]


def _read_labels(root: Path, findings: Findings) -> dict[int, bool]:
    """Return by number whether a slice shows a haemorrhage, in the order of the file."""
    rows = read_rows(root, LABELS, findings)
    if rows is None:
        return {}
    # There is a space behind the comma of the header.
    stripped = [(line, [field.strip() for field in fields]) for line, fields in rows]
    if not stripped or stripped[0][1] != HEADER:
        began = ",".join(rows[0][1]) if rows else ""
        findings.problem(
            f"{LABELS} must begin with 'id, hemorrhage', not {began!r}: get the dataset anew"
        )
        return {}
    return _parse(stripped[1:], findings)


def _parse(rows: Sequence[tuple[int, Sequence[str]]], findings: Findings) -> dict[int, bool]:
    labels: dict[int, bool] = {}
    for line, row in rows:
        if not any(row):
            continue
        plain = len(row) == 2 and row[0].isascii() and row[0].isdigit() and row[1] in ("0", "1")
        if not plain or int(row[0]) in labels:
            fault = "is a repetition" if plain else "is not 'ID,0' or 'ID,1'"
            findings.problem(f"{LABELS}, line {line} {fault}: {','.join(row)!r}; correct it")
        else:
            labels[int(row[0])] = row[1] == "1"
    return labels
