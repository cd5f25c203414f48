"""Commands on stored results: ``report``, ``status``, ``show``, ``merge``."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from osadbench.cli.options import output_option, reference_option
from osadbench.cli.stored import (
    Choice,
    allow_mixed_option,
    allow_partial_option,
    choice_options,
    existing_store,
    format_option,
    metric_option,
    split_words,
)
from osadbench.report import GROUPINGS, build_report, render
from osadbench.store import Store, collector_paused
from osadbench.types import Record

__all__ = ["COMMANDS", "echo_report"]


def echo_report(
    records: Sequence[Record],
    *,
    format: str = "terminal",
    allow_mixed: bool = True,
    **options: Any,
) -> None:
    """Build, render and print a report; after a run, older results may stand among the new ones."""
    report = build_report(records, allow_mixed=allow_mixed, **options)
    color = _in_color()
    # Told nothing, click would take the codes out of what is piped.
    click.echo(render(report, format, color=color), nl=False, color=color)


def _in_color() -> bool:
    """Whether ANSI codes are wanted; see https://no-color.org and https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


@click.command()
@choice_options
@format_option
@metric_option
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
@reference_option
@allow_partial_option
@allow_mixed_option
@click.option("--costs", is_flag=True, help="Show time and memory of each method, too.")
@collector_paused()
def report(choice: Choice, format_: str, **options: Any) -> None:
    """Print the tables of the stored results.

    Columns and datasets stand in the order in which -m and -d name them; without -m, in that of the
    papers' main tables, then the others by name.
    """
    _, records = choice.read()
    echo_report(
        records,
        format=format_,
        methods=split_words(choice.methods) or None,
        datasets=split_words(choice.dataset),
        include_smoke=choice.takes_smoke,
        **options,
    )


@click.command()
@output_option
def status(output: Path) -> int:
    """Count the stored results, and list what failed or is damaged."""
    store = existing_store(output)
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
    store = existing_store(output)
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

    A finished record that is there already is never replaced. Exit code 1 where a folder has
    records that cannot be used; the others are copied.
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
    return 4 if result.conflicts else int(bool(result.problems))


COMMANDS = (report, status, show, merge)
