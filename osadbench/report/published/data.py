"""A paper's table for other programs: CSV in long form and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from osadbench.report.documents import csv_text
from osadbench.report.published.parts import (
    ComparedCell,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
)

__all__ = ["as_csv", "as_json"]

_PAPER = (
    *("table", "setting", "dataset", "subset", "aggregate", "column", "published_method"),
    *("shots", "metric", "published_mean", "published_std", "status"),
    *("printed_mean", "printed_std", "note"),
)
_OURS = ("method", "mean", "std", "n", "expected", "difference", "verdict", "mixed", "version")


def as_csv(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return one line for each cell, unrounded; without our columns for the paper's table alone."""
    columns = _PAPER if published_only else _PAPER + _OURS
    return csv_text(_lines(table, columns, published_only=published_only), columns)


def as_json(table: ComparedTable, *, published_only: bool = False) -> str:
    """Return all of the table as one JSON document; ``schema`` is the version of its layout."""
    document = asdict(table)
    if published_only:
        document = {
            key: document[key] for key in ("schema", "name", "title", "source", "metric", "version")
        }
        document["values"] = list(_lines(table, _PAPER, published_only=True))
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _lines(
    table: ComparedTable, names: Sequence[str], *, published_only: bool
) -> Iterator[dict[str, Any]]:
    """Yield some values of each cell, or of each that the paper prints."""
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None and not (published_only and cell.published is None):
                line = _line(table, row, column, cell)
                yield {name: line[name] for name in names}


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
        "printed_mean": cell.printed_mean,
        "printed_std": cell.printed_std,
        "note": cell.note,
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
