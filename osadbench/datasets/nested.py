"""Finding a dataset inside the folders that archives and copies put around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from osadbench.datasets.listing import is_folder, list_folder

__all__ = ["find_below", "unnest"]

#: An archive has a folder of its own, and what unpacks it often makes another.
DEPTH = 2


def find_below(base: Path, is_wanted: Callable[[Path], bool]) -> Path | None:
    """Return a folder, or one at most two levels below it, that is wanted.

    Of several it is the nearest, and of those equally near the first by name. What stands below it
    is not looked at.

    Args:
        base: Where to begin; a folder that isn't there has nothing below it.
        is_wanted: Tells whether a folder is it.

    Returns:
        The folder; None where there is none.

    Raises:
        DataError: A folder cannot be listed.
    """
    level = [base]
    for step in range(DEPTH + 1):
        for folder in level:
            if is_wanted(folder):
                return folder
        # The depth ends a loop of links, too.
        if step < DEPTH:
            level = [folder / name for folder in level for name in list_folder(folder)[0]]
    return None


def unnest(root: Path, name: str) -> str:
    """Return ``name``, or ``name/name`` where an archive has been unpacked into its own folder.

    Args:
        root: Where the folder stands.
        name: Name of the folder.
    """
    return f"{name}/{name}" if is_folder(root / name / name) else name
