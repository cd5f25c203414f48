"""Methods with their parameters and engines: the columns of a request's tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osadbench import settings
from osadbench.datasets import Dataset
from osadbench.datasets.outliers import Outliers
from osadbench.errors import OsadbenchError, ParameterError, PluginError, UsageError, one_line
from osadbench.identity import cell_key, fit_seed
from osadbench.method import Method
from osadbench.params import component_text
from osadbench.plan.cell import Cell
from osadbench.plan.request import Component, Request
from osadbench.registry import METHODS
from osadbench.settings import Engine
from osadbench.types import NO_WEIGHTS, Manifest, Split
from osadbench.weights import WeightsFile

__all__ = ["Column", "columns_of", "image_sizes_on", "method_label"]


def method_label(method: Component, preset: str) -> str:
    """Return the label that records of a method have under a preset.

    Raises:
        UsageError: There is no such method, parameter or preset.
    """
    request = Request((method,), (), (), seeds=(), shots=(), preset=preset, cache=Path())
    return Column(method, request).label


def columns_of(request: Request) -> list[Column]:
    """Return the methods of a request, in its order.

    Raises:
        ParameterError: Wrong parameters or engine settings; all mistakes in one message.
        UsageError: There is no such method or preset, or one column is asked for twice.
    """
    columns, mistakes = [], []
    try:
        settings.engine(request.preset, **request.engine)
    except ParameterError as error:
        mistakes.append(str(error))
    for choice in request.methods:
        try:
            columns.append(Column(choice, request))
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


class Column:
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
        self.label = component_text(cls.label(engine), changed)

    def on(self, dataset: Dataset) -> Column:
        """Return the same column with the engine as it is on a dataset."""
        return Column(self._choice, self._request, dataset)

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
            fit_seed=seed,
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
        raise PluginError(f"method {cls.name!r} cannot be built: {one_line(error)}") from error


def _engines(cls: type[Method], request: Request, dataset: Dataset | None) -> tuple[Engine, Engine]:
    """Return a method's engine, and the one that the request makes for methods in general."""
    asked = {**request.engine, "cache_dir": str(request.cache)}
    sizes: dict[str, Any] = {}
    if dataset is not None:
        preset = settings.engine(request.preset, **request.engine)
        sizes = {"image_sizes": image_sizes_on(preset, dataset.paper_image_size)}
    shared = settings.engine(request.preset, **{**sizes, **asked})
    if "image_sizes" in cls.engine_settings.get(request.preset, {}):
        sizes = {}
    return cls.engine_for(request.preset, **{**sizes, **asked}), shared


def image_sizes_on(engine: Engine, size: int) -> tuple[int, ...]:
    """Return the image sizes of a preset's engine on a dataset, where the user gives none.

    The papers choose between 448 and 224 pixels by dataset; the second scale is half the first. A
    frozen preset follows where that costs less than its own sizes.

    Args:
        engine: The preset's engine.
        size: The dataset's ``paper_image_size`` in pixels.
    """
    if engine.train_backbone or size < engine.image_sizes[0]:
        return (size, size // 2)
    return engine.image_sizes
