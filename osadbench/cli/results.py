"""Commands on stored results: ``report``, ``status``, ``show``, ``merge``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from osadbench.cli.options import output_option
from osadbench.errors import StoreError
from osadbench.params import split_components
from osadbench.report import FORMATS, build_report, render
from osadbench.store import Store
from osadbench.types import Record

__all__ = ["COMMANDS", "echo_report"]


def echo_report(records: Sequence[Record], *, format: str = "terminal", **options: Any) -> None:
    """Build, render and print a report."""
    color = format == "terminal" and sys.stdout.isatty()
    click.echo(render(build_report(records, **options), format, color=color))


@click.command()
@output_option
@click.option("-f", "--format", "format_", type=click.Choice(FORMATS), default="terminal")
@click.option("-m", "--methods", help="Columns to show, in this order.")
@click.option("-p", "--protocol", help="Only these protocols.")
@click.option("-d", "--dataset", help="Only these datasets.")
@click.option("--metric", default="auroc", show_default=True, help="auroc, ap, fpr95 or oracle_f1.")
@click.option("--reference", help="Column that the others are tested against; else the first.")
@click.option("--include-smoke", is_flag=True, help="Show results of preset smoke too.")
@click.option("--allow-partial", is_flag=True, help="Test methods that lack seeds all the same.")
def report(
    output: Path,
    format_: str,
    methods: str | None,
    protocol: str | None,
    dataset: str | None,
    **options: Any,
) -> None:
    """Print the tables of the stored results."""
    store = _existing(output)
    for problem in store.problems():
        click.echo(f"warning: {problem}", err=True)
    protocols, datasets = split_components(protocol or ""), split_components(dataset or "")
    records = [
        record
        for record in store.records()
        if (not protocols or record.protocol in protocols)
        and (not datasets or record.dataset in datasets)
    ]
    chosen = split_components(methods) if methods else None
    echo_report(records, format=format_, methods=chosen, **options)


@click.command()
@output_option
def status(output: Path) -> int:
    """Count the stored results, and list what failed or is damaged."""
    store = _existing(output)
    records, problems = store.records(), store.problems()
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
    click.echo("path,label,class,score")
    rows = zip(table.paths, table.labels, table.classes, table.scores, strict=True)
    for path, label, name, value in rows:
        click.echo(f"{path},{label},{name},{float(value)!r}")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option
def merge(sources: tuple[Path, ...], output: Path) -> int:
    """Copy the records of SOURCES, such as another machine's results, into the output folder."""
    store = Store(output)
    store.ensure_writable()
    result = store.merge(sources)
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
