"""From what the user asked for to the list of cells, each with its key. Needs no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osadbench import settings
from osadbench.datasets import Dataset, open_dataset
from osadbench.datasets.outliers import Outliers, find_outliers
from osadbench.errors import (
    DataError,
    OsadbenchError,
    ParameterError,
    PluginError,
    UsageError,
)
from osadbench.identity import cell_key, fit_seed
from osadbench.localisation import PROVENANCE, is_localised
from osadbench.method import Method
from osadbench.params import resolve_params
from osadbench.protocol import Protocol
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.settings import Engine
from osadbench.store import DamagedRecordError, Store
from osadbench.types import Manifest, Record, Split, place_name, split_title
from osadbench.weights import WeightsFile, find_weights

__all__ = [
    "RERUN_POLICIES",
    "Cell",
    "Component",
    "Lack",
    "Plan",
    "Request",
    "join_plans",
    "make_plan",
    "make_splits",
    "method_label",
    "protocol_label",
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
        outliers: Dataset or folder of the external outliers; None for the dataset's own choice.
        localise: Whether the pixel AUROC is wanted too. No part of a cell's key, since it changes
            no score; a cell that is done without it runs again.
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
    outliers: str | None = None
    localise: bool = False


@dataclass(frozen=True)
class Cell:
    """One method on one split: all that running it takes.

    Attributes:
        key: Identity; ``""`` while the weights are still to be fetched.
        method: Name of the method.
        label: The table's column: name, with the parameters that differ from the preset's.
        params: Parameters with defaults resolved, as JSON values.
        engine: The method's engine settings, sizes fitted to the dataset.
        shared_engine: What the request alone makes of the engine, for methods without settings of
            their own.
        weights: Identity of the weights.
        split: What to train and test on; without labels where the method is unsupervised.
        dataset: Where the images are.
        manifest: The images.
        seed: Seed of the fit.
        protocol: Name of the protocol with the parameters that the user changed.
        plugins: Plug-in files that another process has to load.
        outliers: External outliers, for methods that need them.
        source: The images that are trained on, where those are another category's.
        localise: Whether to measure the pixel AUROC too.
    """

    key: str
    method: str
    label: str
    params: Mapping[str, Any]
    engine: Engine
    shared_engine: Engine
    weights: str
    split: Split
    dataset: Dataset
    manifest: Manifest
    seed: int
    protocol: str
    plugins: tuple[Path, ...]
    outliers: Outliers | None = None
    source: Manifest | None = None
    localise: bool = False

    @property
    def trained_on(self) -> Manifest:
        """The images that the paths of the split's training images are of."""
        return self.manifest if self.source is None else self.source

    @property
    def departures(self) -> dict[str, Any]:
        """The engine settings that the method has of its own, as JSON values."""
        shared = self.shared_engine.identity()
        return {k: v for k, v in self.engine.identity().items() if v != shared[k]}

    def __str__(self) -> str:
        return f"{self.label} {split_title(self.split, self.protocol)}"


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

    def estimate(self, records: Iterable[Record]) -> float | None:
        """Return the seconds that the pending cells may take on one worker, or None if unknown.

        The median of finished cells of the same method and preset in the store, score maps made or
        not, features cached.
        """
        seconds: dict[tuple[str, str, bool], list[float]] = {}
        for record in records:
            if record.status == "done":
                kind = (record.method, record.engine["preset"], PROVENANCE in record.provenance)
                seconds.setdefault(kind, []).append(record.seconds)
        kinds = [(cell.method, cell.engine.preset, cell.localise) for cell in self.pending]
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


def method_label(method: Component, preset: str) -> str:
    """Return the label that records of a method have under a preset.

    Raises:
        UsageError: There is no such method, parameter or preset.
    """
    request = Request((method,), (), (), seeds=(), shots=(), preset=preset, cache=Path())
    return _Column(method, request).label


def protocol_label(protocol: Component) -> str:
    """Return the name that records of a protocol with these parameters have for it.

    Raises:
        UsageError: There is no such protocol or parameter.
    """
    request = Request((), (protocol,), (), seeds=(), shots=(), preset="frozen", cache=Path())
    return _protocols(request)[0][0]


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
    columns: Iterable[_Column], cache: Path
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
    columns: Sequence[_Column],
    weights: Mapping[tuple[str, str], WeightsFile],
) -> Iterable[Cell]:
    protocols = _protocols(request)
    found = list(_manifests(request))
    for dataset, manifest in found:
        others = _categories(found, manifest)
        fitted = [column.on(dataset) for column in columns]
        needing = [c.label for c in fitted if c.method.needs_outliers]
        outliers = _outliers(request, dataset, manifest, needing) if needing else None
        for protocol, split in _splits(request, protocols, manifest, others):
            source = _source(split, others)
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


def _columns(request: Request) -> list[_Column]:
    """Return the methods; raises ``ParameterError`` with all mistakes, the engine's among them."""
    columns, mistakes = [], []
    try:
        settings.engine(request.preset, **request.engine)
    except ParameterError as error:
        mistakes.append(str(error))
    for choice in request.methods:
        try:
            columns.append(_Column(choice, request))
        except ParameterError as error:
            mistakes.append(str(error))
    if mistakes:
        # A wrong engine setting is found again with every method.
        raise ParameterError("; ".join(dict.fromkeys(mistakes)))
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
    protocols, found = _protocols(request), list(_manifests(request))
    return [
        split
        for _, manifest in found
        for _, split in _splits(request, protocols, manifest, _categories(found, manifest))
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


def _categories(
    found: Iterable[tuple[Dataset, Manifest]], manifest: Manifest
) -> dict[str, Manifest]:
    """Return all that is asked for of a manifest's dataset, by category."""
    return {other.category: other for _, other in found if other.dataset == manifest.dataset}


def _source(split: Split, categories: Mapping[str, Manifest]) -> Manifest | None:
    """Return the manifest of the category that a split is trained on, if that is another one."""
    if split.adaptation is None:
        return None
    name = place_name(split.dataset, split.adaptation.source)
    source = categories.get(split.adaptation.source)
    if source is None:
        raise DataError(
            f"{split_title(split)} is trained on {name}: ask for that too, by -d {name}"
        )
    if source.digest != split.adaptation.source_digest:
        raise DataError(_other_images(name, split.adaptation.source_digest, source.digest))
    return source


class _Column:
    """A method under its engine, ready to be crossed with splits.

    Args:
        choice: The method and what the user gave for it.
        request: Names the preset and the engine settings that the user gave.
        dataset: Fits the image sizes where the preset trains its backbone; None leaves them.
    """

    def __init__(self, choice: Component, request: Request, dataset: Dataset | None = None) -> None:
        self._choice, self._request = choice, request
        self.name = choice.name
        cls: type[Method] = METHODS.get(choice.name)
        preset = request.preset
        resolved = cls.resolve_params(preset, choice.given)
        self.params = resolved.model_dump(mode="json")
        free = type(resolved).model_fields.keys() - cls.fixed.keys()
        given = {name: getattr(resolved, name) for name in free}
        engine, self.shared_engine = _engines(cls, request, dataset)
        self.method = _build(cls, engine, given)
        default = cls.resolve_params(preset, {}).model_dump(mode="json")
        # Of what was given only: one parameter's value may decide the defaults of others.
        changed = {k: self.params[k] for k in choice.given if self.params[k] != default[k]}
        self.label = _label(cls.label(engine), changed)

    def on(self, dataset: Dataset) -> _Column:
        """Return the same column with the engine as it is on a dataset."""
        return _Column(self._choice, self._request, dataset)

    def cell(
        self,
        split: Split,
        protocol: str,
        dataset: Dataset,
        manifest: Manifest,
        weights: Mapping[tuple[str, str], WeightsFile],
        outliers: Outliers | None,
        source: Manifest | None,
    ) -> Cell:
        """Return the cell of the method on a split."""
        method, engine = self.method, self.method.engine
        split = split if method.supervised else split.without_labels()
        taken = outliers if method.needs_outliers else None
        seed = fit_seed(split, self.name)
        identity = NO_WEIGHTS
        if method.uses_backbone:
            identity = weights[engine.backbone, engine.weights].identity
        key = identity and cell_key(
            split=split,
            method=self.name,
            params=self.params,
            engine=engine,
            weights=identity,
            seed_fit=seed,
            outliers=None if taken is None else taken.digest,
        )
        return Cell(
            key=key,
            method=self.name,
            label=self.label,
            params=self.params,
            engine=engine,
            shared_engine=self.shared_engine,
            weights=identity,
            split=split,
            dataset=dataset,
            manifest=manifest,
            seed=seed,
            protocol=protocol,
            plugins=tuple(METHODS.plugins),
            outliers=taken,
            source=source,
            localise=self._request.localise,
        )


def _build(cls: type[Method], engine: Engine, params: Mapping[str, Any]) -> Method:
    try:
        return cls(engine=engine, **params)
    except OsadbenchError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")
        raise PluginError(f"method {cls.name!r} cannot be built: {text}") from error


def _label(name: str, changed: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return "+".join(map(str, value)) if isinstance(value, list) else str(value)

    inside = ",".join(f"{key}={text(value)}" for key, value in sorted(changed.items()))
    return f"{name}[{inside}]" if inside else name


def _engines(cls: type[Method], request: Request, dataset: Dataset | None) -> tuple[Engine, Engine]:
    """Return a method's engine, and the one that the request makes for methods in general."""
    asked = {**request.engine, "cache_dir": str(request.cache)}
    sizes: dict[str, Any] = {}
    if dataset is not None:
        # The papers choose between 448 and 224 by dataset; the second scale is half the first. A
        # frozen preset follows where that costs less than its own sizes.
        preset, size = settings.engine(request.preset, **request.engine), dataset.paper_image_size
        if preset.train_backbone or size < preset.image_sizes[0]:
            sizes = {"image_sizes": (size, size // 2)}
    shared = settings.engine(request.preset, **{**sizes, **asked})
    if "image_sizes" in cls.engine_settings.get(request.preset, {}):
        sizes = {}
    return cls.engine_for(request.preset, **{**sizes, **asked}), shared


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
    request: Request,
    protocols: Iterable[tuple[str, Protocol]],
    manifest: Manifest,
    categories: Mapping[str, Manifest],
) -> Iterable[tuple[str, Split]]:
    if request.splits is not None:
        yield from _given_splits(request.splits, manifest)
        return
    wanted: dict[str, Any] = {
        "seeds": request.seeds,
        "shots": request.shots,
        "known_classes": request.known_classes,
    }
    for label, protocol in protocols:
        for split in protocol.splits_among(manifest, list(categories.values()), **wanted):
            yield label, split


def _given_splits(splits: Sequence[Split], manifest: Manifest) -> Iterable[tuple[str, Split]]:
    chosen = [s for s in splits if (s.dataset, s.category) == (manifest.dataset, manifest.category)]
    for split in chosen:
        if split.manifest_digest != manifest.digest:
            raise DataError(_other_images(manifest.name, split.manifest_digest, manifest.digest))
        yield split.protocol, split


def _other_images(name: str, wanted: str, found: str) -> str:
    return (
        f"the splits of {name} were made for other images (manifest {wanted[:12]}, here "
        f"{found[:12]}): use the same data, or make the splits anew with osadbench split"
    )
