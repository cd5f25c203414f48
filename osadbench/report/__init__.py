"""Tables and tests from stored records: :func:`build_report` gathers, :func:`render` prints.

Nothing here runs, reads or writes anything: records come in, text goes out.
"""

from __future__ import annotations

from osadbench.report.model import GROUPINGS, build_report
from osadbench.report.parts import (
    Cell,
    ColumnFacts,
    Comparison,
    Cost,
    Report,
    Row,
    Setting,
    Table,
)
from osadbench.report.render import FORMATS, render

__all__ = [
    "FORMATS",
    "GROUPINGS",
    "Cell",
    "ColumnFacts",
    "Comparison",
    "Cost",
    "Report",
    "Row",
    "Setting",
    "Table",
    "build_report",
    "render",
]
