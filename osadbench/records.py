"""A record as a JSON file: written whole, and read back only if it is what was written."""

from __future__ import annotations

import functools
import json
import marshal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, fields, make_dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

import pydantic

from osadbench.errors import OtherSchemaError
from osadbench.types import Record

if TYPE_CHECKING:
    import pandas

__all__ = [
    "PLACE",
    "SCHEMA",
    "Pool",
    "by_place",
    "from_json",
    "make_record",
    "pooled",
    "to_frame",
    "to_json",
]


#: What records are sorted by: the order of tables, as far as one field after the other gives it.
PLACE = ("protocol", "dataset", "category", "shots", "row", "label", "seed", "key")
by_place = attrgetter(*PLACE)
#: What records have in common, by bytes that only the same values have.
Pool = dict[bytes, Any]
#: Version of the layout of :class:`osadbench.types.Record`.
SCHEMA = 1
_FIELDS = frozenset(item.name for item in fields(Record))
#: Fields that the first records of this schema lack; their defaults say what held then.
_LATER = frozenset({"departures"})
#: Fields that many records have in common.
_SHARED = ("params", "engine", "split", "departures")

_NUMBER: frozenset[type] = frozenset({float, int, type(None)})
_TEXT: frozenset[type] = frozenset({str, type(None)})
_MAPPING: frozenset[type] = frozenset({dict, type(None)})
_LIST: frozenset[type] = frozenset({list, type(None)})
#: The types of what is read of a record's open parts, where it is there.
_OPEN: Mapping[str, Mapping[str, frozenset[type]]] = {
    "provenance": {
        **dict.fromkeys(("commit", "device", "precision"), _TEXT),
        **dict.fromkeys(("started", "fit_seconds", "score_seconds", "localise_seconds"), _NUMBER),
        **dict.fromkeys(("versions", "localisation"), _MAPPING),
        "peak_memory_bytes": _NUMBER,
        "notes": _LIST,
    },
    "split": {
        **dict.fromkeys(("manifest", "test_digest"), _TEXT),
        "outliers": _MAPPING,
        "seen_classes": _LIST,
    },
}


def to_json(record: Record) -> bytes:
    """Return the bytes of a record's file.

    Raises:
        ValueError: The record holds NaN or infinity.
        TypeError: The record holds a value that JSON can't.
    """
    text = json.dumps(asdict(record), indent=1, allow_nan=False, ensure_ascii=False)
    # A traceback may quote a file name that is no Unicode; that must not cost the record.
    return (text + "\n").encode("utf-8", "replace")


def from_json(data: bytes, key: str, pool: Pool | None = None) -> Record:
    """Return the record that the bytes of a key's file hold.

    Args:
        data: The file's bytes.
        key: The key it should hold.
        pool: Records that are read with one pool, empty at first, share what they have in common:
            change nothing inside them.

    Raises:
        ValueError: It is not whole; one line says why.
        OtherSchemaError: Its schema is newer or older.
    """
    try:
        values = vars(_adapter().validate_json(data))
    except pydantic.ValidationError as error:
        _explain(data, key, error)
    # Where JSON stands for any value, pydantic takes these. A letter is found far sooner.
    if (b"N" in data and b"NaN" in data) or (b"I" in data and b"Infinity" in data):
        json.loads(data, parse_constant=_refuse_constant)
    _check_schema(values["schema"], key)
    _check_open(values)
    if pool is not None:
        _share(values, pool)
    record = make_record(values)
    if record.key != key:
        raise ValueError(f"it holds the key {record.key}")
    if record.status not in ("done", "failed", "skipped"):
        raise ValueError(f"expected status done, failed or skipped, got {record.status!r}")
    if (record.status == "done") != (record.scores_sha256 is not None):
        raise ValueError(f"scores belong to done cells and only there, got {record.status!r}")
    return record


def make_record(values: Mapping[str, Any], changes: Iterable[tuple[str, Any]] = ()) -> Record:
    """Return a record of all fields' values, in their order, some of them changed.

    By the hundred thousand: the ``__init__`` of a frozen class takes three times as long.
    """
    record = object.__new__(Record)
    own = vars(record)
    own.update(values)
    own.update(changes)
    return record


def _explain(data: bytes, key: str, error: pydantic.ValidationError) -> NoReturn:
    """Raise what is wrong with a record that pydantic has refused, the plainest first."""
    values = json.loads(data, parse_constant=_refuse_constant)
    if not isinstance(values, dict):
        raise ValueError("no JSON object") from None
    _check_schema(values.get("schema"), key)
    wrong = (set(values) ^ _FIELDS) - _LATER
    if wrong:
        raise ValueError(f"missing or unknown fields: {', '.join(sorted(wrong))}") from None
    first = error.errors()[0]
    raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _share(values: dict[str, Any], pool: Pool) -> None:
    """Put the pool's parts in place of equal ones of a record."""
    provenance = values["provenance"]
    # As a whole, provenance has numbers of its own.
    for owner, names in ((values, _SHARED), (provenance, list(provenance))):
        for name in names:
            if type(owner[name]) in (dict, list):
                owner[name] = pooled(owner[name], pool)


def pooled(value: Any, pool: Pool) -> Any:
    """Return the pool's value that is the same as one of JSON, which may itself become it."""
    # Unlike ==, these bytes tell 1, 1.0 and True apart.
    return pool.setdefault(marshal.dumps(value, 2), value)


def _check_schema(schema: object, key: str) -> None:
    if not isinstance(schema, int):
        raise ValueError(f"expected a schema number, got {schema!r}")
    if schema != SCHEMA:
        newer = schema > SCHEMA
        age, remedy = ("newer", "upgrade") if newer else ("older", "take an older")
        raise OtherSchemaError(
            f"record {key} has schema {schema}, {age} than the {SCHEMA} that this osadbench "
            f"reads: {remedy} osadbench, or name another folder by --output-dir"
        )


def _check_open(values: Mapping[str, Any]) -> None:
    for part, types in _OPEN.items():
        get = values[part].get
        for name, allowed in types.items():
            if type(get(name)) not in allowed:
                names = " or ".join(sorted(one.__name__ for one in allowed - {type(None)}))
                raise ValueError(f"{part}.{name}: expected {names}, got {get(name)!r}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}")


@functools.cache
def _adapter() -> pydantic.TypeAdapter[Any]:
    """Return what reads a record's fields; on Record itself, pydantic lets missing ones pass."""
    types = get_type_hints(Record)
    layout = make_dataclass(
        "Layout",
        [
            (name, types[name], field(default_factory=dict) if name in _LATER else field())
            for name in types
        ],
        kw_only=True,
    )
    config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return pydantic.TypeAdapter(pydantic.with_config(config)(layout))


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
