"""Writing a dataset in the layout of MVTec AD: ``osadbench data prepare``.

What an image shows is not changed: PNG files are copied byte by byte, all else is decoded as
everywhere in osadbench and stored as PNG, which loses nothing.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from osadbench.datasets.check import missing_categories, read_all, store_all
from osadbench.datasets.converting import Source, Written, convert_file, plan_files
from osadbench.datasets.duplicates import resolve_duplicates
from osadbench.datasets.findings import Findings
from osadbench.datasets.folder import Folder
from osadbench.datasets.listing import is_empty, is_file, is_folder
from osadbench.datasets.prepared import (
    FILE,
    conversion_digest,
    is_complete,
    manifest_values,
)
from osadbench.datasets.reading import Reading
from osadbench.datasets.temporary import followed, name_beside, warn_of_leftovers
from osadbench.datasets.threads import in_threads
from osadbench.errors import DataError, UsageError
from osadbench.files import writing_remedy
from osadbench.images import split_region

__all__ = ["Follow", "Prepared", "prepare"]

logger = logging.getLogger("osadbench")

#: Passes what is done on, and shows how far it is of a number of files.
Follow = Callable[[Iterable[list[Written]], int], Iterable[list[Written]]]


class Prepared(NamedTuple):
    """What became of a request.

    Attributes:
        folder: The converted folder.
        images: Number of images in it.
        is_new: Whether it was written now, rather than found whole.
    """

    folder: Path
    images: int
    is_new: bool


def prepare(
    dataset: Folder,
    out: Path,
    *,
    force: bool = False,
    follow: Follow = lambda done, total: done,
) -> Prepared:
    """Write a dataset to a folder in the layout of MVTec AD, all of it or nothing.

    The folder is read by the dataset's own class, with the same images to train and to test on, and
    its ``manifest.json`` says where each came from. It is written under a temporary name beside.

    Args:
        dataset: The dataset.
        out: The folder. If it is there, it must be empty, or the outcome of the same conversion.
        force: Whether to write it anew, whatever stands there.
        follow: Shows the progress.

    Raises:
        UsageError: The folder is taken, or holds or is part of the dataset itself.
        DataError: The dataset is not usable, or the folder cannot be written.
    """
    _check_place(dataset.root, out)
    place = followed(out)
    warn_of_leftovers(place)
    missing = missing_categories(dataset)
    if missing is not None and not dataset.options.strict_counts:
        logger.warning("%s: %s", dataset.name, missing)
    if is_folder(place) and not force and not is_empty(place):
        return _existing(dataset, out)
    temporary = name_beside(place, "tmp")
    try:
        temporary.mkdir(parents=True)
        readings = read_all(dataset)
        for reading in readings:
            dataset.log_warnings(reading)
        store_all(dataset, readings)
        images = _write(dataset, readings, temporary, follow)
        _put_in_place(temporary, place)
    except OSError as error:
        raise DataError(
            f"cannot write {out} ({error.strerror or error}): {writing_remedy(error)}, or name "
            "another folder by --out"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Prepared(out, images, True)


def _check_place(root: Path, out: Path) -> None:
    here, there = out.resolve(), root.resolve()
    if not is_folder(out) and out.exists():
        raise UsageError(f"{out} is a file: name a folder by --out")
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise UsageError(
            f"{out} and the dataset's own folder {root} overlap: name another by --out"
        )
    if any(place.resolve().is_relative_to(here) for place in (Path.cwd(), Path.home())):
        raise UsageError(f"{out} holds more than a dataset: name a folder of its own by --out")


def _existing(dataset: Folder, out: Path) -> Prepared:
    if is_file(out / FILE):
        manifests = dataset.manifests()
        if is_complete(out, conversion_digest(dataset, manifests)):
            return Prepared(out, sum(len(manifest.records) for manifest in manifests), False)
    raise UsageError(
        f"{out} is not empty, and not what would be written: name another folder by --out, or "
        "have it replaced by --force"
    )


def _put_in_place(temporary: Path, out: Path) -> None:
    if not out.exists():
        temporary.rename(out)
        return
    old = name_beside(out, "old")
    out.rename(old)
    try:
        temporary.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(dataset: Folder, readings: Sequence[Reading], out: Path, follow: Follow) -> int:
    """Write images, masks and the manifest; return the number of images."""
    planned = [one for reading in readings for one in plan_files(reading.manifest)]
    files: dict[str, list[Written]] = {}
    for one in planned:
        files.setdefault(split_region(one.record.path)[0], []).append(one)
    for place in {(out / path).parent for one in planned for path in (one.path, one.mask) if path}:
        place.mkdir(parents=True, exist_ok=True)
    source = _source(dataset, readings)

    def convert(file: str) -> list[Written]:
        return convert_file(source, file, files[file], out)

    done = [one for part in follow(in_threads(convert, files), len(files)) for one in part]
    values = manifest_values(dataset, readings, done, _warn_of_new_copies(done))
    (out / FILE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return len(done)


def _source(dataset: Folder, readings: Sequence[Reading]) -> Source:
    modes = {path: fact.mode for reading in readings for path, fact in reading.facts.items()}
    return Source(dataset.root, modes, dataset.marked_above)


def _warn_of_new_copies(done: Sequence[Written]) -> list[str]:
    """Warn of images in train and test whose files differ but whose pixels don't."""
    findings = Findings()
    for category in sorted({one.category for one in done}):
        alike = [one for one in done if one.category == category]
        if len({one.sha256 for one in alike}) < len({one.record.sha256 for one in alike}):
            written = [replace(one.record, path=one.path, sha256=one.sha256) for one in alike]
            resolve_duplicates(written, "error", findings)
    for problem in findings.problems:
        logger.warning("%s; or read the folder with on_duplicate=warn", problem)
    return findings.problems
