"""The frozen parts of a comparison of two sets of results, free of any layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from osadbench.report.cells import CellPlace
from osadbench.scores import ScoreTable
from osadbench.stats import AurocDifference, WilcoxonResult
from osadbench.types import Record

__all__ = ["NO_SHARED_CELL", "CellDifference", "Differences", "GroupTest", "Side"]

#: The reason that a test of fewer cells could not mend.
NO_SHARED_CELL = "they share no cell"


@dataclass(frozen=True)
class Side:
    """One side of the comparison.

    Attributes:
        name: How it was asked for.
        records: Its records.
        scores_of: Returns the scores of a key.
    """

    name: str
    records: Sequence[Record]
    scores_of: Callable[[str], ScoreTable]


@dataclass(frozen=True)
class CellDifference:
    """One cell of both sides.

    Attributes:
        place: Protocol, dataset, row, shots, method and seed.
        status: ``"same"`` (the very same scores), ``"differs"``, ``"only A"``, ``"only B"``,
            ``"neither"`` (no side has a result), or ``"other images"``.
        first: The metric's value in A, or None.
        second: The one in B.
        interval: Of the difference of the AUROCs on the same images; None for other metrics, or
            where there is none.
        reason: Why a value or the interval is missing, or None.
    """

    place: CellPlace
    status: str
    first: float | None = None
    second: float | None = None
    interval: AurocDifference | None = None
    reason: str | None = None

    @property
    def difference(self) -> float | None:
        """A minus B, or None."""
        if self.first is None or self.second is None:
            return None
        return self.first - self.second


@dataclass(frozen=True)
class GroupTest:
    """The test over the rows of one protocol, number of shots and method.

    Attributes:
        protocol: Name of the protocol.
        shots: Labelled anomalies.
        label: The method, or empty where two methods are compared.
        result: Wilcoxon's test of the means over seeds, or None where it was not computed.
        p_holm: The p-value after Holm's correction for the tests computed.
        effect: Matched-pairs rank-biserial correlation, positive where A is larger, or None.
        mean_difference: Mean over rows of A minus B, or None.
        reason: Why it was not computed, or None.
    """

    protocol: str
    shots: int
    label: str
    result: WilcoxonResult | None = None
    p_holm: float | None = None
    effect: float | None = None
    mean_difference: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Differences:
    """Everything that is rendered.

    Attributes:
        first: Name of side A.
        second: Name of side B.
        metric: Key of the metric.
        level: Confidence of the intervals.
        cells: In the order of their places.
        tests: In the same order.
    """

    first: str
    second: str
    metric: str
    level: float
    cells: tuple[CellDifference, ...]
    tests: tuple[GroupTest, ...]
