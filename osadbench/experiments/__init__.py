"""The papers' tables as experiments: rows, columns, and what runs for each, as TOML files.

:func:`load_experiment` reads one, :func:`experiment_rows` gives its rows, and
:func:`experiment_jobs` what has to run. Nothing here runs anything.
"""

from __future__ import annotations

from osadbench.experiments.jobs import (
    Job,
    experiment_jobs,
    has_cell,
    method_on,
    protocol_of,
)
from osadbench.experiments.loading import experiment_names, load_experiment, places, read_experiment
from osadbench.experiments.model import Block, Column, Exceptional, Experiment, Place
from osadbench.experiments.rows import Member, RowSpec, experiment_rows, plain_name

__all__ = [
    "Block",
    "Column",
    "Exceptional",
    "Experiment",
    "Job",
    "Member",
    "Place",
    "RowSpec",
    "experiment_jobs",
    "experiment_names",
    "experiment_rows",
    "has_cell",
    "load_experiment",
    "method_on",
    "places",
    "plain_name",
    "protocol_of",
    "read_experiment",
]
