"""A paper's table of datasets, which counts images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from osadbench.published import DatasetCounts
from osadbench.report.documents import csv_text, json_text
from osadbench.report.published.ranks import PAPERS
from osadbench.report.sheets import Sheet, sheets_text

__all__ = ["render_counts"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
_STYLES = {"terminal": "simple", "markdown": "github"}
_NUMBERS = ("normal train", "normal test", "anomalies", "classes")


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
    if format == "latex":
        return sheets_text([_sheet(name, counts)], format)
    from tabulate import tabulate

    body = [[_place(row), *_numbers(row), row.type, row.note] for row in counts]
    heads = ("", *_NUMBERS, "type", "note")
    return str(tabulate(body, headers=heads, tablefmt=_STYLES[format])) + "\n"


def _sheet(name: str, counts: Sequence[DatasetCounts]) -> Sheet:
    """Return the table with its remarks, which are wider than a page has room for, below it."""
    remarks = list(dict.fromkeys(row.note for row in counts if row.note))
    signs = {remark: f" [{i}]" for i, remark in enumerate(remarks, 1)}
    paper, _, number = name.partition("-")
    return Sheet(
        f"{PAPERS[paper]}, Table {number} ({name}): sizes of the datasets, in images",
        ("", "type", *_NUMBERS),
        tuple(
            (_place(row) + signs.get(row.note, ""), row.type, *map(str, _numbers(row)))
            for row in counts
        ),
        tuple(f"{signs[remark]} {remark}".strip() for remark in remarks),
        names=2,
    )


def _place(row: DatasetCounts) -> str:
    return f"{row.dataset}/{'sum' if row.aggregate else row.subset}".rstrip("/")


def _numbers(row: DatasetCounts) -> tuple[int, ...]:
    return row.normal_train, row.normal_test, row.anomalies, row.n_classes
