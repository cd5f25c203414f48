"""Manifests of images that exist on paper only, and their splits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from osadbench.protocol import Protocol
from osadbench.registry import PROTOCOLS
from osadbench.types import ImageRecord, Manifest, Split


def make_manifest(
    classes: dict[str, int] | None = None,
    train: int = 12,
    test: int = 6,
    shuffle: int = 0,
    known_classes: tuple[str, ...] | None = None,
    category: str = "box",
) -> Manifest:
    counts = classes or {"Hole": 14, "crack": 12, "stain": 4}
    names = [("train", "good", i) for i in range(train)] + [
        ("test", "good", i) for i in range(test)
    ]
    names += [("test", name, i) for name, count in counts.items() for i in range(count)]
    random.Random(shuffle).shuffle(names)
    # The first category's contents are older than the others.
    prefix = "" if category == "box" else f"{category} "
    records = [
        ImageRecord(
            path=f"{category}/{split}/{name}/{i:03d}.png",
            label=int(name != "good"),
            class_name=name,
            split=split,
            sha256=hashlib.sha256(f"{prefix}{split} {name} {i}".encode()).hexdigest(),
        )
        for split, name, i in names
    ]
    records.sort(key=lambda record: record.path)
    known = tuple(sorted(counts)) if known_classes is None else known_classes
    return Manifest("made", category, tuple(records), known)


def protocol(name: str, **params: object) -> Protocol:
    made: Protocol = PROTOCOLS.get(name)(**params)
    return made


def split_all(
    name: str,
    manifest: Manifest,
    seeds: Sequence[int] = (0,),
    shots: Sequence[int] = (1, 10),
    known_classes: Sequence[str] | None = None,
    **params: object,
) -> list[Split]:
    made = protocol(name, **params)
    return list(made.splits(manifest, seeds=seeds, shots=shots, known_classes=known_classes))


def classes_of(manifest: Manifest, paths: Sequence[str]) -> set[str]:
    return {manifest.by_path[path].class_name for path in paths}
