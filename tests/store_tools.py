"""What tests of stored scores share: small results folders made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report_tools import record

from osadbench.metrics import compute_metrics
from osadbench.scores import ScoreTable
from osadbench.store import Store
from osadbench.types import Record

#: Five normal images and five anomalies of two classes.
LABELS = (0, 0, 0, 0, 0, 1, 1, 1, 1, 1)
CLASSES = ("good",) * 5 + ("crack", "crack", "hole", "hole", "hole")
PERFECT = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
#: The second crack lies below four of the five normals: AUROC 21/25.
WORSE = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.5, 7.0, 8.0, 9.0)


def outliers(source: str, digest: str = "cd34") -> dict[str, Any]:
    """Return what a split says of external outliers."""
    return {"outliers": {"source": source, "digest": digest, "images": 5}}


def write_cell(
    folder: Path,
    label: str = "dra",
    row: str = "mono",
    seed: int = 0,
    scores: Sequence[float] = PERFECT,
    *,
    labels: Sequence[int] = LABELS,
    classes: Sequence[str] = CLASSES,
    prefix: str = "images",
    **changes: Any,
) -> Record:
    """Store a done cell with its scores, or one of another status without, and return it."""
    found = record(label, row, seed, **changes)
    request = (label, row, seed, found.shots, found.protocol, found.engine, found.weights)
    images = {name: found.split[name] for name in ("manifest", "outliers") if name in found.split}
    identity = repr((*request, images) if images else request)
    changes["key"] = hashlib.md5(identity.encode()).hexdigest()
    if found.status != "done":
        return Store(folder).write(record(label, row, seed, **changes))
    paths = tuple(f"{prefix}/{index:02}.png" for index in range(len(labels)))
    table = ScoreTable(paths, labels, tuple(classes), scores)  # type: ignore[arg-type]
    changes["metrics"] = compute_metrics(labels, scores)
    return Store(folder).write(record(label, row, seed, **changes), table)
