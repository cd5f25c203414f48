"""A dataset in a raw form of its own, with all that such a form may have, for tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from image_trees import write_image, write_mask

from osadbench import datasets
from osadbench.datasets.findings import Findings
from osadbench.datasets.raw import Archive, PaperCounts, RawDataset, RawImage
from osadbench.errors import DataError
from osadbench.images import Region

#: Upper and lower half of a strip of 8x16 pixels.
HALVES = (Region(0, 0, 8, 8), Region(0, 8, 8, 8))


class Strips(RawDataset):
    """Normal strips of two halves, and defects: JPEG files with two masks, PNG files with none."""

    name: ClassVar[str] = "strips"
    title: ClassVar[str] = "Strips of a test"
    task: ClassVar[str] = "random pixels that nobody has seen before"
    licence: ClassVar[str] = "made-up licence 1.0"
    citation: ClassVar[str] = "nobody, nowhere, never"
    source: ClassVar[str] = "https://example.org/strips"
    paper_image_size: ClassVar[int] = 224
    layout: ClassVar[str] = "clean/NAME.jpg and broken/CLASS/NAME"
    download: ClassVar[str] = "ask for strips.zip at https://example.org/strips"
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {
        "": {"train/good": 6, "test/good": 2, "test/hole one": 3, "test/tear": 2}
    }
    paper_counts: ClassVar[Mapping[str, PaperCounts]] = {"": PaperCounts(6, 2, 6)}
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {"": ("hole one",)}
    aliases: ClassVar[Mapping[str, str]] = {"pit": "hole one"}
    has_masks: ClassVar[bool] = True
    mask_threshold: ClassVar[int] = 0
    group: ClassVar[str] = "strip"
    archives: ClassVar[tuple[Archive, ...]] = ()

    def find_raw(self, base: Path) -> Path | None:
        """Return the folder with the folder ``clean``."""
        if (base / "KolektorSDD2").is_dir():
            raise DataError(f"{base} holds another release: get the first one")
        return base if (base / "clean").is_dir() else None

    def raw_images(self, category: str, findings: Findings) -> list[RawImage]:
        """Return the halves of the clean strips, and the broken ones."""
        clean = sorted(self.root.glob("clean/*.jpg"))
        images = [
            RawImage(half.of(f"clean/{path.name}"), group=path.stem)
            for path in clean
            for half in HALVES
        ]
        for path in sorted(self.root.glob("broken/*/*")):
            name = path.relative_to(self.root).as_posix()
            masks = sorted(self.root.glob(f"masks/{path.stem}_*.png"))
            mask = "|".join(one.relative_to(self.root).as_posix() for one in masks) or None
            if path.stem == "unsure":
                findings.exclude(name, "nobody knows what it shows")
            else:
                images.append(RawImage(name, path.parent.name, mask=mask))
        return images


def write_strips(folder: Path) -> Path:
    """Write a complete download of :class:`Strips`."""
    for index in range(4):
        write_image(folder / "clean" / f"s {index}.jpg", size=(8, 16), mode="L")
    for index in range(3):
        write_image(folder / "broken" / "hole one" / f"h{index}.jpg")
        write_mask(folder / "masks" / f"h{index}_1.png", values=(3,))
        write_mask(folder / "masks" / f"h{index}_2.png", values=(0, 0, 9))
    for index in range(2):
        write_image(folder / "broken" / "tear" / f"t{index}.png", mode="RGBA")
    write_image(folder / "broken" / "tear" / "unsure.png")
    return folder


def register(monkeypatch: pytest.MonkeyPatch, cls: type[RawDataset] = Strips) -> None:
    """Have a dataset among the others for one test."""
    known = {**datasets._DATASETS, cls.name: cls}
    monkeypatch.setattr(datasets, "_DATASETS", known)


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the system refuse to list a folder, and to say anything of what stands in it."""
    # Permissions do not bind the user that containers run tests as.
    locked = folder.absolute()

    def refuse(path: Any, with_itself: bool) -> None:
        if isinstance(path, (str, Path)):
            place = Path(path).absolute()
            if locked in place.parents or (with_itself and place == locked):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def guard(name: str, with_itself: bool) -> None:
        real = getattr(os, name)

        def guarded(path: Any = ".", *rest: Any, **options: Any) -> Any:
            refuse(path, with_itself)
            return real(path, *rest, **options)

        monkeypatch.setattr(os, name, guarded)

    for name in ("stat", "lstat"):
        guard(name, with_itself=False)
    for name in ("listdir", "scandir"):
        guard(name, with_itself=True)
