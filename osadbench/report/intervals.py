"""The AUROC of each cell with its confidence interval over test images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from osadbench.errors import ContractError
from osadbench.report.cells import CellPlace, records_by_cell, why_missing
from osadbench.report.documents import csv_text, json_text
from osadbench.report.grouping import blocks_of, by_setting
from osadbench.report.images import ambiguous_places, images_text, manifests_of, places_of
from osadbench.report.provenance import mixtures_told, origins_of
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.texts import DIGITS, counted
from osadbench.report.wording import engine_text, table_title
from osadbench.scores import ScoreTable
from osadbench.stats import AurocInterval, auroc_interval, bootstrap_interval
from osadbench.types import Record

__all__ = ["CellInterval", "cell_intervals", "render_intervals"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
_VALUES = ("auroc", "low", "high", "standard_error")
_COLUMNS = (
    *("preset", *CellPlace._fields, *_VALUES, "interval_method"),
    *("level", "reason", "engine", "mixed", "manifest"),
)


@dataclass(frozen=True)
class CellInterval:
    """One cell.

    Attributes:
        preset: Preset of the engine.
        place: Protocol, dataset, row, shots, method and seed.
        level: Confidence of the interval.
        interval: AUROC and interval, or None where there is none.
        reason: Why there is none, or None.
        engine: Preset, backbone and weights of the table that it stands in.
        mixed: What the results of its dataset there mix, where they may.
        images: Which images its dataset has there, where it has others in other tables.
        manifest: Digest of the images' manifest.
    """

    preset: str
    place: CellPlace
    level: float
    interval: AurocInterval | None = None
    reason: str | None = None
    engine: str = ""
    mixed: tuple[str, ...] = ()
    images: str = ""
    manifest: str = ""


def cell_intervals(
    records: Sequence[Record],
    scores_of: Callable[[str], ScoreTable],
    *,
    level: float = 0.95,
    bootstrap: bool = False,
    allow_mixed: bool = False,
) -> list[CellInterval]:
    """Return the cells by preset, engine, images and place.

    A result that a report shows in the tables of several shots or weights is a cell of the first.

    Args:
        records: Records in any order, with labels as
            :func:`osadbench.report.grouping.tell_apart` gives them.
        scores_of: Returns the scores of a key, such as :meth:`osadbench.store.Store.scores`.
        level: Confidence of the intervals.
        bootstrap: Whether to draw the images anew instead of using DeLong's variance.
        allow_mixed: Whether results that :func:`~osadbench.report.provenance.mixtures` names may
            stand in one table.

    Raises:
        StoreError: Two records claim the same method, row and seed of one table, or they are mixed.
    """
    # No file of scores is read for a table that is refused.
    standing = _standing(records, allow_mixed=allow_mixed)
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
        where = standing[id(record)]
        cell = CellInterval(record.preset, place, level, interval, reason, *where, record.manifest)
        cells.append(cell)
    return sorted(cells, key=lambda cell: (*_sheet_of(cell), cell.place))


def _sheet_of(cell: CellInterval) -> tuple[str, str, str]:
    return cell.preset, cell.engine, cell.images


_Standing = tuple[str, tuple[str, ...], str]


def _standing(records: Sequence[Record], *, allow_mixed: bool) -> dict[int, _Standing]:
    """Return engine, mixtures and images of each record's table, by the record's identity."""
    blocks = blocks_of(records)
    ambiguous = ambiguous_places(places_of(blocks))
    found: dict[int, _Standing] = {}
    for setting, tables in by_setting(blocks):
        engine = engine_text(setting)
        for dataset, members in tables.items():
            records_by_cell(members)  # refuses several of one place
            title = table_title(dataset, setting)
            mixed = mixtures_told(title, origins_of(members), allow_mixed=allow_mixed)
            images = images_text(manifests_of(members), ambiguous)
            for record in members:
                found.setdefault(id(record), (engine, mixed, images))
    return found


def render_intervals(cells: Sequence[CellInterval], format: str) -> str:
    """Return cells as text of a format, a key of :data:`osadbench.report.FORMATS`."""
    if format == "json":
        documents = [{**asdict(cell), "place": cell.place._asdict()} for cell in cells]
        return json_text(SCHEMA, cells=documents)
    if format == "csv":
        return csv_text(map(_line, cells), _COLUMNS)
    groups = groupby(cells, key=_sheet_of)
    return sheets_text([_sheet(list(group)) for _, group in groups], format)


def _sheet(cells: Sequence[CellInterval]) -> Sheet:
    first = cells[0]
    what = ", ".join(filter(None, (first.engine, first.images)))
    heads = ("dataset", "protocol", "row", "shots", "method", "seed", "AUROC", "interval", "preset")
    return Sheet(
        f"AUROC by cell, {first.level * 100:g} % intervals over test images; {what}",
        heads,
        tuple(_texts(cell) for cell in cells),
        tuple(_notes(cells)),
        names=5,
    )


def _line(cell: CellInterval) -> dict[str, Any]:
    line = {
        "preset": cell.preset,
        **cell.place._asdict(),
        "level": cell.level,
        "reason": cell.reason,
        "engine": cell.engine,
        "mixed": "; ".join(cell.mixed),
        "manifest": cell.manifest,
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
    lengths = [c.interval for c in cells if c.interval and c.interval.low == c.interval.high]
    if lengths:
        yield (
            f"{counted(len(lengths), 'cell')} with an interval of no length, since no draw changes "
            "the AUROC; the limits without --bootstrap say more"
        )
    told = {(c.place.dataset, c.place.protocol, text) for c in cells for text in c.mixed}
    for dataset, protocol, text in sorted(told):
        yield f"{dataset}, {protocol} protocol: {text}"
