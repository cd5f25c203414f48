"""Archives that lie where a dataset should be, not unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osadbench.datasets.listing import is_file, list_folder
from osadbench.datasets.nested import find_below
from osadbench.errors import first_of

__all__ = ["packed_below", "packed_text"]

SUFFIXES = (
    ".zip",
    ".7z",
    ".rar",
    ".tar",
    ".tgz",
    ".tbz2",
    ".txz",
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
)
#: Archives that are named; the rest are counted.
SHOWN = 3


def packed_text(folder: Path, *, unopened: bool = False) -> str | None:
    """Return which archives lie in a folder, and what to do; None where there is none.

    Args:
        folder: A folder; what stands below its folders is not looked at. Also an archive itself.
        unopened: Whether archives are left out that have a folder of their name beside them.

    Raises:
        DataError: The folder cannot be listed.
    """
    folders, files = ([], [folder.name]) if is_file(folder) else list_folder(folder)
    names = [name for name in files if name.lower().endswith(SUFFIXES)]
    if unopened:
        names = [name for name in names if name.partition(".")[0] not in folders]
    return _text(names) if names else None


def packed_below(base: Path) -> str | None:
    """Return the same of a folder, or of the nearest of those at most two levels below it."""
    place = find_below(base, lambda place: packed_text(place) is not None)
    text = None if place is None else packed_text(place)
    return f"in {place} {text}" if place not in (None, base) else text


def _text(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} lies there packed: unpack it"
    return f"{first_of(names, SHOWN)} lie there packed: unpack them"
