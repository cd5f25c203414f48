"""One function for all formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from osadbench.errors import UsageError, did_you_mean
from osadbench.report.data import as_csv, as_json
from osadbench.report.latex import latex
from osadbench.report.markdown import markdown
from osadbench.report.parts import Report
from osadbench.report.terminal import terminal

__all__ = ["FORMATS", "render"]

#: The formats by name.
FORMATS: Mapping[str, Callable[[Report], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}


def render(report: Report, format: str = "terminal", *, color: bool = False) -> str:
    """Return a report as text that ends in a newline.

    Args:
        report: What :func:`osadbench.report.build_report` made.
        format: A key of :data:`FORMATS`.
        color: Whether the terminal format may use ANSI codes; the others never do.

    Raises:
        UsageError: The format is unknown.
    """
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}: {did_you_mean(format, FORMATS)}")
    if format == "terminal":
        return terminal(report, color=color)
    return FORMATS[format](report)
