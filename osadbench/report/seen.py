"""The AUROC of seen and of unseen anomaly classes apart.

In the general protocol the labelled anomalies come from all classes, and those of a class that none
of them shows are unseen. The stored scores of a cell, and the classes that its record names, give
the AUROC of the normal test images against the anomalies of either kind.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from osadbench.errors import ContractError
from osadbench.metrics import compute_metrics
from osadbench.report.grouping import blocks_of, by_setting, tell_apart
from osadbench.report.parts import Setting
from osadbench.scores import ScoreTable
from osadbench.types import Record

__all__ = ["PARTS", "Part", "SeenCell", "build_seen"]

PARTS = ("all", "seen", "unseen")

_Scores = Callable[[str], ScoreTable]
_Place = tuple[str, int]


@dataclass(frozen=True)
class Part:
    """The AUROC against the anomalies of some classes.

    Attributes:
        mean: Mean over the seeds that have one, or None without any.
        std: Sample standard deviation over them, or None with fewer than two.
        n: Number of these seeds.
        anomalies: Smallest and largest number of anomalies over them, or None.
    """

    mean: float | None
    std: float | None
    n: int
    anomalies: tuple[int, int] | None


@dataclass(frozen=True)
class SeenCell:
    """One method on one row.

    Attributes:
        setting: Protocol, shots and engine.
        dataset: Name of the dataset.
        row: Name of the row.
        label: The method.
        expected: Number of seeds that the dataset has under the setting.
        all: Against all anomalies of the test set.
        seen: Against those of the labelled anomalies' classes.
        unseen: Against the others.
        reasons: Why seeds have no value, each reason once.
    """

    setting: Setting
    dataset: str
    row: str
    label: str
    expected: int
    all: Part
    seen: Part
    unseen: Part
    reasons: tuple[str, ...] = ()


def build_seen(records: Sequence[Record], scores_of: _Scores) -> list[SeenCell]:
    """Return the cells by setting, dataset, row and method.

    A method that uses no labelled anomalies takes the seen classes of the other methods on the same
    row, seed and number of shots, so that all are measured against the same images.

    Args:
        records: Records in any order; those that are done have scores.
        scores_of: Returns the scores of a key, such as :meth:`osadbench.store.Store.scores`.
    """
    return [
        cell
        for setting, tables in by_setting(blocks_of(tell_apart(records)))
        for dataset in sorted(tables)
        for cell in _cells(setting, dataset, tables[dataset], scores_of)
    ]


def _cells(
    setting: Setting, dataset: str, records: Sequence[Record], scores_of: _Scores
) -> Iterator[SeenCell]:
    classes = _seen_classes(records, setting.shots)
    seeds = {record.seed for record in records}
    ordered = sorted(records, key=lambda record: (record.row, record.label, record.seed))
    for (row, label), group in groupby(ordered, key=lambda record: (record.row, record.label)):
        reasons: dict[str, None] = {}
        found: list[dict[str, tuple[float, int]]] = []
        for record in group:
            values, problems = _measure(record, classes, scores_of)
            found.append(values)
            reasons.update(dict.fromkeys(problems))
        whole, seen, unseen = (
            _part([values[kind] for values in found if kind in values]) for kind in PARTS
        )
        yield SeenCell(
            setting, dataset, row, label, len(seeds), whole, seen, unseen, tuple(reasons)
        )


def _seen_classes(records: Sequence[Record], shots: int) -> dict[_Place, frozenset[str] | None]:
    """Return the seen classes by row and seed, None where records contradict each other."""
    classes: dict[_Place, frozenset[str] | None] = {}
    for record in records:
        named = record.split.get("seen_classes")
        if record.shots == shots and shots and named is not None:
            place, found = (record.row, record.seed), frozenset(named)
            classes[place] = found if classes.get(place, found) == found else None
    return classes


def _measure(
    record: Record, classes: Mapping[_Place, frozenset[str] | None], scores_of: _Scores
) -> tuple[dict[str, tuple[float, int]], list[str]]:
    """Return AUROC and number of anomalies by part, and why parts have none."""
    if record.status != "done":
        return {}, [f"{record.status}: {record.reason or 'no reason recorded'}"]
    table = scores_of(record.key)
    anomalous = table.labels == 1
    kinds = {"all": anomalous}
    problems = []
    place = (record.row, record.seed)
    seen = classes.get(place)
    if seen is None:
        problems.append(_unknown(record, place in classes))
    else:
        of_seen = np.isin(table.classes, sorted(seen))
        kinds |= {"seen": anomalous & of_seen, "unseen": anomalous & ~of_seen}
    values = {}
    for kind, chosen in kinds.items():
        if not chosen.any():
            problems.append(f"no test anomalies of {kind} classes")
            continue
        try:
            kept = chosen | ~anomalous
            auroc = compute_metrics(table.labels[kept], table.scores[kept])["auroc"]
            values[kind] = auroc, int(chosen.sum())
        except ContractError as error:
            problems.append(f"{kind} classes: {error}")
    return values, problems


def _unknown(record: Record, contradictory: bool) -> str:
    if contradictory:
        return "results of the same row and seed name other seen classes"
    if not record.shots:
        return "no result of a method with labelled anomalies here says which classes were seen"
    return "made before records named the seen classes: run it again with --rerun all"


def _part(values: Sequence[tuple[float, int]]) -> Part:
    aurocs, numbers = [value for value, _ in values], [number for _, number in values]
    return Part(
        statistics.fmean(aurocs) if aurocs else None,
        statistics.stdev(aurocs) if len(aurocs) > 1 else None,
        len(aurocs),
        (min(numbers), max(numbers)) if numbers else None,
    )
