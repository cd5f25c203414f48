"""Work on many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what the work gives for each item, in the order of the items.

    Where it raises, or nobody takes the rest, what has not begun is left undone.

    Args:
        work: Called in several threads at once, as many as there are cores.
        items: All of them are taken before the first result comes.
    """
    # Pillow and hashlib let go of the interpreter while they work, so threads are enough.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
