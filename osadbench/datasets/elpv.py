"""ELPV: solar cells seen by electroluminescence."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import ClassVar, NamedTuple

from osadbench.datasets.base import Dataset
from osadbench.datasets.duplicates import resolve_duplicates
from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import fingerprint, list_folder
from osadbench.datasets.reading import (
    ImageFacts,
    Reading,
    check_counts,
    read_images,
    warn_of_shortcuts,
)
from osadbench.errors import DataError
from osadbench.types import NORMAL_CLASS, ImageRecord, Manifest

__all__ = ["Elpv"]

#: Where labels.csv and images/ lie below what a user may give: the newer and the older repository
#: and the Kaggle copy, and the installed package.
PLACES = ("", "src/elpv_dataset/data", "elpv_dataset/data", "data")
CELL_TYPES = ("mono", "poly")
#: What labels.csv may name: nothing outside the folder of images.
PATH = re.compile(r"images/[^./\\:][^/\\:]*")
COUNTS = {"train/good": 1131, "test/good": 377, "test/mono": 313, "test/poly": 402}


class Cell(NamedTuple):
    """One line of ``labels.csv``: path, probability of a defect, type of the cell."""

    path: str
    probability: float
    cell_type: str


class Elpv(Dataset):
    """Solar cells, defective ones by the type of cell, as DRA and DevNet use them.

    Cells with a defect probability of 0 are normal, of 1 anomalous; the 401 between are left out.
    Normals are split 3:1 in the order of the file, which is the public code's split.
    """

    name: ClassVar[str] = "elpv"
    title: ClassVar[str] = "ELPV: functional and defective solar cells"
    task: ClassVar[str] = "cracks and dead areas in solar cells, 300x300 pixels, grey"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    citation: ClassVar[str] = (
        "Buerhop-Lutz et al., A Benchmark for Visual Identification of Defective Solar Cells in "
        "Electroluminescence Imagery, EU PVSEC 2018; Deitsch et al., Automatic classification of "
        "defective photovoltaic module cells in electroluminescence images, Solar Energy 2019"
    )
    source: ClassVar[str] = "https://github.com/zae-bayern/elpv-dataset"
    paper_image_size: ClassVar[int] = 224
    default_outliers: ClassVar[str | None] = "synthetic"

    def _locate(self) -> Path:
        given = self._given_root or self._data_dir()
        bases = [given] if given is not None else _package_folders()
        for base in bases:
            for place in PLACES:
                if (base / place / "labels.csv").is_file():
                    return base / place
        where = f"in {given}" if given is not None else "and the package elpv-dataset is not there"
        raise DataError(
            f'no labels.csv of ELPV {where}: pip install "osadbench[demo]", or give the folder '
            "that holds labels.csv and images by --data-root DIR"
        )

    def categories(self) -> list[str]:
        """Return ``[""]``: ELPV has no categories."""
        return [""]

    def manifest(self, category: str = "") -> Manifest:
        """Return all images; see :meth:`Dataset.manifest`."""
        self.check_category(category)
        files = [f"images/{name}" for name in list_folder(self.root / "images")[1]]
        return self._cached("", fingerprint(self.root, ["labels.csv", *files]), self._read)

    def _read(self, findings: Findings) -> Reading:
        cells = _read_labels(self.root / "labels.csv", findings)
        facts = read_images(self.root, [cell.path for cell in cells], findings)
        readable = [cell for cell in cells if cell.path in facts]
        records = _records(readable, facts, findings)
        records = resolve_duplicates(records, self.options.on_duplicate, findings)
        warn_of_shortcuts(records, facts, findings)
        strict = self.options.strict_counts
        remedy = "this is not the complete ELPV dataset; get it anew"
        check_counts(records, COUNTS, findings, strict=strict, remedy=remedy)
        manifest = Manifest(self.name, "", tuple(records), CELL_TYPES)
        return Reading(manifest, tuple(findings.warnings), facts)


def _package_folders() -> list[Path]:
    spec = importlib.util.find_spec("elpv_dataset")
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def _read_labels(path: Path, findings: Findings) -> list[Cell]:
    """Return the cells that are surely normal or surely defective, in the order of the file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        findings.problem(f"{path.name} cannot be read ({error}): get the dataset anew")
        return []
    cells: dict[str, Cell] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cell = _parse(line)
        if cell is None or cell.path in cells:
            fault = (
                "is not 'images/NAME.png PROBABILITY TYPE'" if cell is None else "is a repetition"
            )
            findings.problem(f"{path.name}, line {number} {fault}: {line.strip()!r}; correct it")
        else:
            cells[cell.path] = cell
    return [cell for cell in cells.values() if cell.probability in (0.0, 1.0)]


def _parse(line: str) -> Cell | None:
    fields = line.split()
    if len(fields) != 3 or fields[2] not in CELL_TYPES or not PATH.fullmatch(fields[0]):
        return None
    try:
        thirds = float(fields[1]) * 3
    except ValueError:
        return None
    if not any(abs(thirds - known) < 0.01 for known in range(4)):
        return None
    return Cell(fields[0], round(thirds) / 3, fields[2])


def _records(
    cells: list[Cell], facts: dict[str, ImageFacts], findings: Findings
) -> list[ImageRecord]:
    normals = [cell.path for cell in cells if cell.probability == 0]
    test_normals = _test_quarter(normals, findings)
    records = []
    for path, probability, cell_type in cells:
        class_name = cell_type if probability else NORMAL_CLASS
        split = "test" if probability or path in test_normals else "train"
        records.append(ImageRecord(path, int(probability), class_name, split, facts[path].sha256))
    if not any(record.label for record in records):
        findings.problem("labels.csv names no readable defective cell: get the dataset anew")
    return sorted(records, key=lambda record: record.path)


def _test_quarter(normals: list[str], findings: Findings) -> set[str]:
    """Return the normals that go to the test set, by the call of the public conversion scripts."""
    from sklearn.model_selection import train_test_split

    if len(normals) < 2:
        findings.problem(
            "labels.csv names fewer than 2 readable normal cells: get the dataset anew"
        )
        return set()
    _, test = train_test_split(normals, test_size=0.25, random_state=42)
    return set(test)
