"""Reading named experiments: TOML files beside this one."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, TypeVar

import pydantic

from osadbench.errors import UsageError, did_you_mean
from osadbench.experiments.model import Experiment, Place
from osadbench.params import Params

__all__ = ["experiment_names", "load_experiment", "places", "read_experiment"]

_PACKAGE = "osadbench.experiments"
P = TypeVar("P", bound=Params)


@functools.cache
def experiment_names() -> tuple[str, ...]:
    """Return the names of the experiments: papers' tables by number, then the others."""
    files = (path.name for path in resources.files(_PACKAGE).iterdir())
    names = (name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return tuple(sorted((n for n in names if not n.startswith("_")), key=_order))


def _order(name: str) -> tuple[str, int, str]:
    paper, _, rest = name.partition("-")
    return (paper, int(rest), "") if rest.isdigit() else (paper, 1000, rest)


@functools.cache
def load_experiment(name: str) -> Experiment:
    """Return an experiment by its name.

    Args:
        name: Such as ``"dra-2"``; see :func:`experiment_names`.

    Raises:
        UsageError: There is no such experiment; the nearest names are offered.
    """
    if name not in experiment_names():
        raise UsageError(f"no experiment {name!r}: {did_you_mean(name, experiment_names())}")
    return read_experiment(name, _text(f"{name}.toml"))


def read_experiment(name: str, text: str) -> Experiment:
    """Return the experiment that a TOML text says.

    Args:
        name: Name of the experiment.
        text: TOML with the fields of :class:`Experiment` but the name.

    Raises:
        UsageError: It is no TOML, or against the rules of the fields; all mistakes are listed.
    """
    found = _checked(Experiment, name, {"name": name, **_parsed(name, text)})
    known = places()
    unknown = [
        row for block in found.blocks for row in block.rows if row.partition("/")[0] not in known
    ]
    if unknown:
        place = unknown[0].partition("/")[0]
        raise UsageError(f"experiment {name}: no place {place!r}: {did_you_mean(place, known)}")
    return found


@functools.cache
def places() -> Mapping[str, Place]:
    """Return what rows are of, by the papers' names."""
    parsed = _parsed("_places", _text("_places.toml"))
    return {name: _checked(Place, f"_places.{name}", values) for name, values in parsed.items()}


def _text(file: str) -> str:
    return resources.files(_PACKAGE).joinpath(file).read_text(encoding="utf-8")


def _parsed(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"experiment {name} is no TOML: {error}") from None


def _checked(cls: type[P], name: str, values: Mapping[str, Any]) -> P:
    try:
        return cls.model_validate(values)
    except pydantic.ValidationError as error:
        mistakes = (
            ": ".join(filter(None, [".".join(map(str, item["loc"])), item["msg"]]))
            for item in error.errors()
        )
        raise UsageError(f"experiment {name}: {'; '.join(mistakes)}") from None
