"""What a user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osadbench.types import Split

__all__ = ["Component", "Request"]


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
        splits: Splits to use instead of the protocols' own, each behind its protocol's label; or
            None.
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
    splits: tuple[tuple[str, Split], ...] | None = None
    outliers: str | None = None
    localise: bool = False
