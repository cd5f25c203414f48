"""Where a result came from: code, library versions, platform. Never part of a result's key."""

from __future__ import annotations

import copy
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import osadbench
from osadbench.images import DECODER

__all__ = ["checkout_state", "collect_provenance"]

#: Distributions whose versions may change a score.
_LIBRARIES = ("numpy", "torch", "torchvision", "timm", "scikit-learn", "pillow")


def collect_provenance() -> dict[str, Any]:
    """Return what is known of the running code; the same for the life of the process.

    No library is imported for it, and the host's name is left out.

    Returns:
        ``commit`` and ``dirty`` as of :func:`checkout_state`, ``versions`` by name (None where a
        library is not installed), ``platform``, and ``decoder``. The caller may change the dict.
    """
    return copy.deepcopy(_collected())


@functools.cache
def _collected() -> dict[str, Any]:
    commit, dirty = checkout_state(Path(osadbench.__file__))
    versions = {"python": platform.python_version(), "osadbench": osadbench.__version__}
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": versions | {name: _version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "decoder": DECODER,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def checkout_state(file: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the git work tree that tracks a file, and whether code differs from it.

    Args:
        file: A source file. One that merely lies inside a work tree, such as in a virtual
            environment there, is not tracked and has no commit.

    Returns:
        The commit's hash, and whether any Python file of the work tree is changed or new; both
        None without git, outside a work tree, or before its first commit.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None, None
    commit = _git(file.parent, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, None
    status = _git(file.parent, "status", "--porcelain", "--", ":(top)*.py")
    return commit, None if status is None else bool(status)


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_DIR and its like, set inside git hooks, would name another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()
