"""One function for all formats of a paper's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from osadbench.report.published.data import as_csv, as_json
from osadbench.report.published.latex import latex
from osadbench.report.published.parts import ComparedTable
from osadbench.report.published.text import markdown, terminal

__all__ = ["render_published"]

_FORMATS: Mapping[str, Callable[..., str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": latex,
}


def render_published(
    table: ComparedTable, format: str = "terminal", *, published_only: bool = False
) -> str:
    """Return a paper's table as text that ends in a newline.

    Args:
        table: What :func:`osadbench.report.published.build_published_table` made.
        format: A key of :data:`osadbench.report.FORMATS`.
        published_only: Whether to leave out all that is ours.
    """
    return _FORMATS[format](table, published_only=published_only)
