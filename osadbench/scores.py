"""The per-image scores of one cell, and their file."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from osadbench.types import FloatArray

__all__ = ["ScoreTable"]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The test images of one cell and their scores, in the split's order.

    Attributes:
        paths: n POSIX paths below the dataset's root.
        labels: int8 ``(n,)``: 0 normal, 1 anomaly.
        classes: n class names, ``"good"`` for normal images.
        scores: float64 ``(n,)``, larger = more anomalous.

    Raises:
        ValueError: The four differ in length.
    """

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    classes: tuple[str, ...]
    scores: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(map(str, self.paths)))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int8))
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
        shapes = {np.shape(getattr(self, item.name)) for item in fields(self)}
        if shapes != {(len(self.paths),)}:
            raise ValueError(f"expected columns of one length, got shapes {sorted(shapes)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreTable):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, item.name), getattr(other, item.name))
            for item in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_bytes(self) -> bytes:
        """Return the table as a compressed npz file; equal tables give equal bytes."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            paths=np.array(self.paths, dtype=np.str_),
            labels=self.labels,
            classes=np.array(self.classes, dtype=np.str_),
            scores=self.scores,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ScoreTable:
        """Read what :meth:`to_bytes` wrote; nothing is unpickled."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            paths, classes = file["paths"].tolist(), file["classes"].tolist()
            return cls(tuple(paths), file["labels"], tuple(classes), file["scores"])
