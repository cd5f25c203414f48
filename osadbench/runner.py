"""Running cells: fit, score, measure, record. One cell's failure stops no other."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osadbench.datasets.images import JoinedImages
from osadbench.errors import ContractError, PrecheckError, UsageError
from osadbench.localisation import PROVENANCE, localise
from osadbench.method import Method
from osadbench.metrics import PIXEL_AUROC, compute_metrics
from osadbench.params import digest
from osadbench.plan import Cell
from osadbench.provenance import collect_provenance
from osadbench.registry import METHODS
from osadbench.store import DamagedRecordError, ScoreTable, Store
from osadbench.types import Adaptation, FloatArray, Record, Split

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Options", "precompute", "run_cell", "run_cells"]


@dataclass(frozen=True)
class Options:
    """How to run; nothing here changes a score.

    Attributes:
        jobs: Cells run at once, each in a process of its own if more than one.
        timeout: Seconds that a cell may take, or None.
        fail_fast: Stop at the first failed cell.
    """

    jobs: int = 1
    timeout: float | None = None
    fail_fast: bool = False


#: Threads of every cell with a frozen backbone, on any machine: see :func:`_threads`.
HEAD_THREADS = 2


class CellTimeoutError(BaseException):
    """A cell took longer than it was given; no ``Exception``, which a method might catch."""


def run_cells(cells: Sequence[Cell], store: Store, options: Options) -> Iterator[Record]:
    """Run cells and yield their records as they are finished and stored.

    Raises:
        PrecheckError: The store can't be written any more; what is stored stays.
    """
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    if options.jobs == 1:
        finished: Iterator[Record] = (
            run_cell(cell, store, options.timeout, threads) for cell in cells
        )
    else:
        finished = _run_in_parallel(cells, store, options, threads)
    with contextlib.closing(finished):  # type: ignore[type-var]
        for record in finished:
            yield record
            if options.fail_fast and record.status == "failed":
                return


def _run_in_parallel(
    cells: Sequence[Cell], store: Store, options: Options, threads: int
) -> Generator[Record, None, None]:
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = {cell.key: cell for cell in cells}
    # Threads of one cell that wait for each other must not spin on a core that another cell needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parallel = joblib.Parallel(
        n_jobs=options.jobs,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="n_jobs",
    )
    run = joblib.delayed(_run_in_worker)
    records = parallel(run(cell, store, options.timeout, threads) for cell in cells)
    try:
        for record in records:
            del left[record.key]
            yield record
    except TerminatedWorkerError:
        # A worker died (out of memory, a crash in native code) and took the others with it. Each
        # cell that is left gets a process of its own, so that the culprit shows itself.
        for cell in left.values():
            yield _run_alone(cell, store, options.timeout, threads)
    finally:
        _stop_workers(records)


def _run_in_worker(cell: Cell, store: Store, timeout: float | None, threads: int) -> Record:
    # A terminal sends Ctrl-C to the workers too; the main process hears it and ends them quietly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return run_cell(cell, store, timeout, threads)


def _stop_workers(records: Generator[Record, None, None]) -> None:
    from joblib.externals.loky import get_reusable_executor

    with warnings.catch_warnings():
        # joblib warns of the cells that are cut off, which is what a stop is for.
        warnings.simplefilter("ignore")
        records.close()
    # A later run in this process may bring other plug-ins, and these workers keep theirs.
    get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _run_alone(cell: Cell, store: Store, timeout: float | None, threads: int) -> Record:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, cell, store, timeout, threads)
    process = context.Process(target=_run_and_send, args=arguments)
    process.start()
    sender.close()
    try:
        result: Record | Exception = receiver.recv()
    except EOFError:
        reason = "the process died while the cell ran: out of memory, or a crash in native code"
        return _write_failure(cell, store, _record(cell, "failed", reason=reason))
    finally:
        process.kill()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _run_and_send(sender: Connection, *arguments: Any) -> None:
    result: Record | Exception
    try:
        result = _run_in_worker(*arguments)
    except Exception as error:
        result = error
    sender.send(result)


def precompute(cells: Sequence[Cell]) -> None:
    """Fill the shared caches with what cells will need, on instances that are thrown away.

    Raises:
        UsageError: There is no such backbone.
        PrecheckError: Weights, device or cache can't be used.
    """
    methods = [_method(cell) for cell in cells]
    _check_backbones(method for method in methods if method.uses_backbone)
    for cell, method in zip(cells, methods, strict=True):
        try:
            if _skip_reason(method, cell.split) is not None:
                continue
            # On the threads of the cells: features too differ to the last bit on others.
            with _limit_threads(_threads(method, os.cpu_count() or 1)):
                method.precompute(*_training_data(cell))
                if cell.split.adaptation is not None:
                    method.precompute(*_adaptation_data(cell, cell.split.adaptation))
                method.precompute(_test_images(cell))
        except PrecheckError:
            raise
        except (Exception, SystemExit):  # noqa: S112
            # The cell will fail for the same reason, and its record will say so.
            continue


def _check_backbones(methods: Iterable[Method]) -> None:
    """Build each backbone once: what is wrong with it would be wrong with every cell."""
    for engine, taps in dict.fromkeys((m.engine, getattr(m, "taps", None)) for m in methods):
        from osadbench.nn import backbones, device, features

        where = device.resolve_device(engine)
        if engine.train_backbone:
            weights = backbones.resolve_weights(engine)
            backbone = backbones.build_backbone(engine, weights).to(where)
        else:
            backbone = backbones.frozen_backbone(engine, where)
        size = engine.image_sizes[-1]
        pixels = features.to_tensor(np.zeros((1, size, size, 3), np.uint8)).to(where)
        try:
            backbone(pixels) if taps is None else backbone(pixels, taps)
        except (RuntimeError, ValueError, AssertionError) as error:
            # timm's transformers assert that images have the one size that they were made for.
            fault = "does not fit" if isinstance(error, AssertionError) else "is too small for"
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"image size {size} {fault} backbone {engine.backbone}: {reason}"
            ) from error


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
    _reset_peak_memory()
    measured: dict[str, Any] = {"started": started}
    try:
        with _time_limit(timeout):
            method = _method(cell)
            skipped = _skip_reason(method, cell.split)
            if skipped is None:
                measured.update(_where(method), threads=_threads(method, threads))
                with _limit_threads(measured["threads"]):
                    table = _score_table(cell, _fit_and_score(cell, method, measured))
                    metrics = compute_metrics(table.labels, table.scores)
                    if cell.localise:
                        metrics |= _localise(cell, method, measured)
    except PrecheckError:
        # Not the method's doing: the cache is full, an image is gone.
        raise
    except (Exception, SystemExit, CellTimeoutError) as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")
        trace = traceback.format_exc()
        failed = _record(cell, "failed", reason=reason, trace=trace, provenance=measured)
        return _write_failure(cell, store, failed)
    if skipped is not None:
        return store.write(_record(cell, "skipped", reason=skipped, provenance=measured))
    measured["peak_memory_bytes"] = _peak_memory()
    return store.write(_record(cell, "done", metrics=metrics, provenance=measured), table)


def _write_failure(cell: Cell, store: Store, failed: Record) -> Record:
    """Store a failure, but not in place of a result that lacks the pixel AUROC only."""
    with contextlib.suppress(DamagedRecordError):
        stands = store.read(cell.key) if cell.localise else None
        if stands is not None and stands.status == "done" and PIXEL_AUROC not in stands.metrics:
            return replace(failed, reason=f"{failed.reason}; the earlier result stays")
    return store.write(failed)


def _method(cell: Cell) -> Method:
    for path in cell.plugins:
        METHODS.add_plugin(path)
    cls: type[Method] = METHODS.get(cell.method)
    asked = {name: value for name, value in cell.params.items() if name not in cls.fixed}
    params = cls.resolve_params(cell.engine.preset, _plain(asked))
    given = {name: getattr(params, name) for name in type(params).model_fields.keys() - cls.fixed}
    return cls(seed=cell.seed, engine=cell.engine, **given)


def _skip_reason(method: Method, split: Split) -> str | None:
    reason: object = method.skip(split)
    if reason is not None and not isinstance(reason, str):
        raise ContractError(f"expected a reason or None of skip, got {type(reason).__name__}")
    if reason is None and split.adaptation is not None and not method.adapts:
        return "has no way to go on training on the normals of another category"
    return reason


def _plain(params: Any) -> dict[str, Any]:
    # JSON knows no tuples, and parameters take no lists.
    return {key: tuple(v) if isinstance(v, list) else v for key, v in params.items()}


def _training_data(cell: Cell) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images and labels for ``fit``."""
    split = cell.split
    paths = [*split.train_normals, *split.train_anomalies]
    images = cell.dataset.images(cell.trained_on, paths)
    return _with_outliers(cell, images, [len(split.train_normals), len(split.train_anomalies)])


def _adaptation_data(cell: Cell, adaptation: Adaptation) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images and labels for ``adapt``."""
    images = cell.dataset.images(cell.manifest, adaptation.normals)
    return _with_outliers(cell, images, [len(images), 0])


def _with_outliers(cell: Cell, images: Any, counts: list[int]) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return images, with the external outliers behind them, and the labels 0, 1 and 2."""
    if cell.outliers is not None:
        images = JoinedImages(images, cell.outliers.images())
        counts = [*counts, len(cell.outliers)]
    return images, np.repeat(np.arange(len(counts)), counts)


def _test_images(cell: Cell) -> Any:
    return cell.dataset.images(cell.manifest, cell.split.test)


def _fit_and_score(cell: Cell, method: Method, measured: dict[str, Any]) -> FloatArray:
    train, labels = _training_data(cell)
    test = _test_images(cell)
    started = time.perf_counter()
    method.fit(train, labels)
    if (adaptation := cell.split.adaptation) is not None:
        normals, labels = _adaptation_data(cell, adaptation)
        method.adapt(normals, labels, epochs=adaptation.epochs)
    measured["fit_seconds"] = time.perf_counter() - started
    started = time.perf_counter()
    scores = method.score(test)
    measured["score_seconds"] = time.perf_counter() - started
    if notes := [str(note) for note in getattr(method, "notes_", ())]:
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


def _score_table(cell: Cell, scores: FloatArray) -> ScoreTable:
    records = [cell.manifest.by_path[path] for path in cell.split.test]
    return ScoreTable(
        paths=cell.split.test,
        labels=np.array([record.label for record in records], dtype=np.int8),
        classes=tuple(record.class_name for record in records),
        scores=scores,
    )


def _record(
    cell: Cell,
    status: str,
    *,
    metrics: dict[str, float] | None = None,
    reason: str | None = None,
    trace: str | None = None,
    provenance: dict[str, Any] | None = None,
) -> Record:
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
        fit_seed=cell.seed,
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


def _where(method: Method) -> dict[str, Any]:
    """Return the device and the precision that will be used, by methods with a network.

    For these it also loads torch, so that no fit is charged with the seconds that this takes.
    """
    if not (method.uses_backbone or _reads_pixels(method)):
        return {"device": "cpu", "precision": None}
    from osadbench.nn.device import device_name, resolve_device, resolve_precision

    device = resolve_device(method.engine)
    return {
        "device": device_name(device),
        "precision": resolve_precision(method.engine, device),
    }


def _reads_pixels(method: Method) -> bool:
    """Return whether the method trains a network of its own on the images themselves."""
    return bool(getattr(method, "reads_pixels", False))


def _threads(method: Method, most: int) -> int:
    """Return the threads that a cell computes on.

    Sums come out differently to the last bit on other numbers of threads, and training makes more
    of it. A fixed number makes scores independent of the machine's cores and of the cells beside
    it; only where a whole network is trained would that take too long.
    """
    if _reads_pixels(method):
        return most
    if not method.uses_backbone:
        return 1
    return most if method.engine.train_backbone else HEAD_THREADS


@contextlib.contextmanager
def _limit_threads(threads: int) -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    # By sys.modules: methods without torch must not wait for it.
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    with threadpool_limits(threads):
        if torch is None:
            yield
            return
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: object) -> None:
        raise CellTimeoutError(f"the cell took longer than {seconds:g} s (--timeout)")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _reset_peak_memory() -> None:
    # Linux forgets the peak of what ran in this process before; elsewhere it stays in the figure.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int | None:
    """Return the largest resident size of this process in bytes, or None where unknown."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
