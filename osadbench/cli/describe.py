"""The command ``describe``: what a component is, and its parameters with values and meanings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from osadbench import settings
from osadbench.cli.options import PRESET_NAMES, plugin_option
from osadbench.datasets import dataset_class, dataset_names
from osadbench.datasets.declaration import declaration, declaration_lines, plain_docstring
from osadbench.errors import UsageError, did_you_mean
from osadbench.params import Params, value_text
from osadbench.registry import METHODS, PROTOCOLS

__all__ = ["COMMANDS", "echo_dataset"]


@click.command()
@click.argument("name")
@click.option(
    "--preset",
    default="frozen",
    show_default=True,
    help=f"Preset of the values shown: {PRESET_NAMES}.",
)
@plugin_option
def describe(name: str, preset: str) -> None:
    """Say what a method, protocol or dataset is.

    Its parameters are listed with their values under the preset and their meanings; of a method,
    also what it sets itself under each preset.
    """
    settings.engine(preset)
    if name in dataset_names():
        echo_dataset(name)
    elif name in PROTOCOLS.names():
        cls: Any = PROTOCOLS.get(name)
        click.echo(plain_docstring(cls))
        _echo_params(cls.Params, cls().params)
    else:
        cls = _method(name)
        click.echo(plain_docstring(cls))
        for base in _bases(cls):
            click.echo(f"\nA variant of {base.name}:\n")
            click.echo(plain_docstring(base))
        _echo_own(cls)
        _echo_params(cls.Params, cls.resolve_params(preset, {}))


def echo_dataset(name: str) -> None:
    """Print what a dataset declares, and its parameters."""
    cls = dataset_class(name)
    for line in declaration_lines(declaration(cls)):
        click.echo(line)
    _echo_params(cls.Params, cls().params)


def _method(name: str) -> Any:
    if name in {entry.name for entry in METHODS.entries()}:
        return METHODS.get(name)
    known = [*METHODS.names(), *PROTOCOLS.names(), *dataset_names()]
    raise UsageError(f"no method, protocol or dataset {name!r}: {did_you_mean(name, known)}")


def _bases(cls: Any) -> Iterator[Any]:
    """Yield the methods that a method is a variant of, the nearest first."""
    for base in cls.__mro__[1:]:
        if "name" in vars(base) and base.name:
            yield base


def _echo_own(cls: Any) -> None:
    """Print the parameters and engine settings that a method sets itself, a line per preset."""
    own = {"always": dict(cls.fixed)}
    for preset in settings.PRESETS:
        engine = cls.engine_settings.get(preset, {})
        own[preset] = {**cls.presets.get(preset, {}), **{f"engine.{k}": engine[k] for k in engine}}
    lines = {preset: values for preset, values in own.items() if values}
    if lines:
        click.echo("\nSet by the method itself, beside its defaults:")
    for preset, values in lines.items():
        text = ", ".join(f"{key}={value_text(value)}" for key, value in values.items())
        click.echo(f"  {preset}: {text}")


def _echo_params(cls: type[Params], params: Params) -> None:
    values = params.model_dump(mode="json")
    if not values:
        return
    meanings = _meanings(cls)
    click.echo("\nParameters and their values:")
    for key, value in values.items():
        click.echo(f"  {key} = {value_text(value)}")
        for line in meanings.get(key, []):
            click.echo(f"      {line}")


def _meanings(cls: type[Params]) -> dict[str, list[str]]:
    """Return the lines under ``Attributes:`` by field; a subclass's own words come first."""
    meanings: dict[str, list[str]] = {}
    for base in cls.__mro__[: cls.__mro__.index(Params)]:
        _, _, section = plain_docstring(base).partition("Attributes:\n")
        # A field's further lines are indented more; the section ends with the indentation.
        entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
        for key, text in entries:
            meanings.setdefault(key, [line.strip() for line in text.splitlines()])
    return meanings


COMMANDS = (describe,)
