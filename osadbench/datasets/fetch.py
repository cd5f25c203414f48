"""Downloading a dataset whose licence and address allow it: ``osadbench data fetch``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from osadbench.datasets.declaration import declaration, placing
from osadbench.datasets.download import Progress, download
from osadbench.datasets.listing import is_empty, is_folder
from osadbench.datasets.raw import Archive, RawDataset
from osadbench.datasets.temporary import followed, name_beside, warn_of_leftovers
from osadbench.datasets.unpack import extract_into
from osadbench.errors import DataError
from osadbench.files import writing_remedy

__all__ = ["fetch", "how_to_get", "terms"]

logger = logging.getLogger("osadbench")


def how_to_get(cls: type[RawDataset], folder: Path | None = None) -> str:
    """Return what to download and where to put it, in lines.

    Args:
        cls: The dataset's class.
        folder: Where the user wants it; None for where it is looked for.
    """
    return "\n".join([f"layout: {cls.layout}", *placing(declaration(cls), folder)])


def terms(cls: type[RawDataset]) -> str:
    """Return what a user has to agree to before a download, in lines."""
    about = {"licence": cls.licence, "citation": cls.citation, "source": cls.source}
    return "\n".join(f"{key}: {value}" for key, value in about.items())


def fetch(
    cls: type[RawDataset],
    folder: Path,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> Path:
    """Download a dataset's archives, check them by their hashes, and unpack them.

    The user must have agreed to the :func:`terms`. Downloads that stopped half-way, in a hidden
    folder beside, go on. The folder gets its name when all is there.

    Args:
        cls: The dataset's class, which has archives.
        folder: Where the dataset is to be; a folder that isn't there yet, or is empty.
        progress: Given an archive's name, returns what is told of its bytes.

    Returns:
        The folder.

    Raises:
        DataError: The folder is taken or cannot be written, an address cannot be read, a file has
            another hash, or an archive is unsafe or not the dataset.
    """
    if not is_empty(folder) if is_folder(folder) else folder.exists():
        raise DataError(
            f"{folder} is taken, and holds no {cls.name}: empty it, or name another by --data-root"
        )
    place = followed(folder)
    warn_of_leftovers(place)
    kept = place.with_name(f".{place.name}.download")
    temporary = name_beside(place, "tmp")
    try:
        kept.mkdir(parents=True, exist_ok=True)
        files = [_get(archive, kept, progress) for archive in cls.archives]
        for archive, file in zip(cls.archives, files, strict=True):
            logger.info("unpacking %s", file.name)
            extract_into(file, temporary / archive.folder)
        _check(cls, temporary)
        if is_folder(place):
            place.rmdir()
        temporary.rename(place)
        shutil.rmtree(kept, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write {folder} ({error.strerror or error}): {writing_remedy(error)}, or name "
            "another folder by --data-root"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _get(archive: Archive, folder: Path, progress: Callable[[str], Progress]) -> Path:
    """Return an archive's file, downloaded and checked."""
    import pooch

    name = PurePosixPath(urlsplit(archive.url).path).name or archive.sha256[:16]
    part = folder / f"{name}.part"

    def get(url: str, output_file: str, _: object) -> None:
        download(url, part, progress(name))
        part.replace(output_file)

    pooch.get_logger().setLevel(logging.ERROR)
    known = f"sha256:{archive.sha256}"
    try:
        file = pooch.retrieve(archive.url, known, name, folder, downloader=get)
    except ValueError as error:
        # What came is gone with it, so that trying again starts anew.
        raise DataError(
            f"{archive.url} is another file than this version knows, of sha256 "
            f"{archive.sha256[:16]}...: get the dataset by hand"
        ) from error
    return Path(file)


def _check(cls: type[RawDataset], folder: Path) -> None:
    """Check that what was unpacked is the dataset; its images are not looked at."""
    try:
        _ = cls(folder).root
    except DataError as error:
        raise DataError(f"the archives of {cls.name} hold something else: {error}") from error
