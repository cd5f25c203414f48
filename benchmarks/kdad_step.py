"""Time one training step of KDAD in its ``paper`` preset: 64 images of 128 pixels, on the CPU.

Weights are random and the teacher's maps are computed before the clock starts, as the feature cache
has them from the second fit on. A step is what ``fit`` does for a batch: reading the maps and the
pixels, the loss, its gradients, and the optimiser.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

import torch

from osadbench.methods.kdad import KDAD
from osadbench.testing import toy_images

__all__ = ["main", "step_seconds"]

SIZE = 128
#: The first steps allocate memory and choose kernels.
UNTIMED = 2


class _Timed(KDAD):
    """KDAD that notes when its epochs start."""

    def start_epoch(self, epoch: int) -> None:
        self.starts_.append(time.perf_counter())

    starts_: list[float]


def step_seconds(steps: int) -> list[float]:
    """Return the wall seconds of so many training steps, after a few that are not timed."""
    engine = KDAD.engine_for("paper", weights="random", device="cpu", cache_dir=None)
    # With as many normals as a batch holds, an epoch is one step, from its start to the next one's.
    method = _Timed(engine=engine, epochs=UNTIMED + steps + 1)
    images, labels = toy_images(method.p.batch_size, 0, SIZE)
    method.starts_ = []
    method.fit(images, labels)
    return [end - start for start, end in pairwise(method.starts_)][UNTIMED:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10, help="timed steps (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    given = parser.parse_args(arguments)
    if min(given.steps, given.threads) < 1:
        parser.error("expected --steps and --threads of 1 or more")
    torch.set_num_threads(given.threads)
    seconds = step_seconds(given.steps)
    print(
        f"kdad: {statistics.median(seconds):.2f} s per training step of 64 images at {SIZE} px "
        f"(median of {given.steps}, {min(seconds):.2f} to {max(seconds):.2f} s; "
        f"{given.threads} threads)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
