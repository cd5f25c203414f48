"""The command ``intervals``."""

from __future__ import annotations

import click

from osadbench.cli.stored import (
    Choice,
    allow_mixed_option,
    choice_options,
    format_option,
    interval_options,
    reading,
)
from osadbench.report.grouping import tell_apart
from osadbench.report.intervals import cell_intervals, render_intervals

__all__ = ["COMMANDS"]


@click.command()
@choice_options
@format_option
@interval_options
@allow_mixed_option
def intervals(
    choice: Choice, format_: str, level: float, bootstrap: bool, allow_mixed: bool
) -> None:
    """Print each cell's AUROC with its interval over test images.

    It says what other test images might give; what another fit would change is not in it.
    """
    store, records = choice.read()
    shown = choice.measured(choice.of_methods(tell_apart(records)))
    with reading(shown) as counted:
        cells = cell_intervals(
            shown,
            counted(store.scores),
            level=level,
            bootstrap=bootstrap,
            allow_mixed=allow_mixed,
        )
    click.echo(render_intervals(cells, format_), nl=False)


COMMANDS = (intervals,)
