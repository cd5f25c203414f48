"""Flawless surfaces of the synthetic dataset: two textures and an object, never twice the same.

All of it is ours. Pixels are float64 of 0 to 1; coordinates are fractions of the image's side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from osadbench.types import FloatArray

__all__ = ["SURFACES", "Surface", "smooth_noise"]


class Surface(NamedTuple):
    """A surface before light and camera.

    Attributes:
        colour: ``(size, size, 3)``, 0 to 1.
        foreground: ``(size, size)`` bool, where a defect can be.
    """

    colour: FloatArray
    foreground: npt.NDArray[np.bool_]


def smooth_noise(
    rng: np.random.Generator, size: int, scale: float | tuple[float, float]
) -> FloatArray:
    """Return ``(size, size)`` noise of mean 0 and standard deviation 1.

    Args:
        rng: Source of the draws.
        size: Side length in pixels.
        scale: Blur as a fraction of the side, or one for rows and one for columns.
    """
    from scipy.ndimage import gaussian_filter

    sigma = np.multiply(scale, size)
    noise = gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    values: FloatArray = (noise - noise.mean()) / noise.std()
    return values


def _grid(size: int) -> tuple[FloatArray, FloatArray]:
    steps = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return y, x


def _paint(colour: tuple[float, float, float], value: FloatArray) -> FloatArray:
    painted: FloatArray = value[..., None] * np.asarray(colour)
    return painted


def weave(rng: np.random.Generator, size: int) -> Surface:
    """Draw a plain weave: yarns, no two alike, that pass over and under one another."""
    y, x = _grid(size)
    angle = rng.uniform(-0.15, 0.15)
    bend = 0.006 * smooth_noise(rng, size, 0.15)
    u = (np.cos(angle) * x - np.sin(angle) * y + bend) * rng.uniform(9, 12) + rng.uniform(2, 4)
    v = (np.sin(angle) * x + np.cos(angle) * y + bend) * rng.uniform(9, 12) + rng.uniform(4, 6)
    over = (np.floor(u) + np.floor(v)) % 2 == 0
    height = np.where(over, np.sin(np.pi * (u % 1)), np.sin(np.pi * (v % 1)))
    along = np.where(over, np.sin(np.pi * (v % 1)), np.sin(np.pi * (u % 1)))
    yarns = 0.07 * rng.standard_normal((2, 32)).clip(-2, 2)
    yarn = np.where(over, yarns[0, u.astype(int) % 32], yarns[1, v.astype(int) % 32])
    fibres = 0.03 * smooth_noise(rng, size, 0.008)
    value = 0.3 + (0.4 + yarn) * np.sqrt(height) * (0.6 + 0.4 * along) + fibres
    return Surface(_paint((0.72, 0.86, 1.0), value), np.ones((size, size), dtype=bool))


def grain(rng: np.random.Generator, size: int) -> Surface:
    """Draw wood: growth rings that wander, and fine fibres and dark streaks along them."""
    y, _ = _grid(size)
    wander = rng.uniform(0.02, 0.09) * smooth_noise(rng, size, (0.08, 0.3))
    rings = np.sin(2 * np.pi * (rng.uniform(3, 9) * (y + wander) + rng.uniform(0, 1)))
    streaks = np.maximum(smooth_noise(rng, size, (0.012, 0.12)) - 1.5, 0)
    fibres = smooth_noise(rng, size, (0.006, 0.09))
    value = rng.uniform(0.56, 0.68) + rng.uniform(0.04, 0.1) * rings + 0.045 * fibres
    value -= rng.uniform(0.05, 0.35) * streaks
    return Surface(_paint((1.0, 0.76, 0.5), value), np.ones((size, size), dtype=bool))


def disc(rng: np.random.Generator, size: int) -> Surface:
    """Draw a turned metal disc with a bore and six bolt holes, lying on a dark bench."""
    y, x = _grid(size)
    y, x = y - 0.5 - rng.uniform(-0.04, 0.04), x - 0.5 - rng.uniform(-0.04, 0.04)
    radius, theta = np.hypot(y, x), np.arctan2(y, x)
    outer = rng.uniform(0.37, 0.40)
    metal = _inside(outer - radius, size) * _inside(radius - 0.09, size)
    turn = rng.uniform(0, np.pi / 3)
    for spoke in turn + np.pi / 3 * np.arange(6):
        metal *= _inside(np.hypot(y - 0.25 * np.sin(spoke), x - 0.25 * np.cos(spoke)) - 0.035, size)
    grooves = 0.03 * np.sin(2 * np.pi * 34 * radius)
    shine = 0.1 * np.cos(2 * (theta - rng.uniform(0, np.pi)))
    value = 0.62 + grooves + shine + 0.02 * smooth_noise(rng, size, 0.01)
    bench = 0.12 + 0.02 * smooth_noise(rng, size, 0.02)
    colour = _paint((0.95, 0.97, 1.0), value * metal) + _paint((1, 1, 1), bench * (1 - metal))
    return Surface(colour, metal > 0.99)


def _inside(distance: FloatArray, size: int) -> FloatArray:
    """Return 1 where a distance is positive and 0 elsewhere, with a soft edge of one pixel."""
    return np.clip(distance * size + 0.5, 0, 1)


#: How to draw each category.
SURFACES: Mapping[str, Callable[[np.random.Generator, int], Surface]] = {
    "disc": disc,
    "grain": grain,
    "weave": weave,
}
