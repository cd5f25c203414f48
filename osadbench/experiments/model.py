"""What a named experiment is: rows, columns, and what runs for each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import pydantic

from osadbench.params import Params

__all__ = ["Block", "Column", "Exceptional", "Experiment", "Place"]

_Shots = Annotated[int, pydantic.Field(ge=1)]


class Place(Params):
    """What a row's name of the papers is of ours.

    Attributes:
        dataset: Dataset, with a category where the papers take one for a dataset.
        categories: Categories, in the papers' order.
        classes: Known classes of the hard setting, in the papers' order.
        other: Further names of classes, as downloads have them.
    """

    dataset: str
    categories: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    other: Mapping[str, tuple[str, ...]] = {}

    @pydantic.model_validator(mode="after")
    def _other_names_are_of_classes(self) -> Self:
        unknown = sorted(set(self.other) - set(self.classes))
        if unknown:
            raise ValueError(f"other names a class that is not in classes: {', '.join(unknown)}")
        return self


class Column(Params):
    """One column: what the paper prints, and which of our methods answers to it.

    Attributes:
        published: The method's name in the published data; empty where nothing is published.
        method: Our method with its parameters; empty where there is none, which the experiment's
            ``reasons`` explain.
        shots: Labelled anomalies; None for methods that use none, or where the paper doesn't say.
        run_shots: Labelled anomalies of our cells where the paper doesn't say.
        heading: Title; empty for the name in the published data.
        protocol: Protocol in place of the block's.
        setting: Setting of the published values in place of the block's.
        pseudo_source: Source of the pseudo anomalies in the published values.
        source: Category that the published values trained on.
        outliers: Dataset of the external outliers; empty for the choice of user or dataset.
        x: Where a sweep's figure has it on the experiment's axis; None in tables.
    """

    published: str = ""
    method: str = ""
    shots: _Shots | None = None
    run_shots: _Shots | None = None
    heading: str = ""
    protocol: str = ""
    setting: str = ""
    pseudo_source: str = ""
    source: str = ""
    outliers: str = ""
    x: float | None = None

    @property
    def title(self) -> str:
        """The heading, or the name in the published data."""
        return self.heading or self.published

    @property
    def cell_shots(self) -> int | None:
        """Labelled anomalies of our cells; None where the method uses none."""
        return self.shots or self.run_shots

    @pydantic.model_validator(mode="after")
    def _has_a_title(self) -> Self:
        if not self.title:
            raise ValueError("a column needs published or heading")
        return self


class Block(Params):
    """Rows that share a protocol.

    Attributes:
        setting: Setting of the published values.
        protocol: Our protocol with its parameters.
        rows: Rows by name: ``"elpv"``; ``"elpv/*"`` for each category or known class;
            ``"elpv/mean"`` for their mean; ``"mvtec/grid"`` for one of them.
    """

    setting: str
    protocol: str
    rows: tuple[str, ...] = pydantic.Field(min_length=1)


class Exceptional(Params):
    """What some methods need on some datasets beside what their columns say.

    Attributes:
        datasets: Rows' datasets.
        methods: Our methods, by names without parameters.
        parameters: Parameters to add; those that the column gives win.
    """

    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    parameters: Mapping[str, str]


class Experiment(Params):
    """One table or figure of a paper, as an experiment.

    Attributes:
        name: Name on the command line.
        title: What it is about.
        source: Paper, and table, figure or section.
        published: Table of :mod:`osadbench.published`; empty where the values are no data.
        metric: Metric of the values.
        seeds: Repetitions.
        axis: What a sweep changes, which is the axis of its figure; empty for tables.
        note: What to know when comparing.
        columns: In the paper's order.
        blocks: Rows, in the paper's order.
        exceptions: What some methods need on some datasets.
        reasons: Why columns have no counterpart, by their name in the published data.
    """

    name: str
    title: str
    source: str
    published: str = ""
    metric: Literal["auroc", "pixel_auroc"] = "auroc"
    seeds: tuple[Annotated[int, pydantic.Field(ge=0)], ...] = pydantic.Field(min_length=1)
    axis: str = ""
    note: str = ""
    columns: tuple[Column, ...] = pydantic.Field(min_length=1)
    blocks: tuple[Block, ...] = pydantic.Field(min_length=1)
    exceptions: tuple[Exceptional, ...] = ()
    reasons: Mapping[str, str] = {}

    @pydantic.model_validator(mode="after")
    def _columns_are_explained(self) -> Self:
        mistakes = [
            f"column {column.title!r} needs a method or a reason, and not both"
            for column in self.columns
            if bool(column.method) == (column.published in self.reasons)
        ]
        idle = set(self.reasons) - {column.published for column in self.columns}
        mistakes += [f"reasons name {name!r}, which is no column" for name in sorted(idle)]
        lost = [
            column.title for column in self.columns if bool(self.axis) != (column.x is not None)
        ]
        mistakes += [f"column {title!r} needs x where there is an axis, only" for title in lost]
        if self.published:
            unpublished = [column.title for column in self.columns if not column.published]
            mistakes += [f"column {title!r} has no published name" for title in unpublished]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self
