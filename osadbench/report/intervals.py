"""The AUROC of each cell with its confidence interval over test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from osadbench.errors import ContractError
from osadbench.report.cells import CellPlace, why_missing
from osadbench.report.documents import csv_text, json_text
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.texts import DIGITS, counted
from osadbench.scores import ScoreTable
from osadbench.stats import AurocInterval, auroc_interval, bootstrap_interval
from osadbench.types import Record

__all__ = ["CellInterval", "cell_intervals", "render_intervals"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
_VALUES = ("auroc", "low", "high", "standard_error")
_COLUMNS = ("preset", *CellPlace._fields, *_VALUES, "interval_method", "level", "reason")


@dataclass(frozen=True)
class CellInterval:
    """One cell.

    Attributes:
        preset: Preset of the engine.
        place: Protocol, dataset, row, shots, method and seed.
        level: Confidence of the interval.
        interval: AUROC and interval, or None where there is none.
        reason: Why there is none, or None.
    """

    preset: str
    place: CellPlace
    level: float
    interval: AurocInterval | None = None
    reason: str | None = None


def cell_intervals(
    records: Sequence[Record],
    scores_of: Callable[[str], ScoreTable],
    *,
    level: float = 0.95,
    bootstrap: bool = False,
) -> list[CellInterval]:
    """Return the cells by preset and place.

    Args:
        records: Records in any order.
        scores_of: Returns the scores of a key, such as :meth:`osadbench.store.Store.scores`.
        level: Confidence of the intervals.
        bootstrap: Whether to draw the images anew instead of using DeLong's variance.
    """
    interval_of = bootstrap_interval if bootstrap else auroc_interval
    cells = []
    for record in records:
        interval = reason = None
        if record.status != "done":
            reason = why_missing(record, "auroc", ", ")
        else:
            table = scores_of(record.key)
            try:
                interval = interval_of(table.labels, table.scores, level=level)
            except ContractError as error:
                reason = str(error)
        place = CellPlace.of(record, record.label)
        cells.append(CellInterval(record.preset, place, level, interval, reason))
    return sorted(cells, key=lambda cell: (cell.preset, cell.place))


def render_intervals(cells: Sequence[CellInterval], format: str) -> str:
    """Return cells as ``"terminal"``, ``"markdown"``, ``"csv"`` or ``"json"`` text."""
    if format == "json":
        documents = [{**asdict(cell), "place": cell.place._asdict()} for cell in cells]
        return json_text(SCHEMA, cells=documents)
    if format == "csv":
        return csv_text(map(_line, cells), _COLUMNS)
    level = cells[0].level if cells else 0.95
    heads = ("dataset", "protocol", "row", "shots", "method", "seed", "AUROC")
    return sheets_text(
        [
            Sheet(
                f"AUROC by cell, {level * 100:g} % intervals over test images",
                (*heads, "interval", "preset"),
                tuple(_texts(cell) for cell in cells),
                tuple(_notes(cells)),
            )
        ],
        format,
    )


def _line(cell: CellInterval) -> dict[str, Any]:
    line = {
        "preset": cell.preset,
        **cell.place._asdict(),
        "level": cell.level,
        "reason": cell.reason,
    }
    if cell.interval is not None:
        line |= {name: getattr(cell.interval, name) for name in _VALUES}
        line["interval_method"] = cell.interval.method
    return line


def _texts(cell: CellInterval) -> tuple[str, ...]:
    place, found = cell.place, cell.interval
    names = (place.dataset, place.protocol, place.row, str(place.shots), place.label)
    auroc, limits = "-", "-"
    if found is not None:
        auroc = f"{found.auroc:.{DIGITS}f}"
        limits = f"{found.low:.{DIGITS}f} to {found.high:.{DIGITS}f}"
    return (*names, str(place.seed), auroc, limits, cell.preset)


def _notes(cells: Sequence[CellInterval]) -> Iterator[str]:
    yield "what another fit, or another draw of labelled anomalies, would change is not in them"
    for reason in dict.fromkeys(cell.reason for cell in cells if cell.reason):
        several = sum(cell.reason == reason for cell in cells)
        yield f"{counted(several, 'cell')} without one: {reason}"
