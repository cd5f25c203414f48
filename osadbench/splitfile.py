"""Splits on disk, so that a study can publish and reuse them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from osadbench.errors import DataError, UsageError
from osadbench.files import write_atomically
from osadbench.params import parse_component
from osadbench.types import Split

__all__ = ["read_splits", "write_splits"]

#: 1 had no labels, and so not the parameters of the protocols.
_FORMAT = 2


def write_splits(path: Path, splits: Sequence[tuple[str, Split]]) -> None:
    """Write splits as JSON, each with its digest.

    Args:
        path: The file.
        splits: The splits, each behind its protocol's name with the parameters that differ from
            the defaults, such as ``"general[pool=40]"``.

    Raises:
        DataError: The file cannot be written.
    """
    entries = [
        {"label": label, **split.to_dict(), "digest": split.digest} for label, split in splits
    ]
    text = json.dumps({"format": _FORMAT, "splits": entries}, indent=1)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}): name another file") from error


def read_splits(path: Path) -> tuple[tuple[str, Split], ...]:
    """Read what :func:`write_splits` wrote and check the digests.

    Raises:
        DataError: The file is missing, is no file of splits, or was changed by hand.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT:
            raise DataError(
                f"{path} has format {content['format']}, expected {_FORMAT}: make it anew with "
                "osadbench split --save FILE"
            )
        labels = [str(entry.pop("label")) for entry in content["splits"]]
        names = [parse_component(label)[0] for label in labels]
        digests = [entry.pop("digest") for entry in content["splits"]]
        splits = [Split.from_dict(entry) for entry in content["splits"]]
    except OSError as error:
        raise DataError(f"cannot read splits {path} ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise DataError(
            f"{path} is no file of splits ({error}): make one with osadbench split --save FILE"
        ) from error
    changed = [
        split
        for split, name, digest in zip(splits, names, digests, strict=True)
        if (split.protocol, split.digest) != (name, digest)
    ]
    if changed:
        raise DataError(
            f"{len(changed)} splits of {path} do not match their digests: the file was changed by "
            "hand; make it anew with osadbench split --save FILE"
        )
    return tuple(zip(labels, splits, strict=True))
