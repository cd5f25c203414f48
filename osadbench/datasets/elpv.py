"""ELPV: solar cells seen by electroluminescence."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_file, is_folder
from osadbench.datasets.nested import find_below
from osadbench.datasets.raw import PaperCounts, RawDataset, RawImage
from osadbench.datasets.raw_files import read_text
from osadbench.types import NORMAL_CLASS

__all__ = ["Elpv"]

#: Where both lie in the older repository and the Kaggle copy, the newer one, and the installed
#: package.
PLACES = ("", "src/elpv_dataset/data", "elpv_dataset/data", "data")
LABELS, IMAGES = "labels.csv", "images"
CELL_TYPES = ("mono", "poly")
UNSURE = "its probability of a defect is neither 0 nor 1, and the papers take sure labels only"
#: What labels.csv may name: nothing outside the folder of images.
PATH = re.compile(r"images/[^./\\:][^/\\:]*")


class Cell(NamedTuple):
    """One line of ``labels.csv``: path, probability of a defect, type of the cell."""

    path: str
    probability: float
    cell_type: str


class Elpv(RawDataset):
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
    layout: ClassVar[str] = "labels.csv and images/cellNNNN.png"
    download: ClassVar[str] = (
        'pip install "osadbench[demo]" brings it, or get https://github.com/zae-bayern/elpv-dataset'
    )
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 1131, "test/good": 377, "test/mono": 313, "test/poly": 402}
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(1131, 377, 715)}

    def _bases(self) -> list[Path]:
        return super()._bases() or _package_folders()

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder with ``labels.csv``; see :meth:`RawDataset.find_raw`."""
        top = find_below(base, lambda place: _labelled(place) is not None)
        return None if top is None else _labelled(top)

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the cells in the order of the file; see :meth:`RawDataset.raw_images`."""
        return [
            RawImage(cell.path, cell.cell_type if cell.probability else NORMAL_CLASS)
            for cell in _read_labels(self.root, findings)
        ]


def _labelled(top: Path) -> Path | None:
    """Return the folder of a copy that has ``labels.csv`` and ``images``, None without one."""
    places = (top / place for place in PLACES)
    found = (p for p in places if is_file(p / LABELS) and is_folder(p / IMAGES))
    return next(found, None)


def _package_folders() -> list[Path]:
    spec = importlib.util.find_spec("elpv_dataset")
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def _read_labels(root: Path, findings: Findings) -> list[Cell]:
    """Return the cells that are surely normal or surely defective, in the order of the file."""
    text = read_text(root, LABELS, findings) or ""
    cells: dict[str, Cell] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        cell = _parse(line)
        if cell is None or cell.path in cells:
            fault = (
                "is not 'images/NAME.png PROBABILITY TYPE'" if cell is None else "is a repetition"
            )
            findings.problem(f"{LABELS}, line {number} {fault}: {line.strip()!r}; correct it")
        else:
            cells[cell.path] = cell
    sure = []
    for cell in cells.values():
        if cell.probability in (0.0, 1.0):
            sure.append(cell)
        else:
            findings.omit(cell.path, UNSURE)
    return sure


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
