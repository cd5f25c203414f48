"""From what the user asked for to the list of cells, each with its key. Needs no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osadbench import settings
from osadbench.datasets import Dataset, open_dataset
from osadbench.errors import DataError, ParameterError, UsageError
from osadbench.identity import cell_key, fit_seed
from osadbench.method import Method
from osadbench.params import resolve_params
from osadbench.protocol import Protocol
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.settings import Engine
from osadbench.store import DamagedRecordError, Store
from osadbench.types import Manifest, Record, Split
from osadbench.weights import WeightsFile, find_weights

__all__ = [
    "RERUN_POLICIES",
    "Cell",
    "Component",
    "Plan",
    "Request",
    "make_plan",
    "make_splits",
]

#: Which cells are computed: those without a finished record, the failed ones among them or not,
#: every one, or none at all.
RERUN_POLICIES = ("missing", "failed", "all", "none")

#: Identity of the weights of methods that use no backbone.
NO_WEIGHTS = "none"


@dataclass(frozen=True)
class Component:
    """A method or protocol by name, with the parameters that the user gave for it."""

    name: str
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What the user asked for; every field has been filled in.

    Attributes:
        methods: Methods, in the order of the table's columns.
        protocols: Protocols.
        datasets: Datasets, such as ``"elpv"`` or ``"folder/carpet"``.
        data_root: The dataset's folder, or None.
        seeds: One repetition each.
        shots: Numbers of labelled anomalies.
        known_classes: Restricts the hard protocol; None for all.
        preset: Name of the preset.
        engine: Engine settings that differ from the preset.
        cache: Cache folder.
        splits: Splits to use instead of the protocols' own, or None.
    """

    methods: tuple[Component, ...]
    protocols: tuple[Component, ...]
    datasets: tuple[Component, ...]
    seeds: tuple[int, ...]
    shots: tuple[int, ...]
    preset: str
    cache: Path
    data_root: Path | None = None
    known_classes: tuple[str, ...] | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[Split, ...] | None = None


@dataclass(frozen=True)
class Cell:
    """One method on one split: all that running it takes.

    Attributes:
        key: Identity; ``""`` while the weights are still to be fetched.
        method: Name of the method.
        label: Name with the parameters that differ from the preset's.
        params: Parameters with defaults resolved, as JSON values.
        engine: Engine settings, sizes fitted to the dataset.
        weights: Identity of the weights.
        split: What to train and test on.
        dataset: Where the images are.
        manifest: The images.
        seed: Seed of the fit.
        protocol: Name of the protocol with the parameters that the user changed.
        plugins: Plug-in files that another process has to load.
    """

    key: str
    method: str
    label: str
    params: Mapping[str, Any]
    engine: Engine
    weights: str
    split: Split
    dataset: Dataset
    manifest: Manifest
    seed: int
    protocol: str
    plugins: tuple[Path, ...]

    def __str__(self) -> str:
        split = self.split
        place = "/".join(part for part in (split.dataset, split.category) if part)
        known = f" {split.known_class}" if split.known_class else ""
        return f"{self.label} {place} {self.protocol}{known} {split.shots}-shot seed {split.seed}"


@dataclass(frozen=True)
class Plan:
    """All cells of a request, and what the store holds of them.

    Attributes:
        cells: Every cell.
        done: Records of finished cells by key.
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
    def unanswered(self) -> int:
        """Number of cells without a finished record that the policy leaves as they are."""
        pending = set(map(id, self.pending))
        return sum(cell.key not in self.done and id(cell) not in pending for cell in self.cells)

    def estimate(self, records: Iterable[Record]) -> float | None:
        """Return the seconds that the pending cells may take on one worker, or None if unknown.

        The median of finished cells of the same method and preset in the store, features cached.
        """
        seconds: dict[tuple[str, str], list[float]] = {}
        for record in records:
            if record.status == "done":
                took = [record.provenance.get(f"{step}_seconds", 0.0) for step in ("fit", "score")]
                seconds.setdefault((record.method, record.engine["preset"]), []).append(sum(took))
        kinds = [(cell.method, cell.engine.preset) for cell in self.pending]
        if any(kind not in seconds for kind in kinds):
            return None
        return sum(statistics.median(seconds[kind]) for kind in kinds)


def make_plan(request: Request, store: Store, rerun: str = "missing") -> Plan:
    """Return the cells of a request and which of them are to be computed.

    Raises:
        UsageError: An unknown name or a wrong value.
        PrecheckError: Data or weights that are not there.
        StoreError: A record of a newer version.
    """
    columns = _columns(request)
    weights, missing = _weights(request, columns)
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
        if record is not None:
            (failed if record.status == "failed" else done)[cell.key] = record
    pending = tuple(cell for cell in cells if _is_pending(cell.key, done, failed, rerun))
    return Plan(cells, done, pending, tuple(damaged), failed, missing)


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
    request: Request, columns: Iterable[_Column]
) -> tuple[WeightsFile | None, tuple[str, ...]]:
    if not any(column.cls.uses_backbone for column in columns):
        return None, ()
    engine = settings.engine(request.preset, **request.engine)
    found = find_weights(engine, request.cache)
    if found.identity:
        return found, ()
    return found, (f"weights of backbone {engine.backbone}: downloaded when the run starts",)


def _cells(
    request: Request, columns: Sequence[_Column], weights: WeightsFile | None
) -> Iterable[Cell]:
    protocols = _protocols(request)
    for dataset, manifest in _manifests(request):
        engine = _engine(request, dataset)
        for protocol, split in _splits(request, protocols, manifest):
            for column in columns:
                yield column.cell(split, protocol, dataset, manifest, engine, weights)


def _columns(request: Request) -> list[_Column]:
    """Return the methods; raises ``ParameterError`` with all mistakes, the engine's among them."""
    columns, mistakes = [], []
    try:
        settings.engine(request.preset, **request.engine)
    except ParameterError as error:
        mistakes.append(str(error))
    for choice in request.methods:
        try:
            columns.append(_Column(choice, request.preset))
        except ParameterError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ParameterError("; ".join(mistakes))
    labels = [column.label for column in columns]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise UsageError(f"{repeated[0]} is asked for twice: name it once")
    return columns


def make_splits(request: Request) -> list[Split]:
    """Return the splits of a request.

    Raises:
        UsageError: An unknown name or a wrong value.
        DataError: Data that are not there, or that the protocol can't split.
    """
    protocols = _protocols(request)
    return [
        split
        for _, manifest in _manifests(request)
        for _, split in _splits(request, protocols, manifest)
    ]


def _manifests(request: Request) -> Iterable[tuple[Dataset, Manifest]]:
    variants: dict[str, Mapping[str, str]] = {}
    for choice in request.datasets:
        name = choice.name.partition("/")[0]
        if variants.setdefault(name, choice.given) != choice.given:
            raise UsageError(
                f"{name} is asked for with two sets of parameters, which one table cannot hold: "
                "run them one by one, each with an output folder of its own"
            )
    for choice in request.datasets:
        dataset, category = open_dataset(
            choice.name, request.data_root, cache=request.cache, **choice.given
        )
        for manifest in dataset.manifests(category):
            yield dataset, manifest


class _Column:
    """A method with its parameters resolved, ready to be crossed with splits."""

    def __init__(self, choice: Component, preset: str) -> None:
        self.name = choice.name
        self.cls: type[Method] = METHODS.get(choice.name)
        self.params = self.cls.resolve_params(preset, choice.given).model_dump(mode="json")
        default = self.cls.resolve_params(preset, {}).model_dump(mode="json")
        changed = {k: v for k, v in self.params.items() if v != default[k]}
        self.label = _label(choice.name, changed)

    def cell(
        self,
        split: Split,
        protocol: str,
        dataset: Dataset,
        manifest: Manifest,
        engine: Engine,
        weights: WeightsFile | None,
    ) -> Cell:
        seed = fit_seed(split, self.name)
        needs_weights = self.cls.uses_backbone and weights is not None
        identity = weights.identity if needs_weights and weights is not None else NO_WEIGHTS
        key = identity and cell_key(
            split=split,
            method=self.name,
            params=self.params,
            engine=engine,
            weights=identity,
            seed_fit=seed,
        )
        return Cell(
            key=key,
            method=self.name,
            label=self.label,
            params=self.params,
            engine=engine,
            weights=identity,
            split=split,
            dataset=dataset,
            manifest=manifest,
            seed=seed,
            protocol=protocol,
            plugins=tuple(METHODS.plugins),
        )


def _label(name: str, changed: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return "+".join(map(str, value)) if isinstance(value, list) else str(value)

    inside = ",".join(f"{key}={text(value)}" for key, value in sorted(changed.items()))
    return f"{name}[{inside}]" if inside else name


def _engine(request: Request, dataset: Dataset) -> Engine:
    overrides = dict(request.engine)
    engine = settings.engine(request.preset, **overrides)
    if engine.train_backbone and "image_sizes" not in overrides:
        # The papers choose between 448 and 224 by dataset; the second scale is half the first.
        size = dataset.paper_image_size
        overrides["image_sizes"] = (size, size // 2)
    return settings.engine(request.preset, **overrides, cache_dir=str(request.cache))


def _protocols(request: Request) -> list[tuple[str, Protocol]]:
    """Return the protocols under their names with the parameters that the user changed."""
    protocols = []
    for choice in request.protocols:
        cls: type[Protocol] = PROTOCOLS.get(choice.name)
        given = resolve_params(cls.Params, choice.name, choice.given)
        default = cls().params.model_dump()
        changed = {k: v for k, v in given.model_dump().items() if v != default[k]}
        protocol = cls(**{k: getattr(given, k) for k in type(given).model_fields})
        protocols.append((_label(choice.name, changed), protocol))
    return protocols


def _splits(
    request: Request, protocols: Iterable[tuple[str, Protocol]], manifest: Manifest
) -> Iterable[tuple[str, Split]]:
    if request.splits is not None:
        yield from _given_splits(request.splits, manifest)
        return
    known = request.known_classes
    for label, protocol in protocols:
        for split in protocol.splits(
            manifest, seeds=request.seeds, shots=request.shots, known_classes=known
        ):
            yield label, split


def _given_splits(splits: Sequence[Split], manifest: Manifest) -> Iterable[tuple[str, Split]]:
    chosen = [s for s in splits if (s.dataset, s.category) == (manifest.dataset, manifest.category)]
    for split in chosen:
        if split.manifest_digest != manifest.digest:
            raise DataError(
                f"the splits of {manifest.name} were made for other images (manifest "
                f"{split.manifest_digest[:12]}, here {manifest.digest[:12]}): use the same data, "
                "or make the splits anew with osadbench split"
            )
        yield split.protocol, split
