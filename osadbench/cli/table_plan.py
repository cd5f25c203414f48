"""What of a paper's table can run here, and what lacks data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from osadbench.cli.table_request import TableRequest
from osadbench.datasets import dataset_names, open_component
from osadbench.errors import DataError, ParameterError, PluginError, PrecheckError, UsageError
from osadbench.experiments import Job
from osadbench.plan import Component, Lack, Plan, Request, join_plans, make_plan
from osadbench.registry import PROTOCOLS
from osadbench.store import Store

__all__ = ["DATA_ROOT_HINT", "lack_of", "plan_table"]

#: What errors say of a dataset that isn't here, which is of use for those that ``-d`` names.
DATA_ROOT_HINT = "give its folder by --data-root DIR, or "


def plan_table(
    requests: Sequence[TableRequest], store: Store, rerun: str
) -> tuple[Plan, tuple[Lack, ...]]:
    """Return the plan of all that can run here, and what lacks data, which stops nothing else.

    Args:
        requests: What :func:`table_requests` gave.
        store: The results.
        rerun: One of :data:`osadbench.plan.RERUN_POLICIES`.

    Raises:
        UsageError: Engine settings or parameters that a method doesn't take.
        StoreError: A record of a newer version.
    """
    plans: list[Plan] = []
    lacks: dict[tuple[str, str], int] = {}
    for found in requests:
        for lack in _plan_into(plans, found, store, rerun):
            place = (lack.what, lack.why)
            lacks[place] = lacks.get(place, 0) + lack.cells
    return join_plans(plans), tuple(Lack(*place, n) for place, n in lacks.items())


def _plan_into(plans: list[Plan], found: TableRequest, store: Store, rerun: str) -> Iterator[Lack]:
    """Plan one part of a table, and yield what it lacks."""
    job, request = found.job, found.request
    n_seeds = len(request.seeds)
    left = job
    for dataset in request.datasets:
        why = lack_of(dataset, request.data_root, request.cache)
        if why is not None:
            before, left = left, left.on(set(left.datasets) - {dataset.name})
            yield Lack(dataset.name, why, before.cells(n_seeds) - left.cells(n_seeds))
    # Of a pair, the other one lacks nothing itself.
    if left != job and not left.cells(n_seeds):
        return
    protocol = request.protocols[0].name
    if protocol not in PROTOCOLS.names():
        names = ", ".join(left.datasets)
        yield Lack(names, f"this osadbench has no protocol {protocol!r}", left.cells(n_seeds))
        return
    here = tuple(dataset for dataset in request.datasets if dataset.name in left.datasets)
    yield from _plan_methods(plans, left, replace(request, datasets=here), store, rerun)


def _plan_methods(
    plans: list[Plan], job: Job, request: Request, store: Store, rerun: str
) -> Iterator[Lack]:
    """Plan the methods of a job, and yield what single ones lack."""
    whole = _try(request, store, rerun)
    if isinstance(whole, Plan):
        plans.append(whole)
        return
    names = ", ".join(job.datasets)
    # One method's lack, such as external outliers, must not cost the others theirs.
    for name, method in zip(job.methods, request.methods, strict=True):
        planned = _try(replace(request, methods=(method,)), store, rerun)
        if isinstance(planned, Plan):
            plans.append(planned)
            continue
        alone = replace(job, methods=(name,), unlabelled=(name,) if name in job.unlabelled else ())
        # The datasets of the rows are here: it is another one, whose folder no option names.
        why = planned.replace(DATA_ROOT_HINT, "")
        yield Lack(f"{name} on {names}", why, alone.cells(len(request.seeds)))


def _try(request: Request, store: Store, rerun: str) -> Plan | str:
    """Return the plan of a request, or why its data don't allow one."""
    try:
        return make_plan(request, store, rerun)
    except (ParameterError, PluginError):
        raise
    except (DataError, UsageError) as error:
        return str(error)


def lack_of(dataset: Component, data_root: Path | None, cache: Path | None) -> str | None:
    """Return why a dataset or category can't be used here, or None where it is there.

    Its images are not read.

    Raises:
        ParameterError: Parameters that it doesn't take.
    """
    name = dataset.name.partition("/")[0]
    if name not in dataset_names():
        return f"this osadbench has no dataset {name!r}"
    try:
        found, _ = open_component(dataset.name, dataset.given, data_root, cache=cache)
        found.categories()
    except ParameterError:
        raise
    except (PrecheckError, UsageError) as error:
        # The line that this goes into names the dataset already.
        return str(error).removeprefix(f"{name} is ")
    return None
