"""Commands that plan and run: ``run``, ``plan``, ``split``."""

from __future__ import annotations

import functools
import logging
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from osadbench.cli.options import (
    engine_options,
    output_option,
    reference_option,
    selection_options,
    table_option,
)
from osadbench.cli.plan_text import lack_lines, outlier_lines, plan_lines
from osadbench.cli.request import DEFAULTS, assumptions, make_request
from osadbench.cli.results import echo_report
from osadbench.cli.table import echo_table
from osadbench.cli.table_plan import plan_table
from osadbench.cli.table_request import find_experiment, table_requests
from osadbench.console import Progress
from osadbench.errors import DataError, UsageError
from osadbench.experiments import Experiment
from osadbench.metrics import PIXEL_AUROC
from osadbench.plan import RERUN_POLICIES, Lack, Plan, make_plan, make_splits
from osadbench.report.texts import counted
from osadbench.settings import Engine
from osadbench.store import Store
from osadbench.types import SMOKE, split_title

__all__ = ["COMMANDS"]

logger = logging.getLogger("osadbench")

#: Longer timeouts are more than an alarm takes.
LONGEST_TIMEOUT = 1e8

_rerun = click.option(
    "--rerun",
    type=click.Choice(RERUN_POLICIES),
    default="missing",
    show_default=True,
    help="Which cells to compute; missing takes failed ones too.",
)


@click.command()
@table_option
@engine_options
@selection_options
@output_option
@_rerun
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Cells that run at once, each in a process of its own.",
)
@click.option("--timeout", type=float, help="Seconds that a cell may take.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failed cell.")
@click.option("--no-progress", is_flag=True, help="Plain lines instead of a bar.")
@click.option("--dry-run", is_flag=True, help="The same as osadbench plan.")
@reference_option
def run(
    table: str | None,
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
    store when nothing is left to do. With --table, all of a paper's table that data are here for.
    """
    _check_timeout(timeout)
    work, store = _work(table, options, reference), Store(output)
    _say(assumptions({**options, "output": output, "table": table}))
    if dry_run:
        return _show_plan(*work.plan(store, rerun), store)
    plan, lacks = _ready(work, store, rerun)
    for line in lack_lines(lacks):
        _say(line)
    if not plan.cells:
        raise DataError(f"nothing of {table} can run here: {_first_lack(table, lacks)}")
    n_open = _execute(plan, store, jobs, timeout, fail_fast, no_progress)
    work.report(plan, store)
    return 1 if n_open else 0


def _first_lack(table: str | None, lacks: Sequence[Lack]) -> str:
    first, *rest = lacks
    more = f"; osadbench plan --table {table} says what else" if rest else ""
    return f"{first.what}: {first.why}{more}"


def _check_timeout(timeout: float | None) -> None:
    if timeout is None:
        return
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise UsageError(f"--timeout expects seconds above 0, such as 600, got {timeout:g}")
    if not hasattr(signal, "SIGALRM"):
        raise UsageError("--timeout needs alarm signals, which this platform lacks: leave it out")


@click.command()
@table_option
@engine_options
@selection_options
@output_option
@_rerun
def plan(table: str | None, output: Path, rerun: str, **options: Any) -> int:
    """List the cells of a run: what is done and what is not.

    Says also what would be downloaded, which data of a --table are missing, and how long the rest
    may take. Computes nothing.
    """
    work, store = _work(table, options), Store(output)
    _say(assumptions({**options, "output": output, "table": table}))
    return _show_plan(*work.plan(store, rerun), store)


@click.command()
@selection_options
@click.option("--save", type=click.Path(path_type=Path), help="Write the splits to a JSON file.")
def split(save: Path | None, **options: Any) -> None:
    """Print the splits of a protocol, or save them.

    Each line begins with the split's digest. Saved splits serve osadbench run --splits FILE.
    """
    from osadbench.splitfile import write_splits

    request = make_request(options, with_methods=False)
    _say(assumptions(options))
    splits = make_splits(request)
    for label, item in splits:
        click.echo(
            f"{item.digest[:12]}  {split_title(item, label)}: train {len(item.train_normals)} "
            f"normal + {len(item.train_anomalies)} anomalous, test {len(item.test)}"
        )
    if save is not None:
        write_splits(save, splits)
        _say(f"{len(splits)} splits saved in {save}")


@dataclass(frozen=True)
class _Work:
    """What a command line asks for: how to plan it, and how to show what came out.

    Attributes:
        plan: From a store and a rerun policy to the plan, and what lacks data.
        report: Prints the results of a plan.
    """

    plan: Callable[[Store, str], tuple[Plan, Sequence[Lack]]]
    report: Callable[[Plan, Store], None]


def _work(table: str | None, options: dict[str, Any], reference: str | None = None) -> _Work:
    if table is None:
        request = make_request(options)
        return _Work(
            plan=lambda store, rerun: (make_plan(request, store, rerun), ()),
            report=functools.partial(_report, reference=reference),
        )
    if reference is not None:
        raise UsageError("--reference is for tests, which --table has none of: drop it")
    requests = table_requests(table, options)

    def report(plan: Plan, store: Store) -> None:
        preset = options["preset"] or DEFAULTS["preset"]
        experiment = _with_seeds(find_experiment(table), requests[0].request.seeds)
        records = store.records(check_scores=False)
        echo_table(experiment, records, store.root, preset=preset)

    return _Work(plan=lambda store, rerun: plan_table(requests, store, rerun), report=report)


def _with_seeds(experiment: Experiment, seeds: Sequence[int]) -> Experiment:
    """Return an experiment with the seeds asked for, unless it has them all among its own."""
    if set(seeds) <= set(experiment.seeds):
        return experiment
    return experiment.model_copy(update={"seeds": tuple(sorted(seeds))})


def _ready(work: _Work, store: Store, rerun: str) -> tuple[Plan, Sequence[Lack]]:
    """Plan, and see to it that everything the pending cells need is there."""
    found, lacks = work.plan(store, rerun)
    if found.pending or found.damaged:
        store.ensure_writable()
    if found.engines_to_fetch:
        for engine in found.engines_to_fetch:
            _fetch_weights(engine)
        found, lacks = work.plan(store, rerun)
    pending = {cell.key for cell in found.pending}
    for key in found.damaged:
        if key not in pending:
            logger.warning("record %s is damaged and left out; --rerun missing computes it", key)
        elif (aside := store.set_aside(key)) is not None:
            logger.warning("record %s was damaged; kept as %s and computed anew", key, aside.name)
    return found, lacks


def _fetch_weights(engine: Engine) -> None:
    from osadbench.nn import backbones

    # An unknown backbone is found out first: the network would not know it either.
    backbones.Backbone(engine.backbone)
    _say(f"fetching the weights of {engine.backbone}")
    backbones.resolve_weights(engine)


def _execute(
    plan: Plan,
    store: Store,
    jobs: int,
    timeout: float | None,
    fail_fast: bool,
    no_progress: bool,
) -> int:
    """Run the pending cells and return the number of cells that are left without a result."""
    from osadbench.runner import Options, precompute, run_cells

    n_kept = len(plan.cells) - len(plan.pending) - plan.unanswered
    if plan.unanswered:
        _say(f"{counted(plan.unanswered, 'cell')} failed or missing, and left so, as --rerun says")
    if not plan.pending:
        _say(f"{n_kept} of {counted(len(plan.cells), 'cell')} answered from {store.root}")
        return plan.unanswered
    _say(
        f"{counted(len(plan.cells), 'cell')}: {n_kept} in {store.root}, {len(plan.pending)} to run"
    )
    for line in outlier_lines(plan):
        _say(line)
    precompute(plan.pending)
    options = Options(jobs=jobs, timeout=timeout, fail_fast=fail_fast)
    with Progress(len(plan.pending), enabled=not no_progress) as progress:
        records = progress.follow(run_cells(plan.pending, store, options))
        counts = Counter(record.status for record in records)
    _say(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    if counts["failed"]:
        _say("osadbench status lists the failed cells; osadbench show KEY has the traceback")
    return counts["failed"] + plan.unanswered


def _report(plan: Plan, store: Store, *, reference: str | None) -> None:
    left_out = set(plan.damaged) - {cell.key for cell in plan.pending} | {""}
    keys = [cell.key for cell in plan.cells if cell.key not in left_out]
    records = [record for key in keys if (record := store.read(key)) is not None]
    smoke = bool(plan.cells) and plan.cells[0].engine.preset == SMOKE
    labels = list(dict.fromkeys(cell.label for cell in plan.cells))
    here = {record.label for record in records}
    if records:
        shown = [label for label in labels if label in here]
        localised = any(cell.localise for cell in plan.cells)
        for metric in ("auroc", PIXEL_AUROC) if localised else ("auroc",):
            echo_report(
                records, metric=metric, methods=shown, reference=reference, include_smoke=smoke
            )


def _show_plan(plan: Plan, lacks: Sequence[Lack], store: Store) -> int:
    estimate = plan.estimate(store.records(check_scores=False))
    for line in (*lack_lines(lacks), *plan_lines(plan, estimate)):
        click.echo(line)
    return 0


def _say(text: str | None) -> None:
    if text:
        logger.info("%s", text)


COMMANDS = (run, plan, split)
