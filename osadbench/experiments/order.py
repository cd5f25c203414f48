"""The order of methods in the papers' main tables."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

__all__ = ["methods_in_order"]

#: The tables of all datasets with which the papers begin, the older paper first.
_MAIN = ("dra-1", "ahl-1")


@functools.cache
def methods_in_order() -> tuple[str, ...]:
    """Return the methods of the papers' main tables, as labels, in the order of their columns."""
    found: dict[str, None] = {}
    for name in _MAIN:
        # As reports are printed often, nothing but the columns is read, and nothing validated:
        # all of it takes 25 ms a table.
        text = resources.files("osadbench.experiments").joinpath(f"{name}.toml").read_text("utf-8")
        columns = tomllib.loads(text)["columns"]
        found |= dict.fromkeys(column["method"] for column in columns if "method" in column)
    return tuple(found)
