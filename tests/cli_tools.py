"""What the tests of the command line share: a way to call it, small data, small methods."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from osadbench.cli import main
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.store import Store

#: One category of the drawn dataset, drawn once for all tests: 12 normals to train on, 6 to test
#: on, and 12 anomalies in each of 4 classes.
DATA = "synthetic/disc[size=64,n_train=12,n_test_normal=6,n_per_class=12]"
#: Nine cells with --seeds 3: hard would give four times as many.
FEW = ["-p", "general", "-d", DATA, "--shots", "1", "--seeds", "3"]

#: Methods that need NumPy only: one that works, and one for everything that can go wrong.
TOYS = '''
import os
import signal
import time

import numpy as np
from pydantic import Field

from osadbench.method import Method, check_training_data
from osadbench.params import Params
from osadbench.registry import register_method


class MeanParams(Params):
    """What a user may set.

    Attributes:
        shift: Added to every score.
        pause: Seconds that a fit takes at least.
    """

    shift: float = Field(default=0.0, ge=0)
    pause: float = Field(default=0.0, ge=0)


@register_method("mean")
class Mean(Method):
    """Distance to the mean colour, with some noise of the seed."""

    Params = MeanParams

    def fit(self, X, y):
        labels = check_training_data(X, y)
        time.sleep(self.params.pause)
        noise = np.random.default_rng(self.seed).normal(size=3)
        self.mean_ = self.colours(X)[labels == 0].mean(axis=0) + noise
        return self

    def score(self, X):
        self._require_fitted("mean_")
        return np.linalg.norm(self.colours(X) - self.mean_, axis=1) + self.params.shift

    def colours(self, X):
        return np.stack([X[index].mean(axis=(0, 1)) for index in range(len(X))])


@register_method("raises")
class Raises(Mean):
    """Raises, unless the variable TOY_WORKS is set."""

    def score(self, X):
        if "TOY_WORKS" not in os.environ:
            raise RuntimeError("no luck today\\nand more lines")
        return super().score(X)


@register_method("nan")
class NotANumber(Mean):
    """Scores NaN."""

    def score(self, X):
        return super().score(X) * np.nan


@register_method("short")
class Short(Mean):
    """Leaves one score out."""

    def score(self, X):
        return super().score(X)[1:]


@register_method("sleeps")
class Sleeps(Mean):
    """Takes too long, and catches every exception it can."""

    def fit(self, X, y):
        for _ in range(20):
            try:
                time.sleep(1)
            except Exception:
                pass
        return super().fit(X, y)


@register_method("exits")
class Exits(Mean):
    """Leaves the interpreter as a script does."""

    def fit(self, X, y):
        raise SystemExit(0)


@register_method("dies")
class Dies(Mean):
    """Ends its own process."""

    def fit(self, X, y):
        os._exit(1)


@register_method("killed")
class Killed(Mean):
    """Is killed, as by a system that runs out of memory."""

    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)


@register_method("skips")
class Skips(Mean):
    """Has no form for one shot."""

    def skip(self, split):
        return "needs two anomalies" if split.shots < 2 else None
'''

#: A shell that runs tests in the background has Ctrl-C ignored, and children inherit that.
_MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from osadbench.cli import main; sys.exit(main())"
)


class Result(NamedTuple):
    """What a call of the command line gave."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture(name="cli")
def cli_fixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """Call the command line in this process, in an empty folder, with no plug-ins loaded."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("osadbench")
    before = (logger.level, logger.propagate, list(logger.handlers))

    def call(*words: object) -> Result:
        for registry in (METHODS, PROTOCOLS):
            monkeypatch.setattr(registry, "_plugins", [])
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    yield call
    logger.level, logger.propagate, logger.handlers = before


@pytest.fixture(name="toys")
def toys_fixture(tmp_path: Path) -> list[str]:
    """Write the toy methods to a file and return the words that load them."""
    path = tmp_path / "toys.py"
    path.write_text(TOYS)
    return ["--plugin", str(path)]


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command line in a process, and process group, of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def kill_group(process: subprocess.Popen[str], signum: int = signal.SIGKILL) -> None:
    """Send a signal to a process and to all that it has started."""
    try:
        os.killpg(process.pid, signum)
    except ProcessLookupError:
        pass


def contents(folder: Path) -> dict[str, tuple[dict[str, Any], bytes | None]]:
    """Return what a results folder holds by key: records without provenance, and score files."""
    held = {}
    for record in Store(folder).records():
        values = json.loads((folder / "cells" / f"{record.key}.json").read_bytes())
        del values["provenance"]
        scores = folder / "cells" / f"{record.key}.npz"
        held[record.key] = (values, scores.read_bytes() if scores.exists() else None)
    return held


def statuses(folder: Path) -> dict[str, list[str]]:
    """Return the statuses of a results folder's records by method."""
    found: dict[str, list[str]] = {}
    for record in Store(folder).records():
        found.setdefault(record.method, []).append(record.status)
    return found
