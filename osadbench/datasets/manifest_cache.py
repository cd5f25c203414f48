"""Manifests kept on disk, so that the second run neither decodes nor hashes a dataset."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from osadbench.cache import unwritable_cache
from osadbench.datasets.reading import Reading
from osadbench.files import write_atomically
from osadbench.params import digest
from osadbench.types import ImageRecord, Manifest

__all__ = ["load_reading", "save_reading"]

logger = logging.getLogger("osadbench")


def save_reading(path: Path, reading: Reading) -> None:
    """Write a manifest and its warnings; facts are not kept.

    Raises:
        CacheError: The folder cannot be written.
    """
    body = {"manifest": asdict(reading.manifest), "warnings": list(reading.warnings)}
    try:
        write_atomically(path, json.dumps({"body": body, "digest": digest(body)}).encode())
    except OSError as error:
        raise unwritable_cache(path.parent, error) from error


def load_reading(path: Path) -> Reading | None:
    """Return what :func:`save_reading` wrote, or None if there is none or it is damaged."""
    try:
        stored = json.loads(path.read_bytes())
        body = stored["body"]
        if digest(body) != stored["digest"]:
            raise ValueError("the digest does not match")
        return Reading(_manifest(body["manifest"]), tuple(body["warnings"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("cache file %s was damaged (%s) and will be rebuilt", path, error)
        return None


def _manifest(values: dict[str, Any]) -> Manifest:
    records = tuple(ImageRecord(**record) for record in values["records"])
    known_classes = tuple(values["known_classes"])
    aliases = tuple((alias, name) for alias, name in values.get("aliases", ()))
    return Manifest(values["dataset"], values["category"], records, known_classes, aliases)
