"""Writing files as a whole, and what to do where that fails."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

__all__ = ["write_atomically", "writing_remedy"]

#: What no free space helps against.
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISPLACED = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)


def writing_remedy(error: OSError) -> str:
    """Return what to do about a folder that could not be written, as the start of a clause."""
    if error.errno in _MISPLACED:
        return "check its path"
    return "check its permissions" if error.errno in _DENIED else "free some space"


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file so that other processes, and a crash, see all of it or nothing.

    Args:
        path: The file; its folder is made.
        data: What it will hold.
        durable: Whether to wait for the disk. Without, only other processes never see a part of it:
            for files that are told when they are not whole, and can be made anew.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
