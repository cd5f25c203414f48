"""What a person at the terminal sees while cells run. Everything here goes to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, TypeVar

from osadbench.metrics import PIXEL_AUROC
from osadbench.progress import progress_bar
from osadbench.types import Record, split_title

__all__ = [
    "Counted",
    "Progress",
    "cell_line",
    "configure_logging",
    "counting",
]

logger = logging.getLogger("osadbench")

#: Seconds until a count of calls is shown: what is done sooner needs none.
PATIENCE = 1.0

A = TypeVar("A")
B = TypeVar("B")


class _StderrHandler(logging.Handler):
    """Writes log lines above a progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


class _Formatter(logging.Formatter):
    """Says of a warning that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)


def configure_logging(level: int) -> None:
    """Send the library's messages to stderr, once."""
    logger.setLevel(level)
    logger.propagate = False
    if not logger.handlers:
        handler = _StderrHandler()
        handler.setFormatter(_Formatter())
        logger.addHandler(handler)


class Progress:
    """Counts finished cells: a bar with the time left on a terminal, plain lines elsewhere.

    Args:
        total: Number of cells to run.
        enabled: False for plain lines on a terminal too.
    """

    def __init__(self, total: int, *, enabled: bool = True) -> None:
        self.total = total
        self.done = 0
        self._bar = progress_bar(total, "cell", enabled=enabled)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def follow(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on and log a line for each, and the tracebacks under ``--verbose``."""
        for record in records:
            self.done += 1
            self._bar.update()
            width = len(str(self.total))
            logger.info("[%*d/%d] %s", width, self.done, self.total, cell_line(record))
            if record.traceback:
                logger.debug("%s", record.traceback)
            yield record


class Counted(Protocol):
    """Makes a function one whose calls are counted."""

    def __call__(self, function: Callable[[A], B], /) -> Callable[[A], B]:
        """Return the function that counts."""


@contextmanager
def counting(total: int, unit: str) -> Iterator[Counted]:
    """Show a bar on a terminal that counts the calls of functions, if they take long.

    Args:
        total: Number of calls that there will be at most.
        unit: What a call does one of.
    """
    with progress_bar(total, unit, delay=PATIENCE) as bar:

        def counts_calls(function: Callable[[A], B]) -> Callable[[A], B]:
            def call(value: A) -> B:
                result = function(value)
                bar.update()
                return result

            return call

        yield counts_calls


def cell_line(record: Record) -> str:
    """Return a finished cell in one line: status, what it is, and its result or reason."""
    what = f"{record.label} {split_title(record)}"
    if record.status != "done":
        return f"{record.status:<7} {what}: {record.reason}"
    shown = (name for name in ("auroc", PIXEL_AUROC) if name in record.metrics)
    values = ", ".join(f"{name} {record.metrics[name]:.3f}" for name in shown)
    return f"{record.status:<7} {what}: {values} in {record.seconds:.1f} s"
