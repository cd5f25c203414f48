"""Measure `osadbench report` on a large store of random scores; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import MIB, _machine

from osadbench.metrics import compute_metrics
from osadbench.provenance import collect_provenance
from osadbench.records import to_json
from osadbench.scores import ScoreTable
from osadbench.store.index import INDEX_FILE
from osadbench.types import Record

METHODS, DATASETS, ROWS, SHOTS = 20, 10, 5, (1, 10)
IMAGES = 100
ENGINE = {
    "preset": "frozen",
    "backbone": "tf_efficientnet_lite0",
    "image_sizes": [320, 224],
    "pyramid": "antialias",
    "train_backbone": False,
    "normal_views": 0,
    "seen_views": 24,
    "pseudo_views": 512,
    "precision": "auto",
}
#: Seconds from a file's last change until an index takes it in, and some more.
SETTLED_SECONDS = 6
#: How often the memory of all processes is looked at.
SAMPLE_SECONDS = 0.02


class Run(NamedTuple):
    """One call of `osadbench report`: wall and processor seconds, and the peak of its memory.

    Both take in the processes that it starts; where the system doesn't tell of these, the peak is
    that of the largest process.
    """

    wall: float
    processor: float
    peak_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a store, measure, and print a Markdown table."""
    given = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if not (folder / "cells").is_dir():
            started = time.perf_counter()
            make_store(folder, given.records)
            seconds = time.perf_counter() - started
            print(f"made {given.records} records in {seconds:.0f} s", file=sys.stderr)
            time.sleep(SETTLED_SECONDS)
        n_records = sum(path.suffix == ".json" for path in (folder / "cells").iterdir())
        cold = [_cold(folder) for _ in range(given.repeats)]
        again = [report(folder) for _ in range(given.repeats)]
    print("\n".join(_markdown(n_records, cold, again)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--records", type=int, default=100_000, help="records to make (default: %(default)s)")
    add("--folder", type=Path, help="folder of the store, made if missing; else a temporary one")
    add("--repeats", type=int, default=3, help="runs, cold and again (default: %(default)s)")
    return parser


def make_store(folder: Path, n_records: int) -> None:
    """Write records of the size of real ones, whose scores are random and metrics are theirs.

    They are written without the store's care for crashes, which would take most of the time.
    """
    cells = folder / "cells"
    cells.mkdir(parents=True)
    provenance = {**collect_provenance(), "device": "none", "precision": "fp32", "threads": 2}
    for index, record in zip(range(n_records), _records(), strict=False):
        random = np.random.default_rng(index)
        labels = (np.arange(IMAGES) % 2).astype(np.int8)
        paths = tuple(f"images/{number:04d}.png" for number in range(IMAGES))
        classes = tuple("broken" if label else "good" for label in labels)
        table = ScoreTable(paths, labels, classes, random.normal(size=IMAGES) + labels)
        data = table.to_bytes()
        seconds = {"fit_seconds": random.uniform(0, 9), "score_seconds": random.uniform(0, 9)}
        made = {**provenance, **seconds, "started": 1.7e9 + index, "peak_memory_bytes": index}
        whole = replace(
            record,
            metrics=compute_metrics(table.labels, table.scores),
            provenance=made,
            scores_sha256=hashlib.sha256(data).hexdigest(),
        )
        (cells / f"{record.key}.npz").write_bytes(data)
        (cells / f"{record.key}.json").write_bytes(to_json(whole))


def _records() -> Iterator[Record]:
    """Yield records without numbers: all methods, datasets, rows and shots of one seed, then on."""
    seed = 0
    while True:
        for dataset in range(DATASETS):
            for row in range(ROWS):
                for shots in SHOTS:
                    for method in range(METHODS):
                        yield _record(f"set{dataset}", f"class{row}", shots, seed, f"m{method:02d}")
        seed += 1


def _record(dataset: str, row: str, shots: int, seed: int, method: str) -> Record:
    def name(*parts: object) -> str:
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    key = name(dataset, row, shots, seed, method)
    anomalies = [f"images/{number:04d}.png" for number in range(shots)]
    return Record(
        key=key[:32],
        status="done",
        method=method,
        label=method,
        params={"lr": 0.0002, "epochs": 30, "n_ref": 5, "topk": 0.1},
        engine=dict(ENGINE),
        weights=f"sha256:{name('weights')}",
        fit_seed=int(key[:15], 16),
        protocol="hard",
        dataset=dataset,
        category="",
        known_class=row,
        shots=shots,
        seed=seed,
        row=row,
        split={
            "digest": name(dataset, row, shots, seed),
            "manifest": name(dataset),
            "test_digest": name(dataset, row, seed),
            "train_normals": 1000,
            "train_anomalies": anomalies,
            "train_anomaly_classes": [row] * shots,
            "test": IMAGES,
        },
    )


def _cold(folder: Path) -> Run:
    """Report without an index, and with no record in the system's memory where it can be told."""
    (folder / INDEX_FILE).unlink(missing_ok=True)
    if not hasattr(os, "posix_fadvise"):
        return report(folder)
    for path in (folder / "cells").iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        # Only what is on the disk can be forgotten.
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return report(folder)


def report(folder: Path) -> Run:
    """Run `osadbench report` once in a process of its own."""
    command = [sys.executable, "-m", "osadbench", "report", "-o", str(folder)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended = threading.Event()
    with ThreadPoolExecutor(1) as watcher:
        together = watcher.submit(_peak_together, process.pid, ended)
        # Unlike wait(), this tells the peak of this one child; only POSIX has it.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        ended.set()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed with {process.returncode}")
    alone = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(wall, usage.ru_utime + usage.ru_stime, max(alone, together.result()))


def _peak_together(process: int, ended: threading.Event) -> int:
    """Return the most bytes that a process and those below it had at one time, 0 where unknown.

    What they share counts for each.
    """
    peak = 0
    while not ended.wait(SAMPLE_SECONDS):
        peak = max(peak, sum(map(_resident_bytes, _with_those_below(process))))
    return peak


def _with_those_below(process: int) -> Iterator[int]:
    yield process
    try:
        below = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return
    for child in below.split():
        yield from _with_those_below(int(child))


def _resident_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _loop_seconds() -> float:
    """Return how long a plain loop takes, by which machines can be told apart that share cores."""
    code = "from time import perf_counter as now; t = now()\nfor _ in range(20_000_000): pass\n"
    run = [sys.executable, "-c", f"{code}print(now() - t)"]
    return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def _markdown(n_records: int, cold: Sequence[Run], again: Sequence[Run]) -> Iterator[str]:
    here, load = _machine(), " ".join(f"{one:.1f}" for one in os.getloadavg())
    today = datetime.now(UTC).date().isoformat()
    yield f"{here['processor']}, {here['cores']} cores; load {load}; {today}; {n_records} records"
    yield f"right after the runs, 20 million turns of a Python loop took {_loop_seconds():.2f} s"
    yield ""
    yield "| `osadbench report` | median s | fastest to slowest s | processor s | peak MiB |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in (("cold", cold), ("again", again)):
        walls = [run.wall for run in runs]
        processor = statistics.median(run.processor for run in runs)
        peak = max(run.peak_bytes for run in runs) / MIB
        spread = f"{min(walls):.2f} to {max(walls):.2f} ({len(runs)})"
        numbers = f"{statistics.median(walls):.2f} | {spread} | {processor:.2f} | {peak:.0f}"
        yield f"| {name} | {numbers} |"


if __name__ == "__main__":
    sys.exit(main())
