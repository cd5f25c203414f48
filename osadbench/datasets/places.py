"""Where a dataset is looked for when nobody says where it is."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder", "place_text"]


def data_folder(name: str) -> Path | None:
    """Return ``OSADBENCH_DATA_DIR/<name>``, there or not; None where the variable is not set."""
    parent = os.environ.get("OSADBENCH_DATA_DIR")
    return Path(parent, name) if parent else None


def place_text(name: str) -> str:
    """Return that folder in words, with the variable's value where it has one."""
    folder = data_folder(name)
    return f"{name} below the folder OSADBENCH_DATA_DIR" if folder is None else str(folder)
