"""What fills the empty cells of a paper's table: a command, and the data that are not here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from osadbench import settings
from osadbench.cache import cache_dir
from osadbench.cli.options import DEFAULT_OUTPUT
from osadbench.cli.request import DEFAULTS
from osadbench.cli.table_plan import DATA_ROOT_HINT, lack_of
from osadbench.datasets import dataset_class, dataset_names
from osadbench.errors import WeightsError
from osadbench.experiments import Experiment, experiment_rows, has_cell, load_experiment
from osadbench.plan import Component, image_sizes_on
from osadbench.report.facts import short_weights
from osadbench.report.published import ComparedTable
from osadbench.types import Record
from osadbench.weights import find_weights

__all__ = ["missing_lines"]

#: Engine settings that have an option of their own; the others are given by --set.
_OPTIONS = {"backbone": "--backbone", "precision": "--precision"}
#: Stand for a weights file, of which a record has the digest only, and for a folder of external
#: outliers, of which it has the name.
_FILE, _DIR = "FILE", "DIR"


def missing_lines(
    experiment: Experiment,
    built: ComparedTable,
    made: Sequence[Record],
    output: Path,
    preset: str | None,
) -> Iterator[str]:
    """Yield the command that fills the empty cells, and the datasets that are not here.

    The command makes results as those that are there were made, so that they may stand together.

    Args:
        experiment: The table's experiment.
        built: The table.
        made: Finished results of the table, all made in one way.
        output: The folder that they are of.
        preset: The preset asked for, or None.
    """
    empty = _datasets_of_empty_cells(experiment, built)
    if not empty:
        return
    lacks = {name: lack_of(Component(name), None, None) for name in empty}
    words = ["osadbench", "run", "--table", experiment.name]
    words += ["-o", str(output)] if output != DEFAULT_OUTPUT else []
    outliers = _outliers_named(experiment, made)
    words += [*_making(made, preset), *_seeds(experiment)]
    if outliers:
        words += ["--outliers", outliers if outliers in dataset_names() else _DIR]
    waiting = ", once the data below are here" if all(lacks.values()) else ""
    yield ""
    yield f"to fill the empty cells{waiting}: {shlex.join(words)}"
    if _FILE in words:
        weights = next(record.weights for record in made if record.uses_engine_backbone)
        yield f"  {_FILE}: the weights of the results here, {short_weights(weights)}"
    if _DIR in words:
        yield f"  {_DIR}: the folder of external outliers of the results here, {outliers}"
    for why, names in _by_reason(lacks).items():
        # A table has no option for the folder of one dataset.
        what = why.removeprefix("not here: ").replace(DATA_ROOT_HINT, "")
        yield f"  not here: {names}: {what}"


def _seeds(experiment: Experiment) -> list[str]:
    """Return the option for seeds that are not the table's own."""
    seeds = experiment.seeds
    if seeds == load_experiment(experiment.name).seeds:
        return []
    return ["--seeds" if len(seeds) > 1 else "--seed", ",".join(map(str, seeds))]


def _making(made: Sequence[Record], preset: str | None) -> list[str]:
    """Return the options that make results as others were made, without those of the defaults."""
    preset = preset or (made[0].preset if made else None)
    words = ["--preset", preset] if preset and preset != DEFAULTS["preset"] else []
    # A preset that has gone since says nothing of its engine.
    if preset is None or not made or preset not in settings.PRESETS:
        return words
    default = settings.engine(preset)
    usual = made[0].engine
    for key, value in default.identity().items():
        if key not in ("preset", "image_sizes") and usual.get(key, value) != value:
            option = [_OPTIONS[key]] if key in _OPTIONS else ["--set"]
            words += [*option, str(usual[key]) if key in _OPTIONS else f"engine.{key}={usual[key]}"]
    words += _weights(made, default, usual)
    sizes = (found for record in made if (found := _given_sizes(record, default)) is not None)
    given = next(sizes, None)
    return words + ([] if given is None else ["--image-sizes", ",".join(map(str, given))])


def _outliers_named(experiment: Experiment, made: Sequence[Record]) -> str:
    """Return the recorded source of external outliers that the user named, or ``""``.

    A dataset's own choice needs no naming, and some tables say themselves what to take.
    """
    if any(column.outliers for column in experiment.columns):
        return ""
    named = (
        record.outlier_source
        for record in made
        if record.outlier_source and record.dataset in dataset_names()
        if record.outlier_source != dataset_class(record.dataset).default_outliers
    )
    return next(named, "")


def _weights(
    made: Sequence[Record], default: settings.Engine, usual: Mapping[str, Any]
) -> list[str]:
    identity = next((record.weights for record in made if record.uses_engine_backbone), None)
    if identity is None:
        return []
    backbone = usual.get("backbone", default.backbone)
    engine = default.model_copy(update={"backbone": backbone})
    try:
        unsaid = find_weights(engine, cache_dir()).identity
    except WeightsError:
        unsaid = ""
    if identity == unsaid:
        return []
    if identity.startswith("random:"):
        return ["--weights", "random"]
    # What is not on this machine yet cannot be told apart from what a download would bring.
    return ["--weights", _FILE] if unsaid else []


def _given_sizes(record: Record, default: settings.Engine) -> Sequence[int] | None:
    """Return the image sizes of a record, or None where it has those that its dataset gets."""
    found = record.engine.get("image_sizes")
    if found is None or record.dataset not in dataset_names():
        return None
    usual = image_sizes_on(default, dataset_class(record.dataset).paper_image_size)
    return None if tuple(found) == usual else tuple(found)


def _datasets_of_empty_cells(experiment: Experiment, built: ComparedTable) -> list[str]:
    rows = zip(experiment_rows(experiment), built.rows, strict=True)
    found = (
        place
        for spec, row in rows
        for column, cell in zip(experiment.columns, row.cells, strict=True)
        if has_cell(spec, column) and cell is not None and cell.ours is not None
        if cell.ours.mean is None and not cell.ours.skipped
        for place in spec.places
    )
    return list(dict.fromkeys(found))


def _by_reason(lacks: Mapping[str, str | None]) -> dict[str, str]:
    """Return the names of what is missing by the reason, with a dataset's categories counted."""
    found: dict[str, list[str]] = {}
    for name, why in lacks.items():
        if why is not None:
            found.setdefault(why, []).append(name)
    return {why: _listed(names) for why, names in found.items()}


def _listed(names: Sequence[str]) -> str:
    counts: dict[str, list[str]] = {}
    for name in names:
        counts.setdefault(name.partition("/")[0], []).append(name)
    return ", ".join(
        alike[0] if len(alike) == 1 else f"{name} ({len(alike)} categories)"
        for name, alike in counts.items()
    )
