"""Papers' tables, with our records beside the printed values, and what else is said of them.

:func:`build_published_table` puts records into a paper's rows and columns, and
:func:`render_published` prints what it returns. :func:`published_ranks` ranks the methods of a
table as it was printed, and :func:`render_counts` prints the tables that count datasets' images.
"""

from __future__ import annotations

from osadbench.report.published.counts import render_counts
from osadbench.report.published.images import DeclaredImages
from osadbench.report.published.members import Labels
from osadbench.report.published.parts import ComparedCell, ComparedRow, ComparedTable
from osadbench.report.published.ranks import published_ranks
from osadbench.report.published.render import render_published
from osadbench.report.published.table import build_published_table, usual_records

__all__ = [
    "ComparedCell",
    "ComparedRow",
    "ComparedTable",
    "DeclaredImages",
    "Labels",
    "build_published_table",
    "published_ranks",
    "render_counts",
    "render_published",
    "usual_records",
]
