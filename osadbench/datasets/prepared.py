"""The file ``manifest.json`` of a converted dataset: what came from where, and whether it is whole.

A folder is given its name when all of it is written, so that one with this file is complete unless
somebody took files away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osadbench._version import __version__
from osadbench.datasets.converting import Written
from osadbench.datasets.folder import Folder
from osadbench.datasets.reading import Reading
from osadbench.datasets.splitting import SEED
from osadbench.images import DECODER
from osadbench.params import digest
from osadbench.types import Manifest

__all__ = ["FILE", "conversion_digest", "is_complete", "manifest_values"]

#: Name of the file in the converted folder.
FILE = "manifest.json"
#: Raised when the same images give other files.
CONVERTER = 2
#: Layout of the file.
SCHEMA = 1


def conversion_digest(dataset: Folder, manifests: Sequence[Manifest]) -> str:
    """Return a digest of all that a converted folder's files depend on."""
    contents = [[m.category, m.digest, [record.mask for record in m.records]] for m in manifests]
    return digest([CONVERTER, dataset.name, dataset.params, contents])


def manifest_values(
    dataset: Folder, readings: Sequence[Reading], written: Sequence[Written], warnings: list[str]
) -> dict[str, Any]:
    """Return the contents of the file.

    A ``source_sha256`` is of a file, or of the pixels of a part of one, as in a manifest.

    Args:
        dataset: The dataset that was converted.
        readings: What was read, by category.
        written: All images.
        warnings: What the conversion itself warns of.
    """
    about = ("title", "licence", "citation", "source")
    manifests = [reading.manifest for reading in readings]
    return {
        "schema": SCHEMA,
        "digest": conversion_digest(dataset, manifests),
        "dataset": dataset.name,
        **{key: getattr(dataset, key) for key in about},
        "converter": {"version": CONVERTER, "osadbench": __version__, "decoder": DECODER},
        "options": dataset.options.model_dump(mode="json"),
        "params": dataset.params.model_dump(mode="json"),
        "split_seed": SEED,
        "warnings": [line for reading in readings for line in reading.warnings] + warnings,
        "exclusions": [
            {"source": path, "reason": reason}
            for reading in readings
            for path, reason in reading.exclusions
        ]
        + [
            {"source": path, "reason": reason, "by_definition": True}
            for reading in readings
            for path, reason in reading.omissions
        ],
        # The other warnings are found again in the images, the groups and the exclusions.
        "remarks": [
            {"category": reading.manifest.category, "text": text}
            for reading in readings
            for text in reading.remarks
        ],
        "images": [_image_values(one) for one in written],
    }


def _image_values(written: Written) -> dict[str, Any]:
    record = written.record
    return {
        "path": written.path,
        "sha256": written.sha256,
        "size": written.size,
        "split": record.split,
        "class": record.class_name,
        "group": record.group,
        "mask": written.mask,
        "source": record.path,
        "source_sha256": record.sha256,
        "source_mask": record.mask,
    }


def is_complete(folder: Path, wanted: str) -> bool:
    """Tell whether a folder is the whole outcome of a conversion.

    Files are looked for, not read.

    Args:
        folder: The folder.
        wanted: The conversion's :func:`conversion_digest`.
    """
    try:
        values = json.loads((folder / FILE).read_bytes())
        return values["digest"] == wanted and all(_is_whole(folder, i) for i in values["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole(folder: Path, image: Mapping[str, Any]) -> bool:
    mask = image["mask"]
    there = (folder / image["path"]).stat().st_size == image["size"]
    return there and (mask is None or (folder / mask).is_file())
