"""The records that flow through the house, all frozen: manifest -> split -> result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from osadbench.params import digest

__all__ = [
    "NORMAL_CLASS",
    "NO_WEIGHTS",
    "SMOKE",
    "Adaptation",
    "Float32Array",
    "FloatArray",
    "ImageRecord",
    "ImageSequence",
    "LazyImages",
    "Manifest",
    "Record",
    "Split",
    "UInt8Array",
    "place_name",
    "split_title",
]

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

#: Class name of normal images in every manifest, as in the MVTec AD layout.
NORMAL_CLASS = "good"

#: The preset whose results are no measurements.
SMOKE = "smoke"

#: What a record's weights are where the method uses no backbone.
NO_WEIGHTS = "none"

#: Stands between source and target in the name of a row: ``grid->carpet``.
_ARROW = "->"


def place_name(dataset: str, category: str) -> str:
    """Return ``dataset/category``, or ``dataset`` where there are no categories."""
    return f"{dataset}/{category}" if category else dataset


def split_title(split: Split | Record, protocol: str | None = None) -> str:
    """Return a split in words, such as ``"elpv hard mono 10-shot seed 0"``.

    Args:
        split: A split, or the record of a cell on it.
        protocol: Stands in place of the protocol's name, where its parameters are to be shown.
    """
    # The row of a cell that is trained on another category names both.
    place = place_name(split.dataset, split.row if _ARROW in split.row else split.category)
    known = f" {split.known_class}" if split.known_class else ""
    name = protocol or split.protocol
    return f"{place} {name}{known} {split.shots}-shot seed {split.seed}"


@dataclass(frozen=True, order=True)
class ImageRecord:
    """One image of a dataset.

    Attributes:
        path: POSIX path below the dataset's root; the image's identity. A part of a file has the
            region behind it, see :func:`osadbench.images.decode`.
        label: 0 normal, 1 anomaly.
        class_name: ``"good"`` or the anomaly class.
        split: ``"train"`` or ``"test"``. Anomalies stand in ``"test"``; protocols move some.
        sha256: Hex digest of the file's bytes, or of the pixels of a part of a file.
        mask: POSIX path of the pixel mask, or None; ``|`` stands between masks that count together.
        group: Source that several images share (a strip, a module), or None.
    """

    path: str
    label: int
    class_name: str
    split: str
    sha256: str
    mask: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The images of one dataset, or of one category of it, sorted by path.

    Attributes:
        dataset: Name of the dataset, such as ``"elpv"``.
        category: Name of the category, or ``""`` where the dataset has none.
        records: The images, sorted by path.
        known_classes: Anomaly classes that the hard protocol may take as the known class.
        aliases: Pairs of another name of an anomaly class, such as the papers', and its own.
    """

    dataset: str
    category: str
    records: tuple[ImageRecord, ...]
    known_classes: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if list(self.records) != sorted(self.records, key=lambda record: record.path):
            raise ValueError("a manifest's records must be sorted by path")

    @property
    def name(self) -> str:
        """``dataset`` or ``dataset/category``."""
        return place_name(self.dataset, self.category)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a split or a score depends on."""
        return digest([[r.path, r.label, r.class_name, r.split, r.sha256] for r in self.records])

    @cached_property
    def by_path(self) -> dict[str, ImageRecord]:
        """The records by their paths."""
        return {record.path: record for record in self.records}

    @property
    def anomaly_classes(self) -> tuple[str, ...]:
        """Names of the anomaly classes, sorted."""
        return tuple(sorted({r.class_name for r in self.records if r.label}))

    def select(
        self, *, split: str | None = None, label: int | None = None, class_name: str | None = None
    ) -> tuple[ImageRecord, ...]:
        """Return the records that match every criterion given, in manifest order."""
        return tuple(
            r
            for r in self.records
            if (split is None or r.split == split)
            and (label is None or r.label == label)
            and (class_name is None or r.class_name == class_name)
        )


@dataclass(frozen=True)
class Adaptation:
    """Training that goes on, after the fit on one category, on normals of the category tested.

    Attributes:
        source: Category that the split's ``train_normals`` and ``train_anomalies`` are of.
        source_digest: Digest of that category's manifest.
        normals: Paths of the normal training images of the split's own category, sorted.
        epochs: For how many epochs, as the method counts them; 1 or more.
    """

    source: str
    source_digest: str
    normals: tuple[str, ...]
    epochs: int


@dataclass(frozen=True)
class Split:
    """What one experiment trains and tests on; holds paths only, no images.

    Attributes:
        protocol: Name of the protocol.
        dataset: Name of the dataset.
        category: Category, or ``""``.
        known_class: The class the labelled anomalies come from; ``""`` where all classes serve.
        shots: Labelled anomalies asked for. Fewer stand in ``train_anomalies`` where the known
            class is smaller than that. 0 only by :meth:`without_labels`.
        seed: The repetition's seed as the user gave it.
        manifest_digest: Digest of the manifest the paths belong to.
        train_normals: Paths of the normal training images, sorted; with some protocols also of
            anomalies that are trained on as if they were normal.
        train_anomalies: Paths of the labelled anomalies, in the order they were drawn; a split with
            fewer shots holds a prefix of one with more.
        test: Paths of the test images, sorted.
        adaptation: For splits that are trained on another category of the dataset, which that is,
            and on what the training goes on; else None, and no part of the digest.
    """

    protocol: str
    dataset: str
    category: str
    known_class: str
    shots: int
    seed: int
    manifest_digest: str
    train_normals: tuple[str, ...]
    train_anomalies: tuple[str, ...]
    test: tuple[str, ...]
    adaptation: Adaptation | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all attributes."""
        return digest(self.to_dict())

    @property
    def row(self) -> str:
        """Name of the split's row in a table: category, known class, or the dataset itself.

        Where another category is trained on, both: ``source->category``.
        """
        source = "" if self.adaptation is None else f"{self.adaptation.source}{_ARROW}"
        parts = (source + self.category, self.known_class)
        return "/".join(part for part in parts if part) or self.dataset

    def without_labels(self) -> Split:
        """Return the same split for a method that takes no labelled anomalies.

        The test set stays as it is, so that splits which differ only in their shots become one.
        """
        return replace(self, shots=0, train_anomalies=())

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain JSON values, ``adaptation`` where there is one only."""
        values = asdict(self)
        if self.adaptation is None:
            del values["adaptation"]
        else:
            values["adaptation"] = _listed(values["adaptation"])
        return _listed(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Split:
        """Rebuild a split from :meth:`to_dict`; raises ``TypeError`` on missing or unknown keys."""
        plain = _tupled(values)
        if plain.get("adaptation") is not None:
            plain["adaptation"] = Adaptation(**_tupled(plain["adaptation"]))
        return cls(**plain)


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


@dataclass(frozen=True)
class Record:
    """What is known of one cell: one method on one split.

    Attributes:
        key: Identity of the cell, from everything that can change its scores.
        status: ``"done"``, ``"failed"`` or ``"skipped"``.
        method: Name of the method.
        label: The method's name with the parameters that the user changed, such as
            ``"dra[lr=0.0001]"``; a table's column.
        params: The method's parameters with defaults resolved.
        engine: The engine settings that change scores, ``preset`` among them.
        weights: SHA-256 of the backbone's weights, or how they were drawn.
        fit_seed: Seed the method was given.
        protocol: Name of the protocol with the parameters that the user changed.
        dataset: Name of the dataset.
        category: Category, or ``""``.
        known_class: Known class, or ``""``.
        shots: Labelled anomalies asked for.
        seed: Repetition.
        row: Name of the split's row in a table.
        split: Digests, counts (unlabelled anomalies among the training normals, outliers, what
            the training goes on with), and the paths and classes of the labelled anomalies.
        metrics: Metric values by name; empty unless done.
        reason: Why the cell failed or was skipped, one line; None if done.
        traceback: The failure's traceback, or None.
        provenance: Commit, versions, device, seconds, memory: what should not change scores. Where
            the pixel AUROC was asked for, ``localisation`` holds its counts, or why it has none.
        scores_sha256: Digest of the file of per-image scores, or None.
        departures: Engine settings in which the method departs, by its own definition, from
            ``engine``, which holds those of the request; where it names a backbone, ``weights``
            are that backbone's.
        schema: Version of this layout.
    """

    key: str
    status: str
    method: str
    label: str
    params: dict[str, Any]
    engine: dict[str, Any]
    weights: str
    fit_seed: int
    protocol: str
    dataset: str
    category: str
    known_class: str
    shots: int
    seed: int
    row: str
    split: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    scores_sha256: str | None = None
    departures: dict[str, Any] = field(default_factory=dict)
    schema: int = 1

    @property
    def place(self) -> str:
        """``dataset/category``, or the dataset where there are no categories."""
        return place_name(self.dataset, self.category)

    @property
    def preset(self) -> str:
        """Name of the engine's preset, ``""`` where none is recorded."""
        return str(self.engine.get("preset", ""))

    @property
    def manifest(self) -> str:
        """Digest of the images' manifest, ``""`` where none is recorded."""
        return str(self.split.get("manifest", ""))

    @property
    def source(self) -> str:
        """The category that was trained on where that is another one, ``""`` elsewhere."""
        return str((self.split.get("adaptation") or {}).get("source", ""))

    @property
    def started(self) -> float:
        """When the cell began, in seconds since the epoch; 0 where that is not known."""
        return float(self.provenance.get("started") or 0)

    @property
    def outlier_source(self) -> str:
        """Where the external outliers came from, ``""`` without any."""
        return str((self.split.get("outliers") or {}).get("source", ""))

    @property
    def has_own_backbone(self) -> bool:
        """Whether the weights are those of a backbone that the method names itself."""
        return "backbone" in self.departures

    @property
    def uses_engine_backbone(self) -> bool:
        """Whether the weights are those of the engine's backbone."""
        return self.weights != NO_WEIGHTS and not self.has_own_backbone

    @property
    def seconds(self) -> float:
        """How long the cell took to fit, to score, and to localise where it did."""
        steps = ("fit_seconds", "score_seconds", "localise_seconds")
        return float(sum(self.provenance.get(step, 0.0) for step in steps))


#: What a method is given as ``X``: an array (n, H, W, 3) or any sequence of (H, W, 3), all uint8.
ImageSequence = Sequence[UInt8Array] | UInt8Array


@runtime_checkable
class LazyImages(Protocol):
    """A sequence of images that knows their identities and keeps them resized on disk.

    The harness gives its images to methods in this form. A method may ignore that and read them
    like any other sequence.
    """

    @property
    def identities(self) -> Sequence[str]:
        """One stable content digest per image."""
        ...

    def resized(self, size: int, indices: Sequence[int]) -> UInt8Array:
        """Return the images at ``indices`` as uint8 ``(n, size, size, 3)``."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> UInt8Array: ...
