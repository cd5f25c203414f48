from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# The arrays of the tests are tiny: more threads than one only wait for each other. It must stand
# here, before anything imports numpy or torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402

from osadbench.settings import Engine, engine  # noqa: E402

pytest_plugins = ["pytester"]

RunPython = Callable[..., str]


@pytest.fixture(autouse=True)
def _settings_of_the_tests_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the user's OSADBENCH_ variables out, and the tests' caches out of the user's home."""
    for name in [name for name in os.environ if name.startswith("OSADBENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OSADBENCH_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return the smoke settings, with a cache that the tests of one file share."""
    return engine("smoke", device="cpu", cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Run code in a fresh Python and return its output; what it complains of fails the test."""

    def run(code: str, *arguments: str, path: str | Path = "", cwd: Path | None = None) -> str:
        command = [sys.executable, "-P", "-c", code, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(path)}
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
