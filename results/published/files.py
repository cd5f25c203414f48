"""Reading the CSV files of this package."""

from __future__ import annotations

import csv
import io
from importlib import resources

__all__ = ["file_names", "read_file"]

_PACKAGE = "osadbench.published"


def file_names() -> list[str]:
    """Return the names of the files."""
    return [path.name for path in resources.files(_PACKAGE).iterdir()]


def read_file(name: str) -> list[dict[str, str]]:
    """Return the lines of a file by its heads."""
    text = resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))
