"""Small drawn data that any working method can tell apart."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from osadbench.types import NORMAL_CLASS, ImageRecord, Manifest, UInt8Array

__all__ = ["toy_images", "toy_manifest", "toy_outliers"]

_PINK, _GREEN = (250.0, 20.0, 160.0), (40.0, 250.0, 60.0)


def toy_images(
    n_normal: int, n_anomaly: int, size: int = 64, seed: int = 0, *, green: bool = False
) -> tuple[UInt8Array, npt.NDArray[np.int64]]:
    """Draw an easy anomaly detection task; the same arguments give the same images.

    Normal images are a smooth grey-brown texture with a little noise. Anomalies are such images
    with a bright pink (or green) square of half the side length somewhere in them.

    Args:
        n_normal: Number of normal images; they come first.
        n_anomaly: Number of anomalies.
        size: Side length in pixels, 8 or more.
        seed: What the images are drawn from.
        green: Whether the squares are green: another kind of anomaly.

    Returns:
        Images, uint8 ``(n, size, size, 3)``, and labels, int64 ``(n,)``.
    """
    rng = np.random.default_rng([seed, size])
    images = np.stack([_texture(size, rng) for _ in range(n_normal + n_anomaly)])
    side = size // 2
    for image in images[n_normal:]:
        top, left = rng.integers(0, size - side + 1, 2)
        colour = np.asarray(_GREEN if green else _PINK)
        image[top : top + side, left : left + side] = colour + rng.normal(0, 4, (side, side, 3))
    labels = np.repeat([0, 1], [n_normal, n_anomaly])
    return np.clip(np.rint(images), 0, 255).astype(np.uint8), labels


def toy_outliers(n: int, size: int = 64, seed: int = 0) -> UInt8Array:
    """Draw images of other data, for methods that take external outliers: slanted blue stripes.

    Args:
        n: Number of images.
        size: Side length in pixels.
        seed: What the images are drawn from.

    Returns:
        Images, uint8 ``(n, size, size, 3)``.
    """
    rng = np.random.default_rng([seed, size, 2])
    down, right = np.mgrid[:size, :size] / size
    images = []
    for phase, slope in zip(rng.uniform(0, 1, n), rng.uniform(0.3, 1, n), strict=True):
        wave = np.sin(2 * np.pi * (6 * (down + slope * right) + phase))
        images.append(np.asarray([70.0, 110.0, 170.0]) + 50 * wave[..., None])
    noise = rng.normal(0, 3, (n, size, size, 3))
    return np.clip(np.rint(np.stack(images) + noise), 0, 255).astype(np.uint8)


def _texture(size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    down, right = np.mgrid[:size, :size] / size
    phase = rng.uniform(-0.3, 0.3, 2)
    wave: npt.NDArray[np.float64] = np.sin(2 * np.pi * down + phase[0]) + np.cos(
        4 * np.pi * right + phase[1]
    )
    grey = np.asarray([120.0, 105.0, 90.0]) + 12 * wave[..., None]
    return grey + rng.normal(0, 3, (size, size, 3))


def toy_manifest(
    n_normal: int = 40,
    n_anomaly: int = 15,
    classes: tuple[str, ...] = ("crack", "hole", "stain"),
    category: str = "",
) -> Manifest:
    """Return the manifest of a dataset that exists on paper only, for checks of protocols.

    Args:
        n_normal: Normal images; three quarters, rounded up, stand in ``"train"``.
        n_anomaly: Anomalies of each class, all in ``"test"``.
        classes: Names of the anomaly classes; all may serve as the known class.
        category: Name of the category, in whose folder the images then are.
    """
    n_test = n_normal // 4
    counts = [("train", NORMAL_CLASS, n_normal - n_test), ("test", NORMAL_CLASS, n_test)]
    counts += [("test", name, n_anomaly) for name in classes]
    folder = f"{category}/" if category else ""
    records = [
        _record(folder, split, name, index)
        for split, name, count in counts
        for index in range(count)
    ]
    ordered = tuple(sorted(records, key=lambda record: record.path))
    return Manifest("toy", category, ordered, known_classes=classes)


def _record(folder: str, split: str, class_name: str, index: int) -> ImageRecord:
    path = f"{folder}{split}/{class_name}/{index:03d}.png"
    sha256 = hashlib.sha256(path.encode()).hexdigest()
    return ImageRecord(path, int(class_name != NORMAL_CLASS), class_name, split, sha256)
