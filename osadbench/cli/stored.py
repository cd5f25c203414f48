"""What commands on stored results share: their options, reading a folder, choosing its records."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from osadbench.cli.options import output_option
from osadbench.console import Counted, counting
from osadbench.errors import OsadbenchError, StoreError, UsageError, did_you_mean
from osadbench.metrics import METRICS, metric_key
from osadbench.params import split_components
from osadbench.report import FORMATS
from osadbench.store import Store
from osadbench.types import SMOKE, Record

__all__ = [
    "Choice",
    "allow_mixed_option",
    "allow_partial_option",
    "choice_options",
    "existing_store",
    "format_option",
    "interval_options",
    "measured",
    "metric_option",
    "read_store",
    "reading",
    "split_words",
]

logger = logging.getLogger("osadbench")

F = TypeVar("F", bound=Callable[..., Any])


format_option = click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(tuple(FORMATS)),
    default="terminal",
    show_default=True,
    help="Form of the output.",
)


def _key(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return metric_key(value)


metric_option = click.option(
    "--metric",
    default="auroc",
    show_default=True,
    callback=_key,
    help=f"{', '.join(METRICS)}, or f1max, which is the F1 at the oracle threshold.",
)

allow_partial_option = click.option(
    "--allow-partial",
    is_flag=True,
    help="Where results are missing, test over what all have.",
)

allow_mixed_option = click.option(
    "--allow-mixed",
    is_flag=True,
    help="Show results made in several ways, such as by several versions, in one table.",
)


def interval_options(function: F) -> F:
    """Add the options ``--level`` and ``--bootstrap`` of intervals over test images."""
    for option in (
        click.option(
            "--bootstrap", is_flag=True, help="Draw the test images anew, instead of DeLong."
        ),
        click.option(
            "--level",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            default=0.95,
            show_default=True,
            help="Confidence of the intervals.",
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class Choice:
    """Which stored results a command line asks for.

    Attributes:
        output: The results folder.
        protocol: Names of protocols as they were typed, commas included; empty for all.
        dataset: Names of datasets likewise.
        shots: Numbers of labelled anomalies likewise.
        methods: Labels or names of methods likewise.
        preset: Names of presets likewise.
        include_smoke: Whether results of the preset smoke take part, though not asked for by name.
    """

    output: Path
    protocol: tuple[str, ...]
    dataset: tuple[str, ...]
    shots: tuple[str, ...]
    methods: tuple[str, ...]
    preset: tuple[str, ...]
    include_smoke: bool

    @property
    def takes_smoke(self) -> bool:
        """Whether results of the preset smoke take part."""
        return self.include_smoke or SMOKE in split_words(self.preset)

    def read(self) -> tuple[Store, list[Record]]:
        """Return the folder and its records of the protocols, datasets and so on asked for.

        No file of scores is opened.

        Raises:
            StoreError: There is no such folder, or it cannot be read.
            UsageError: No record has a value that is asked for.
        """
        store, records = read_store(self.output)
        for field in ("protocol", "dataset", "shots", "preset"):
            records = _only(field, split_words(getattr(self, field)), records)
        return store, records

    def of_methods(self, records: Sequence[Record]) -> list[Record]:
        """Return the records of the labels or methods asked for, or all without any.

        Raises:
            UsageError: No record is of one that is asked for.
        """
        asked = split_words(self.methods)
        known = {name for record in records for name in (record.label, record.method)}
        _check("method", asked, known)
        return [r for r in records if not asked or r.label in asked or r.method in asked]

    def measured(self, records: Sequence[Record]) -> list[Record]:
        """Return the records without those of the preset smoke, unless these are asked for.

        Raises:
            StoreError: There is none.
            UsageError: None is left.
        """
        shown = list(records) if self.takes_smoke else measured(records)
        if not shown:
            raise self.nothing(records)
        return shown

    def nothing(self, records: Sequence[Record]) -> OsadbenchError:
        """Return the error of having nothing to show of these records."""
        if not records:
            return _no_results(self.output)
        return UsageError("no results to show: --include-smoke takes those of preset smoke")


_CHOICE = (
    output_option,
    click.option("-p", "--protocol", multiple=True, help="Only these protocols."),
    click.option("-d", "--dataset", multiple=True, help="Only these datasets."),
    click.option("--shots", multiple=True, help="Only these numbers of labelled anomalies."),
    click.option("-m", "--methods", multiple=True, help="Only these methods."),
    click.option("--preset", multiple=True, help="Only these presets."),
    click.option("--include-smoke", is_flag=True, help="Take in results of preset smoke."),
)


def choice_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose stored results; the function takes them as one ``choice``."""

    @functools.wraps(function)
    def command(**options: Any) -> Any:
        chosen = {field.name: options.pop(field.name) for field in fields(Choice)}
        return function(Choice(**chosen), **options)

    for option in reversed(_CHOICE):
        command = option(command)
    return command


def existing_store(folder: Path) -> Store:
    """Return a results folder.

    Raises:
        StoreError: There is no such folder.
    """
    if not folder.is_dir():
        raise _no_results(folder)
    return Store(folder)


def _no_results(folder: Path) -> StoreError:
    return StoreError(f"no results in {folder}: run something first, or name a folder by -o")


def read_store(folder: Path) -> tuple[Store, list[Record]]:
    """Return a results folder and its records; damaged ones are warned of.

    Raises:
        StoreError: There is no such folder, or it cannot be read.
    """
    store = existing_store(folder)
    # A file of scores is held against its digest when it is read.
    records, problems = store.scan(check_scores=False)
    for problem in problems:
        logger.warning("%s", problem)
    return store, records


def reading(records: Sequence[Record]) -> AbstractContextManager[Counted]:
    """Return what counts the files of scores that are read, of all that the records have."""
    return counting(sum(record.status == "done" for record in records), "cell")


def measured(records: Sequence[Record]) -> list[Record]:
    """Return the records without those of the preset smoke."""
    return [record for record in records if record.preset != SMOKE]


def split_words(texts: Sequence[str]) -> list[str]:
    """Return the values of an option that was given several times, or with commas, or both."""
    return split_components(",".join(texts))


def _only(field: str, asked: Sequence[str], records: list[Record]) -> list[Record]:
    """Return the records whose field has one of the values asked for, or all without any.

    Records with 0 shots, which go with any number, are kept whatever shots are asked for.
    """
    if not asked:
        return records
    _check(field, asked, {str(getattr(record, field)) for record in records})
    kept = {*asked, "0"} if field == "shots" else set(asked)
    return [record for record in records if str(getattr(record, field)) in kept]


def _check(what: str, asked: Sequence[str], known: set[str]) -> None:
    for value in asked:
        if value not in known:
            raise UsageError(f"no results of {what} {value!r}: {did_you_mean(value, known)}")
