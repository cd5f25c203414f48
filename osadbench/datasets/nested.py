"""Finding a dataset inside the folders that archives and copies put around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from osadbench.datasets.listing import is_category, list_folder

__all__ = ["find_below", "layouts_below"]

#: An archive has a folder of its own, and what unpacks it often makes another.
DEPTH = 2


def find_below(base: Path, is_wanted: Callable[[Path], bool], depth: int = DEPTH) -> Path | None:
    """Return a folder, or one below it, that is wanted: the nearest, and of those the first.

    Args:
        base: Where to begin.
        is_wanted: Tells whether a folder is it.
        depth: How many levels below ``base`` to look at; they end a loop of links, too.
    """
    level = [base]
    for step in range(depth + 1):
        for folder in level:
            if is_wanted(folder):
                return folder
        if step < depth:
            level = [folder / name for folder in level for name in list_folder(folder)[0]]
    return None


def layouts_below(bases: Iterable[Path], categories: Iterable[str]) -> list[Path]:
    """Return folders and, behind them, those below that hold categories as MVTec AD lays them out.

    Args:
        bases: Where to begin.
        categories: Names of the categories, one of which is enough.
    """
    names = tuple(categories)
    bases = list(bases)

    def holds_one(folder: Path) -> bool:
        return any(is_category(folder / name) for name in names)

    found = [find_below(base, holds_one) for base in bases]
    return bases + [folder for folder in found if folder is not None and folder not in bases]
