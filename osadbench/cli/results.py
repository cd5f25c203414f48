"""Commands on stored results: ``report``, ``status``, ``show``, ``merge``."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from osadbench.cli.options import output_option
from osadbench.errors import StoreError, UsageError, did_you_mean
from osadbench.params import split_components
from osadbench.report import FORMATS, GROUPINGS, build_report, render
from osadbench.store import Store
from osadbench.store_scan import collector_paused
from osadbench.types import Record

__all__ = ["COMMANDS", "echo_report"]

logger = logging.getLogger("osadbench")


def echo_report(
    records: Sequence[Record],
    *,
    format: str = "terminal",
    allow_mixed: bool = True,
    **options: Any,
) -> None:
    """Build, render and print a report; after a run, older results may stand among the new ones."""
    color = format == "terminal" and sys.stdout.isatty()
    report = build_report(records, allow_mixed=allow_mixed, **options)
    click.echo(render(report, format, color=color))


@click.command()
@output_option
@click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="terminal",
    show_default=True,
    help="Form of the tables.",
)
@click.option("-m", "--methods", multiple=True, help="Columns to show, in this order.")
@click.option("-p", "--protocol", multiple=True, help="Only these protocols.")
@click.option("-d", "--dataset", multiple=True, help="Only these datasets, in this order.")
@click.option(
    "--metric",
    default="auroc",
    show_default=True,
    help="auroc, ap, fpr95, or f1max: the F1 at the oracle threshold.",
)
@click.option(
    "--group-by",
    type=click.Choice(GROUPINGS),
    default="row",
    show_default=True,
    help="What a line is: a row of a dataset, the mean of a dataset or of a protocol, a method.",
)
@click.option(
    "--sort",
    metavar="METHOD|mean",
    help="Rows from a method's best value to its worst; or methods by their means.",
)
@click.option("--reference", help="Column that the others are tested against; else the first.")
@click.option("--include-smoke", is_flag=True, help="Show results of preset smoke too.")
@click.option("--allow-partial", is_flag=True, help="Test methods that lack seeds all the same.")
@click.option(
    "--allow-mixed", is_flag=True, help="Show results of several osadbench versions in one table."
)
@click.option("--costs", is_flag=True, help="Show time and memory of each method, too.")
def report(
    output: Path,
    format_: str,
    methods: tuple[str, ...],
    protocol: tuple[str, ...],
    dataset: tuple[str, ...],
    **options: Any,
) -> None:
    """Print the tables of the stored results."""
    store = _existing(output)
    records, problems = store.scan(check_scores=False)
    for problem in problems:
        logger.warning("%s", problem)
    records = _only("protocol", protocol, records)
    records = _only("dataset", dataset, records)
    with collector_paused():
        echo_report(
            records,
            format=format_,
            methods=split_components(",".join(methods)) or None,
            datasets=split_components(",".join(dataset)),
            **options,
        )


def _only(field: str, texts: Sequence[str], records: list[Record]) -> list[Record]:
    """Return the records whose field has one of the values asked for, or all without any."""
    asked = split_components(",".join(texts))
    if not asked:
        return records
    known = {getattr(record, field) for record in records}
    for value in asked:
        if value not in known:
            raise UsageError(f"no results of {field} {value!r}: {did_you_mean(value, known)}")
    return [record for record in records if getattr(record, field) in asked]


@click.command()
@output_option
def status(output: Path) -> int:
    """Count the stored results, and list what failed or is damaged."""
    store = _existing(output)
    records, problems = store.scan()
    counts = Counter(record.status for record in records)
    click.echo(", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "no results")
    for record in records:
        if record.status == "failed":
            click.echo(f"failed  {record.key[:12]}  {record.label} {record.row}: {record.reason}")
    for problem in problems:
        click.echo(f"problem  {problem}")
    return 1 if counts["failed"] or problems else 0


@click.command()
@click.argument("key")
@output_option
@click.option("--scores", is_flag=True, help="Print the per-image scores as CSV instead.")
def show(key: str, output: Path, scores: bool) -> None:
    """Print one record, found by the first digits of its KEY."""
    store = _existing(output)
    record = store.find(key)
    if not scores:
        click.echo(json.dumps(asdict(record), indent=1))
        return
    table = store.scores(record.key)
    rows = zip(table.paths, table.labels, table.classes, table.scores.tolist(), strict=True)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", "class", "score"])
    writer.writerows(rows)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option
def merge(sources: tuple[Path, ...], output: Path) -> int:
    """Copy records of other results folders into the output folder.

    A finished record that is there already is never replaced.
    """
    result = Store(output).merge(sources)
    click.echo(
        f"{len(result.copied)} copied, {len(result.identical)} identical, {len(result.kept)} kept, "
        f"{len(result.conflicts)} in conflict"
    )
    for key, source in result.conflicts:
        click.echo(f"conflict  {key[:12]}: other scores in {source}; ours are kept")
    for problem in result.problems:
        click.echo(f"problem  {problem}")
    return 4 if result.conflicts else 0


def _existing(output: Path) -> Store:
    if not output.is_dir():
        raise StoreError(f"no results in {output}: run something first, or name a folder by -o")
    return Store(output)


COMMANDS = (report, status, show, merge)
