"""The command ``seen``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from osadbench.cli.options import output_option
from osadbench.cli.stored import filter_options, format_option, only, read_store
from osadbench.errors import UsageError, did_you_mean
from osadbench.params import split_components
from osadbench.report.seen import SeenCell, build_seen
from osadbench.report.seen_text import render_seen

__all__ = ["COMMANDS"]


@click.command()
@output_option
@format_option
@filter_options
@click.option("-m", "--methods", multiple=True, help="Only these methods.")
@click.option("--include-smoke", is_flag=True, help="Show results of preset smoke too.")
def seen(
    output: Path,
    format_: str,
    protocol: tuple[str, ...],
    dataset: tuple[str, ...],
    shots: tuple[str, ...],
    methods: tuple[str, ...],
    include_smoke: bool,
) -> None:
    """Print the AUROC of seen and of unseen anomaly classes apart.

    A class is seen if one of the labelled anomalies is of it. In the protocol general both kinds
    are tested on; in hard, all test anomalies are of unseen classes.
    """
    store, records = read_store(output)
    for field, texts in {"protocol": protocol, "dataset": dataset, "shots": shots}.items():
        records = only(field, texts, records)
    shown = [r for r in records if include_smoke or r.engine.get("preset") != "smoke"]
    cells = build_seen(shown, store.scores)
    if not cells:
        raise UsageError("no results to show: --include-smoke takes those of preset smoke")
    # Only now: the others say which classes a method without labels is to be measured on.
    click.echo(render_seen(_chosen(cells, methods), format_), nl=False)


def _chosen(cells: list[SeenCell], methods: Sequence[str]) -> list[SeenCell]:
    asked = split_components(",".join(methods))
    known = {name for cell in cells for name in (cell.label, cell.label.partition("[")[0])}
    for name in asked:
        if name not in known:
            raise UsageError(f"no results of method {name!r}: {did_you_mean(name, known)}")
    return [
        cell
        for cell in cells
        if not asked or cell.label in asked or cell.label.partition("[")[0] in asked
    ]


COMMANDS = (seen,)
