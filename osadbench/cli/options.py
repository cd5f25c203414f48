"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from osadbench.registry import METHODS, PROTOCOLS
from osadbench.settings import PRESETS

__all__ = [
    "DEFAULT_OUTPUT",
    "FOLDER",
    "DATA_ROOT_HELP",
    "PRESET_NAMES",
    "cache_option",
    "engine_options",
    "output_option",
    "plugin_option",
    "reference_option",
    "selection_options",
    "table_option",
]

F = TypeVar("F", bound=Callable[..., Any])


def _apply(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _add_plugins(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    for path in value:
        METHODS.add_plugin(path)
        PROTOCOLS.add_plugin(path)
    return value


#: Folder of the results where no other is named.
DEFAULT_OUTPUT = Path("results/runs")

#: The presets, for help texts.
PRESET_NAMES = ", ".join(PRESETS)

DATA_ROOT_HELP = "The dataset's folder.  [default: OSADBENCH_DATA_DIR/NAME]"


class _Folder(click.Path):
    """A path, but not the empty one that a variable without a value leaves: it would be ``.``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("expected a folder, got '': set the variable, or give . for this folder")
        return super().convert(value, param, ctx)


#: The type of an option that names a folder.
FOLDER = _Folder(path_type=Path)

cache_option = click.option(
    "--cache-dir",
    type=FOLDER,
    help="Folder of the caches.  [default: OSADBENCH_CACHE_DIR, or the user's cache folder]",
)

plugin_option = click.option(
    "--plugin",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_add_plugins,
    type=click.Path(path_type=Path),
    help="Take in the methods and protocols of a .py file.",
)

output_option = click.option(
    "-o",
    "--output-dir",
    "output",
    type=FOLDER,
    default=DEFAULT_OUTPUT,
    envvar="OSADBENCH_OUTPUT_DIR",
    show_envvar=True,
    show_default=True,
    help="Folder of the results.",
)

reference_option = click.option(
    "--reference", help="Column that the others are tested against; else the first with results."
)

table_option = click.option(
    "--table",
    metavar="NAME",
    help="A table of the papers, such as dra-2, in place of -p; -m, -d and --shots take a part.",
)

engine_options = _apply(
    [
        click.option(
            "-m",
            "--methods",
            multiple=True,
            help='Methods: dra,devnet or "dra[lr=1e-4]" or all or "dra*"; !knn leaves out.',
        ),
        click.option(
            "--set",
            "given",
            multiple=True,
            metavar="NAME.KEY=VALUE",
            help="A parameter: dra.lr=1e-4, or of the engine: engine.seen_views=8.",
        ),
        click.option("--preset", help=f"{PRESET_NAMES}.  [default: frozen]"),
        click.option("--backbone", help="A timm model with feature maps.  [default: the preset's]"),
        click.option(
            "--weights",
            help="A safetensors or .pth file, auto, or random.  [default: the preset's]",
        ),
        click.option(
            "--image-sizes",
            help="Side lengths in pixels, such as 320,224.  [default: the preset's]",
        ),
        click.option("--precision", help="auto, fp32 or bf16.  [default: the preset's]"),
        click.option("--device", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]"),
        click.option("--offline", is_flag=True, default=None, help="Never try the network."),
        click.option(
            "--outliers",
            metavar="DIR|DATASET",
            help="External outliers, for methods that learn from images of other data: a folder, "
            "or a dataset's normal training images.",
        ),
        click.option(
            "--localise",
            is_flag=True,
            help="Measure the pixel AUROC too, from score maps and masks; cells that are done "
            "without it run again.",
        ),
        click.option(
            "--splits",
            type=click.Path(path_type=Path),
            help="Splits saved by osadbench split, instead of -p, --shots and --seeds.",
        ),
    ]
)

selection_options = _apply(
    [
        click.option(
            "-p", "--protocol", "protocols", multiple=True, help="Protocols: general,hard."
        ),
        click.option(
            "-d",
            "--dataset",
            "datasets",
            multiple=True,
            help="Datasets: elpv, folder, folder/CATEGORY, synthetic.  [default: elpv]",
        ),
        click.option("--data-root", type=FOLDER, help=DATA_ROOT_HELP),
        click.option("--shots", help="Numbers of labelled anomalies.  [default: 1,10]"),
        click.option("--seeds", help="A list, or how many: 5 is 0,1,2,3,4.  [default: 0,1,2]"),
        click.option("--seed", help="One seed."),
        click.option(
            "--known-class", "known", multiple=True, help="Known classes, of protocol hard only."
        ),
        cache_option,
        plugin_option,
    ]
)
