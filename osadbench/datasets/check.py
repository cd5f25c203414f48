"""What a dataset or a folder of images holds, in words: the text of ``osadbench data check``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from osadbench.datasets.declaration import counts_text
from osadbench.datasets.findings import Findings
from osadbench.datasets.folder import Folder
from osadbench.datasets.packed import packed_text
from osadbench.datasets.raw import RawDataset
from osadbench.datasets.reading import Reading
from osadbench.datasets.splitting import count_groups
from osadbench.errors import CacheError, OsadbenchError, first_of
from osadbench.protocol import Protocol
from osadbench.registry import PROTOCOLS
from osadbench.types import ImageRecord, Manifest, Split

__all__ = ["check_dataset", "check_folder", "missing_categories", "read_all", "store_all"]

logger = logging.getLogger("osadbench")

#: Shots whose splits are shown: those of the papers.
SHOTS = (1, 10)
#: Images left out, and categories that are not here, that are named; the rest are counted.
SHOWN, SHOWN_CATEGORIES = 20, 5


def check_folder(
    root: str | Path, cache: str | Path | None = None, *, on_duplicate: str = "error"
) -> str:
    """Read a folder in the layout of MVTec AD and describe it; see :func:`check_dataset`.

    Args:
        root: The folder.
        cache: Folder in which the manifests are kept for later runs; None keeps nothing.
        on_duplicate: See :class:`osadbench.datasets.base.LoaderOptions`.
    """
    cache = None if cache is None else Path(cache)
    return check_dataset(Folder(Path(root), on_duplicate=on_duplicate, cache=cache))


def check_dataset(dataset: Folder, category: str | None = None) -> str:
    """Read a dataset, whatever its cache holds, and describe it.

    Args:
        dataset: The dataset. Its manifests are kept in its cache, if it has one.
        category: The category to look at; None for all.

    Returns:
        Several lines for each category: numbers of images and masks by class, known classes, sizes,
        modes, copies, groups, warnings, what is left out and why, and the splits of each protocol
        or why there are none.

    Raises:
        DataError: The problems of all categories.
    """
    readings = read_all(dataset, category)
    store_all(dataset, readings)
    count = len(readings)
    head = f"{dataset.root}: {count} {'category' if count == 1 else 'categories'}"
    missing = missing_categories(dataset) if category is None else None
    if missing is not None:
        head += f"\n  warning: {missing}"
    manifests = [reading.manifest for reading in readings]
    return "\n\n".join([head, *("\n".join(_lines(dataset, r, manifests)) for r in readings)])


def read_all(dataset: Folder, category: str | None = None) -> list[Reading]:
    """Read one category of a dataset, or all, whatever its cache holds.

    Raises:
        DataError: The problems of all categories; with ``strict_counts``, also that some are not
            here.
    """
    everything = Findings()
    missing = missing_categories(dataset) if category is None else None
    if missing is not None and dataset.options.strict_counts:
        everything.problem(missing)
    readings = []
    for name in dataset.categories() if category is None else [category]:
        findings = Findings()
        readings.append(dataset.read(name, findings))
        prefix = f"{name}: " if name else ""
        everything.problems += [prefix + problem for problem in findings.problems]
    everything.raise_problems(dataset.root)
    return readings


def missing_categories(dataset: Folder) -> str | None:
    """Return which of a dataset's categories are not here, in words; None where all are."""
    if not isinstance(dataset, RawDataset):
        return None
    missing = sorted({*dataset.counts} - {*dataset.categories()})
    if not missing:
        return None
    packed = packed_text(dataset.root)
    return (
        f"{len(missing)} of {len(dataset.counts)} categories are not here: "
        f"{first_of(missing, SHOWN_CATEGORIES)}; {packed or 'get the dataset anew'}"
    )


def store_all(dataset: Folder, readings: Iterable[Reading]) -> None:
    """Keep what was read, without problems, for later; a cache that can't be written is a warning.

    Whoever has read everything needs no cache any more.
    """
    try:
        for reading in readings:
            dataset.store(reading)
    except CacheError as error:
        logger.warning("%s; nothing is kept for later", error)


def _lines(dataset: Folder, reading: Reading, manifests: Sequence[Manifest]) -> Iterator[str]:
    manifest = reading.manifest
    facts = [reading.facts[record.path] for record in manifest.records]
    masks = sum(record.mask is not None for record in manifest.records)
    yield f"{manifest.name}: {len(manifest.records)} images"
    yield from _class_lines(manifest)
    yield from _paper_lines(dataset, manifest)
    yield f"  known classes: {_known(manifest)}"
    yield f"  sizes: {_tally(f'{fact.size[0]}x{fact.size[1]}' for fact in facts)}"
    yield f"  modes: {_tally(fact.mode for fact in facts)}"
    yield f"  masks: {masks} for {len(manifest.select(label=1))} anomalies"
    copies = len(manifest.records) - len({record.sha256 for record in manifest.records})
    yield f"  duplicates: {copies or 'none'}"
    yield from _group_lines(manifest)
    yield from (f"  warning: {warning}" for warning in reading.warnings)
    yield from _exclusion_lines(reading)
    for name in PROTOCOLS.names():
        yield from _split_lines(name, PROTOCOLS.get(name)(), manifest, manifests)


def _class_lines(manifest: Manifest) -> list[str]:
    folders: dict[str, list[ImageRecord]] = {}
    for record in sorted(manifest.records, key=lambda r: (r.split != "train", r.label)):
        folders.setdefault(f"{record.split}/{record.class_name}", []).append(record)
    width = max(map(len, folders))
    return [f"  {name:<{width}}  {len(records):>6}" for name, records in folders.items()]


def _paper_lines(dataset: Folder, manifest: Manifest) -> Iterator[str]:
    """Yield the counts beside those of the papers, and the classes that have nothing beside."""
    if not isinstance(dataset, RawDataset):
        return
    papers = dataset.paper_counts.get(manifest.category)
    if papers is not None:
        here = Counter(f"{record.split}/{record.class_name}" for record in manifest.records)
        printed = "/".join(map(str, papers))
        yield f"  train/test/anomalous: {counts_text(here)}; papers {printed}"
    fewest = dataset.fewest.get(manifest.category, {})
    uncounted = [name for name, number in fewest.items() if number is None]
    if uncounted:
        yield f"  no source gives the numbers of: {', '.join(uncounted)}"


def _known(manifest: Manifest) -> str:
    classes = manifest.anomaly_classes
    if manifest.known_classes == classes:
        return "all" if len(classes) > 1 else f"none, for there is {len(classes) or 'no'} class"
    return f"{', '.join(manifest.known_classes)} ({len(manifest.known_classes)} of {len(classes)})"


def _group_lines(manifest: Manifest) -> Iterator[str]:
    groups = count_groups(manifest.records)
    if groups.all:
        yield f"  groups: {groups.all}, {groups.torn} of them in both train and test"


def _exclusion_lines(reading: Reading) -> Iterator[str]:
    for path, reason in reading.exclusions[:SHOWN]:
        yield f"  left out: {path}: {reason}"
    if len(reading.exclusions) > SHOWN:
        yield f"  left out: {len(reading.exclusions) - SHOWN} more"
    by_reason: dict[str, list[str]] = {}
    for path, reason in reading.omissions:
        by_reason.setdefault(reason, []).append(path)
    for reason, paths in by_reason.items():
        images = "image" if len(paths) == 1 else "images"
        yield f"  left out by definition: {len(paths)} {images}, such as {paths[0]}: {reason}"


def _tally(values: Iterable[str], shown: int = 5) -> str:
    counts = Counter(values).most_common()
    text = ", ".join(f"{value} ({count})" for value, count in counts[:shown])
    return text + (f" and {len(counts) - shown} others" if len(counts) > shown else "")


def _split_lines(
    name: str, protocol: Protocol, manifest: Manifest, manifests: Sequence[Manifest]
) -> Iterator[str]:
    for shots in SHOTS:
        try:
            splits = list(protocol.splits_among(manifest, manifests, seeds=[0], shots=[shots]))
        except OsadbenchError as error:
            yield f"  {name}, {shots}-shot: none, for {error}"
            continue
        by_text: dict[str, list[Split]] = {}
        for split in splits:
            by_text.setdefault(_split_text(split, manifest), []).append(split)
        for text, alike in by_text.items():
            yield f"  {name}, {shots}-shot{_origin(alike)}: {text}"


def _origin(splits: Sequence[Split]) -> str:
    """Return what splits that are alike differ in: their known classes, or their sources."""
    known = [split.known_class for split in splits if split.known_class]
    sources = [split.adaptation.source for split in splits if split.adaptation is not None]
    if sources:
        return f", from {' or '.join(sources)}"
    return f", known class {' or '.join(known)}" if known else ""


def _split_text(split: Split, manifest: Manifest) -> str:
    anomalies = sum(manifest.by_path[path].label for path in split.test)
    short = " (the class has no more)" if len(split.train_anomalies) < split.shots else ""
    return (
        f"train {len(split.train_normals)} normal + {len(split.train_anomalies)} labelled{short}, "
        f"test {len(split.test) - anomalies} normal + {anomalies} anomalous"
    )
