"""Two sets of results held against each other, cell by cell and over all rows.

:func:`differences` finds what differs, and :func:`render_differences` prints what it returns.
"""

from __future__ import annotations

from osadbench.report.differences.finding import differences
from osadbench.report.differences.parts import CellDifference, Differences, GroupTest, Side
from osadbench.report.differences.text import render_differences

__all__ = [
    "CellDifference",
    "Differences",
    "GroupTest",
    "Side",
    "differences",
    "render_differences",
]
