"""Processes that compute beside each other."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from osadbench.errors import WorkerDiedError

__all__ = ["in_workers"]

T = TypeVar("T")


def in_workers(
    function: Callable[..., T], calls: Iterable[tuple[object, ...]], n_workers: int
) -> Generator[T, None, None]:
    """Yield a function's results, each as soon as it is there, from processes of their own.

    The processes end with the results, or when the generator is closed.

    Args:
        function: What to call. It and all that it takes and returns can be pickled.
        calls: The arguments of each call.
        n_workers: Number of processes.

    Raises:
        WorkerDiedError: A process died.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = joblib.Parallel(
        n_jobs=n_workers,
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch="n_jobs",
    )
    results = parallel(joblib.delayed(_call)(function, arguments) for arguments in calls)
    try:
        # Not by `yield from`, which would close them before _stop does, with a warning.
        for result in results:  # noqa: UP028
            yield result
    except TerminatedWorkerError as error:
        raise WorkerDiedError(str(error)) from error
    finally:
        _stop(results)


def _call(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    # A terminal sends Ctrl-C to the workers too; the main process hears it and ends them quietly.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return function(*arguments)


def _stop(results: Generator[object, None, None]) -> None:
    from joblib.externals.loky import get_reusable_executor

    with warnings.catch_warnings():
        # joblib warns of the calls that are cut off, which is what a stop is for.
        warnings.simplefilter("ignore")
        results.close()
    # Later ones in this process may need other plug-ins, and these workers keep theirs.
    get_reusable_executor(reuse=True).shutdown(kill_workers=True)
