"""Commands on what there is: ``list``, ``check``, ``new-method``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from osadbench import settings
from osadbench.cli.options import PRESET_NAMES, plugin_option
from osadbench.datasets import dataset_class, dataset_names
from osadbench.errors import CheckFailedError, UsageError
from osadbench.registry import METHODS, PROTOCOLS, Registry

__all__ = ["COMMANDS"]

KINDS = ("methods", "protocols", "datasets", "presets")


@click.command("list")
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@plugin_option
def list_(kinds: tuple[str, ...]) -> None:
    """List methods, protocols, datasets and presets."""
    sections = {
        "methods": lambda: _registered(METHODS),
        "protocols": lambda: _registered(PROTOCOLS),
        "datasets": lambda: [(name, dataset_class(name).title) for name in dataset_names()],
        "presets": lambda: [(name, _preset_line(name)) for name in settings.PRESETS],
    }
    for kind in kinds or KINDS:
        click.echo(f"{kind}:")
        rows = sections[kind]()
        width = max((len(name) for name, _ in rows), default=0)
        for name, text in rows:
            click.echo(f"  {name:<{width}}  {text}")


def _registered(registry: Registry) -> list[tuple[str, str]]:
    rows = []
    for entry in registry.entries():
        origin = "" if entry.builtin else f" [{entry.origin}]"
        state = f"BROKEN: {entry.error}" if entry.error else entry.summary
        rows.append((entry.name, state + origin))
    return rows


def _preset_line(name: str) -> str:
    engine = settings.engine(name)
    kind = "trained end to end" if engine.train_backbone else "frozen"
    sizes = ", ".join(map(str, engine.image_sizes))
    return f"{engine.backbone}, {kind}, {sizes} px"


@click.command()
@click.argument("target")
@click.option(
    "--preset", default="smoke", show_default=True, help=f"Preset to check under: {PRESET_NAMES}."
)
@click.option("--set", "given", multiple=True, metavar="KEY=VALUE", help="A parameter: lr=1e-3.")
@plugin_option
def check(target: str, preset: str, given: tuple[str, ...]) -> None:
    """Check that a method keeps the rules of the contract.

    TARGET is the name of a method, a FILE.py that registers one or more, or all.
    """
    # Its images are tiny: more threads than one only wait for each other. Torch, which has not been
    # loaded yet, and the other processes of the checks take the number from here.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from osadbench.testing import check_method, format_results

    names = _names_of(target)
    params = dict(_key_value(text) for text in given)
    broken = []
    for name in names:
        cls = METHODS.get(name)
        resolved = cls.resolve_params(preset, params)
        values = {key: getattr(resolved, key) for key in params}
        results = check_method(cls, engine=preset, **values)
        click.echo(f"{name}:" if len(names) > 1 else "", nl=len(names) > 1)
        click.echo(format_results(results))
        if not all(result.passed for result in results):
            broken.append(name)
    if broken:
        raise CheckFailedError(f"{', '.join(broken)} does not keep the method contract: see FAIL")


def _names_of(target: str) -> list[str]:
    if target == "all":
        return METHODS.names()
    if not target.endswith(".py"):
        return [target]
    path = Path(target)
    METHODS.add_plugin(path)
    entries = [entry for entry in METHODS.entries() if entry.origin == str(path.resolve())]
    if not entries:
        raise UsageError(f'{target} registers no method: put @register_method("name") on a class')
    for entry in entries:
        if entry.error:
            raise UsageError(f"{target} is broken: {entry.error}")
    return [entry.name for entry in entries]


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set expects key=value, such as lr=1e-3, got {text!r}")
    return key.rpartition(".")[2].strip(), value.strip()


@click.command("new-method")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default=True,
    help="Where to put the file.",
)
def new_method(name: str, folder: Path) -> None:
    """Write the file of a small working method to start from."""
    from osadbench.scaffold import new_method as write

    path = write(name, folder)
    click.echo(f"wrote {path}\ntry:  osadbench check {path}")


COMMANDS = (list_, check, new_method)
