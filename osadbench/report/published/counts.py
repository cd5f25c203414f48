"""A paper's table of datasets, which counts images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields

from osadbench.published import DatasetCounts
from osadbench.report.documents import csv_text

__all__ = ["render_counts"]

_STYLES = {"terminal": "simple", "markdown": "github", "latex": "latex_booktabs"}
_HEADS = ("", "normal train", "normal test", "anomalies", "classes", "type", "note")


def render_counts(name: str, counts: Sequence[DatasetCounts], format: str) -> str:
    """Return the table as text that ends in a newline.

    Args:
        name: Name of the table.
        counts: Its rows.
        format: ``"terminal"``, ``"markdown"``, ``"latex"``, ``"csv"`` or ``"json"``.
    """
    rows = [asdict(row) for row in counts]
    if format == "json":
        return json.dumps({"schema": 1, "name": name, "datasets": rows}, indent=1) + "\n"
    if format == "csv":
        lines = [{**row, "aggregate": str(row["aggregate"]).lower()} for row in rows]
        return csv_text(lines, [field.name for field in fields(DatasetCounts)])
    from tabulate import tabulate

    body = [
        [f"{row.dataset}/{'sum' if row.aggregate else row.subset}".rstrip("/")]
        + [row.normal_train, row.normal_test, row.anomalies, row.n_classes, row.type, row.note]
        for row in counts
    ]
    return str(tabulate(body, headers=_HEADS, tablefmt=_STYLES[format])) + "\n"
