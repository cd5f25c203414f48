"""Which stages of a backbone a method reads. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LAST", "Tap"]


class Tap(NamedTuple):
    """One stage of a backbone.

    Attributes:
        reduction: Side length of the input over that of the stage's maps, such as 8; None for the
            last stage.
        max_pool: Whether the maps go through 2x2 max pooling, which halves their sides.
    """

    reduction: int | None = None
    max_pool: bool = False


#: What DevNet, DRA and their relatives read.
LAST = Tap()
