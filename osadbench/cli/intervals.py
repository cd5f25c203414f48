"""The command ``intervals``."""

from __future__ import annotations

from pathlib import Path

import click

from osadbench.cli.options import output_option
from osadbench.cli.stored import filter_options, format_option, of_methods, only, read_store
from osadbench.errors import UsageError
from osadbench.report.intervals import cell_intervals, render_intervals

__all__ = ["COMMANDS"]


@click.command()
@output_option
@format_option
@filter_options
@click.option("-m", "--methods", multiple=True, help="Only these methods.")
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Confidence of the intervals.",
)
@click.option("--bootstrap", is_flag=True, help="Draw the test images anew, instead of DeLong.")
@click.option("--include-smoke", is_flag=True, help="Show results of preset smoke too.")
def intervals(
    output: Path,
    format_: str,
    protocol: tuple[str, ...],
    dataset: tuple[str, ...],
    shots: tuple[str, ...],
    methods: tuple[str, ...],
    level: float,
    bootstrap: bool,
    include_smoke: bool,
) -> None:
    """Print the AUROC of each cell with its interval over test images."""
    store, records = read_store(output)
    for field, texts in {"protocol": protocol, "dataset": dataset, "shots": shots}.items():
        records = only(field, texts, records)
    records = of_methods(methods, records)
    shown = [r for r in records if include_smoke or r.engine.get("preset") != "smoke"]
    if not shown:
        raise UsageError("no results to show: --include-smoke takes those of preset smoke")
    cells = cell_intervals(shown, store.scores, level=level, bootstrap=bootstrap)
    click.echo(render_intervals(cells, format_), nl=False)


COMMANDS = (intervals,)
