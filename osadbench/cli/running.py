"""Commands that plan and run: ``run``, ``plan``, ``split``."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import click

from osadbench.cli.options import (
    assumptions,
    engine_options,
    make_request,
    output_option,
    selection_options,
)
from osadbench.cli.results import echo_report
from osadbench.console import Progress, plan_lines
from osadbench.errors import UsageError
from osadbench.plan import RERUN_POLICIES, Plan, Request, make_plan
from osadbench.store import Store

__all__ = ["COMMANDS"]

_rerun = click.option(
    "--rerun",
    type=click.Choice(RERUN_POLICIES),
    default="missing",
    show_default=True,
    help="Which cells to compute.",
)


@click.command()
@selection_options
@engine_options
@output_option
@_rerun
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="Cells run at once.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds per cell.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failed cell.")
@click.option("--no-progress", is_flag=True, help="Plain lines instead of a bar.")
@click.option("--dry-run", is_flag=True, help="The same as osadbench plan.")
@click.option("--reference", help="Column that the others are tested against.")
def run(
    output: Path,
    rerun: str,
    jobs: int,
    timeout: float | None,
    fail_fast: bool,
    no_progress: bool,
    dry_run: bool,
    reference: str | None,
    **options: Any,
) -> int:
    """Run methods on datasets under protocols, and print the tables.

    Finished cells are kept: the same command goes on where it was stopped, and answers from the
    store when nothing is left to do.
    """
    if timeout is not None and not hasattr(signal, "SIGALRM"):
        raise UsageError("--timeout needs alarm signals, which this platform lacks: leave it out")
    _say(assumptions({**options, "output": output}))
    request, store = make_request(options), Store(output)
    if dry_run:
        return _show_plan(make_plan(request, store, rerun), store)
    plan = _ready(request, store, rerun)
    failed = _execute(plan, store, jobs, timeout, fail_fast, no_progress)
    _report(plan, store, reference)
    return 1 if failed else 0


@click.command()
@selection_options
@engine_options
@output_option
@_rerun
def plan(output: Path, rerun: str, **options: Any) -> int:
    """List the cells of a run: what is done, what is missing, how long it may take."""
    _say(assumptions({**options, "output": output}))
    store = Store(output)
    return _show_plan(make_plan(make_request(options), store, rerun), store)


@click.command()
@selection_options
@click.option("--save", type=click.Path(path_type=Path), help="Write the splits to a JSON file.")
def split(save: Path | None, **options: Any) -> None:
    """Print the splits of a protocol with their digests, or save them for --splits."""
    from osadbench.plan import make_splits
    from osadbench.splitfile import write_splits

    splits = make_splits(make_request(options, with_methods=False))
    for item in splits:
        known = f" {item.known_class}" if item.known_class else ""
        place = "/".join(part for part in (item.dataset, item.category) if part)
        click.echo(
            f"{item.digest[:12]}  {place} {item.protocol}{known} {item.shots}-shot seed {item.seed}"
            f": train {len(item.train_normals)} normal + {len(item.train_anomalies)} anomalous, "
            f"test {len(item.test)}"
        )
    if save is not None:
        write_splits(save, splits)
        _say(f"{len(splits)} splits saved in {save}")


def _ready(request: Request, store: Store, rerun: str) -> Plan:
    """Plan, and see to it that everything the pending cells need is there."""
    found = make_plan(request, store, rerun)
    if found.pending or found.damaged:
        store.ensure_writable()
    if found.missing and found.pending:
        from osadbench import settings
        from osadbench.nn.backbones import resolve_weights

        overrides = {**request.engine, "cache_dir": str(request.cache)}
        resolve_weights(settings.engine(request.preset, **overrides))
        found = make_plan(request, store, rerun)
    pending = {cell.key for cell in found.pending}
    for key in found.damaged:
        if key in pending and (aside := store.set_aside(key)) is not None:
            _say(f"warning: record {key} was damaged; kept as {aside.name} and computed anew")
    return found


def _execute(
    plan: Plan,
    store: Store,
    jobs: int,
    timeout: float | None,
    fail_fast: bool,
    no_progress: bool,
) -> int:
    from osadbench.runner import Options, precompute, run_cells

    kept = len(plan.cells) - len(plan.pending)
    if not plan.pending:
        _say(f"all {kept} cells answered from {store.root}")
        return len(plan.failed)
    _say(f"{len(plan.cells)} cells: {kept} in {store.root}, {len(plan.pending)} to run")
    precompute(plan.pending)
    options = Options(jobs=jobs, timeout=timeout, fail_fast=fail_fast)
    with Progress(len(plan.pending), enabled=not no_progress) as progress:
        records = progress.follow(run_cells(plan.pending, store, options))
        counts = Counter(record.status for record in records)
    _say(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    pending = {cell.key for cell in plan.pending}
    return counts["failed"] + sum(key not in pending for key in plan.failed)


def _report(plan: Plan, store: Store, reference: str | None) -> None:
    records = [record for cell in plan.cells if (record := store.read(cell.key)) is not None]
    smoke = bool(plan.cells) and plan.cells[0].engine.preset == "smoke"
    labels = list(dict.fromkeys(cell.label for cell in plan.cells))
    here = {record.label for record in records}
    if records:
        shown = [label for label in labels if label in here]
        echo_report(records, methods=shown, reference=reference, include_smoke=smoke)


def _show_plan(plan: Plan, store: Store) -> int:
    for line in plan_lines(plan, plan.estimate(store.records())):
        click.echo(line)
    return 0


def _say(text: str | None) -> None:
    if text:
        click.echo(text, err=True)


COMMANDS = (run, plan, split)
