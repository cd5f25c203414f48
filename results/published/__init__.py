"""The papers' tables as data: :func:`load` gives the values of one of them.

The CSV files beside this one hold three papers' results as they were printed; their README says
what was corrected, and which faults of the papers stand. Import it as ``osadbench.published``.
"""

from __future__ import annotations

from osadbench.published.other import (
    DatasetCounts,
    Gap,
    PublishedTest,
    dataset_counts,
    gaps,
    pvalues,
)
from osadbench.published.tables import COUNT_TABLES, PublishedValue, load, table_names

__all__ = [
    "COUNT_TABLES",
    "DatasetCounts",
    "Gap",
    "PublishedTest",
    "PublishedValue",
    "dataset_counts",
    "gaps",
    "load",
    "pvalues",
    "table_names",
]
