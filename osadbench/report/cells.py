"""From the records of one cell to its numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Self, TypedDict

from osadbench.errors import StoreError
from osadbench.metrics import PIXEL_AUROC
from osadbench.report.parts import Cell
from osadbench.types import Record

__all__ = [
    "CellPlace",
    "cell_of",
    "footnotes_of",
    "lacking_in",
    "mean_and_std",
    "mean_by_seed",
    "mean_cell",
    "measured",
    "records_by_cell",
    "values_of",
    "why_missing",
]


class CellPlace(NamedTuple):
    """Where a cell of one seed stands; ``label`` is empty where two methods are compared."""

    protocol: str
    dataset: str
    row: str
    shots: int
    label: str
    seed: int

    @classmethod
    def of(cls, record: Record, label: str) -> Self:
        """Return the place of a record under a label, which may be its own."""
        shared = (record.protocol, record.place, record.row, record.shots)
        return cls(*shared, label, record.seed)


class Measured(TypedDict):
    """Time and memory, under the names that cells and costs have for them."""

    fit_seconds: float | None
    score_seconds: float | None
    peak_memory_bytes: float | None


def records_by_cell(records: Iterable[Record]) -> dict[tuple[str, str], dict[int, Record]]:
    """Return the records by (row, label), then by seed.

    Raises:
        StoreError: Two records claim the same place.
    """
    cells: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        cell = cells.setdefault((record.row, record.label), {})
        other = cell.setdefault(record.seed, record)
        if other is not record:
            one, two = sorted((other.key, record.key))
            differing = _differences(other, record)
            raise StoreError(
                f"expected one result of {record.label} on {record.dataset}, {record.row}, seed "
                f"{record.seed}, got {one} and {two}{differing}: move one out of the store "
                "(osadbench show KEY prints it)"
            )
    return cells


def _differences(one: Record, two: Record) -> str:
    """Return what tells two records of one place apart, as far as they say it."""

    def parts(record: Record) -> dict[str, object]:
        return {
            "parameters": record.params,
            "engine settings": record.engine,
            "weights": record.weights,
            "shots": record.shots,
            "images": record.manifest,
            "labelled anomalies": record.split.get("train_anomalies"),
            "test images": record.split.get("test_digest"),
            "external outliers": record.split.get("outliers"),
            "versions": record.provenance.get("versions"),
        }

    others = parts(two)
    found = [name for name, part in parts(one).items() if part != others[name]]
    return f", which differ in {' and '.join(found)}" if found else ""


def values_of(by_seed: Mapping[int, Record], metric: str) -> dict[int, float]:
    """Return the values of the seeds that are done, by seed, sorted."""
    return {
        seed: record.metrics[metric]
        for seed, record in sorted(by_seed.items())
        if record.status == "done" and metric in record.metrics
    }


def why_missing(record: Record, metric: str, between: str = ": ") -> str:
    """Return why a record has no value, such as ``failed: out of memory``.

    Args:
        record: A record without a value of the metric.
        metric: Key of the metric.
        between: Stands between what and why; a comma where a colon stands before it all.
    """
    if record.status != "done":
        return f"{record.status}{between}{record.reason or 'no reason recorded'}"
    # Only score maps may be asked for and not be had.
    localisation = record.provenance.get("localisation") or {}
    why = localisation.get("reason") if metric == PIXEL_AUROC else None
    return f"no {metric}{between}{why}" if why else f"no {metric} was recorded"


def lacking_in(by_seed: Mapping[int, Record], values: Mapping[int, float]) -> list[Record]:
    """Return the records that have no value, given the values of the others by seed."""
    # Nearly always there is none, and nothing to look through.
    if len(values) == len(by_seed):
        return []
    return [record for seed, record in by_seed.items() if seed not in values]


def footnotes_of(records: Iterable[Record], metric: str) -> list[str]:
    """Return the different reasons for missing values, in the order of rows, labels and seeds.

    Args:
        records: The records without a value.
        metric: Key of the metric.
    """
    ordered = sorted(records, key=lambda record: (record.row, record.label, record.seed))
    return list(dict.fromkeys(why_missing(record, metric) for record in ordered))


def cell_of(
    label: str,
    by_seed: Mapping[int, Record],
    values: Mapping[int, float],
    expected: int,
    metric: str,
    footnotes: Sequence[str],
) -> Cell:
    """Return the cell of one method and row, without a mark; ``values`` are :func:`values_of`."""
    lacking = lacking_in(by_seed, values)
    reasons = {why_missing(record, metric) for record in lacking}
    status = [record.status for record in lacking]
    return Cell(
        label,
        *mean_and_std(values.values()),
        n=len(values),
        expected=expected,
        failed=status.count("failed"),
        skipped=status.count("skipped"),
        notes=tuple(i for i, footnote in enumerate(footnotes, 1) if footnote in reasons),
        **measured(by_seed.values()),
    )


def measured(records: Iterable[Record]) -> Measured:
    """Return mean seconds and largest memory of the records that are done, None where unknown."""
    done = [record.provenance for record in records if record.status == "done"]

    def known(key: str) -> list[float]:
        return [value for made in done if (value := made.get(key)) is not None]

    return {
        "fit_seconds": _mean(known("fit_seconds")),
        "score_seconds": _mean(known("score_seconds")),
        "peak_memory_bytes": max(known("peak_memory_bytes"), default=None),
    }


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None


def mean_by_seed(members: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over members, given their values by seed, of the seeds that all have."""
    if len(members) == 1:
        return dict(members[0])
    common = set.intersection(*map(set, members))
    return {seed: statistics.fmean([one[seed] for one in members]) for seed in sorted(common)}


def mean_cell(
    label: str, means: Sequence[float | None], by_seed: Mapping[int, float], expected: int
) -> Cell:
    """Return the cell of a mean over members, which are rows or settings.

    The papers don't say what the standard deviation in their mean rows is; neither the mean nor the
    root mean square of the members' ones gives it. It behaves like that of the mean over rows from
    run to run: in 197 of the 199 mean cells of DRA's Tables 1, 2 and 8, DevNet's Table 2 and AHL's
    Tables 7 and 8 it does not exceed the mean of the members' ones, and mostly it lies far below.
    So that is what stands here: each seed's mean over members, then the standard deviation over the
    seeds that all members have.

    Args:
        label: The column.
        means: The members' means. Where one has none, neither has the cell: it would be a mean over
            other members than its neighbours'.
        by_seed: Each seed's mean over members, from :func:`mean_by_seed`.
        expected: Number of seeds that there should be.
    """
    known = [mean for mean in means if mean is not None]
    mean = statistics.fmean(known) if len(known) == len(means) else None
    return Cell(label, mean, mean_and_std(by_seed.values())[1], len(by_seed), expected)


def mean_and_std(values: Collection[float]) -> tuple[float | None, float | None]:
    """Return the mean and the sample standard deviation, each None where there are too few."""
    mean = _mean(values)
    if mean is None or len(values) < 2:
        return mean, None
    # Far quicker than statistics.stdev, whose exact fractions no printed digit needs.
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))
