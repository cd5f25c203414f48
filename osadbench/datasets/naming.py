"""File names that every system can keep, made from the paths of a download."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from osadbench.images import split_region
from osadbench.params import digest

__all__ = ["portable_stems"]

#: Names are cut to this many characters, and a digest of the path keeps them apart.
LONGEST = 120
#: Devices of Windows, which no file may be named after, whatever its ending.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def portable_stems(paths: Iterable[str]) -> dict[str, str]:
    """Return a file name without ending for each path, of letters, digits, ``_``, ``-`` and dots.

    ``kos01/Part0.jpg#xywh=0,413,500,413`` becomes ``kos01_Part0_0-413``. No two are equal, nor
    equal but for upper and lower case; a number is put behind where they would be.

    Args:
        paths: Paths of images, or of parts of them, in the order in which names are given.
    """
    taken: set[str] = set()
    stems = {}
    for path in paths:
        stem = _stem(path)
        stems[path] = next(name for name in _numbered(stem) if name.lower() not in taken)
        taken.add(stems[path].lower())
    return stems


def _stem(path: str) -> str:
    file, region = split_region(path)
    name = PurePosixPath(file).with_suffix("").as_posix()
    if region is not None:
        name += f"_{region.left}-{region.top}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") or "image"
    if len(name) > LONGEST:
        name = f"{name[-LONGEST:].lstrip('.')}_{digest(path)[:8]}"
    return f"_{name}" if RESERVED.fullmatch(name) else name


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1
