"""Backbones, features, heads, losses and training. The only part of the core that imports torch.

``from osadbench.nn import heads`` gives a stand-in that imports the module when one of its names is
used, so that a method file can be imported for its parameters without waiting for torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    # importlib's LazyLoader puts its modules into sys.modules unexecuted, where `inspect`, which
    # torch uses while it is being imported, would execute them half-way.
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def __getattr__(name: str) -> ModuleType:
    full_name = f"{__name__}.{name}"
    if name.startswith("__") or importlib.util.find_spec(full_name) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _Deferred(full_name)
