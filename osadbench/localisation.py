"""Where a method sees anomalies: pixel AUROC over the test images of one cell."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from osadbench.datasets import Dataset
from osadbench.errors import ContractError
from osadbench.method import Method
from osadbench.metrics import PIXEL_AUROC, pixel_auroc
from osadbench.types import ImageRecord, Manifest, Record, Split

__all__ = ["PROVENANCE", "Localisation", "is_localised", "localise"]

#: Where a record's provenance holds :meth:`Localisation.facts`.
PROVENANCE = "localisation"
#: Score maps held at once. One of 1024x1024 pixels takes 4 MB.
BATCH = 16


@dataclass(frozen=True)
class Localisation:
    """What came of a cell's score maps.

    Attributes:
        value: Mean over images of their pixel AUROC, 0 to 1; None where there is none.
        anomalies: Number of anomalous test images.
        masks: Number of those that have a mask.
        averaged: Number of those whose mask marks some pixels and leaves some: the mean's.
        reason: Why there is no value, one line; None where there is one.
    """

    value: float | None
    anomalies: int
    masks: int
    averaged: int = 0
    reason: str | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The value by the metric's key; empty where there is none."""
        return {} if self.value is None else {PIXEL_AUROC: self.value}

    @property
    def notes(self) -> list[str]:
        """A remark where the mean leaves anomalies out."""
        if self.value is None or self.averaged == self.anomalies:
            return []
        return [
            f"pixel AUROC over {self.averaged} of {self.anomalies} test anomalies; the masks of "
            "the others are missing, empty or full"
        ]

    def facts(self) -> dict[str, Any]:
        """Return all but the value, as JSON values."""
        return {name: item for name, item in asdict(self).items() if name != "value"}


def localise(method: Method, dataset: Dataset, manifest: Manifest, split: Split) -> Localisation:
    """Return the mean pixel AUROC of a fitted method over a split's anomalous test images.

    As in DevNet, section 4.4: each image has its own value, see
    :func:`osadbench.metrics.pixel_auroc`; normal images have none.

    Args:
        method: The fitted method.
        dataset: Where images and masks are.
        manifest: The images.
        split: Names the test images.

    Raises:
        ContractError: A score map is not one finite map of its image.
        DataError: An image or a mask is gone or damaged.
    """
    anomalies, masked = _anomalies(manifest, split)
    counts = (len(anomalies), len(masked))
    reason = _reason_against(type(method), len(masked))
    if reason is not None:
        return Localisation(None, *counts, reason=reason)
    values = [value for value in _values(method, dataset, manifest, masked) if value is not None]
    if not values:
        reason = "no mask of a test anomaly marks a part of its image"
        return Localisation(None, *counts, reason=reason)
    return Localisation(statistics.fmean(values), *counts, averaged=len(values))


def is_localised(record: Record, method: type[Method], manifest: Manifest, split: Split) -> bool:
    """Whether a done record has the pixel AUROC of its cell, or the cell can have none.

    Masks may be added to a dataset later, which changes neither manifest digest nor key; a record
    without a value therefore counts only if it was made with as many masks as there are now.
    """
    if PIXEL_AUROC in record.metrics:
        return True
    masks = len(_anomalies(manifest, split)[1])
    made = record.provenance.get(PROVENANCE) or {}
    return _reason_against(method, masks) is not None or made.get("masks") == masks


def _anomalies(manifest: Manifest, split: Split) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return the anomalous test images, and those of them that have a mask, in order."""
    found = (manifest.by_path[path] for path in split.test)
    anomalies = [image for image in found if image.label]
    return anomalies, [image for image in anomalies if image.mask is not None]


def _reason_against(method: type[Method], masks: int) -> str | None:
    """Return why no cell of a method with so many masks can have a value, or None."""
    if method.score_maps is Method.score_maps:
        return "the method has no score maps"
    return None if masks else "no test anomaly has a mask"


def _values(
    method: Method, dataset: Dataset, manifest: Manifest, masked: list[ImageRecord]
) -> Iterator[float | None]:
    """Yield each image's pixel AUROC, None where its mask is empty or full; a batch at a time."""
    for start in range(0, len(masked), BATCH):
        batch = masked[start : start + BATCH]
        images: Any = dataset.images(manifest, [image.path for image in batch])
        maps = method.score_maps(images)
        if len(maps) != len(batch):
            raise ContractError(f"{len(batch)} images got {len(maps)} score maps")
        for image, scores in zip(batch, maps, strict=True):
            yield pixel_auroc(scores, dataset.mask(image))
