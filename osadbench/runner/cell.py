"""One cell: fit, score, measure, record."""

from __future__ import annotations

import contextlib
import time
import traceback
from dataclasses import replace
from typing import Any

import numpy as np

from osadbench.errors import ContractError, DamagedRecordError, PrecheckError, one_line
from osadbench.localisation import PROVENANCE, localise
from osadbench.method import Method
from osadbench.metrics import PIXEL_AUROC, compute_metrics
from osadbench.plan import Cell
from osadbench.runner.inputs import (
    adaptation_data,
    method_of,
    skip_reason,
    test_images,
    threads_of,
    training_data,
    where_of,
)
from osadbench.runner.limits import (
    CellTimeoutError,
    limit_threads,
    peak_memory,
    reset_peak_memory,
    time_limit,
)
from osadbench.runner.record import record_of, score_table
from osadbench.scores import ScoreTable
from osadbench.store import Store
from osadbench.types import FloatArray, Record

__all__ = ["run_cell", "write_failure"]


def run_cell(cell: Cell, store: Store, timeout: float | None, threads: int) -> Record:
    """Run one cell and store its record; whatever goes wrong in the method becomes part of it.

    Args:
        cell: What to run.
        store: Where the record goes.
        timeout: Seconds, or None. Needs a platform with ``SIGALRM``.
        threads: Threads for numeric libraries, at most.

    Raises:
        StoreError: The record can't be written.
    """
    started = time.time()
    reset_peak_memory()
    measured: dict[str, Any] = {"started": started}
    try:
        with time_limit(timeout):
            method = method_of(cell)
            skipped = skip_reason(method, cell.split)
            if skipped is None:
                measured.update(where_of(method), threads=threads_of(method, threads))
                table, metrics = _measure(cell, method, measured)
    except PrecheckError:
        # Not the method's doing: the cache is full, an image is gone.
        raise
    except (Exception, SystemExit, CellTimeoutError) as error:
        trace = traceback.format_exc()
        failed = record_of(cell, "failed", reason=one_line(error), trace=trace, provenance=measured)
        return write_failure(cell, store, failed)
    if skipped is not None:
        return store.write(record_of(cell, "skipped", reason=skipped, provenance=measured))
    measured["peak_memory_bytes"] = peak_memory()
    return store.write(record_of(cell, "done", metrics=metrics, provenance=measured), table)


def _measure(
    cell: Cell, method: Method, measured: dict[str, Any]
) -> tuple[ScoreTable, dict[str, float]]:
    """Return scores and metrics; what was measured on the way is added."""
    with limit_threads(measured["threads"]):
        table = score_table(cell, _fit_and_score(cell, method, measured))
        metrics = compute_metrics(table.labels, table.scores)
        if cell.localise:
            metrics |= _localise(cell, method, measured)
    return table, metrics


def write_failure(cell: Cell, store: Store, failed: Record) -> Record:
    """Store a failure, but not in place of a result that lacks the pixel AUROC only."""
    with contextlib.suppress(DamagedRecordError):
        stands = store.read(cell.key) if cell.localise else None
        if stands is not None and stands.status == "done" and PIXEL_AUROC not in stands.metrics:
            return replace(failed, reason=f"{failed.reason}; the earlier result stays")
    return store.write(failed)


def _fit_and_score(cell: Cell, method: Method, measured: dict[str, Any]) -> FloatArray:
    train, labels = training_data(cell)
    test = test_images(cell)
    started = time.perf_counter()
    method.fit(train, labels)
    if (adaptation := cell.split.adaptation) is not None:
        normals, labels = adaptation_data(cell, adaptation)
        method.adapt(normals, labels, epochs=adaptation.epochs)
    measured["fit_seconds"] = time.perf_counter() - started
    started = time.perf_counter()
    scores = method.score(test)
    measured["score_seconds"] = time.perf_counter() - started
    if notes := [str(note) for note in method.notes_]:
        measured["notes"] = notes
    return _check_scores(scores, len(test))


def _localise(cell: Cell, method: Method, measured: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of the score maps; what they are of, or why there are none, is noted."""
    started = time.perf_counter()
    found = localise(method, cell.dataset, cell.manifest, cell.split)
    measured["localise_seconds"] = time.perf_counter() - started
    measured[PROVENANCE] = found.facts()
    if found.notes:
        measured["notes"] = [*measured.get("notes", ()), *found.notes]
    return found.metrics


def _check_scores(scores: Any, n: int) -> FloatArray:
    values = np.asarray(scores)
    if values.shape != (n,) or values.dtype != np.float64:
        raise ContractError(
            f"expected float64 scores ({n},), one for each test image, got {values.dtype} "
            f"{values.shape}"
        )
    if not np.isfinite(values).all():
        raise ContractError(f"{int((~np.isfinite(values)).sum())} of {n} scores are not finite")
    return values
