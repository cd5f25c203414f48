"""A record as a JSON file: written whole, and read back only if it is what was written."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

import pydantic

from osadbench.errors import StoreError
from osadbench.types import Record

if TYPE_CHECKING:
    import pandas

__all__ = ["SCHEMA", "from_json", "to_frame", "to_json"]

#: Version of the layout of :class:`osadbench.types.Record`.
SCHEMA = 1
_FIELDS = frozenset(item.name for item in fields(Record))
#: Fields that the first records of this schema lack; their defaults say what held then.
_LATER = frozenset({"departures"})


def to_json(record: Record) -> bytes:
    """Return the bytes of a record's file.

    Raises:
        ValueError: The record holds NaN or infinity.
        TypeError: The record holds a value that JSON can't.
    """
    text = json.dumps(asdict(record), indent=1, allow_nan=False, ensure_ascii=False)
    # A traceback may quote a file name that is no Unicode; that must not cost the record.
    return (text + "\n").encode("utf-8", "replace")


def from_json(data: bytes, key: str) -> Record:
    """Return the record that the bytes of a key's file hold.

    Raises:
        ValueError: It is not whole; one line says why.
        StoreError: Its schema is newer.
    """
    values = json.loads(data, parse_constant=_refuse_constant)
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    _check_schema(values.get("schema"), key)
    wrong = (set(values) ^ _FIELDS) - _LATER
    if wrong:
        raise ValueError(f"missing or unknown fields: {', '.join(sorted(wrong))}")
    try:
        record = _adapter().validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if record.key != key:
        raise ValueError(f"it holds the key {record.key}")
    if record.status not in ("done", "failed", "skipped"):
        raise ValueError(f"expected status done, failed or skipped, got {record.status!r}")
    if (record.status == "done") != (record.scores_sha256 is not None):
        raise ValueError(f"scores belong to done cells and only there, got {record.status!r}")
    return record


def _check_schema(schema: object, key: str) -> None:
    if not isinstance(schema, int):
        raise ValueError(f"expected a schema number, got {schema!r}")
    if schema > SCHEMA:
        raise StoreError(
            f"record {key} has schema {schema}, newer than the {SCHEMA} that this osadbench "
            "reads: upgrade osadbench, or name another folder by --output-dir"
        )
    if schema < SCHEMA:
        raise ValueError(f"schema {schema} is older than {SCHEMA}, the oldest that is read")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}")


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Record]:
    return pydantic.TypeAdapter(Record)


def to_frame(records: Sequence[Record]) -> pandas.DataFrame:
    """Return records as a table for notebooks, one row each.

    Columns are the record's fields, with metrics under their own names and other nested values
    under dotted ones: ``params.lr``, ``engine.backbone``, ``provenance.versions.torch``.
    """
    import pandas as pd

    if not records:
        return pd.DataFrame(columns=[item.name for item in fields(Record)])
    frame = pd.json_normalize([asdict(record) for record in records])
    return frame.rename(columns=lambda name: str(name).removeprefix("metrics."))
