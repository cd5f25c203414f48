"""What every loader does with the images it has found: decode, hash, compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from osadbench.datasets.findings import Findings
from osadbench.datasets.threads import in_threads
from osadbench.errors import DataError
from osadbench.images import array_digest, cut_region, decode, file_digest, split_region
from osadbench.types import ImageRecord, Manifest

__all__ = ["ImageFacts", "Reading", "read_images", "warn_of_shortcuts"]


@dataclass(frozen=True)
class ImageFacts:
    """What one image holds.

    Attributes:
        sha256: Hex digest of the file's bytes; of the pixels, where the image is a part of a file.
        size: Width and height in pixels.
        mode: Pixel format: Pillow's mode, or ``"npy uint8"`` and the like.
    """

    sha256: str
    size: tuple[int, int]
    mode: str

    @property
    def is_deep(self) -> bool:
        """Whether the file has more than 8 bits a channel."""
        return self.mode.startswith(("I", "F")) or (
            self.mode.startswith("npy") and self.mode != "npy uint8"
        )


@dataclass(frozen=True)
class Reading:
    """A manifest and what was found on the way to it.

    Attributes:
        manifest: The manifest.
        warnings: One line each.
        facts: Facts by path; empty where the manifest came from the cache.
        exclusions: Images left out and why; empty where the manifest came from the cache.
        omissions: Images left out by the dataset's definition and why; empty there, too.
        remarks: Those of the warnings that only the download shows; empty there, too.
    """

    manifest: Manifest
    warnings: tuple[str, ...]
    facts: Mapping[str, ImageFacts] = field(default_factory=dict)
    exclusions: tuple[tuple[str, str], ...] = ()
    omissions: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def read_images(root: Path, paths: Sequence[str], findings: Findings) -> dict[str, ImageFacts]:
    """Decode and hash files in parallel; what cannot be read becomes a problem.

    Args:
        root: Where the paths start.
        paths: POSIX paths of images, or of parts of them.
        findings: Takes the problems.

    Returns:
        Facts by path, of the readable images, in the order of the paths.
    """
    parts: dict[str, list[str]] = {}
    for path in paths:
        parts.setdefault(split_region(path)[0], []).append(path)

    def read(file: str) -> dict[str, ImageFacts] | str:
        try:
            return _read_file(root, file, parts[file])
        except DataError as error:
            return str(error)

    facts: dict[str, ImageFacts] = {}
    for result in in_threads(read, parts):
        if isinstance(result, str):
            findings.problem(result)
        else:
            facts.update(result)
    return {path: facts[path] for path in paths if path in facts}


def _read_file(root: Path, file: str, paths: Sequence[str]) -> dict[str, ImageFacts]:
    """Return the facts of a file, or of the parts of it that the paths name."""
    image, mode = decode(root / file), _mode(root / file)
    facts = {}
    for path in paths:
        part = cut_region(image, path)
        sha256 = file_digest(root / file) if path == file else array_digest(part)
        facts[path] = ImageFacts(sha256, (part.shape[1], part.shape[0]), mode)
    return facts


def _mode(path: Path) -> str:
    if path.suffix.lower() == ".npy":
        return f"npy {np.load(path, mmap_mode='r', allow_pickle=False).dtype}"
    with Image.open(path) as image:
        return image.mode


def warn_of_shortcuts(
    records: Iterable[ImageRecord], facts: Mapping[str, ImageFacts], findings: Findings
) -> None:
    """Warn of pixel formats and sizes that give the label away, and of formats that are scaled.

    A format is reported if only one label has it; sizes are reported if the labels share none.
    """
    sides: tuple[list[ImageFacts], list[ImageFacts]] = ([], [])
    for record in records:
        sides[record.label].append(facts[record.path])
    deep = sorted({fact.mode for side in sides for fact in side if fact.is_deep})
    if deep:
        findings.warning(f"images of mode {', '.join(deep)} are scaled to 8 bits a channel")
    if not all(sides):
        return
    normal, anomalous = ({fact.mode for fact in side} for side in sides)
    for mode in sorted(normal ^ anomalous):
        label = "normal" if mode in normal else "anomalous"
        findings.warning(f"mode {mode} occurs in {label} images only: it may give the label away")
    normal_sizes, anomalous_sizes = ({fact.size for fact in side} for side in sides)
    few = len(normal_sizes | anomalous_sizes) <= sum(map(len, sides)) / 2
    if few and not normal_sizes & anomalous_sizes:
        findings.warning("normal and anomalous images share no size: it may give the label away")
