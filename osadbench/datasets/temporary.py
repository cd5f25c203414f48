"""Folders that are written under another name beside, and get theirs when they are whole."""

from __future__ import annotations

import logging
import re
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["followed", "name_beside", "warn_of_leftovers"]

logger = logging.getLogger("osadbench")


def followed(folder: Path) -> Path:
    """Return what a link leads to, so that the link stays one; any other folder as it is."""
    return folder.resolve() if folder.is_symlink() else folder


def name_beside(folder: Path, ending: str) -> Path:
    """Return a hidden name beside a folder that nobody else uses."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.{ending}")


def warn_of_leftovers(folder: Path) -> None:
    """Name what stands under such names, for whoever was killed could not take it away."""
    name = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{32}}\.(tmp|old)")
    left: list[str] = []
    with suppress(OSError):
        left = sorted(str(path) for path in folder.parent.iterdir() if name.fullmatch(path.name))
    if left:
        # It may also be that of another process, which would be taken away under its hands.
        logger.warning(
            "%s: left by a command that was killed, unless one is writing %s now; delete it",
            " and ".join(left),
            folder,
        )
