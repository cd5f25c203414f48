"""Runs that are killed without warning: nothing is lost, nothing is half there."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cli_tools import (  # noqa: F401
    FEW,
    Cli,
    cli_fixture,
    contents,
    kill_group,
    start,
    toys_fixture,
)

Held = Mapping[str, object]
Kill = Callable[[subprocess.Popen[str]], None]


def kill_parent(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)


def kill_after(line: str, delay: float, kill: Kill, *words: object) -> subprocess.Popen[str]:
    """Start a run, wait for a line of its progress, kill it after a delay, and return it."""
    process = start("run", *words)
    assert process.stderr is not None
    while not re.search(line, text := process.stderr.readline()):
        assert text, "the run ended before it said so"
    time.sleep(delay)
    kill(process)
    process.wait()
    return process


def leftovers(folder: Path, held: Held) -> set[str]:
    """Return the names of the files that belong to no whole record."""
    known = {f"{key}.{suffix}" for key in held for suffix in ("json", "npz")}
    return {path.name for path in folder.glob("cells/*")} - known


def check(cli: Cli, folder: Path, *, whole: Held) -> int:
    """Check that records are whole and right, and that `status` lists whatever else lies there.

    Returns:
        The number of records.
    """
    held = contents(folder)
    assert held.items() <= whole.items()
    # A moment after a kill they could still be a write that is under way.
    for name in leftovers(folder, held):
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder / "cells" / name, (time.time() - 7200,) * 2)
    out = cli("status", "-o", folder).out
    unexplained = [name for name in leftovers(folder, held) if f"problem  {name}: " not in out]
    assert not unexplained, out
    return len(held)


def finish(cli: Cli, folder: Path, *words: object, whole: Held) -> None:
    """Finish a broken run and check that it is like an unbroken one."""
    result = cli("run", *words, "-o", folder)
    assert result.code == 0, result.err
    assert contents(folder) == whole
    # An interrupted write may stay, for it might be another run's; scores without record may not.
    assert all(name.endswith(".tmp") for name in leftovers(folder, whole))
    check(cli, folder, whole=whole)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_kill_at_any_moment(cli: Cli, toys: list[str], kill: Kill) -> None:
    words = ["-m", "mean[pause=0.1],mean", *FEW[:-1], "12", *toys, "-j", "2"]
    assert cli("run", *words, "-o", "whole").code == 0
    whole = contents(Path("whole"))
    moments = random.Random(20261122)
    processes, n_kept, folder = [], [], Path("broken")
    for number in range(10):
        line = " to run$" if number % 4 == 3 else r"^\[ *1/"
        delay = moments.uniform(0.0, 0.5)
        processes.append(kill_after(line, delay, kill, *words, "-o", folder))
        # The workers of a killed parent finish their cells beside the next run.
        n_kept.append(check(cli, folder, whole=whole) if kill is kill_group else 0)
        if len(contents(folder)) > len(whole) / 2:
            finish(cli, folder, *words, whole=whole)
            folder = Path(f"broken {number}")
    finish(cli, folder, *words, whole=whole)
    for process in processes:
        kill_group(process)
    if kill is kill_group:
        # The kills did hit runs at work, at different moments.
        assert len(set(n_kept)) > 3, n_kept


@pytest.mark.slow
def test_kill_a_network_in_training(cli: Cli) -> None:
    words = ["-m", "devnet[epochs=8,steps_per_epoch=10]", *FEW[:-1], "6", "--preset", "smoke"]
    assert cli("run", *words, "-o", "whole").code == 0
    whole = contents(Path("whole"))
    moments = random.Random(7)
    n_kept = [0]
    for _ in range(3):
        delay = moments.uniform(0.0, 0.4)
        kill_after(r"^\[ *1/", delay, kill_group, *words, "-o", "broken")
        n_kept.append(check(cli, Path("broken"), whole=whole))
        if n_kept[-1] > 4:
            break
    assert n_kept == sorted(set(n_kept))
    finish(cli, Path("broken"), *words, whole=whole)
