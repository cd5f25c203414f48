"""What is kept of a cell: its record and its table of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from osadbench.params import digest
from osadbench.plan import Cell
from osadbench.provenance import collect_provenance
from osadbench.scores import ScoreTable
from osadbench.types import FloatArray, Record

__all__ = ["record_of", "score_table"]


def score_table(cell: Cell, scores: FloatArray) -> ScoreTable:
    """Return a cell's scores ``(n,)`` beside the test images they are of."""
    records = [cell.manifest.by_path[path] for path in cell.split.test]
    return ScoreTable(
        paths=cell.split.test,
        labels=np.array([record.label for record in records], dtype=np.int8),
        classes=tuple(record.class_name for record in records),
        scores=scores,
    )


def record_of(
    cell: Cell,
    status: str,
    *,
    metrics: dict[str, float] | None = None,
    reason: str | None = None,
    trace: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Record:
    """Return the record of a cell, see :class:`osadbench.types.Record`.

    Args:
        cell: What ran.
        status: ``"done"``, ``"failed"`` or ``"skipped"``.
        metrics: Metrics by name.
        reason: Why it failed or was skipped, one line.
        trace: The traceback of a failure.
        provenance: What was measured, beside versions and commit.
    """
    split = cell.split
    return Record(
        key=cell.key,
        status=status,
        method=cell.method,
        label=cell.label,
        params=dict(cell.params),
        engine=cell.shared_engine.identity(),
        departures=cell.departures,
        weights=cell.weights,
        fit_seed=cell.fit_seed,
        protocol=cell.protocol,
        dataset=split.dataset,
        category=split.category,
        known_class=split.known_class,
        shots=split.shots,
        seed=split.seed,
        row=split.row,
        split=_images_of(cell),
        metrics=metrics or {},
        reason=reason,
        traceback=trace,
        provenance={**collect_provenance(), **(provenance or {})},
    )


def _images_of(cell: Cell) -> dict[str, Any]:
    """Return what a record says of the images, see :class:`osadbench.types.Record`."""
    split, outliers, trained_on = cell.split, cell.outliers, cell.trained_on.by_path
    images: dict[str, Any] = {
        "digest": split.digest,
        "manifest": split.manifest_digest,
        "train_normals": len(split.train_normals),
        "unlabelled_anomalies": sum(trained_on[path].label for path in split.train_normals),
        "train_anomalies": list(split.train_anomalies),
        "seen_classes": sorted({trained_on[path].class_name for path in split.train_anomalies}),
        "test": len(split.test),
        "test_digest": digest(split.test),
    }
    if split.adaptation is not None:
        images["adaptation"] = {
            "source": split.adaptation.source,
            "source_manifest": split.adaptation.source_digest,
            "normals": len(split.adaptation.normals),
            "epochs": split.adaptation.epochs,
        }
    if outliers is not None:
        images["outliers"] = {
            "source": outliers.source,
            "digest": outliers.digest,
            "images": len(outliers),
        }
    return images
