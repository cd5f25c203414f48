"""The AUROC of seen and of unseen anomaly classes apart.

In the general protocol the labelled anomalies come from all classes, and those of a class that none
of them shows are unseen. The stored scores of a cell, and the classes that its record names, give
the AUROC of the normal test images against the anomalies of either kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from osadbench.errors import ContractError
from osadbench.metrics import compute_metrics
from osadbench.report.cells import mean_and_std, records_by_cell, why_missing
from osadbench.report.grouping import blocks_of, by_setting, tell_apart
from osadbench.report.images import ambiguous_places, images_text, manifests_of, places_of
from osadbench.report.parts import Setting
from osadbench.report.provenance import mixtures_told, origins_of
from osadbench.report.wording import table_title
from osadbench.scores import ScoreTable
from osadbench.types import Record

__all__ = ["PARTS", "SeenPart", "SeenCell", "build_seen"]

PARTS = ("all", "seen", "unseen")

_Scores = Callable[[str], ScoreTable]
_Place = tuple[str, int]
#: AUROC and number of anomalies by part, and why parts have none.
_Measured = tuple[dict[str, tuple[float, int]], list[str]]


@dataclass(frozen=True)
class SeenPart:
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
        mixed: What the results of its table mix, where they may.
        manifest: Digest of the images' manifest.
        images: Which images its table has, where other tables have others of that name.
    """

    setting: Setting
    dataset: str
    row: str
    label: str
    expected: int
    all: SeenPart
    seen: SeenPart
    unseen: SeenPart
    reasons: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    manifest: str = ""
    images: str = ""


class _Table(NamedTuple):
    """The results of one dataset under one setting.

    Attributes:
        setting: Protocol, shots and engine.
        dataset: Name of the dataset.
        seeds: Number of seeds of all its records.
        classes: The seen classes by row and seed, None where records contradict each other.
        shown: The records to measure, by row and method, then by seed.
        mixed: What these mix.
        images: Which images they are of, where other tables have others of that name.
    """

    setting: Setting
    dataset: str
    seeds: int
    classes: Mapping[_Place, frozenset[str] | None]
    shown: Mapping[tuple[str, str], Mapping[int, Record]]
    mixed: tuple[str, ...]
    images: str


def build_seen(
    records: Sequence[Record],
    scores_of: _Scores,
    *,
    labels: Collection[str] | None = None,
    allow_mixed: bool = False,
) -> list[SeenCell]:
    """Return the cells by setting, dataset, row and method.

    A method that uses no labelled anomalies takes the seen classes of the other methods on the same
    row, seed and number of shots, so that all are measured against the same images.

    Args:
        records: Records in any order; those that are done have scores.
        scores_of: Returns the scores of a key, such as :meth:`osadbench.store.Store.scores`; asked
            once for each record to measure.
        labels: Methods to measure, by the labels that
            :func:`osadbench.report.grouping.tell_apart` gives; the others but say which classes
            are seen. None measures all.
        allow_mixed: Whether results that :func:`~osadbench.report.provenance.mixtures` names may
            stand in one table.

    Raises:
        StoreError: Two records claim the same method, row and seed of one table, or they are mixed.
    """
    blocks = blocks_of(tell_apart(records))
    ambiguous = ambiguous_places(places_of(blocks))
    tables = [
        _table(setting, dataset, members[dataset], labels, ambiguous, allow_mixed=allow_mixed)
        for setting, members in by_setting(blocks)
        for dataset in sorted(members)
    ]
    measured = _measure_all(tables, scores_of)
    return [
        cell for table, found in zip(tables, measured, strict=True) for cell in _cells(table, found)
    ]


def _table(
    setting: Setting,
    dataset: str,
    members: Sequence[Record],
    labels: Collection[str] | None,
    ambiguous: Collection[str],
    *,
    allow_mixed: bool,
) -> _Table:
    shown = [record for record in members if labels is None or record.label in labels]
    title = table_title(dataset, setting)
    return _Table(
        setting,
        dataset,
        len({record.seed for record in members}),
        _seen_classes(members, setting.shots),
        records_by_cell(shown),
        mixtures_told(title, origins_of(shown), allow_mixed=allow_mixed),
        images_text(manifests_of(shown), ambiguous),
    )


def _measure_all(tables: Sequence[_Table], scores_of: _Scores) -> list[dict[str, _Measured]]:
    """Return what each table's records give by key.

    Records without labels stand in the tables of all shots: each is measured for all of them while
    its scores are at hand.
    """
    standing: dict[str, list[tuple[int, Record]]] = {}
    for index, table in enumerate(tables):
        for record in (one for by_seed in table.shown.values() for one in by_seed.values()):
            standing.setdefault(record.key, []).append((index, record))
    found: list[dict[str, _Measured]] = [{} for _ in tables]
    for key, places in standing.items():
        scores = scores_of(key) if places[0][1].status == "done" else None
        for index, record in places:
            found[index][key] = _measure(record, tables[index].classes, scores)
    return found


def _cells(table: _Table, measured: Mapping[str, _Measured]) -> Iterator[SeenCell]:
    for (row, label), by_seed in sorted(table.shown.items()):
        found = [measured[record.key] for _, record in sorted(by_seed.items())]
        reasons = dict.fromkeys(reason for _, problems in found for reason in problems)
        whole, seen, unseen = (
            _part([values[kind] for values, _ in found if kind in values]) for kind in PARTS
        )
        yield SeenCell(
            *(table.setting, table.dataset, row, label, table.seeds),
            *(whole, seen, unseen),
            tuple(reasons),
            table.mixed,
            next(iter(by_seed.values())).manifest,
            table.images,
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
    record: Record,
    classes: Mapping[_Place, frozenset[str] | None],
    table: ScoreTable | None,
) -> _Measured:
    """Return AUROC and number of anomalies by part, and why parts have none."""
    if table is None:
        return {}, [why_missing(record, "auroc")]
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


def _part(values: Sequence[tuple[float, int]]) -> SeenPart:
    aurocs, numbers = [value for value, _ in values], [number for _, number in values]
    span = (min(numbers), max(numbers)) if numbers else None
    return SeenPart(*mean_and_std(aurocs), len(aurocs), span)
