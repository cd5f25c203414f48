"""The frozen parts of a report, free of any layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osadbench._version import __version__
from osadbench.stats import WilcoxonResult

__all__ = [
    "SCHEMA_VERSION",
    "Cell",
    "ColumnFacts",
    "Comparison",
    "Cost",
    "Report",
    "Row",
    "Setting",
    "Table",
]

#: Version of the layout that the JSON format writes, as docs/report-json.md has it. Fields may be
#: added to a version; one that goes, or means something else, makes a new one.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Setting:
    """What the results of one table, and of one test, have in common.

    Attributes:
        protocol: Name of the protocol with its changed parameters; ``""`` where each line of the
            table has its own.
        shots: Labelled anomalies asked for, of methods that take any; 0 where none does.
        preset: Preset of the engine.
        backbone: Name of the engine's backbone.
        weights: Digest of that backbone's weights, or how they were drawn; ``"none"`` where no
            method uses it.
        engine: All engine settings that change scores, as they were asked for.
        changes: ``key=value`` of the engine settings that tell this setting from another of the
            report with the same preset; empty where nothing needs telling apart.
        images: 0 for the newest images of each name in the report, by their first result under
            this protocol and engine; older ones, of another manifest, count up from 1.
    """

    protocol: str
    shots: int
    preset: str
    backbone: str
    weights: str
    engine: Mapping[str, Any]
    changes: tuple[str, ...] = ()
    images: int = 0


@dataclass(frozen=True)
class Cell:
    """One method's results on one row.

    Attributes:
        label: The column: the method with its changed parameters.
        mean: Mean over the seeds that are done, or None without any.
        std: Sample standard deviation over these seeds (``ddof=1``; the papers don't say which one
            theirs is), or None with fewer than two.
        n: Number of seeds done.
        expected: Number of seeds that the table has.
        failed: Number of seeds that failed.
        skipped: Number of seeds that the method skipped.
        notes: Numbers, from 1, of the table's footnotes on missing results.
        mark: ``"best"``, ``"second"`` or ``""``, by the means as printed.
        odd: Whether something of what it is made of was made otherwise than most of a table that
            mixes results.
        fit_seconds: Mean time of ``fit``, or None where none is recorded.
        score_seconds: Mean time of ``score``, or None.
        peak_memory_bytes: Largest peak of memory, or None.
    """

    label: str
    mean: float | None
    std: float | None
    n: int
    expected: int
    failed: int = 0
    skipped: int = 0
    notes: tuple[int, ...] = ()
    mark: str = ""
    odd: bool = False
    fit_seconds: float | None = None
    score_seconds: float | None = None
    peak_memory_bytes: float | None = None


@dataclass(frozen=True)
class Row:
    """The cells of one row, in the order of the table's columns.

    Attributes:
        name: Known class, category or dataset, or protocol and shots; ``"mean"`` for the mean row.
        cells: One for each column.
        aggregate: Whether this is the mean row. Its means are the means of the rows' means; its
            standard deviations are those, over seeds, of the mean over the rows.
    """

    name: str
    cells: tuple[Cell, ...]
    aggregate: bool = False


@dataclass(frozen=True)
class ColumnFacts:
    """What one column's results have of their own beside the setting.

    Attributes:
        label: The column.
        cells: Number of results that are done.
        shots: Labelled anomalies asked for: those of the table, or 0 for a method that takes none,
            whose results stand in the tables of all shots.
        uses_backbone: Whether a backbone took part, the engine's or another one.
        departures: Engine settings of the method's own, with the weights where a backbone is among
            them; the different ones, empty ones included, where there are several.
        outliers: Source, digest and number of images of external outliers, the different ones.
        remarks: The method's own remarks on its fits and the number of results that have each.
            Remarks that differ in numbers alone are one, with the ranges of the numbers.
    """

    label: str
    cells: int
    shots: int
    uses_backbone: bool
    departures: tuple[Mapping[str, Any], ...] = ()
    outliers: tuple[Mapping[str, Any], ...] = ()
    remarks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One dataset under one setting.

    Attributes:
        setting: Protocol, shots and engine.
        dataset: Name of the dataset, or ``dataset/category`` where the rows are the known classes
            of one category; ``"means by dataset"`` or ``"means by protocol"`` where they are those.
        metric: Key of the metric.
        columns: The methods' labels.
        seeds: All seeds that any method has met here, sorted; each is expected of every cell.
        rows: Sorted by name or as asked for, then the mean row where there is more than one.
        footnotes: Reasons for missing results, numbered from 1.
        notes: Remarks in words: what columns have of their own, which images these are, mixed
            versions, commits, precisions.
        facts: What the columns have of their own, one for each.
        manifests: Digests of the images' manifests by ``dataset`` or ``dataset/category``.
        versions: Versions of osadbench that made the results, sorted; empty where none is recorded.
        mixed: Those of the notes that say what only ``allow_mixed`` lets in.
    """

    setting: Setting
    dataset: str
    metric: str
    columns: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[ColumnFacts, ...] = ()
    manifests: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The test of one method against the reference, over all rows under one setting.

    Attributes:
        setting: Protocol, shots and engine.
        reference: Label of the method compared with.
        method: Label of the other one.
        result: What the test found, or None where it was not computed.
        p_holm: The p-value after Holm's correction for the tests computed under this setting; None
            where it is the only one, or was not computed.
        effect: Matched-pairs rank-biserial correlation, from -1 to 1, positive where the
            reference's values are larger; None where the test was not computed.
        reason: Why the test was not computed, or None.
    """

    setting: Setting
    reference: str
    method: str
    result: WilcoxonResult | None
    p_holm: float | None = None
    effect: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Cost:
    """Time and memory of one method over all results shown that are done.

    Attributes:
        preset: Preset of the engine.
        label: The method with its changed parameters.
        cells: Number of results. One that stands in several tables counts once.
        fit_seconds: Mean time of ``fit``, or None where none is recorded.
        score_seconds: Mean time of ``score``, or None.
        peak_memory_bytes: Largest peak of the process's memory, or None.
        devices: Names of the devices, sorted.
    """

    preset: str
    label: str
    cells: int
    fit_seconds: float | None
    score_seconds: float | None
    peak_memory_bytes: float | None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is rendered.

    Attributes:
        metric: Key of the metric.
        tables: Sorted by setting, then dataset.
        tests: Comparisons, in the order of the tables' settings.
        notes: Remarks on the whole.
        allow_partial: Whether cells that lack seeds are marked and tested like the others.
        costs: Time and memory by preset and method; empty where they were not asked for.
        group_by: What a line of a table is: a ``"row"`` of a dataset, a ``"dataset"``, a
            ``"protocol"`` with its shots, or a ``"method"``. For methods the tables are those of
            rows, and only their printed form is turned.
        schema: Version of this layout.
        version: Version of osadbench.
    """

    metric: str
    tables: tuple[Table, ...]
    tests: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    allow_partial: bool = False
    costs: tuple[Cost, ...] = ()
    group_by: str = "row"
    schema: int = SCHEMA_VERSION
    version: str = __version__
