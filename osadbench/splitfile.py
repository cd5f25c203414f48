"""Splits on disk, so that a study can publish and reuse them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from osadbench.cache import write_atomically
from osadbench.errors import DataError
from osadbench.types import Split

__all__ = ["read_splits", "write_splits"]

_FORMAT = 1


def write_splits(path: Path, splits: Sequence[Split]) -> None:
    """Write splits as JSON, each with its digest.

    Raises:
        DataError: The file cannot be written.
    """
    entries = [{**split.to_dict(), "digest": split.digest} for split in splits]
    text = json.dumps({"format": _FORMAT, "splits": entries}, indent=1)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}): name another file") from error


def read_splits(path: Path) -> tuple[Split, ...]:
    """Read splits and check their digests.

    Raises:
        DataError: The file is missing, is no file of splits, or was changed by hand.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT:
            raise DataError(f"{path} has format {content['format']}, expected {_FORMAT}")
        digests = [entry.pop("digest") for entry in content["splits"]]
        splits = tuple(Split.from_dict(entry) for entry in content["splits"])
    except OSError as error:
        raise DataError(f"cannot read splits {path} ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no file of splits ({error}): make one with osadbench split --save FILE"
        ) from error
    changed = [s for s, digest in zip(splits, digests, strict=True) if s.digest != digest]
    if changed:
        raise DataError(
            f"{len(changed)} splits of {path} do not match their digests: the file was changed by "
            "hand; make it anew with osadbench split --save FILE"
        )
    return splits
