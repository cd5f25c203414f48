"""Listing folders: the same files in the same order on every file system, and nothing else.

Links are followed, but not round: folders are read to a fixed depth, or past no link that leads
back up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from osadbench.errors import DataError
from osadbench.images import EXTENSIONS
from osadbench.params import digest

__all__ = [
    "CategoryListing",
    "fingerprint",
    "is_category",
    "is_empty",
    "is_file",
    "is_folder",
    "is_image",
    "list_categories",
    "list_category",
    "list_folder",
    "list_images",
    "tree_fingerprint",
]

#: Left behind by operating systems and archives, or text that goes with a dataset.
IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "manifest.json"})
IGNORED_SUFFIXES = frozenset({".txt", ".csv"})
#: The folders of the MVTec AD layout.
PARTS = ("train", "test", "ground_truth")


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder, or a link to one.

    Raises:
        DataError: That cannot be told, for a folder above it may not be entered.
    """
    return _is_of_mode(path, stat.S_ISDIR)


def is_file(path: Path) -> bool:
    """Tell whether a path is a file, or a link to one; raise as :func:`is_folder` does."""
    return _is_of_mode(path, stat.S_ISREG)


def _is_of_mode(path: Path, is_wanted: Callable[[int], bool]) -> bool:
    try:
        return is_wanted(path.stat().st_mode)
    except PermissionError as error:
        raise DataError(
            f"cannot look at {path} ({error.strerror}): check the permissions of the folders above "
            "it"
        ) from None
    except (OSError, ValueError):
        return False


def is_empty(folder: Path) -> bool:
    """Tell whether nothing at all stands in a folder, hidden files included.

    Raises:
        DataError: The folder cannot be listed.
    """
    return not _entries(folder)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list {folder} ({error.strerror}): check its permissions") from None


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's subfolders and of its files, each sorted.

    Dotfiles, ``Thumbs.db``, ``__MACOSX``, ``.txt`` and ``.csv`` files are left out. A folder that
    isn't there has none. A link that leads nowhere counts as a file.

    Raises:
        DataError: The folder cannot be listed.
    """
    if not is_folder(folder):
        return [], []
    folders: list[str] = []
    files: list[str] = []
    for entry in _entries(folder):
        if not _is_ignored(entry):
            (folders if is_folder(entry) else files).append(entry.name)
    return folders, files


def _is_ignored(entry: Path) -> bool:
    name = entry.name.lower()
    return name.startswith(".") or name in IGNORED_NAMES or entry.suffix.lower() in IGNORED_SUFFIXES


def is_category(folder: Path) -> bool:
    """Tell whether a folder has the parts of one category of the MVTec AD layout."""
    return is_folder(folder / "train") or is_folder(folder / "test")


def list_categories(folder: Path) -> list[str]:
    """Return the names of the categories that a folder holds, sorted; ``[""]`` where it is one.

    Raises:
        DataError: The folder cannot be listed.
    """
    if is_category(folder):
        return [""]
    return [name for name in list_folder(folder)[0] if is_category(folder / name)]


@dataclass(frozen=True)
class CategoryListing:
    """What stands in one category's folder.

    Attributes:
        folder: The category's folder.
        images: Image files by class folder, such as ``"test/hole"``, as POSIX paths below
            ``folder``, sorted. An empty class folder is there with no files.
        others: Files and folders that belong to no part of the layout.
    """

    folder: Path
    images: dict[str, tuple[str, ...]]
    others: tuple[str, ...]

    def classes(self, part: str) -> list[str]:
        """Return the names of the class folders of ``train``, ``test`` or ``ground_truth``."""
        return [name.partition("/")[2] for name in self.images if name.startswith(f"{part}/")]

    @property
    def fingerprint(self) -> str:
        """Digest that changes when a file is added, removed or rewritten."""
        files = [path for paths in self.images.values() for path in paths]
        return digest([sorted(self.images), self.others, fingerprint(self.folder, files)])


def list_category(folder: Path) -> CategoryListing:
    """List one category of the MVTec AD layout.

    Raises:
        DataError: A folder cannot be listed.
    """
    subfolders, others = list_folder(folder)
    others += [name for name in subfolders if name not in PARTS]
    images: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        class_names, strays = list_folder(folder / part)
        others += [f"{part}/{name}" for name in strays]
        for class_name in class_names:
            below = f"{part}/{class_name}"
            deeper, files = list_folder(folder / below)
            images[below] = tuple(f"{below}/{name}" for name in files if is_image(name))
            others += [f"{below}/{name}" for name in deeper]
            others += [f"{below}/{name}" for name in files if not is_image(name)]
    return CategoryListing(folder, images, tuple(others))


def is_image(name: str) -> bool:
    """Tell whether a file's name ends as that of an image."""
    return Path(name).suffix.lower() in EXTENSIONS


def list_images(folder: Path) -> list[str]:
    """Return all images below a folder as sorted POSIX paths.

    Linked folders are followed, but for those that lead back up.

    Raises:
        DataError: A folder cannot be listed.
    """
    subfolders, files = list_folder(folder)
    below = [name for name in subfolders if not _leads_up(folder / name)]
    deeper = [f"{name}/{path}" for name in below for path in list_images(folder / name)]
    return sorted([*filter(is_image, files), *deeper])


def _leads_up(folder: Path) -> bool:
    """Tell whether a folder is a link to one that it stands in, which would have no end."""
    try:
        if not folder.is_symlink():
            return False
        return folder.resolve() in [above.resolve() for above in folder.absolute().parents]
    except (OSError, RuntimeError):
        # It cannot be listed either.
        return False


def fingerprint(folder: Path, paths: Iterable[str]) -> str:
    """Return a digest of files' paths, sizes and modification times, without reading them.

    Args:
        folder: Where the paths start.
        paths: POSIX paths below it.
    """
    return digest([[path, *_size_and_time(folder / path)] for path in paths])


def tree_fingerprint(folder: Path) -> str:
    """Return a digest of the paths, sizes and times of all files below a folder.

    Linked folders are followed, for loaders read what they lead to, but for those that lead back
    up.
    """
    files: list[tuple[str, int, int]] = []
    for place, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        subfolders[:] = [name for name in subfolders if not _leads_up(here / name)]
        prefix = here.relative_to(folder).as_posix()
        files += [(f"{prefix}/{name}", *_size_and_time(here / name)) for name in names]
    return digest(sorted(files))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
