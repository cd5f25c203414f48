"""Unpacking archives that nobody has looked into: nothing outside the folder, nothing without end.

Neither names nor sizes that an archive states are believed: names are checked before anything is
written, and what is written is counted.
"""

from __future__ import annotations

import contextlib
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from osadbench.errors import DataError

__all__ = ["Limits", "extract_into"]

#: Bytes read at once.
CHUNK = 1 << 20
#: What the libraries raise on archives that are damaged or truncated, or on full disks.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


class Limits(NamedTuple):
    """What an archive may grow to.

    Attributes:
        files: Number of files and folders; the largest dataset here has some 40,000.
        size: Bytes of all files.
        growth: Bytes of all files for each byte of the archive. Images grow little; masks, which
            are nearly empty, may grow a hundredfold, but they are the smaller part.
    """

    files: int = 500_000
    size: int = 64 << 30
    growth: int = 200


class _Member(NamedTuple):
    name: str
    is_folder: bool
    fault: str | None
    open: Callable[[], IO[bytes]]


def extract_into(archive: Path, folder: Path, limits: Limits | None = None) -> None:
    """Unpack an archive into a folder of the caller's, who removes it when this fails.

    Files that are there are never replaced. Permissions, owners and times are not taken over.

    Args:
        archive: A zip file, or a tar file, plain or compressed by gzip, bzip2 or xz; told by its
            content.
        folder: The folder; made if missing.
        limits: What the archive may grow to.

    Raises:
        DataError: The archive is neither zip nor tar, is damaged, holds a link, a device or a path
            that is not below the folder, states a path twice, or grows beyond the limits; or the
            folder cannot be written.
    """
    limits = limits or Limits()
    try:
        allowed = min(limits.size, limits.growth * archive.stat().st_size)
        with _opened(archive) as members:
            _write(archive, members, folder, limits.files, allowed)
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"cannot unpack {archive} ({reason}): get the file anew, and check the free space"
        ) from error


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield _zip_members(zipped)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tarred:
            yield _tar_members(tarred)
    else:
        raise DataError(f"{archive} is neither a zip nor a tar file: unpack it by hand")


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        fault = "is no file" if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else None
        if info.flag_bits & 0x1:
            fault = "is encrypted"
        yield _Member(info.filename, info.is_dir(), fault, partial(zipped.open, info))


def _tar_members(tarred: tarfile.TarFile) -> Iterator[_Member]:
    for info in tarred:
        fault = None if info.isreg() or info.isdir() else "is a link or a device"
        yield _Member(info.name, info.isdir(), fault, partial(_stream, tarred, info))


def _stream(tarred: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tarred.extractfile(info)
    if stream is None:
        raise tarfile.ReadError(f"{info.name} holds no data")
    return stream


def _write(
    archive: Path, members: Iterator[_Member], folder: Path, files: int, allowed: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    left = allowed
    for number, member in enumerate(members, start=1):
        fault = member.fault or _fault_of_name(member.name)
        if fault:
            raise DataError(f"{archive} holds {member.name!r}, which {fault}: do not use it")
        if number > files:
            raise DataError(f"{archive} holds more than {files} files: do not use it")
        place = folder / member.name
        if member.is_folder:
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        left -= _copy(member, place, left)
        if left < 0:
            raise DataError(
                f"{archive} grows beyond {allowed} bytes: it is no archive of images; do not use it"
            )


def _fault_of_name(name: str) -> str | None:
    """Return why a name is not one of a file below the folder, on any system; None if it is."""
    parts = name.rstrip("/").split("/")
    if ".." in parts or parts[0] == "":
        return "leads out of the folder"
    if re.search(r"[\\:\x00-\x1f]", name):
        return "has a character that no file name should have"
    return None


def _copy(member: _Member, place: Path, left: int) -> int:
    """Copy one file, at most one chunk more than is left; return how many bytes were written."""
    written = 0
    try:
        with member.open() as source, place.open("xb") as file:
            while written <= left and (chunk := source.read(CHUNK)):
                file.write(chunk)
                written += len(chunk)
    except FileExistsError:
        raise DataError(f"{member.name} is there twice: get the archive anew") from None
    return written
