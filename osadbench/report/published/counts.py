"""A paper's table of datasets, which counts images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from osadbench.published import DatasetCounts
from osadbench.report.documents import csv_text, json_text

__all__ = ["render_counts"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
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
        return json_text(SCHEMA, name=name, datasets=rows)
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
