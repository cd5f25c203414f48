"""Formats for other programs: CSV in long form and JSON, both with unrounded numbers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from osadbench.report.documents import csv_text
from osadbench.report.facts import assignments
from osadbench.report.parts import Cell, Report, Row, Table

__all__ = ["as_csv", "as_json"]

_COLUMNS = (
    "protocol",
    "dataset",
    "row",
    "aggregate",
    "shots",
    "method",
    "metric",
    "mean",
    "std",
    "n",
    "expected",
    "failed",
    "skipped",
    "seeds",
    "preset",
    "backbone",
    "weights",
    "engine_changes",
    "departures",
    "labelled",
    "outliers",
    "remarks",
    "fit_seconds",
    "score_seconds",
    "peak_memory_bytes",
    "reasons",
    "version",
    "mixed",
    "odd",
)


def as_csv(report: Report) -> str:
    """Return one line for each cell, mean rows included (``aggregate`` is ``true`` there)."""
    lines = (
        _line(report, table, row, cell)
        for table in report.tables
        for row in table.rows
        for cell in row.cells
    )
    return csv_text(lines, _COLUMNS)


def as_json(report: Report) -> str:
    """Return all of the report as one JSON document; ``schema`` is the version of its layout."""
    return json.dumps(asdict(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _line(report: Report, table: Table, row: Row, cell: Cell) -> dict[str, Any]:
    setting = table.setting
    facts = table.facts[table.columns.index(cell.label)]
    return {
        "protocol": setting.protocol,
        "dataset": table.dataset,
        "row": row.name,
        "aggregate": "true" if row.aggregate else "false",
        "shots": setting.shots,
        "method": cell.label,
        "metric": table.metric,
        "mean": cell.mean,
        "std": cell.std,
        "n": cell.n,
        "expected": cell.expected,
        "failed": cell.failed,
        "skipped": cell.skipped,
        "seeds": " ".join(map(str, table.seeds)),
        "preset": setting.preset,
        "backbone": setting.backbone,
        "weights": setting.weights,
        "engine_changes": " ".join(setting.changes),
        "departures": "; ".join(map(assignments, facts.departures)),
        "labelled": "true" if facts.shots else "false",
        "outliers": "; ".join(map(assignments, facts.outliers)),
        "remarks": "; ".join(facts.remarks),
        "fit_seconds": cell.fit_seconds,
        "score_seconds": cell.score_seconds,
        "peak_memory_bytes": cell.peak_memory_bytes,
        "reasons": "; ".join(table.footnotes[note - 1] for note in cell.notes),
        "version": report.version,
        "mixed": "; ".join(table.mixed),
        "odd": "true" if cell.odd else "false",
    }
