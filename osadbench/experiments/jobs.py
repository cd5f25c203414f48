"""What has to run for an experiment: its cells, gathered by what they need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from osadbench.experiments.model import Column, Experiment
from osadbench.experiments.rows import RowSpec, experiment_rows
from osadbench.params import component_text, parse_component

__all__ = ["Job", "experiment_jobs", "has_cell", "method_on", "protocol_of"]


@dataclass(frozen=True)
class Job:
    """Methods that run on one dataset, or on categories that need each other, under one protocol.

    Attributes:
        datasets: One dataset or ``dataset/category``; several where one is trained on and another
            tested.
        protocol: Protocol with its parameters.
        outliers: Dataset of the external outliers; empty for the choice of user or dataset.
        methods: Methods with their parameters, each once.
        shots: Numbers of labelled anomalies.
        splits: Number of splits for one seed and one number of shots: known classes, pairs of
            categories, or 1.
        unlabelled: Those of the methods that take no labelled anomalies: all their shots are one.
    """

    datasets: tuple[str, ...]
    protocol: str
    outliers: str
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    splits: int
    unlabelled: tuple[str, ...] = ()

    def cells(self, seeds: int) -> int:
        """Return the number of cells for a number of seeds."""
        labelled = len(self.methods) - len(self.unlabelled)
        return seeds * self.splits * (labelled * len(self.shots) + len(self.unlabelled))

    def on(self, datasets: Collection[str]) -> Job:
        """Return what is left of the job on some datasets: of pairs, those of two of them."""
        kept = tuple(name for name in self.datasets if name in datasets)
        n, n_kept = len(self.datasets), len(kept)
        pairs, pairs_kept = n * (n - 1), n_kept * (n_kept - 1)
        splits = self.splits * pairs_kept // pairs if pairs else self.splits * n_kept
        return replace(self, datasets=kept, splits=splits)


def method_on(experiment: Experiment, column: Column, dataset: str) -> str:
    """Return the method that a column runs on a row's dataset, with its parameters."""
    name, given = parse_component(column.method)
    for exception in experiment.exceptions:
        if dataset in exception.datasets and name in exception.methods:
            given = {**exception.parameters, **given}
    return component_text(name, given)


def protocol_of(row: RowSpec, column: Column) -> str:
    """Return the protocol of a cell, with its parameters."""
    return column.protocol or row.block.protocol


def has_cell(row: RowSpec, column: Column) -> bool:
    """Whether a row and a column meet; not where a category would be source and target at once."""
    return not column.source or column.source != row.subset


def experiment_jobs(experiment: Experiment) -> tuple[Job, ...]:
    """Return what has to run for all cells that have a counterpart, by dataset in row order."""
    labelled = {c.cell_shots for c in experiment.columns if c.method and c.cell_shots}
    # Methods without labels run beside the others; their cells are the same for all shots.
    all_shots = labelled or {10}
    together = _together(experiment)
    wanted: dict[tuple[tuple[str, ...], str, str], dict[str, set[int]]] = {}
    splits: dict[tuple[tuple[str, ...], str], set[str]] = {}
    unlabelled = set()
    for row, column in _cells(experiment):
        method = method_on(experiment, column, row.dataset)
        if column.cell_shots is None:
            unlabelled.add(method)
        for member, dataset in zip(row.members, row.places, strict=True):
            protocol = protocol_of(row, column)
            place = (together if column.source else (dataset,), protocol)
            methods = wanted.setdefault((*place, column.outliers), {})
            methods.setdefault(method, set()).update(
                {column.cell_shots} if column.cell_shots else all_shots
            )
            split = " ".join((column.source, dataset, *member.known_classes))
            splits.setdefault(place, set()).add(split)
    return tuple(
        Job(
            *key,
            methods,
            shots,
            splits=len(splits[key[:2]]),
            unlabelled=tuple(method for method in methods if method in unlabelled),
        )
        for key, wanted_shots in wanted.items()
        for shots, methods in _by_shots(wanted_shots)
    )


def _together(experiment: Experiment) -> tuple[str, ...]:
    """Return the datasets of the rows that columns with another source meet."""
    rows = (row for row, column in _cells(experiment) if column.source)
    return tuple(dict.fromkeys(place for row in rows for place in row.places))


def _by_shots(
    methods: Mapping[str, Collection[int]],
) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Return numbers of shots and the methods that run for these, in the methods' order."""
    found: dict[tuple[int, ...], list[str]] = {}
    for method, shots in methods.items():
        found.setdefault(tuple(sorted(shots)), []).append(method)
    return [(shots, tuple(names)) for shots, names in found.items()]


def _cells(experiment: Experiment) -> Iterator[tuple[RowSpec, Column]]:
    for row in experiment_rows(experiment):
        for column in experiment.columns:
            if column.method and has_cell(row, column):
                yield row, column
