"""Measure how fast osadbench answers and what its cells cost; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from osadbench.provenance import collect_provenance
from osadbench.store import Store
from osadbench.types import Record

__all__ = ["CellCost", "Timing", "main"]

MAIN_JOB = "--methods dra,devnet --protocol hard"
MIB = 2**20


@dataclass(frozen=True)
class Timing:
    """Wall times of one command.

    Attributes:
        command: The command, as a user types it.
        seconds: One wall time for each run.
        median: The median of ``seconds``.
        peak_memory_bytes: Largest resident size, where it was measured.
    """

    command: str
    seconds: tuple[float, ...]
    median: float
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class CellCost:
    """What the finished cells of one method cost, features cached before they started.

    Attributes:
        method: The method, with its changed parameters.
        preset: The preset.
        device: Where the cells ran.
        cells: Number of cells.
        fit_seconds: Median over the cells.
        score_seconds: Median over the cells.
        peak_memory_bytes: Largest over the cells, or None where it is unknown.
    """

    method: str
    preset: str
    device: str
    cells: int
    fit_seconds: float
    score_seconds: float
    peak_memory_bytes: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write ``results-<label>.json``, and print the same as Markdown."""
    given = _parser().parse_args(arguments)
    environment = _environment(given.cache_dir)
    timings = list(_answers(given, environment))
    timings += [_cold(given.job)] if given.cold else []
    measured = {
        "label": given.label,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "provenance": collect_provenance(),
        "commands": [asdict(timing) for timing in timings],
        "cells": [asdict(cost) for cost in cell_costs(Store(given.results).records())],
    }
    path = given.out / f"results-{given.label}.json"
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print("\n".join(markdown(measured)))
    print(f"wrote {path}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, default=Path("results/runs"), help="results of the job, all done")
    add("--cache-dir", type=Path, help="cache folder; else the one that osadbench itself takes")
    add("--cold", action="store_true", help="also run the whole job, without caches and results")
    add("--label", default="local", type=_label, help="names the machine in the file's name")
    add("--job", default=MAIN_JOB, help="options of osadbench run (default: %(default)s)")
    add("--repeats", type=int, default=5, help="runs of each command (default: %(default)s)")
    add("--out", type=Path, default=Path(__file__).parent, help="folder of the JSON file")
    return parser


def _label(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"expected letters, digits, '-', '_', '.', got {text!r}")
    return text


def _environment(cache: Path | None) -> dict[str, str]:
    extra = {} if cache is None else {"OSADBENCH_CACHE_DIR": str(cache.absolute())}
    return {**os.environ, **extra}


def _answers(given: argparse.Namespace, environment: Mapping[str, str]) -> Iterable[Timing]:
    """Time the commands that should answer at once, the finished job among them."""
    store = f"-o {shlex.quote(str(given.results))}"
    plan = f"osadbench plan {given.job} {store}"
    # A line of a cell is its state, the first digits of its key, and what it is.
    states = re.findall(r"^(\w.*?) +(?:[0-9a-f]{12}|-) ", _run(plan, environment), re.MULTILINE)
    if not states or set(states) - {"done", "skipped"}:
        raise SystemExit(
            f"error: {given.results} lacks cells of the job: osadbench run {given.job}"
        )
    job = f"osadbench run {given.job} {store}"
    for command in ("osadbench --help", "osadbench list", plan, f"osadbench report {store}", job):
        # Once untimed, so that files are in the system's memory and bytecode is written.
        _run(command, environment)
        seconds = [_seconds(command, environment) for _ in range(given.repeats)]
        yield Timing(command, tuple(seconds), statistics.median(seconds))


def _arguments(command: str) -> list[str]:
    return [sys.executable, "-m", *shlex.split(command)]


def _run(command: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(_arguments(command), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {command} failed with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _seconds(command: str, environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    _run(command, environment)
    return time.perf_counter() - started


def _cold(job: str) -> Timing:
    """Run the whole job once, with an empty cache and no results; its progress goes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(Path(folder, "cache"))
        command = f"osadbench run {job} -o {shlex.quote(str(Path(folder, 'results')))}"
        started = time.perf_counter()
        process = subprocess.Popen(_arguments(command), env=environment, stdout=subprocess.DEVNULL)
        # Unlike wait(), this tells the peak of this one child; only POSIX has it.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {command} failed with {process.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Timing(f"osadbench run {job}  (cold)", (seconds,), seconds, peak)


def cell_costs(records: Iterable[Record]) -> list[CellCost]:
    """Return the costs of the finished cells among records, by method, preset and device."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        if record.status == "done":
            key = (record.label, record.engine["preset"], record.provenance["device"])
            groups.setdefault(key, []).append(record.provenance)
    return [_cost(*key, measured) for key, measured in sorted(groups.items())]


def _cost(method: str, preset: str, device: str, measured: list[dict[str, Any]]) -> CellCost:
    peaks = [one["peak_memory_bytes"] for one in measured if one["peak_memory_bytes"] is not None]
    return CellCost(
        method=method,
        preset=preset,
        device=device,
        cells=len(measured),
        fit_seconds=statistics.median(one["fit_seconds"] for one in measured),
        score_seconds=statistics.median(one["score_seconds"] for one in measured),
        peak_memory_bytes=max(peaks, default=None),
    )


def _machine() -> dict[str, Any]:
    usable = getattr(os, "sched_getaffinity", None)
    memory = None
    with suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(usable(0)) if usable is not None else os.cpu_count()
    return {"processor": _processor(), "cores": cores, "memory_bytes": memory}


def _processor() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if (found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)) is not None:
            return found[1]
    return platform.processor() or platform.machine()


def markdown(measured: Mapping[str, Any]) -> list[str]:
    """Return the lines of the two tables, under a line on the machine and the versions."""
    machine, origin = measured["machine"], measured["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    commit = f"commit {origin['commit']}" + (" with changes" if origin["dirty"] else "")
    return [
        f"{machine['processor']}, {machine['cores']} cores, {_mib(machine['memory_bytes'])} MiB; "
        f"{measured['date']}; {versions}; {commit}",
        "",
        "| command | median s | fastest to slowest s | peak MiB |",
        "| --- | ---: | ---: | ---: |",
        *map(_command_line, measured["commands"]),
        "",
        "| cells of | preset | device | cells | fit s | score s | peak MiB |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
        *map(_cost_line, measured["cells"]),
    ]


def _command_line(timing: Mapping[str, Any]) -> str:
    seconds = timing["seconds"]
    spread = f"{min(seconds):.2f} to {max(seconds):.2f} ({len(seconds)})"
    peak = _mib(timing["peak_memory_bytes"])
    return f"| `{timing['command']}` | {timing['median']:.2f} | {spread} | {peak} |"


def _cost_line(cost: Mapping[str, Any]) -> str:
    times = f"{cost['fit_seconds']:.2f} | {cost['score_seconds']:.2f}"
    return (
        f"| {cost['method']} | {cost['preset']} | {cost['device']} | {cost['cells']} | {times} | "
        f"{_mib(cost['peak_memory_bytes'])} |"
    )


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / MIB:.0f}"


if __name__ == "__main__":
    sys.exit(main())
