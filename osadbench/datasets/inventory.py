"""Which datasets are on this machine, and whether they are whole: ``osadbench data list``.

Images are not decoded: files are listed and counted by class. Where a label stands in a mask only,
the masks have to be read, and Mastcam's novel crops are, to tell those of two classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from osadbench.datasets import dataset_class
from osadbench.datasets.counting import Difference, differences
from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_file, is_folder, list_category
from osadbench.datasets.packed import packed_text
from osadbench.datasets.places import data_folder
from osadbench.datasets.raw import RawDataset
from osadbench.errors import DataError, first_of
from osadbench.images import split_region
from osadbench.types import NORMAL_CLASS, place_name

__all__ = ["Entry", "look"]

#: Share of the images below which numbers that were derived are not to blame.
MOST = 0.9
#: Differences that one line names; the rest are counted.
SHOWN = 3

#: Numbers of images by category and class; normals of train and test together, for their split is
#: not of the listing.
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Entry:
    """One dataset on this machine.

    Attributes:
        name: Name of the dataset.
        state: ``"complete"``; ``"incomplete"``; ``"differs"`` from numbers that were derived rather
            than counted, with no class absent and most images there; ``"here"`` where no numbers
            are declared; ``"unusable"``; ``"missing"``; ``"local"`` for what nobody downloads.
        folder: Where it is, or None.
        licence: Its licence.
        detail: What is lacking, or how it is to be had, in one line.
        found: Numbers of images by category and class.
        expected: The same as declared.
    """

    name: str
    state: str
    folder: str | None
    licence: str
    detail: str = ""
    found: Counts = field(default_factory=dict)
    expected: Counts = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of images found."""
        return _sum(self.found)


def look(name: str, parent: Path | None = None) -> Entry:
    """Look for a dataset.

    Args:
        name: Name of the dataset.
        parent: Folder that holds datasets under their names; None for ``OSADBENCH_DATA_DIR``. One
            that isn't in it is looked for where else its class says.
    """
    cls = dataset_class(name)
    if not issubclass(cls, RawDataset):
        return Entry(name, "local", None, cls.licence, cls.source)
    given = data_folder(name) if parent is None else parent / name
    expected = {category: _by_class(counts) for category, counts in cls.counts.items()}
    folder: Path | None = None
    try:
        given = given if given is not None and is_folder(given) else None
        dataset = cls(given)
        folder = dataset.root
        return _counted(dataset, given or folder, expected)
    except DataError as error:
        state = "missing" if given is None and folder is None else "unusable"
        where = None if folder is None else str(folder)
        return Entry(name, state, where, cls.licence, str(error), {}, expected)


def _counted(dataset: RawDataset, given: Path, expected: Counts) -> Entry:
    """Return what is found of a dataset whose folder is, or is below, a given one."""
    cls = type(dataset)
    found, problems = _count(dataset)
    state, detail = _judge(cls, found, expected)
    if problems:
        state, detail = "incomplete", problems[0]
    packed = packed_text(given) if state == "incomplete" else None
    if packed is not None:
        detail += f"; {packed}"
    return Entry(cls.name, state, str(dataset.root), cls.licence, detail, found, expected)


def _count(dataset: RawDataset) -> tuple[Counts, list[str]]:
    """Return the numbers of images, and what is wrong."""
    findings = Findings()
    found = {}
    for category in dataset.categories():
        if dataset.is_raw:
            found[category] = _count_raw(dataset, category, findings)
        else:
            found[category] = _count_layout(dataset.root / category)
    return found, findings.problems


def _count_raw(dataset: RawDataset, category: str, findings: Findings) -> dict[str, int]:
    images = dataset.raw_images(category, findings)
    files = {image.path: split_region(image.path)[0] for image in images}
    there = {file for file in dict.fromkeys(files.values()) if is_file(dataset.root / file)}
    return dict(Counter(image.class_name for image in images if files[image.path] in there))


def _count_layout(folder: Path) -> dict[str, int]:
    listed = list_category(folder).images
    sides = ("train/", "test/")
    return _by_class({name: len(paths) for name, paths in listed.items() if name.startswith(sides)})


def _by_class(counts: Mapping[str, int]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for folder, count in counts.items():
        totals[folder.partition("/")[2]] += count
    return dict(totals)


def _judge(cls: type[RawDataset], found: Counts, expected: Counts) -> tuple[str, str]:
    """Return the state and, in words, what differs."""
    if not expected:
        return "here", ""
    lacking = [category for category in expected if category not in found]
    differing = [
        (category, difference)
        for category in sorted({*found} & {*expected})
        for difference in _differences(cls, category, found[category], expected[category])
    ]
    texts = [f"no {place_name(cls.name, category)}" for category in lacking]
    texts += [_text(category, difference) for category, difference in differing]
    if not texts:
        return "complete", ""
    has_gaps = lacking or any(difference.found == 0 for _, difference in differing)
    is_whole = not has_gaps and _sum(found) >= MOST * _sum(expected)
    state = "differs" if is_whole and not cls.counts_are_known else "incomplete"
    return state, first_of(texts, SHOWN)


def _sum(counts: Counts) -> int:
    return sum(sum(classes.values()) for classes in counts.values())


def _differences(
    cls: type[RawDataset], category: str, found: Mapping[str, int], expected: Mapping[str, int]
) -> list[Difference]:
    """Return what differs in a category, the normals first."""
    differing = differences(found, expected, cls.fewest.get(category))
    return sorted(differing, key=lambda difference: difference.name != NORMAL_CLASS)


def _text(category: str, difference: Difference) -> str:
    name, found, wanted = difference
    return f"{found} instead of {wanted} {place_name(category, name) if category else name}"
