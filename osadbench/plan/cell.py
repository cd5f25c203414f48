"""One cell: a method on a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osadbench.datasets import Dataset
from osadbench.datasets.outliers import Outliers
from osadbench.settings import Engine
from osadbench.types import Manifest, Split, split_title

__all__ = ["Cell"]


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
        fit_seed: Seed that the method is given.
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
    fit_seed: int
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
