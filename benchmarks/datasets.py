"""Measure indexing a large dataset and building the cache of its decoded images.

``python benchmarks/datasets.py`` makes 16,100 grey PNG images of 512x512 pixels, as many and as
large as those of DAGM 2007, in a temporary folder (some 3 GB), and needs as much again for the
decoded ones. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import MIB, _machine
from PIL import Image

from osadbench.datasets.folder import Folder
from osadbench.images import decode, resize

SIZE, IMAGES, CACHED, CACHED_SIZE = 512, 16_100, 5_354, 448
#: Of eight images one is an anomaly, and a quarter of the normal ones is tested on.
PLACES = ("train",) * 5 + ("test",) * 2 + ("hole",)


class Measured(NamedTuple):
    """One row of the table."""

    what: str
    value: str
    target: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the images, measure, and print a Markdown table."""
    given = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        root, cache = Path(scratch, "images"), Path(scratch, "cache")
        started = time.perf_counter()
        make_images(root, given.images)
        print(f"made {given.images} images in {_since(started):.0f} s", file=sys.stderr)
        rows = [*index(root, cache), *decoded(root, cache, min(given.cached, given.images))]
    print("\n".join(_markdown(given.images, rows)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=IMAGES, help="images to index (default: %(default)s)")
    add(
        "--cached", type=int, default=CACHED, help="of these, images to cache decoded (%(default)s)"
    )
    add("--scratch", type=Path, help="folder for the temporary files")
    return parser


def make_images(root: Path, number: int) -> None:
    """Write grey images of blurred noise, which take as many bytes as photographs of textures."""

    def write(index: int) -> None:
        noise = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        soft = (noise.astype(np.uint16) + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) // 12
        place = PLACES[index % len(PLACES)]
        folder = {"train": "train/good", "test": "test/good", "hole": "test/hole"}[place]
        Image.fromarray(soft.astype(np.uint8)).save(root / folder / f"{index:05d}.png")

    for name in ("train/good", "test/good", "test/hole"):
        (root / name).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(number)))


def index(root: Path, cache: Path) -> Iterator[Measured]:
    """Index the images twice: from the files, not in the system's memory, and from the cache."""
    _forget(root)
    cold, count = _timed(lambda: len(Folder(root, cache=cache).manifest().records))
    again, _ = _timed(lambda: len(Folder(root, cache=cache).manifest().records))
    share = count / IMAGES
    yield Measured(f"index {count} images", f"{cold:.1f} s", f"{90 * share:.1f} s")
    yield Measured("index them again", f"{again:.2f} s", f"{3 * share:.2f} s")


def decoded(root: Path, cache: Path, number: int) -> Iterator[Measured]:
    """Build the cache of decoded images, beside decoding alone by as many threads as cores."""
    dataset = Folder(root, cache=cache)
    manifest = dataset.manifest()
    paths = [record.path for record in manifest.records[:number]]

    def decode_only(path: str) -> None:
        resize(decode(root / path), CACHED_SIZE)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        alone, _ = _timed(lambda: len(list(pool.map(decode_only, paths))))
    images = dataset.images(manifest, paths)
    # In batches, as methods ask for them.
    batches = [range(first, min(first + 64, number)) for first in range(0, number, 64)]
    building, _ = _timed(lambda: sum(len(images.resized(CACHED_SIZE, b)) for b in batches))
    reading, _ = _timed(lambda: sum(len(images.resized(CACHED_SIZE, b)) for b in batches))
    held = sum(path.stat().st_size for path in (cache / "images").rglob("*") if path.is_file())
    raw = number * CACHED_SIZE * CACHED_SIZE * 3
    yield Measured(f"decode and resize {number} images", f"{alone:.1f} s", "-")
    yield Measured("the same into the cache", f"{building:.1f} s", "as long")
    yield Measured("read them from the cache", f"{reading:.2f} s", "-")
    size = f"{held / MIB:.0f} MiB, {held / raw:.4f} of the raw bytes"
    yield Measured("size of the cache", size, "1.1")


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    count = work()
    return _since(started), count


def _since(started: float) -> float:
    return time.perf_counter() - started


def _forget(root: Path) -> None:
    """Have the system forget what it remembers of the files, where it can be told."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in root.rglob("*.png"):
        descriptor = os.open(path, os.O_RDONLY)
        # Only what is on the disk can be forgotten.
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _markdown(images: int, rows: Sequence[Measured]) -> Iterator[str]:
    here, load = _machine(), " ".join(f"{one:.1f}" for one in os.getloadavg())
    today = datetime.now(UTC).date().isoformat()
    yield f"{here['processor']}, {here['cores']} cores; load {load}; {today}; {images} images"
    yield from ["", "| what | measured | target |", "| --- | ---: | ---: |"]
    yield from (f"| {row.what} | {row.value} | {row.target} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
