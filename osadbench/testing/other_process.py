"""Calling a function in a fresh Python process that hashes strings in another way."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from osadbench.errors import CheckFailedError
from osadbench.testing.results import Skipped, expect

__all__ = ["answer_job", "call_in_other_process"]

_TIMEOUT_SECONDS = 300
_CODE = "import sys; from osadbench.testing.other_process import answer_job as a; a(*sys.argv[1:])"


def call_in_other_process(function: Callable[..., Any], component: type, *arguments: Any) -> Any:
    """Return ``function(component, *arguments)`` as computed by another process.

    The process has another hash seed, so that an order that hangs on the hashes of strings shows.

    Args:
        function: A function at the top level of an importable module.
        component: A class; found there by its module's name, or else by its module's file.
        *arguments: Anything that can be pickled.

    Raises:
        CheckFailedError: The process failed; the message ends with the last line of its errors.
        Skipped: The class stands in the running script, which a second process must not run again.
    """
    if component.__module__ == "__main__":
        raise Skipped("the class stands in the running script: move it to a file of its own")
    expect(
        "<locals>" not in component.__qualname__,
        f"{component.__qualname__} stands inside a function, where no other process finds it",
    )
    where = (component.__module__, component.__qualname__, _file_of(component))
    with tempfile.TemporaryDirectory() as folder:
        job, answer = Path(folder, "job.pickle"), Path(folder, "answer.pickle")
        job.write_bytes(pickle.dumps((function, where, arguments)))
        _run(job, answer)
        return pickle.loads(answer.read_bytes())


def _file_of(component: type) -> str | None:
    return getattr(sys.modules.get(component.__module__), "__file__", None)


def _run(job: Path, answer: Path) -> None:
    here = os.environ.get("PYTHONHASHSEED", "random")
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "2" if here == "1" else "1",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    command = [sys.executable, "-P", "-c", _CODE, str(job), str(answer)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
    )
    if done.returncode or not answer.is_file():
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CheckFailedError(f"the other process failed: {lines[-1]}")


def _find(module: str, qualname: str, file: str | None) -> Any:
    try:
        found = importlib.import_module(module)
    except ImportError:
        if file is None:
            raise
        found = _load(module, file)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _load(module: str, file: str) -> Any:
    """Import a plug-in's file under the name it has in the first process."""
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def answer_job(job: str, answer: str) -> None:
    """Do, in the other process, what one file holds and write the result to another file."""
    function, where, arguments = pickle.loads(Path(job).read_bytes())
    result = function(_find(*where), *arguments)
    Path(answer).write_bytes(pickle.dumps(result))
