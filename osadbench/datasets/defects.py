"""Defects of the synthetic dataset: four classes that look different, each with its exact mask.

All of it is ours. A defect is a layer: how much of each pixel it covers, and with which colour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from osadbench.datasets.surfaces import Surface, smooth_noise
from osadbench.types import FloatArray

__all__ = ["DEFECTS", "Layer"]


class Layer(NamedTuple):
    """What a defect puts over a surface.

    Attributes:
        cover: ``(size, size)``, 0 to 1; 0 outside the defect.
        colour: ``(size, size, 3)``, 0 to 1.
    """

    cover: FloatArray
    colour: FloatArray


def scratch(rng: np.random.Generator, surface: Surface, scale: float) -> Layer:
    """Draw a thin curved line, dark or bright."""
    size = len(surface.colour)
    length, angle, bend = rng.uniform(0.3, 0.5) * scale, rng.uniform(0, np.pi), rng.normal(0, 0.3)
    steps = np.linspace(-0.5, 0.5, 4 * size) * length * size
    y0, x0 = _centre(rng, surface)
    curve = bend * steps**2 / (length * size)
    y = y0 + np.sin(angle) * steps + np.cos(angle) * curve
    x = x0 + np.cos(angle) * steps - np.sin(angle) * curve
    width = max(0.007 * size * scale, 0.5)
    cover = np.clip(width + 1 - _distance_to(y, x, size), 0, 1)
    tone = rng.choice([0.08, 0.98])
    return _layer(cover, np.full_like(surface.colour, tone), surface)


def hole(rng: np.random.Generator, surface: Surface, scale: float) -> Layer:
    """Draw a dark gap with a ragged edge, where material is missing."""
    distance = _blob(rng, surface, rng.uniform(0.05, 0.085) * scale, ragged=0.22)
    return _layer(np.clip(distance + 0.5, 0, 1), np.full_like(surface.colour, 0.04), surface)


def stain(rng: np.random.Generator, surface: Surface, scale: float) -> Layer:
    """Draw a large patch through which the surface shows in another hue."""
    radius = rng.uniform(0.11, 0.17) * scale
    distance = _blob(rng, surface, radius, ragged=0.12)
    softness = 0.25 * radius * len(surface.colour)
    tints = np.array([[1.05, 0.75, 0.45], [0.6, 1.0, 0.6], [0.65, 0.75, 1.1]])
    colour = surface.colour * tints[rng.integers(len(tints))]
    return _layer(np.clip(distance / softness, 0, 1), colour, surface)


def specks(rng: np.random.Generator, surface: Surface, scale: float) -> Layer:
    """Draw a loose cluster of small grains, white or red."""
    size = len(surface.colour)
    y0, x0 = _centre(rng, surface)
    count = int(rng.integers(6, 13))
    spread = 0.07 * size * scale
    # The first grain stands at the centre, so that some of the cluster is sure to be visible.
    y = y0 + spread * np.append(0, rng.standard_normal(count))
    x = x0 + spread * np.append(0, rng.standard_normal(count))
    radius = max(0.009 * size * scale, 0.6)
    cover = np.clip(radius + 0.7 - _distance_to(y, x, size), 0, 1)
    tones = np.array([[0.98, 0.98, 0.95], [0.7, 0.08, 0.06]])
    tone = tones[rng.integers(len(tones))]
    return _layer(cover, np.broadcast_to(tone, surface.colour.shape), surface)


def _centre(rng: np.random.Generator, surface: Surface) -> tuple[float, float]:
    """Draw a pixel of the foreground, not too close to the border of the image."""
    size = len(surface.colour)
    margin = round(0.12 * size)
    inner = np.zeros_like(surface.foreground)
    inner[margin : size - margin, margin : size - margin] = True
    places = np.argwhere(surface.foreground & inner)
    y, x = places[rng.integers(len(places))]
    return float(y), float(x)


def _distance_to(y: FloatArray, x: FloatArray, size: int) -> FloatArray:
    """Return each pixel's distance in pixels to the nearest of some points."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = np.rint(y).astype(int), np.rint(x).astype(int)
    within = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    free = np.ones((size, size), dtype=bool)
    free[rows[within], columns[within]] = False
    distance: FloatArray = distance_transform_edt(free)
    return distance


def _blob(rng: np.random.Generator, surface: Surface, radius: float, ragged: float) -> FloatArray:
    """Return each pixel's depth in pixels inside an irregular round shape; negative outside."""
    size = len(surface.colour)
    y0, x0 = _centre(rng, surface)
    rows, columns = np.mgrid[:size, :size]
    y, x = (rows - y0) * rng.uniform(0.8, 1.25), columns - x0
    edge = 1 + ragged * smooth_noise(rng, size, 0.03).clip(-2, 2)
    # The floor keeps the centre inside, however ragged the edge.
    depth: FloatArray = np.maximum(radius * size * edge, 1.0) - np.hypot(y, x)
    return depth


def _layer(cover: FloatArray, colour: FloatArray, surface: Surface) -> Layer:
    # A cover too faint to be seen would make the mask larger than the defect.
    return Layer(np.where((cover >= 0.25) & surface.foreground, cover, 0.0), colour)


#: How to draw each anomaly class; ``scale`` of 0 to 1 is its size.
DEFECTS: Mapping[str, Callable[[np.random.Generator, Surface, float], Layer]] = {
    "hole": hole,
    "scratch": scratch,
    "specks": specks,
    "stain": stain,
}
