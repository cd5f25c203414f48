"""The command ``seen``."""

from __future__ import annotations

import click

from osadbench.cli.stored import (
    Choice,
    allow_mixed_option,
    choice_options,
    format_option,
    reading,
)
from osadbench.report.grouping import tell_apart
from osadbench.report.seen import build_seen
from osadbench.report.seen_text import render_seen

__all__ = ["COMMANDS"]


@click.command()
@choice_options
@format_option
@allow_mixed_option
def seen(choice: Choice, format_: str, allow_mixed: bool) -> None:
    """Print the AUROC of seen and of unseen anomaly classes apart.

    A class is seen if one of the labelled anomalies is of it. In the protocol general both kinds
    are tested on; in hard, all test anomalies are of unseen classes.
    """
    store, records = choice.read()
    shown = choice.measured(tell_apart(records))
    chosen = choice.of_methods(shown)
    with reading(chosen) as counted:
        labels = {record.label for record in chosen}
        cells = build_seen(shown, counted(store.scores), labels=labels, allow_mixed=allow_mixed)
    click.echo(render_seen(cells, format_), nl=False)


COMMANDS = (seen,)
