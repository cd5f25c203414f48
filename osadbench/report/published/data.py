"""A paper's table for other programs: CSV in long form and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from osadbench.report.published.parts import (
    ComparedCell,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
)

__all__ = ["as_csv", "as_json"]

_PLACE = ("table", "setting", "dataset", "subset", "aggregate", "column", "published_method")
_PAPER = ("published_mean", "published_std", "status")
_OURS = ("method", "mean", "std", "n", "expected", "difference", "verdict", "mixed", "version")


def as_csv(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return one line for each cell, unrounded; without our columns for the paper's table alone."""
    text = io.StringIO()
    fields = [*_PLACE, "shots", "metric", *_PAPER, *([] if published_only else _OURS)]
    writer = csv.DictWriter(text, fields, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None and not (published_only and cell.published is None):
                writer.writerow(_line(table, row, column, cell))
    return text.getvalue()


def as_json(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return all of the table as one JSON document; ``schema`` is the version of its layout."""
    document = asdict(table)
    if published_only:
        document = {
            key: document[key] for key in ("schema", "name", "title", "source", "metric", "version")
        }
        document["values"] = [
            {name: value for name, value in line.items() if name not in _OURS}
            for row in table.rows
            for column, cell in zip(table.columns, row.cells, strict=True)
            if cell is not None and cell.published is not None
            for line in [_line(table, row, column, cell)]
        ]
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _line(
    table: ComparedTable, row: ComparedRow, column: ComparedColumn, cell: ComparedCell
) -> dict[str, Any]:
    return {
        "table": table.name,
        "setting": row.setting,
        "dataset": row.dataset,
        "subset": row.subset,
        "aggregate": "true" if row.aggregate else "false",
        "column": column.title,
        "published_method": column.published,
        "shots": column.shots,
        "metric": table.metric,
        "published_mean": cell.published,
        "published_std": cell.published_std,
        "status": cell.status,
        "method": column.method,
        "mean": None if cell.ours is None else cell.ours.mean,
        "std": None if cell.ours is None else cell.ours.std,
        "n": None if cell.ours is None else cell.ours.n,
        "expected": None if cell.ours is None else cell.ours.expected,
        "difference": cell.difference,
        "verdict": cell.verdict,
        "mixed": "true" if cell.mixed else "false",
        "version": table.version,
    }
