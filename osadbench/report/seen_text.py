"""The AUROC of seen and of unseen classes as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from osadbench.report import wording
from osadbench.report.documents import csv_text, json_text
from osadbench.report.seen import PARTS, SeenCell, SeenPart
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.texts import NO_RESULT, counted, mean_text

__all__ = ["render_seen"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
_VALUES = ("mean", "std", "n", "anomalies")
_COLUMNS = (
    *("protocol", "shots", "preset", "dataset", "row", "method", "expected"),
    *(f"{part}_{value}" for part in PARTS for value in _VALUES),
    *("reasons", "mixed", "engine", "manifest"),
)


def render_seen(cells: Sequence[SeenCell], format: str) -> str:
    """Return cells as text of a format, a key of :data:`osadbench.report.FORMATS`."""
    if format == "json":
        return json_text(SCHEMA, cells=[asdict(cell) for cell in cells])
    if format == "csv":
        return csv_text(map(_line, cells), _COLUMNS)
    groups = groupby(cells, key=lambda cell: (id(cell.setting), cell.dataset))
    return sheets_text([_sheet(list(group)) for _, group in groups], format)


def _line(cell: SeenCell) -> dict[str, Any]:
    setting = cell.setting
    line = {
        "protocol": setting.protocol,
        "shots": setting.shots,
        "preset": setting.preset,
        "dataset": cell.dataset,
        "row": cell.row,
        "method": cell.label,
        "expected": cell.expected,
        "reasons": "; ".join(cell.reasons),
        "mixed": "; ".join(cell.mixed),
        "engine": wording.engine_text(setting),
        "manifest": cell.manifest,
    }
    for name, part in zip(PARTS, (cell.all, cell.seen, cell.unseen), strict=True):
        line |= {f"{name}_mean": part.mean, f"{name}_std": part.std, f"{name}_n": part.n}
        line[f"{name}_anomalies"] = _span(part) if part.anomalies else None
    return line


def _sheet(cells: Sequence[SeenCell]) -> Sheet:
    first = cells[0]
    table = wording.table_title(first.dataset, first.setting)
    title = (
        f"{wording.full_title(table, first.setting, first.images)}: AUROC, mean±std over "
        f"{counted(first.expected, 'seed')}, with the number of anomalies in brackets"
    )
    footnotes = list(dict.fromkeys(reason for cell in cells for reason in cell.reasons))
    lines = []
    for cell in cells:
        marks = "".join(f"[{footnotes.index(reason) + 1}]" for reason in cell.reasons)
        parts = (_text(part, cell.expected) for part in (cell.all, cell.seen, cell.unseen))
        lines.append((cell.row, cell.label, *parts, marks))
    heads = ("row", "method", "all classes", "seen classes", "unseen classes", "")
    notes = tuple(f"[{i}] {footnote}" for i, footnote in enumerate(footnotes, 1))
    return Sheet(title, heads, tuple(lines), (*notes, *first.mixed), names=2)


def _text(part: SeenPart, expected: int) -> str:
    if part.mean is None:
        return NO_RESULT
    fraction = "" if part.n == expected else f" {part.n}/{expected}"
    return f"{mean_text(part.mean, part.std)} ({_span(part)}){fraction}"


def _span(part: SeenPart) -> str:
    low, high = part.anomalies or (0, 0)
    return f"{low}" if low == high else f"{low} to {high}"
