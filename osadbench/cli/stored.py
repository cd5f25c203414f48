"""What commands on stored results share: reading a folder, choosing among its records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from osadbench.errors import StoreError, UsageError, did_you_mean
from osadbench.params import split_components
from osadbench.store import Store
from osadbench.types import Record

__all__ = ["FORMATS", "filter_options", "format_option", "of_methods", "only", "read_store"]

logger = logging.getLogger("osadbench")

FORMATS = ("terminal", "markdown", "csv", "json")

F = TypeVar("F", bound=Callable[..., Any])

format_option = click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="terminal",
    show_default=True,
    help="Form of the output.",
)


def filter_options(function: F) -> F:
    """Add the options ``--protocol``, ``--dataset`` and ``--shots``, each of several values."""
    for option in (
        click.option("--shots", multiple=True, help="Only these numbers of labelled anomalies."),
        click.option("-d", "--dataset", multiple=True, help="Only these datasets."),
        click.option("-p", "--protocol", multiple=True, help="Only these protocols."),
    ):
        function = option(function)
    return function


def read_store(folder: Path) -> tuple[Store, list[Record]]:
    """Return a results folder and its records; damaged ones are warned of.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise StoreError(f"no results in {folder}: run something first, or name a folder by -o")
    store = Store(folder)
    # A file of scores is held against its digest when it is read.
    records, problems = store.scan(check_scores=False)
    for problem in problems:
        logger.warning("%s", problem)
    return store, records


def only(field: str, texts: Sequence[str], records: list[Record]) -> list[Record]:
    """Return the records whose field has one of the values asked for, or all without any.

    Records with 0 shots, which go with any number, are kept whatever shots are asked for.

    Raises:
        UsageError: No record has a value that is asked for.
    """
    asked = split_components(",".join(texts))
    known = {str(getattr(record, field)) for record in records}
    for value in asked:
        if value not in known:
            raise UsageError(f"no results of {field} {value!r}: {did_you_mean(value, known)}")
    kept = {*asked, "0"} if field == "shots" else set(asked)
    return [record for record in records if not asked or str(getattr(record, field)) in kept]


def of_methods(texts: Sequence[str], records: list[Record]) -> list[Record]:
    """Return the records of the labels or methods asked for, or all without any.

    Raises:
        UsageError: No record is of one that is asked for.
    """
    asked = split_components(",".join(texts))
    known = {name for record in records for name in (record.label, record.method)}
    for name in asked:
        if name not in known:
            raise UsageError(f"no results of method {name!r}: {did_you_mean(name, known)}")
    return [r for r in records if not asked or r.label in asked or r.method in asked]
