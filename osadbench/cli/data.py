"""The commands of ``data``: what is here, what it is, whether it is whole, converting, fetching."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from osadbench import settings
from osadbench.cache import cache_dir as find_cache
from osadbench.cli.describe import echo_dataset
from osadbench.cli.options import DATA_ROOT_HELP, FOLDER, cache_option, plugin_option
from osadbench.datasets import dataset_class, dataset_names, open_component
from osadbench.datasets.declaration import declaration
from osadbench.datasets.folder import Folder
from osadbench.datasets.listing import is_empty, is_folder
from osadbench.datasets.places import data_folder
from osadbench.datasets.raw import RawDataset
from osadbench.errors import DataError, PrecheckError, UsageError, did_you_mean
from osadbench.params import parse_component
from osadbench.progress import progress_bar
from osadbench.weights import network_is_off

__all__ = ["COMMANDS"]

#: Layout of the JSON documents.
SCHEMA = 1

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@click.group()
def data() -> None:
    """Look at datasets, convert and fetch them."""


_json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
_root_option = click.option("--data-root", "root", type=FOLDER, help=DATA_ROOT_HELP)


def _loader_options(function: F) -> F:
    for option in (
        cache_option,
        click.option(
            "--split",
            type=click.Choice(["paper", "group"]),
            help="How normals are split that no site has split: as in the papers, or with images "
            "of one strip, part or the like kept together.  [default: paper]",
        ),
        click.option("--strict-counts", is_flag=True, help="Refuse unexpected numbers of images."),
        click.option(
            "--on-duplicate",
            type=click.Choice(["error", "warn", "drop"]),
            help="What to do about an image that is in both train and test, or both normal and "
            "anomalous.  [default: the dataset's own]",
        ),
        _root_option,
    ):
        function = option(function)
    return function


@data.command("list")
@click.option(
    "--data-root",
    "parent",
    type=FOLDER,
    help="Folder that holds datasets under their names.  [default: OSADBENCH_DATA_DIR]",
)
@_json_option
def list_(parent: Path | None, as_json: bool) -> None:
    """Say which datasets are here, where, and whether they are whole.

    Files are counted, not decoded; data check reads them all.
    """
    from osadbench.datasets.inventory import look

    if parent is not None and not is_folder(parent):
        raise DataError(f"no folder {parent}: give one that holds datasets under their names")
    entries = [look(name, parent) for name in dataset_names()]
    if as_json:
        listed = [{**asdict(entry), "images": entry.images} for entry in entries]
        click.echo(json.dumps({"schema": SCHEMA, "datasets": listed}, indent=1))
        return
    rows = [(e.name, e.state, str(e.images or "-"), e.folder or "-", e.licence) for e in entries]
    lines = _aligned([("dataset", "state", "images", "folder", "licence"), *rows])
    click.echo(lines[0])
    for entry, line in zip(entries, lines[1:], strict=True):
        click.echo(line)
        if entry.detail and entry.state != "missing":
            click.echo(f"  {entry.detail.splitlines()[0]}")
    if any(entry.state in ("missing", "incomplete") for entry in entries):
        click.echo("\nosadbench data fetch NAME gets one, or says how")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


@data.command()
@click.argument("name")
@_json_option
def info(name: str, as_json: bool) -> None:
    """Say what dataset NAME is, what belongs to it, and how to get it."""
    cls = dataset_class(name)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, **declaration(cls)}, indent=1))
    else:
        echo_dataset(name)


@data.command()
@click.argument("target", metavar="NAME|DIR")
@_loader_options
@plugin_option
def check(target: str, root: Path | None, cache_dir: Path | None, **options: Any) -> None:
    """Say what a dataset or folder holds, or all that is wrong with it.

    DIR has the layout of MVTec AD; ./NAME is a folder of a dataset's name. The splits of the
    protocols are listed too.
    """
    from osadbench.datasets.check import check_dataset

    # A folder's name may hold brackets that enclose no parameters.
    if target.partition("[")[0].partition("/")[0].strip() in dataset_names():
        dataset, category = _open(target, root, cache_dir, options)
    else:
        _check_folder(target)
        if root is not None:
            raise UsageError("--data-root goes with the name of a dataset, not with a folder")
        dataset, category = _open("folder", Path(target), cache_dir, options)
    click.echo(check_dataset(dataset, category))


def _check_folder(target: str) -> None:
    if target and is_folder(Path(target)):
        return
    if Path(target).is_absolute() or target.startswith("."):
        raise DataError(f"no folder {target}: give one in the layout of MVTec AD")
    known = did_you_mean(target, dataset_names())
    raise UsageError(f"no dataset and no folder {target!r}: {known}")


def _open(
    text: str, root: Path | None, cache_dir: Path | None, options: dict[str, Any]
) -> tuple[Folder, str | None]:
    name, params = parse_component(text)
    given = {key: value for key, value in options.items() if value}
    for key in params:
        if key in given:
            option = "--" + key.replace("_", "-")
            raise UsageError(f"{key} is given twice: drop {option}, or {key}={params[key]}")
    return open_component(name, {**given, **params}, root, cache=find_cache(cache_dir))


@data.command()
@click.argument("name")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder to write to, a new one."
)
@click.option("--force", is_flag=True, help="Replace what stands in that folder.")
@_loader_options
def prepare(
    name: str,
    out: Path,
    force: bool,
    root: Path | None,
    cache_dir: Path | None,
    **options: Any,
) -> None:
    """Write dataset NAME to a folder in the layout of MVTec AD.

    Images and masks become PNG files, which loses nothing; manifest.json in the folder says where
    each comes from and what is left out. No other command needs this.
    """
    from osadbench.datasets.prepare import prepare as write

    dataset, category = _open(name, root, cache_dir, options)
    if category is not None:
        raise UsageError(f"a dataset is converted whole: drop '/{category}'")
    done = write(dataset, out, force=force, follow=_file_bar)
    state = "wrote" if done.is_new else "found"
    click.echo(f"{state} {done.images} images in {done.folder}")
    click.echo(f"read them by -d {dataset.name} --data-root {done.folder}")


def _file_bar(done: Iterable[T], total: int) -> Iterable[T]:
    bar: Iterable[T] = progress_bar(total, "file", iterable=done)
    return bar


@data.command()
@click.argument("name")
@_root_option
@click.option("--yes", is_flag=True, help="Accept the licence.")
@click.option("--offline", is_flag=True, help="Never try the network.")
def fetch(name: str, root: Path | None, yes: bool, offline: bool) -> None:
    """Download dataset NAME if that is allowed, or say how to get it."""
    cls = dataset_class(name)
    if not issubclass(cls, RawDataset):
        click.echo(f"nothing to download: {name} is {cls.source}")
        return
    folder = root or data_folder(name)
    try:
        click.echo(f"{name} is here: {cls(root).root}")
        return
    except DataError:
        # What stands there says more than that the dataset doesn't.
        if folder is not None and is_folder(folder) and not is_empty(folder):
            raise
    from osadbench.datasets.fetch import fetch as download
    from osadbench.datasets.fetch import how_to_get, terms

    if not cls.archives or network_is_off(settings.engine(offline=offline)):
        click.echo(how_to_get(cls, root))
        reason = "the network is off" if cls.archives else "it may not be downloaded for you"
        raise PrecheckError(f"{name} is not here and {reason}: get it by hand, as told above")
    if folder is None:
        raise UsageError(
            "expected a folder to download to: give --data-root DIR, or set OSADBENCH_DATA_DIR"
        )
    click.echo(terms(cls))
    _ask(name, yes)
    click.echo(f"{name} is here: {download(cls, folder, _byte_bar)}")


def _ask(name: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PrecheckError(
            f"the licence of {name} has not been accepted: read the terms above and add --yes"
        )
    if not click.confirm("Do you accept the licence?"):
        raise PrecheckError(f"the licence of {name} was not accepted: nothing was downloaded")


def _byte_bar(name: str) -> Callable[[int, int | None], object]:
    bar = progress_bar(None, "B", desc=name, unit_scale=True)

    def show(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


COMMANDS = (data,)
