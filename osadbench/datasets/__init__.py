"""The datasets: one file each, and the loader of any folder in the layout of MVTec AD."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osadbench.datasets.aitex import Aitex
from osadbench.datasets.base import Dataset
from osadbench.datasets.brainmri import BrainMri
from osadbench.datasets.elpv import Elpv
from osadbench.datasets.folder import Folder
from osadbench.datasets.headct import HeadCt
from osadbench.datasets.hyper_kvasir import HyperKvasir
from osadbench.datasets.images import ImageSet
from osadbench.datasets.lag import Lag
from osadbench.datasets.magnetic_tile import MagneticTile
from osadbench.datasets.mastcam import Mastcam
from osadbench.datasets.mvtec import Mvtec
from osadbench.datasets.optical import Optical
from osadbench.datasets.sdd import Sdd
from osadbench.datasets.synthetic import Synthetic
from osadbench.datasets.visa import Visa
from osadbench.errors import ParameterError, UsageError, did_you_mean

__all__ = [
    "Dataset",
    "Folder",
    "ImageSet",
    "dataset_class",
    "dataset_names",
    "open_component",
    "open_dataset",
]

#: What a dataset is made with beside its options.
_ARGUMENTS = frozenset({"self", "name", "root", "cache"})

_DATASETS: dict[str, type[Folder]] = {
    cls.name: cls
    for cls in (
        Aitex,
        BrainMri,
        Elpv,
        Folder,
        HeadCt,
        HyperKvasir,
        Lag,
        MagneticTile,
        Mastcam,
        Mvtec,
        Optical,
        Sdd,
        Synthetic,
        Visa,
    )
}


def dataset_names() -> list[str]:
    """Return the names of the datasets, sorted."""
    return sorted(_DATASETS)


def dataset_class(name: str) -> type[Folder]:
    """Return a dataset's class, which carries its licence, citation and source.

    Raises:
        UsageError: There is no such dataset; the nearest names are offered.
    """
    if name not in _DATASETS:
        raise UsageError(f"no dataset {name!r}: {did_you_mean(name, _DATASETS)}")
    return _DATASETS[name]


def open_dataset(
    name: str, root: str | Path | None = None, *, cache: str | Path | None = None, **options: Any
) -> tuple[Folder, str | None]:
    """Return a dataset, and the category that its name asks for.

    Args:
        name: ``"elpv"``, or with a category ``"folder/carpet"``.
        root: The dataset's folder; None looks where the dataset's class says.
        cache: Folder that keeps manifests and resized images; None keeps nothing.
        **options: ``on_duplicate``, ``strict_counts``, ``split``, and the dataset's own parameters.

    Returns:
        The dataset, and the category's name, or None for all of them.

    Raises:
        UsageError: There is no such dataset, category or option.
        DataError: A category was named but the dataset is not there.
    """
    dataset_name, slash, category = name.partition("/")
    dataset = dataset_class(dataset_name)(
        None if root is None else Path(root),
        cache=None if cache is None else Path(cache),
        **options,
    )
    if not slash:
        return dataset, None
    dataset.check_category(category)
    return dataset, category


def open_component(
    name: str,
    given: Mapping[str, Any],
    root: str | Path | None = None,
    *,
    cache: str | Path | None = None,
) -> tuple[Folder, str | None]:
    """Return what :func:`open_dataset` does, with options as somebody typed them behind the name.

    Raises:
        UsageError: There is no such dataset, category or option.
        DataError: A category was named but the dataset is not there.
    """
    for key in given:
        if key in _ARGUMENTS:
            raise ParameterError(
                f"{name} has no parameter {key!r}: drop it from the brackets; folders are named by "
                "--data-root and --cache-dir"
            )
    return open_dataset(name, root, cache=cache, **given)
