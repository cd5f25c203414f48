"""Backbones, features, heads, losses and training. The only part of the core that imports torch.

``from osadbench.nn import heads`` gives a module that is executed at its first use, so that a
method file can be imported for its parameters without waiting for torch.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    full_name = f"{__name__}.{name}"
    spec = None if name.startswith("__") else importlib.util.find_spec(full_name)
    if spec is None or spec.loader is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    loader.exec_module(module)
    # Bound like any imported submodule, so that the next import finds it without executing it.
    globals()[name] = module
    return module
