"""The frozen parts of a paper's table with our results in it, free of any layout."""

from __future__ import annotations

from dataclasses import dataclass

from osadbench._version import __version__
from osadbench.report.parts import Cell

__all__ = [
    "PUBLISHED_SCHEMA",
    "ComparedCell",
    "ComparedColumn",
    "ComparedRow",
    "ComparedTable",
    "Ranks",
    "Summary",
]

#: Version of the layout that the JSON format writes.
PUBLISHED_SCHEMA = 1


@dataclass(frozen=True)
class ComparedCell:
    """One value of the paper and ours.

    Attributes:
        ours: Our cell, without a mean where nothing has run; None where we have no counterpart.
        published: The paper's mean, or None where it prints none.
        published_std: The paper's spread, or None.
        status: ``"printed"``, ``"corrected"`` or ``"filled"``; empty where nothing is published.
        printed_mean: What the copy of the paper's text says where the mean is corrected, or None.
        printed_std: What it says of the spread, or None.
        note: Why the value was changed, or another remark.
        difference: Ours minus published, both rounded to what is printed; None without both.
        verdict: ``"within"`` or ``"outside"`` both spreads, or ``""`` where one of them is missing
            or ours lacks seeds; see :func:`osadbench.report.published.cells.verdict`.
        mixed: Whether ours is made otherwise than most of the table.
    """

    ours: Cell | None
    published: float | None = None
    published_std: float | None = None
    status: str = ""
    printed_mean: float | None = None
    printed_std: float | None = None
    note: str = ""
    difference: float | None = None
    verdict: str = ""
    mixed: bool = False

    @property
    def complete(self) -> bool:
        """Whether ours has all seeds."""
        return self.ours is not None and 0 < self.ours.n == self.ours.expected


@dataclass(frozen=True)
class ComparedColumn:
    """One column of the paper.

    Attributes:
        title: Heading.
        published: The method's name in the published data, or ``""``.
        shots: Labelled anomalies; None for methods without, or where the paper doesn't say.
        cell_shots: Labelled anomalies of our cells; None for methods without.
        method: Our method with its parameters, ``""`` where there is none.
        reason: Why there is none, or ``""``.
    """

    title: str
    published: str
    shots: int | None
    cell_shots: int | None
    method: str
    reason: str = ""


@dataclass(frozen=True)
class ComparedRow:
    """One row of the paper.

    Attributes:
        name: Such as ``"carpet/color"``, ``"carpet/mean"`` or ``"elpv"``.
        setting: Setting of the published values.
        dataset: Dataset as the paper names it.
        subset: Category or known class, or ``""``.
        aggregate: Whether it is the mean over several categories or classes.
        summed: Whether these stand in the table too, so that the row adds nothing of its own.
        cells: One for each column; None where row and column don't meet.
    """

    name: str
    setting: str
    dataset: str
    subset: str
    aggregate: bool
    summed: bool
    cells: tuple[ComparedCell | None, ...]


@dataclass(frozen=True)
class Ranks:
    """Whether our results put the methods in the paper's order.

    Attributes:
        shots: Labelled anomalies of the methods ranked, with those that use none among them.
        rows: Rows in which two or more methods could be ranked.
        kept: Rows in which no two methods are in another order than the paper's.
        mean_tau: Mean of Kendall's tau-b over the rows where it is defined, or None.
        means_tau: Kendall's tau-b of the methods' means over the rows in which all methods that
            have results could be ranked, or None.
    """

    shots: int | None
    rows: int
    kept: int
    mean_tau: float | None
    means_tau: float | None


@dataclass(frozen=True)
class Summary:
    """How a table compares, over cells with all seeds and no part in another row.

    Attributes:
        cells: Cells of the table that have a counterpart here.
        run: Those of them with any result.
        compared: Cells with all seeds and a published value.
        judged: Those with a verdict.
        within: Those within both spreads.
        mean_difference: Mean of the absolute differences, or None.
        ranks: The order of the methods, for each number of shots.
    """

    cells: int
    run: int
    compared: int
    judged: int
    within: int
    mean_difference: float | None
    ranks: tuple[Ranks, ...] = ()


@dataclass(frozen=True)
class ComparedTable:
    """A paper's table, with our results.

    Attributes:
        name: Name of the experiment.
        title: What it is about.
        source: Paper and table.
        metric: Metric of the values.
        seeds: The repetitions that each cell should have.
        made: How our results were made: preset, backbone, weights; ``""`` without results.
        columns: The columns.
        rows: The rows.
        summary: How it compares.
        footnotes: Reasons for missing results, numbered from 1.
        notes: Remarks.
        has_published: Whether the paper's values are data.
        versions: The versions of osadbench that made our results, sorted.
        schema: Version of this layout.
        version: Version of osadbench.
    """

    name: str
    title: str
    source: str
    metric: str
    seeds: tuple[int, ...]
    made: str
    columns: tuple[ComparedColumn, ...]
    rows: tuple[ComparedRow, ...]
    summary: Summary
    footnotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_published: bool = True
    versions: tuple[str, ...] = ()
    schema: int = PUBLISHED_SCHEMA
    version: str = __version__
