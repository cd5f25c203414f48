"""What a cell runs: its method, where and on how many threads that computes, and its images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from osadbench.datasets.images import JoinedImages
from osadbench.errors import ContractError
from osadbench.method import Method
from osadbench.plan import Cell
from osadbench.registry import METHODS
from osadbench.types import Adaptation, Split

__all__ = [
    "HEAD_THREADS",
    "adaptation_data",
    "method_of",
    "skip_reason",
    "test_images",
    "threads_of",
    "training_data",
    "where_of",
]

#: Threads of every cell with a frozen backbone, on any machine: see :func:`threads_of`.
HEAD_THREADS = 2


def method_of(cell: Cell) -> Method:
    """Return a new instance of a cell's method; its plug-in files are loaded first.

    Raises:
        UsageError: There is no such method or parameter any more.
    """
    for path in cell.plugins:
        METHODS.add_plugin(path)
    cls: type[Method] = METHODS.get(cell.method)
    asked = {name: value for name, value in cell.params.items() if name not in cls.fixed}
    params = cls.resolve_params(cell.engine.preset, _plain(asked))
    given = {name: getattr(params, name) for name in type(params).model_fields.keys() - cls.fixed}
    return cls(seed=cell.fit_seed, engine=cell.engine, **given)


def skip_reason(method: Method, split: Split) -> str | None:
    """Return why a method has no honest form on a split, or None where it has.

    Raises:
        ContractError: The method's own answer is neither text nor None.
    """
    reason: object = method.skip(split)
    if reason is not None and not isinstance(reason, str):
        raise ContractError(f"expected a reason or None of skip, got {type(reason).__name__}")
    if reason is None and split.adaptation is not None and not method.adapts:
        return "has no way to go on training on the normals of another category"
    return reason


def _plain(params: Any) -> dict[str, Any]:
    # JSON knows no tuples, and parameters take no lists.
    return {key: tuple(v) if isinstance(v, list) else v for key, v in params.items()}


def where_of(method: Method) -> dict[str, Any]:
    """Return the device and the precision that will be used, by methods with a network.

    For these it also loads torch, so that no fit is charged with the seconds that this takes.
    """
    if not (method.uses_backbone or method.reads_pixels):
        return {"device": "cpu", "precision": None}
    from osadbench.nn.device import device_name, resolve_device, resolve_precision

    device = resolve_device(method.engine)
    return {
        "device": device_name(device),
        "precision": resolve_precision(method.engine, device),
    }


def threads_of(method: Method, most: int) -> int:
    """Return the threads that a cell computes on.

    Sums come out differently to the last bit on other numbers of threads, and training makes more
    of it. A fixed number makes scores independent of the machine's cores and of the cells beside
    it; only where a whole network is trained would that take too long.
    """
    if method.reads_pixels:
        return most
    if not method.uses_backbone:
        return 1
    return most if method.engine.train_backbone else HEAD_THREADS


def training_data(cell: Cell) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images and labels for ``fit``."""
    split = cell.split
    paths = [*split.train_normals, *split.train_anomalies]
    images = cell.dataset.images(cell.trained_on, paths)
    return _with_outliers(cell, images, [len(split.train_normals), len(split.train_anomalies)])


def adaptation_data(cell: Cell, adaptation: Adaptation) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images and labels for ``adapt``."""
    images = cell.dataset.images(cell.manifest, adaptation.normals)
    return _with_outliers(cell, images, [len(images), 0])


def _with_outliers(cell: Cell, images: Any, counts: list[int]) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images, with the external outliers behind them, and the labels 0, 1 and 2."""
    if cell.outliers is not None:
        images = JoinedImages(images, cell.outliers.images())
        counts = [*counts, len(cell.outliers)]
    return images, np.repeat(np.arange(len(counts)), counts)


def test_images(cell: Cell) -> Any:
    """Return the images for ``score``."""
    return cell.dataset.images(cell.manifest, cell.split.test)
