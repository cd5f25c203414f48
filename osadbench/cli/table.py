"""The command ``table``: a paper's table with our results beside the printed values."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from osadbench import published, settings
from osadbench.cli.options import PRESET_NAMES, output_option
from osadbench.cli.stored import allow_mixed_option, format_option, measured, read_store
from osadbench.cli.table_missing import missing_lines
from osadbench.cli.table_request import find_experiment
from osadbench.datasets import dataset_class, dataset_names
from osadbench.datasets.raw import RawDataset
from osadbench.errors import UsageError
from osadbench.experiments import Experiment
from osadbench.params import parse_component
from osadbench.plan import Component, method_label, protocol_label
from osadbench.registry import PROTOCOLS
from osadbench.report.published import (
    ComparedTable,
    DeclaredImages,
    Labels,
    build_published_table,
    render_counts,
    render_published,
    usual_records,
)
from osadbench.report.published.figure import save_figure
from osadbench.types import NORMAL_CLASS, Record, place_name

__all__ = ["COMMANDS", "echo_table"]

logger = logging.getLogger("osadbench")

#: Options that say something of results of ours.
_OF_RESULTS = ("output", "preset", "allow_mixed", "figure")


@click.command()
@click.argument("name")
@output_option
@format_option
@click.option("--published", "only", is_flag=True, help="The paper's values alone.")
@click.option("--preset", help=f"Only results of this preset: {PRESET_NAMES}.")
@allow_mixed_option
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw a sweep or figure into this file, too (.pdf, .png).",
)
@click.pass_context
def table(
    context: click.Context,
    name: str,
    output: Path,
    format_: str,
    only: bool,
    preset: str | None,
    allow_mixed: bool,
    figure: Path | None,
) -> None:
    """Print a paper's table with our results beside its values.

    NAME is a table, such as dra-2 (DRA's Table 2), or a sweep, such as devnet-samples; osadbench
    run --table NAME computes what it needs. dra-5 and devnet-1 are the sizes of the datasets. A
    difference is within both spreads (=) if it is at most the sum of both standard deviations.
    """
    given = context.get_parameter_source
    ours = [o for o in _OF_RESULTS if given(o) is not ParameterSource.DEFAULT]
    if ours and (only or name in published.COUNT_TABLES):
        what = "--published" if only else name
        raise UsageError(
            f"{what} prints the paper's values alone, without results: drop {_options(ours)}"
        )
    if name in published.COUNT_TABLES:
        click.echo(render_counts(name, published.dataset_counts(name), format_), nl=False)
        return
    experiment = find_experiment(name)
    if only:
        _echo_published(experiment, format_)
        return
    # Without results, a table has the paper's values all the same; a folder that is named is meant.
    records = read_store(output)[1] if "output" in ours or output.is_dir() else []
    built = echo_table(experiment, records, output, format_, preset=preset, allow_mixed=allow_mixed)
    if figure is not None:
        save_figure(built, experiment, figure)
        logger.info("wrote %s", figure)


def _options(names: Sequence[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)


def _echo_published(experiment: Experiment, format_: str) -> None:
    if not experiment.published:
        raise UsageError(f"the values of {experiment.name} are a figure's and are no data here")
    values = published.load(experiment.published)
    built = build_published_table(experiment, values, [], _labels())
    click.echo(render_published(built, format_, published_only=True), nl=False)


def echo_table(
    experiment: Experiment,
    records: Sequence[Record],
    output: Path,
    format_: str = "terminal",
    *,
    preset: str | None = None,
    allow_mixed: bool = False,
) -> ComparedTable:
    """Build, print and return a table, and say how to fill what is empty.

    Args:
        experiment: The table's experiment.
        records: Results, of other tables too.
        output: The folder they are of.
        format_: A key of ``FORMATS``.
        preset: Only results of this preset; None for all but those of preset smoke, which are no
            measurements.
        allow_mixed: Whether results made in several ways may stand together.

    Raises:
        UsageError: There is no such preset.
        StoreError: Results made in several ways, unless ``allow_mixed``.
    """
    if preset is not None:
        settings.engine(preset)
    chosen = [record for record in records if preset in (None, record.preset)]
    values = published.load(experiment.published) if experiment.published else ()
    labels = _labels()
    built = build_published_table(
        experiment,
        values,
        chosen,
        labels,
        allow_mixed=allow_mixed,
        include_smoke=preset is not None,
        declared=_declared_images({record.dataset for record in chosen}),
    )
    click.echo(render_published(built, format_), nl=False)
    made = usual_records(experiment, measured(chosen) if preset is None else chosen, labels)
    for line in missing_lines(experiment, built, made, output, preset):
        if format_ == "terminal":
            click.echo(line)
        else:
            logger.info("%s", line)
    return built


def _declared_images(names: Collection[str]) -> dict[str, DeclaredImages]:
    """Return the numbers of images that datasets declare, by ``dataset/category``."""
    found = {}
    for name in sorted(set(dataset_names()).intersection(names)):
        cls = dataset_class(name)
        for category, counts in cls.counts.items() if issubclass(cls, RawDataset) else ():
            normals = counts[f"train/{NORMAL_CLASS}"]
            place = place_name(name, category)
            found[place] = DeclaredImages(normals, sum(counts.values()) - normals)
    return found


def _labels() -> Labels:
    @functools.cache
    def method(preset: str, component: str) -> str:
        # Records of a preset that has gone since fit no column.
        if preset not in settings.PRESETS:
            return ""
        return method_label(Component(*parse_component(component)), preset)

    @functools.cache
    def protocol(component: str) -> str:
        name, given = parse_component(component)
        return protocol_label(Component(name, given)) if name in PROTOCOLS.names() else component

    return Labels(method, protocol)


COMMANDS = (table,)
