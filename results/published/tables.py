"""The papers' tables of results."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from osadbench.errors import UsageError, did_you_mean
from osadbench.published.files import file_names, read_file

__all__ = ["COUNT_TABLES", "PublishedValue", "load", "table_names"]

#: Tables that count images, which one file holds together.
COUNT_TABLES = ("dra-5", "devnet-1")
_FILE = re.compile(r"([a-z]+)_table(\d+)\.csv")


@dataclass(frozen=True)
class PublishedValue:
    """One value of a table, as it was printed.

    Attributes:
        paper: ``"dra"``, ``"devnet"`` or ``"ahl"``.
        table: Number of the table.
        setting: What was measured: ``"general"``, ``"hard"``, ``"ablation-general"``,
            ``"ablation-hard"``, ``"pseudo-source"``, ``"cross-domain"`` or ``"localisation"``.
        dataset: Dataset; in the hard setting ``"carpet"`` and ``"metal_nut"`` are categories of
            MVTec AD that stand for datasets.
        subset: Category, or known class in the hard setting; ``""`` for the whole.
        shots: Labelled anomalies; None for methods that use none, or where it isn't said.
        method: The method's name in the data.
        metric: ``"image_auroc"`` or ``"pixel_auroc"``.
        mean: Mean over three runs, 0 to 1, three digits.
        std: Spread over the runs as printed, or None; no paper says which deviation it is.
        aggregate: Whether this is the mean over the subsets.
        status: ``"printed"``, or ``"corrected"`` or ``"filled"`` where a copy was damaged.
        note: Remarks.
        pseudo_source: What pseudo anomalies were made of (DRA's Table 4), else ``""``.
        source: Category trained on, of cross-domain tables, else ``""``.
        target: Category tested on, of cross-domain tables, else ``""``.
        printed_mean: What the damaged copy says in place of ``mean``, or None.
        printed_std: What it says in place of ``std``, or None.
    """

    paper: str
    table: int
    setting: str
    dataset: str
    subset: str
    shots: int | None
    method: str
    metric: str
    mean: float
    std: float | None
    aggregate: bool
    status: str
    note: str = ""
    pseudo_source: str = ""
    source: str = ""
    target: str = ""
    printed_mean: float | None = None
    printed_std: float | None = None


@functools.cache
def table_names() -> tuple[str, ...]:
    """Return the names of the tables of results, such as ``"dra-2"``, by paper and number."""
    files = map(_FILE.fullmatch, file_names())
    found = sorted((match[1], int(match[2])) for match in files if match)
    return tuple(f"{paper}-{number}" for paper, number in found)


@functools.cache
def load(table: str) -> tuple[PublishedValue, ...]:
    """Return the values of a table, in the order of its file.

    Args:
        table: Paper and number, such as ``"dra-2"``; see :func:`table_names`.

    Raises:
        UsageError: There is no such table here; the nearest names are offered.
    """
    if table not in table_names():
        raise UsageError(_unknown(table))
    return tuple(map(_value, read_file(f"{table.replace('-', '_table')}.csv")))


def _unknown(table: str) -> str:
    if table in COUNT_TABLES:
        return (
            f"{table} counts the datasets' images and has no results: osadbench table {table} "
            "prints it"
        )
    paper, _, number = table.partition("-")
    siblings = [name for name in table_names() if name.startswith(f"{paper}-")]
    if siblings and number.isdigit():
        return f"the data hold no {table}: of this paper there are {', '.join(siblings)}"
    return f"no table {table!r}: {did_you_mean(table, (*table_names(), *COUNT_TABLES))}"


def _value(row: Mapping[str, str]) -> PublishedValue:
    # AHL's Table 3 names source and target in its notes, DRA's Table 9 in columns.
    noted = re.match(r"source=(\w+); target=(\w+)", row["note"])
    source, target = noted.groups() if noted else ("", "")
    return PublishedValue(
        paper=row["paper"],
        table=int(row["table"]),
        setting=row["setting"],
        dataset=row["dataset"],
        subset=row["subset"],
        shots=int(row["shots"]) if row["shots"] else None,
        method=row["method"],
        metric=row["metric"],
        mean=float(row["mean"]),
        std=_number(row["std"]),
        aggregate=row["aggregate"] == "true",
        status=row["status"],
        note=row["note"],
        pseudo_source=row.get("pseudo_source", ""),
        source=row.get("source", source),
        target=row.get("target", target),
        printed_mean=_number(row.get("printed_mean", "")),
        printed_std=_number(row.get("printed_std", "")),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
