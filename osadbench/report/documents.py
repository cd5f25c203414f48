"""CSV and JSON text for other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from osadbench._version import __version__

__all__ = ["csv_text", "json_text"]


def csv_text(lines: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return CSV with a head, one line for each mapping; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def json_text(schema: int, **parts: Any) -> str:
    """Return one JSON document with its layout's version and osadbench's.

    A number that is not finite is null.
    """
    document = {**parts, "schema": schema, "version": __version__}
    return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
