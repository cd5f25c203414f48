"""What a cell may use, threads and seconds, and the memory that it has used."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "CellTimeoutError",
    "limit_threads",
    "peak_memory",
    "reset_peak_memory",
    "time_limit",
]


class CellTimeoutError(BaseException):
    """A cell took longer than it was given; no ``Exception``, which a method might catch."""


@contextlib.contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Cap the threads of numeric libraries, and of torch if it is loaded."""
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
def time_limit(seconds: float | None) -> Iterator[None]:
    """Stop what runs inside after some seconds; None for no limit.

    It works in the main thread and where there is ``SIGALRM``; elsewhere there is no limit.

    Raises:
        CellTimeoutError: The seconds are over.
    """
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


def reset_peak_memory() -> None:
    """Forget the peak of what ran in this process before; elsewhere than on Linux it stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """Return the largest resident size of this process in bytes, or None where unknown."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
