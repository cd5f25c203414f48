"""What columns of one table have of their own, and the notes that say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from osadbench.params import canonical_json
from osadbench.report.grouping import shared
from osadbench.report.parts import ColumnFacts, Setting
from osadbench.types import NO_WEIGHTS, Record

__all__ = ["assignments", "column_notes", "facts_of", "short_weights"]

#: A number that is no part of a name.
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def facts_of(label: str, records: Sequence[Record]) -> ColumnFacts:
    """Return what the records of a column have of their own.

    Args:
        label: The column.
        records: All its records in one table, at least one. Those that are not done count only
            where none is.
    """
    done = [record for record in records if record.status == "done"]
    counted = done or list(records)
    facts = ColumnFacts(
        label,
        cells=len(done),
        shots=max(map(attrgetter("shots"), counted)),
        uses_backbone=any(record.weights != NO_WEIGHTS for record in counted),
    )
    plain = not (
        any(shared(counted, "departures"))
        or any(split.get("outliers") for split in shared(counted, "split"))
        or any(record.provenance.get("notes") for record in counted)
    )
    if plain:
        return facts
    counted.sort(key=lambda record: (record.row, record.seed))
    departures = _different(map(_departures, counted))
    return replace(
        facts,
        departures=departures if any(departures) else (),
        outliers=_different(found for r in counted if (found := r.split.get("outliers"))),
        remarks=_remarks([record.provenance.get("notes") or () for record in counted]),
    )


def _departures(record: Record) -> Mapping[str, Any]:
    if not record.has_own_backbone:
        return record.departures
    return {**record.departures, "weights": record.weights}


def _different(values: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple({canonical_json(dict(value)): value for value in values}.values())


def _remarks(remarks: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return remarks and the number of cells that have them, given those of each cell."""
    alike: dict[str, list[tuple[int, list[str]]]] = {}
    for cell, found in enumerate(remarks):
        for remark in found:
            pattern = _NUMBER.sub("\0", remark)
            alike.setdefault(pattern, []).append((cell, _NUMBER.findall(remark)))
    return {
        _filled(pattern, [numbers for _, numbers in found]): len({cell for cell, _ in found})
        for pattern, found in alike.items()
    }


def _filled(pattern: str, numbers: Sequence[Sequence[str]]) -> str:
    """Return a remark with the range of each of its numbers."""
    first, *rest = pattern.split("\0")
    ranges = (sorted(set(column), key=float) for column in zip(*numbers, strict=True))
    spans = (f"{r[0]} to {r[-1]}" if len(r) > 1 else r[0] for r in ranges)
    return first + "".join(span + part for span, part in zip(spans, rest, strict=True))


def column_notes(setting: Setting, facts: Sequence[ColumnFacts]) -> list[str]:
    """Return the notes of one table on its columns; columns without a number get none."""
    counted = [column for column in facts if column.cells]
    notes = list(_alike((column.label, text) for column in counted for text in _own(column)))
    bare = [column.label for column in counted if not column.uses_backbone]
    if bare and setting.weights != NO_WEIGHTS:
        notes.append(f"{_listed(bare)} {_verb(bare, 'use')} no backbone")
    unlabelled = [column.label for column in counted if not column.shots]
    if unlabelled and setting.shots:
        notes.append(
            f"{_listed(unlabelled)} {_verb(unlabelled, 'use')} no labelled anomalies: the numbers "
            "are the same for any number of shots"
        )
    notes += _alike((column.label, text) for column in counted for text in _outliers(column))
    notes += [text for column in counted for text in _remark_texts(column)]
    return notes


def _own(column: ColumnFacts) -> Iterator[str]:
    some = " in some cells" if len(column.departures) > 1 else ""
    for found in filter(None, column.departures):
        settings = {key: value for key, value in found.items() if key != "weights"}
        weights = f"; weights {short_weights(found['weights'])}" if "weights" in found else ""
        yield f"{assignments(settings, ', ')} by definition{some}{weights}"


def _outliers(column: ColumnFacts) -> Iterator[str]:
    numbers: dict[str, set[int]] = {}
    for found in column.outliers:
        numbers.setdefault(found["source"], set()).add(found["images"])
    for source, images in sorted(numbers.items()):
        span = f"{min(images)} to {max(images)}" if len(images) > 1 else f"{min(images)}"
        yield f"external outliers from {source} ({span} images)"


def _remark_texts(column: ColumnFacts) -> Iterator[str]:
    for remark, cells in column.remarks.items():
        share = f" ({cells} of {column.cells} cells)" if cells < column.cells else ""
        yield f"{column.label}: {remark}{share}"


def _alike(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield ``labels: text``, with all labels of the same text in one."""
    labels: dict[str, list[str]] = {}
    for label, text in texts:
        labels.setdefault(text, []).append(label)
    for text, found in labels.items():
        yield f"{_listed(found)}: {text}"


def _listed(labels: Sequence[str]) -> str:
    *most, last = labels
    return f"{', '.join(most)} and {last}" if most else last


def _verb(subjects: Sequence[str], verb: str) -> str:
    return verb if len(subjects) > 1 else f"{verb}s"


def assignments(values: Mapping[str, Any], between: str = " ") -> str:
    """Return JSON values by their names, such as ``backbone=vgg16 image_sizes=448+224``."""

    def plain(value: Any) -> str:
        return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return between.join(f"{key}={plain(value)}" for key, value in values.items())


def short_weights(weights: str) -> str:
    """Return an identity of weights with its digest cut to twelve digits."""
    kind, colon, digest = weights.partition(":")
    return f"{kind}{colon}{digest[:12]}"
