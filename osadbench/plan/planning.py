"""From a request to its cells, and which of them are to be computed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osadbench.datasets import Dataset
from osadbench.datasets.outliers import Outliers, find_outliers
from osadbench.errors import DamagedRecordError, UsageError
from osadbench.localisation import PROVENANCE, is_localised
from osadbench.plan.cell import Cell
from osadbench.plan.columns import Column, columns_of
from osadbench.plan.request import Request
from osadbench.plan.splits import (
    categories_of,
    manifests_of,
    protocols_of,
    source_of,
    splits_of,
)
from osadbench.registry import METHODS
from osadbench.settings import Engine
from osadbench.store import Store
from osadbench.types import Manifest, Record
from osadbench.weights import WeightsFile, find_weights

__all__ = ["RERUN_POLICIES", "Estimate", "Lack", "Plan", "join_plans", "make_plan"]

#: Which cells are computed: those without a record that is done or skipped; of these only the
#: failed ones; every one; none at all.
RERUN_POLICIES = ("missing", "failed", "all", "none")


@dataclass(frozen=True)
class Lack:
    """Something that isn't here, and the cells that can't run for it.

    Attributes:
        what: A dataset, or a method on a dataset.
        why: One line.
        cells: Number of cells.
    """

    what: str
    why: str
    cells: int


@dataclass(frozen=True)
class Estimate:
    """How long cells may take, as far as that is known.

    Attributes:
        seconds: Time of the cells whose method has been timed.
        cells: Number of these cells.
        unknown: By method, the number of the other cells.
    """

    seconds: float
    cells: int
    unknown: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All cells of a request, and what the store holds of them.

    Attributes:
        cells: Every cell.
        done: Records of finished cells by key, of those that hold all that was asked for.
        pending: Cells to compute under the rerun policy.
        damaged: Keys of records that can't be read; they are set aside before recomputing.
        failed: Failed records by key, whether they are tried again or not.
        missing: What must be fetched first, one line each.

    A cell that is neither done nor failed nor pending has no result, and the policy wants none.
    """

    cells: tuple[Cell, ...]
    done: Mapping[str, Record]
    pending: tuple[Cell, ...]
    damaged: tuple[str, ...]
    failed: Mapping[str, Record]
    missing: tuple[str, ...]

    @property
    def engines_to_fetch(self) -> list[Engine]:
        """One engine for each backbone of the pending cells whose weights must be fetched first."""
        engines = (cell.engine for cell in self.pending if not cell.key)
        return list({(engine.backbone, engine.weights): engine for engine in engines}.values())

    @property
    def outliers(self) -> list[Outliers]:
        """The external outliers of the pending cells, each set once."""
        found = (cell.outliers for cell in self.pending if cell.outliers is not None)
        return list({outliers.digest: outliers for outliers in found}.values())

    @property
    def unanswered(self) -> int:
        """Number of cells without a finished record that the policy leaves as they are."""
        pending = set(map(id, self.pending))
        return sum(cell.key not in self.done and id(cell) not in pending for cell in self.cells)

    def estimate(self, records: Iterable[Record]) -> Estimate:
        """Return how long the pending cells may take on one worker.

        The median of finished cells of the same method and preset in the store, score maps made or
        not, features cached.
        """
        seconds: dict[tuple[str, str, bool], list[float]] = {}
        for record in records:
            if record.status == "done":
                kind = (record.method, record.preset, PROVENANCE in record.provenance)
                seconds.setdefault(kind, []).append(record.seconds)
        kinds = Counter((cell.method, cell.engine.preset, cell.localise) for cell in self.pending)
        known = {kind: n for kind, n in kinds.items() if kind in seconds}
        unknown: Counter[str] = Counter()
        for kind, n in kinds.items():
            if kind not in known:
                unknown[kind[0]] += n
        total = sum(n * statistics.median(seconds[kind]) for kind, n in known.items())
        return Estimate(total, sum(known.values()), unknown)


def make_plan(request: Request, store: Store, rerun: str = "missing") -> Plan:
    """Return the cells of a request and which of them are to be computed.

    Raises:
        UsageError: An unknown name or a wrong value.
        PrecheckError: Data or weights that are not there.
        StoreError: A record of a newer version.
    """
    columns = columns_of(request)
    weights, missing = _weights(columns, request.cache)
    # Overlapping requests, such as folder and folder/carpet, give some cells twice.
    named = {(cell.label, cell.split.digest): cell for cell in _cells(request, columns, weights)}
    cells = tuple(named.values())
    if not cells:
        raise UsageError("the splits given are of other datasets than those asked for by -d")
    done: dict[str, Record] = {}
    failed: dict[str, Record] = {}
    damaged: list[str] = []
    for cell in cells:
        try:
            record = store.read(cell.key) if cell.key else None
        except DamagedRecordError:
            damaged.append(cell.key)
            continue
        if record is not None and _answers(record, cell):
            (failed if record.status == "failed" else done)[cell.key] = record
    pending = tuple(cell for cell in cells if _is_pending(cell.key, done, failed, rerun))
    return Plan(cells, done, pending, tuple(damaged), failed, missing)


def join_plans(plans: Iterable[Plan]) -> Plan:
    """Return several requests' plans as one; a cell that several of them ask for stands once."""
    plans = list(plans)
    kept: dict[tuple[str, ...], Cell] = {}
    for cell in (cell for plan in plans for cell in plan.cells):
        outliers = "" if cell.outliers is None else cell.outliers.digest
        kept.setdefault((cell.key, cell.label, cell.split.digest, outliers), cell)
    chosen = set(map(id, kept.values()))
    return Plan(
        cells=tuple(kept.values()),
        done={key: record for plan in plans for key, record in plan.done.items()},
        pending=tuple(cell for plan in plans for cell in plan.pending if id(cell) in chosen),
        damaged=tuple(dict.fromkeys(key for plan in plans for key in plan.damaged)),
        failed={key: record for plan in plans for key, record in plan.failed.items()},
        missing=tuple(dict.fromkeys(line for plan in plans for line in plan.missing)),
    )


def _answers(record: Record, cell: Cell) -> bool:
    """Whether a record holds all that its cell asks for, or all that it can."""
    if not cell.localise or record.status != "done":
        return True
    return is_localised(record, METHODS.get(cell.method), cell.manifest, cell.split)


def _is_pending(
    key: str, done: Mapping[str, Record], failed: Mapping[str, Record], rerun: str
) -> bool:
    return {
        "missing": key not in done,
        "failed": key in failed,
        "all": True,
        "none": False,
    }[rerun]


def _weights(
    columns: Iterable[Column], cache: Path
) -> tuple[Mapping[tuple[str, str], WeightsFile], tuple[str, ...]]:
    """Return the weights of all columns by backbone and setting, and a line for each not here."""
    engines = [column.method.engine for column in columns if column.method.uses_backbone]
    found = {(e.backbone, e.weights): find_weights(e, cache) for e in engines}
    missing = [backbone for (backbone, _), file in found.items() if not file.identity]
    return found, tuple(
        f"weights of backbone {backbone}: downloaded when the run starts" for backbone in missing
    )


def _cells(
    request: Request,
    columns: Sequence[Column],
    weights: Mapping[tuple[str, str], WeightsFile],
) -> Iterable[Cell]:
    protocols = protocols_of(request.protocols)
    found = list(manifests_of(request))
    for dataset, manifest in found:
        others = categories_of(found, manifest)
        fitted = [column.on(dataset) for column in columns]
        needing = [c.label for c in fitted if c.method.needs_outliers]
        outliers = _outliers(request, dataset, manifest, needing) if needing else None
        for protocol, split in splits_of(request, protocols, manifest, others):
            source = source_of(split, others)
            for column in fitted:
                yield column.cell(split, protocol, dataset, manifest, weights, outliers, source)


def _outliers(
    request: Request, dataset: Dataset, manifest: Manifest, needing: Sequence[str]
) -> Outliers:
    source = request.outliers or dataset.default_outliers
    if source is None:
        raise UsageError(
            f"{', '.join(needing)} needs external outliers (images of other data): name some by "
            "--outliers DIR or --outliers DATASET"
        )
    return find_outliers(source, dataset, manifest, request.data_root)
