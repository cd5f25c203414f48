"""Archives that lie where a dataset should be, not unpacked."""

from __future__ import annotations

from pathlib import Path

from osadbench.datasets.listing import is_file, list_folder

__all__ = ["packed_text"]

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


def packed_text(folder: Path) -> str | None:
    """Return which archives lie in a folder, and what to do; None where there is none.

    Args:
        folder: A folder; what stands below its folders is not looked at. Also an archive itself.

    Raises:
        DataError: The folder cannot be listed.
    """
    files = [folder.name] if is_file(folder) else list_folder(folder)[1]
    names = [name for name in files if name.lower().endswith(SUFFIXES)]
    if not names:
        return None
    if len(names) == 1:
        return f"{names[0]} lies there packed: unpack it"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} lie there packed: unpack them"
