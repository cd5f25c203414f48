"""Many cells, one after the other or several at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from osadbench.errors import WorkerDiedError
from osadbench.plan import Cell
from osadbench.runner.cell import run_cell, write_failure
from osadbench.runner.record import record_of
from osadbench.store import Store
from osadbench.types import Record
from osadbench.workers import in_workers

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Options", "run_cells"]


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
    left = {cell.key: cell for cell in cells}
    # Threads of one cell that wait for each other must not spin on a core that another cell needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    calls = ((cell, store, options.timeout, threads) for cell in cells)
    records = in_workers(run_cell, calls, options.jobs)
    with contextlib.closing(records):
        try:
            for record in records:
                del left[record.key]
                yield record
        except WorkerDiedError:
            # It took the others with it. Each cell that is left gets a process of its own, so that
            # the culprit shows itself.
            for cell in left.values():
                yield _run_alone(cell, store, options.timeout, threads)


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
        return write_failure(cell, store, record_of(cell, "failed", reason=reason))
    finally:
        process.kill()
        process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _run_and_send(sender: Connection, *arguments: Any) -> None:
    result: Record | Exception
    # As in other workers: the main process hears Ctrl-C and ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = run_cell(*arguments)
    except Exception as error:
        result = error
    sender.send(result)
