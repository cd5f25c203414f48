"""An image of a download, before it is known whether it is trained or tested on."""

from __future__ import annotations

from dataclasses import dataclass

from osadbench.types import NORMAL_CLASS, ImageRecord

__all__ = ["RawImage"]


@dataclass(frozen=True)
class RawImage:
    """An image as a loader has found it.

    Attributes:
        path: POSIX path below the root, with a region behind it where it is a part of a file.
        class_name: ``"good"`` or the anomaly class.
        split: ``"train"`` or ``"test"`` where the site says so; None for normals that are split
            here, and for anomalies, which stand in ``"test"``.
        mask: As in :class:`osadbench.types.ImageRecord`.
        group: As there.
    """

    path: str
    class_name: str = NORMAL_CLASS
    split: str | None = None
    mask: str | None = None
    group: str | None = None

    @property
    def is_normal(self) -> bool:
        """Whether it shows no anomaly."""
        return self.class_name == NORMAL_CLASS

    def record(self, split: str, sha256: str) -> ImageRecord:
        """Return the manifest's record of the image."""
        label = int(not self.is_normal)
        return ImageRecord(self.path, label, self.class_name, split, sha256, self.mask, self.group)
