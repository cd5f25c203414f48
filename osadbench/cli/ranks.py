"""The command ``ranks``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from osadbench.cli.stored import (
    Choice,
    allow_mixed_option,
    allow_partial_option,
    choice_options,
    format_option,
    metric_option,
    split_words,
)
from osadbench.errors import UsageError
from osadbench.report import build_report
from osadbench.report.diagram import SUFFIXES, Diagram, save_diagram
from osadbench.report.parts import Setting
from osadbench.report.published.ranks import published_ranks
from osadbench.report.ranks import RankTable, rank_report, render_ranks

__all__ = ["COMMANDS"]


@click.command()
@choice_options
@format_option
@metric_option
@click.option(
    "--published",
    metavar="TABLE",
    help="A paper's values instead of results, such as dra-1, with --shots (10 without).",
)
@click.option(
    "--over",
    type=click.Choice(["rows", "datasets"]),
    default="rows",
    show_default=True,
    help="Rank in each row, or in each dataset's mean.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Level of Nemenyi's test.",
)
@click.option(
    "--diagram",
    "diagrams",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Draw the critical-difference diagram into this file, too ({', '.join(SUFFIXES)}).",
)
@allow_partial_option
@allow_mixed_option
def ranks(
    choice: Choice,
    format_: str,
    metric: str,
    published: str | None,
    over: str,
    alpha: float,
    diagrams: tuple[Path, ...],
    allow_partial: bool,
    allow_mixed: bool,
) -> int:
    """Rank the methods in each row, and test whether they differ.

    Friedman's test of the mean ranks, with Iman and Davenport's correction, then Nemenyi's critical
    difference. One table for each protocol, number of shots, preset and backbone. Exit code 1
    where one is not ranked, such as for missing seeds.
    """
    chosen = split_words(choice.methods)
    if published is not None:
        given = choice.protocol or choice.dataset or choice.preset or choice.include_smoke
        if given or metric != "auroc":
            raise UsageError("--published goes with -m, --shots, --over and --alpha: drop the rest")
        number = _one_number(choice.shots)
        table = published_ranks(
            published, number, chosen, over=over, alpha=alpha, allow_partial=allow_partial
        )
        tables, settings = [table], []
    else:
        _, records = choice.read()
        report = build_report(
            records,
            metric=metric,
            methods=chosen or None,
            include_smoke=choice.takes_smoke,
            allow_partial=allow_partial,
            allow_mixed=allow_mixed,
        )
        tables = rank_report(report, over=over, alpha=alpha, allow_partial=allow_partial)
        settings = [table.setting for table in report.tables]
        if not tables:
            raise choice.nothing(records)
    for path in diagrams:
        save_diagram(_diagram(tables, settings), path)
    click.echo(render_ranks(tables, format_), nl=False)
    return int(any(table.test is None for table in tables))


def _one_number(shots: Sequence[str]) -> int:
    numbers = split_words(shots) or ["10"]
    if len(numbers) > 1 or not numbers[0].isdigit():
        raise UsageError(f"--published ranks one number of shots, got {', '.join(numbers)}")
    return int(numbers[0])


def _diagram(tables: Sequence[RankTable], settings: Sequence[Setting]) -> Diagram:
    if len(tables) > 1:
        titles = "; ".join(table.title for table in tables)
        raise UsageError(
            f"one diagram shows one setting, got {len(tables)}: {_way(settings)} of {titles}"
        )
    (table,) = tables
    if table.test is None or table.difference is None:
        raise UsageError(f"nothing to draw, {table.notes[-1]}")
    return Diagram(table.methods, table.test.mean_ranks, table.difference)


def _way(settings: Sequence[Setting]) -> str:
    """Return how to choose one of several settings, as the start of a clause."""
    ways = {"-p": "protocol", "--shots": "shots", "--preset": "preset"}
    helps = [way for way, name in ways.items() if len({getattr(s, name) for s in settings}) > 1]
    if helps:
        return f"choose one by {' and '.join(helps)}"
    return "let -o name a folder that holds but one"


COMMANDS = (ranks,)
