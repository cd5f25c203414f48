"""From the name of a paper's table, and the options, to requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from osadbench import published, settings
from osadbench.cache import cache_dir
from osadbench.cli.request import (
    DEFAULTS,
    component_list,
    engine_settings,
    number_list,
    seed_list,
)
from osadbench.errors import (
    UsageError,
    did_you_mean,
)
from osadbench.experiments import (
    Experiment,
    Job,
    experiment_jobs,
    experiment_names,
    load_experiment,
)
from osadbench.metrics import PIXEL_AUROC
from osadbench.params import parse_component
from osadbench.plan import Component, Request

__all__ = ["TableRequest", "find_experiment", "table_requests"]

#: What a table says itself, by option.
_SAID = {"protocols": "-p", "known": "--known-class", "splits": "--splits"}


@dataclass(frozen=True)
class TableRequest:
    """A part of a table that is planned as one.

    Attributes:
        job: What runs, and on what.
        request: The same, as asked for.
    """

    job: Job
    request: Request


def find_experiment(name: str) -> Experiment:
    """Return a table's experiment.

    Raises:
        UsageError: There is no such table.
    """
    if name in experiment_names():
        return load_experiment(name)
    paper, _, number = name.partition("-")
    if number.isdigit() and any(known.startswith(f"{paper}-") for known in experiment_names()):
        # Says why this one is not among them.
        published.load(name)
    raise UsageError(f"no table {name!r}: {did_you_mean(name, experiment_names())}")


def table_requests(name: str, options: dict[str, Any]) -> list[TableRequest]:
    """Return the requests that a table takes, with what the options leave of it.

    Args:
        name: Name of the table.
        options: Values of the shared options. ``-m``, ``-d`` and ``--shots`` take a part of the
            table, seeds take the place of the table's own; the rest is as without a table.

    Raises:
        UsageError: There is no such table, or an option contradicts it.
    """
    experiment = find_experiment(name)
    said = [flag for option, flag in _SAID.items() if options.get(option)]
    if said:
        raise UsageError(f"--table says itself what {' and '.join(said)} would say: drop one")
    jobs = experiment_jobs(experiment)
    # A table of pixels' values asks for them itself.
    localise = options.get("localise") or experiment.metric == PIXEL_AUROC
    options = {**options, "localise": localise}
    engine = _engine(options)
    seeds = seed_list(options, default=experiment.seeds)
    datasets = _datasets(options, jobs)
    _check_data_root(options, datasets)
    parts = list(_parts(jobs, options, datasets))
    _check_outliers(name, options, parts)
    found = [TableRequest(job, _request(job, options, datasets, engine, seeds)) for job in parts]
    if not found:
        raise UsageError(f"nothing of {name} is left by -m, -d and --shots: ask for more of it")
    return found


def _engine(options: dict[str, Any]) -> dict[str, Any]:
    engine = engine_settings(options)
    # What is wrong with it is wrong with every cell, and is said once.
    settings.engine(options.get("preset") or DEFAULTS["preset"], **engine)
    return engine


def _datasets(options: dict[str, Any], jobs: Sequence[Job]) -> dict[str, Component]:
    """Return the datasets that are asked for, by name; all of the table's if none is named."""
    known = list(dict.fromkeys(name for job in jobs for name in job.datasets))
    whole = list(dict.fromkeys(name.partition("/")[0] for name in known))
    if not options["datasets"]:
        return {name: Component(name) for name in known}
    asked = component_list(options["datasets"], [*whole, *known], "dataset")
    wrong = [choice.name for choice in asked if choice.name not in {*whole, *known}]
    if wrong:
        raise UsageError(
            f"the table has no dataset {wrong[0]!r}: {did_you_mean(wrong[0], {*whole, *known})}"
        )
    given = {choice.name: choice.given for choice in asked}
    return {
        name: Component(name, given.get(name, given.get(name.partition("/")[0], {})))
        for name in known
        if name in given or name.partition("/")[0] in given
    }


def _check_data_root(options: dict[str, Any], datasets: dict[str, Component]) -> None:
    names = sorted({name.partition("/")[0] for name in datasets})
    if options["data_root"] is not None and len(names) > 1:
        raise UsageError(
            f"--data-root is the folder of one dataset, but the table has {', '.join(names)}: name "
            "one by -d, or put each below the folder OSADBENCH_DATA_DIR"
        )


def _check_outliers(name: str, options: dict[str, Any], parts: Sequence[Job]) -> None:
    said = sorted({part.outliers for part in parts} - {""})
    if options.get("outliers") and said:
        raise UsageError(
            f"{name} says itself which external outliers its columns take ({', '.join(said)}): "
            "drop --outliers"
        )


def _parts(
    jobs: Sequence[Job], options: dict[str, Any], datasets: dict[str, Component]
) -> Iterator[Job]:
    known = list(dict.fromkeys(method for job in jobs for method in job.methods))
    methods = _methods(options, known)
    for job in jobs:
        part = replace(
            job.on(datasets),
            methods=tuple(method for method in job.methods if method in methods),
            unlabelled=tuple(method for method in job.unlabelled if method in methods),
            shots=_shots(options, job),
        )
        if part.datasets and part.methods and part.shots:
            yield part


def _methods(options: dict[str, Any], known: Sequence[str]) -> set[str]:
    if not options.get("methods"):
        return set(known)
    names = {method: parse_component(method)[0] for method in known}
    asked = component_list(options["methods"], list(dict.fromkeys(names.values())), "method")
    wanted: set[str] = set()
    for choice in asked:
        alike = [method for method, name in names.items() if name == choice.name]
        fitting = [m for m in alike if choice.given in ({}, parse_component(m)[1])]
        if not fitting:
            raise UsageError(f"the table has no method {choice.name!r}: it has {', '.join(known)}")
        wanted.update(fitting)
    return wanted


def _shots(options: dict[str, Any], job: Job) -> tuple[int, ...]:
    if not options["shots"]:
        return job.shots
    asked = number_list(options["shots"], "shots", 1)
    return tuple(shots for shots in job.shots if shots in asked)


def _request(
    job: Job,
    options: dict[str, Any],
    datasets: dict[str, Component],
    engine: dict[str, Any],
    seeds: tuple[int, ...],
) -> Request:
    return Request(
        methods=tuple(Component(*parse_component(method)) for method in job.methods),
        protocols=(Component(*parse_component(job.protocol)),),
        datasets=tuple(datasets[name] for name in job.datasets),
        data_root=options["data_root"],
        seeds=seeds,
        shots=job.shots,
        preset=options.get("preset") or DEFAULTS["preset"],
        engine=engine,
        cache=cache_dir(options["cache_dir"]),
        outliers=job.outliers or options.get("outliers"),
        localise=options["localise"],
    )
