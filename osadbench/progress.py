"""Progress bars, all of one kind."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["progress_bar"]

logger = logging.getLogger("osadbench")


def progress_bar(total: int | None, unit: str, *, enabled: bool = True, **options: Any) -> Any:
    """Return a bar of tqdm, which draws on a terminal's stderr and leaves no line behind.

    Nothing is drawn where nobody asked for messages of level INFO: under ``--quiet``, in worker
    processes, and in programs that import the library.

    Args:
        total: Number of steps, None where it is unknown.
        unit: What a step does one of.
        enabled: False for no bar at all.
        options: Others of tqdm's, such as what to iterate over.
    """
    # Commands that show none need not wait for it to load.
    from tqdm import tqdm

    shown = enabled and logger.isEnabledFor(logging.INFO)
    return tqdm(total=total, unit=unit, leave=False, disable=None if shown else True, **options)
