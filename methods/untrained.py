"""DRA without training: the control that every method must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from osadbench.methods.dra import DRA
from osadbench.registry import register_method

__all__ = ["Untrained"]


@register_method("untrained")
class Untrained(DRA):
    """DRA's network as it is drawn, without a single step of training.

    A control: what its score tells apart comes from the backbone and from chance. A trained method
    that does not beat it has learnt nothing.

    Source: none; ours. The network is DRA's.

    Loss: none.
    Sampler: none.
    Score: as DRA's, against references from the normals.
    Paper: none.
    Code: none.
    Ours: everything.
    Frozen: nothing differs.
    """

    fixed: ClassVar[Mapping[str, Any]] = {"epochs": 0}
    supervised: ClassVar[bool] = False
    is_control: ClassVar[bool] = True

    @property
    def pseudo_source(self) -> str | None:
        """None are needed."""
        return None
