"""What stands in a folder of images, in words: the text of ``osadbench data check``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from osadbench.datasets.findings import Findings
from osadbench.datasets.folder import Folder
from osadbench.datasets.reading import Reading
from osadbench.errors import OsadbenchError
from osadbench.protocol import Protocol
from osadbench.registry import PROTOCOLS
from osadbench.types import ImageRecord, Manifest, Split

__all__ = ["check_folder"]

#: Shots whose splits are shown: those of the papers.
SHOTS = (1, 10)


def check_folder(
    root: str | Path, cache: str | Path | None = None, *, on_duplicate: str = "error"
) -> str:
    """Read a folder in the layout of MVTec AD, whatever the cache holds, and describe it.

    Args:
        root: The folder.
        cache: Folder in which the manifests are kept for later runs; None keeps nothing.
        on_duplicate: See :class:`osadbench.datasets.base.LoaderOptions`.

    Returns:
        Several lines for each category: numbers of images and masks by class, sizes, modes,
        warnings, and the splits of each protocol or why there are none.

    Raises:
        DataError: The problems of all categories.
    """
    cache = None if cache is None else Path(cache)
    dataset = Folder(Path(root), on_duplicate=on_duplicate, cache=cache)
    everything = Findings()
    readings = []
    for category in dataset.categories():
        findings = Findings()
        readings.append(dataset.read(category, findings))
        prefix = f"{category}: " if category else ""
        everything.problems += [prefix + problem for problem in findings.problems]
    everything.raise_problems(dataset.root)
    for reading in readings:
        dataset.store(reading)
    count = len(readings)
    head = f"{dataset.root}: {count} {'category' if count == 1 else 'categories'}"
    return "\n\n".join([head, *map(_describe, readings)])


def _describe(reading: Reading) -> str:
    manifest = reading.manifest
    facts = [reading.facts[record.path] for record in manifest.records]
    masks = sum(record.mask is not None for record in manifest.records)
    lines = [f"{manifest.name}: {len(manifest.records)} images", *_class_lines(manifest)]
    lines.append(f"  sizes: {_tally(f'{fact.size[0]}x{fact.size[1]}' for fact in facts)}")
    lines.append(f"  modes: {_tally(fact.mode for fact in facts)}")
    lines.append(f"  masks: {masks} for {len(manifest.select(label=1))} anomalies")
    copies = len(manifest.records) - len({record.sha256 for record in manifest.records})
    lines.append(f"  duplicates: {copies or 'none'}")
    lines += [f"  warning: {warning}" for warning in reading.warnings]
    for name in PROTOCOLS.names():
        lines += _split_lines(name, PROTOCOLS.get(name)(), manifest)
    return "\n".join(lines)


def _class_lines(manifest: Manifest) -> list[str]:
    folders: dict[str, list[ImageRecord]] = {}
    for record in sorted(manifest.records, key=lambda r: (r.split != "train", r.label)):
        folders.setdefault(f"{record.split}/{record.class_name}", []).append(record)
    width = max(map(len, folders))
    return [f"  {name:<{width}}  {len(records):>6}" for name, records in folders.items()]


def _tally(values: Iterable[str], shown: int = 5) -> str:
    counts = Counter(values).most_common()
    text = ", ".join(f"{value} ({count})" for value, count in counts[:shown])
    return text + (f" and {len(counts) - shown} others" if len(counts) > shown else "")


def _split_lines(name: str, protocol: Protocol, manifest: Manifest) -> list[str]:
    lines = []
    for shots in SHOTS:
        try:
            splits = list(protocol.splits(manifest, seeds=[0], shots=[shots]))
        except OsadbenchError as error:
            lines.append(f"  {name}, {shots}-shot: none, for {error}")
            continue
        classes: dict[str, list[str]] = {}
        for split in splits:
            classes.setdefault(_split_text(split, manifest), []).append(split.known_class)
        for text, names in classes.items():
            known = f", known class {' or '.join(names)}" if any(names) else ""
            lines.append(f"  {name}, {shots}-shot{known}: {text}")
    return lines


def _split_text(split: Split, manifest: Manifest) -> str:
    anomalies = sum(manifest.by_path[path].label for path in split.test)
    short = " (the class has no more)" if len(split.train_anomalies) < split.shots else ""
    return (
        f"train {len(split.train_normals)} normal + {len(split.train_anomalies)} labelled{short}, "
        f"test {len(split.test) - anomalies} normal + {anomalies} anomalous"
    )
