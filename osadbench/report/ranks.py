"""Ranks of the methods in each row, and what Friedman's and Nemenyi's tests make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from osadbench.metrics import METRICS
from osadbench.report import wording
from osadbench.report.documents import csv_text, json_text
from osadbench.report.images import ambiguous_places, images_text
from osadbench.report.parts import Cell, Report, Row, Table
from osadbench.report.sheets import Sheet, sheets_text
from osadbench.report.texts import DIGITS, bare_p_text, p_text
from osadbench.stats import (
    FriedmanResult,
    friedman_test,
    indistinguishable,
    nemenyi_difference,
    rank_rows,
)

__all__ = ["RankTable", "rank_report", "rank_table", "render_ranks"]

#: Version of the layout that the JSON format writes.
SCHEMA = 1
_COLUMNS = ("table", "row", "method", "metric", "value", "rank")


@dataclass(frozen=True)
class RankTable:
    """Ranks under one setting.

    Attributes:
        title: What is ranked, in words.
        metric: Key of the metric.
        methods: The methods ranked, the best mean rank first.
        rows: Names of the rows ranked.
        values: Results by row and method.
        ranks: Ranks by row and method, 1 the best, ties averaged.
        alpha: Level of Nemenyi's test.
        test: Friedman's test, or None where it was not computed.
        difference: Nemenyi's critical difference of mean ranks, or None.
        groups: Methods that it cannot tell apart.
        notes: What was left out, and why nothing was computed.
    """

    title: str
    metric: str
    methods: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    values: tuple[tuple[float, ...], ...] = ()
    ranks: tuple[tuple[float, ...], ...] = ()
    alpha: float = 0.05
    test: FriedmanResult | None = None
    difference: float | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


_Results = Mapping[str, Mapping[str, float]]


def rank_report(
    report: Report, *, over: str = "rows", alpha: float = 0.05, allow_partial: bool = False
) -> list[RankTable]:
    """Return the ranks under each setting of a report, over the rows of all its tables.

    Args:
        report: Of :func:`osadbench.report.build_report`.
        over: ``"rows"`` (categories, known classes, datasets without any), or ``"datasets"``, where
            the mean over a table's rows counts as one.
        alpha: Level of Nemenyi's test.
        allow_partial: Whether cells that lack seeds are ranked like the others, and rows that some
            method lacks are left out.
    """
    ambiguous = ambiguous_places(one for t in report.tables for one in t.manifests.items())
    found = []
    for setting, group in groupby(report.tables, key=lambda table: table.setting):
        tables = list(group)
        rows = _rows(tables, over)
        results = {name: _values(row, allow_partial) for name, row in rows.items()}
        cells = (cell for row in rows.values() for cell in row.cells)
        manifests = {place: one for table in tables for place, one in table.manifests.items()}
        images = images_text(manifests, ambiguous)
        ranked = rank_table(
            wording.full_title(wording.setting_text(setting), setting, images),
            results,
            list(dict.fromkeys(label for table in tables for label in table.columns)),
            report.metric,
            short=Counter(cell.label for cell in cells if _is_short(cell)),
            alpha=alpha,
            allow_partial=allow_partial,
        )
        mixed = dict.fromkeys(
            f"{table.dataset}: {text}" for table in tables for text in table.mixed
        )
        found.append(replace(ranked, notes=(*ranked.notes, *mixed)))
    return found


def _rows(tables: Sequence[Table], over: str) -> dict[str, Row]:
    """Return what is ranked, by the names that it is shown under."""
    found = {}
    for table in tables:
        single = [row for row in table.rows if not row.aggregate]
        for row in table.rows[-1:] if over == "datasets" else single:
            name = table.dataset if over == "datasets" else row.name
            found[name if name == table.dataset else f"{table.dataset} {name}"] = row
    return found


def _values(row: Row, allow_partial: bool) -> dict[str, float]:
    return {
        cell.label: cell.mean
        for cell in row.cells
        if cell.mean is not None and (allow_partial or not _is_short(cell))
    }


def _is_short(cell: Cell) -> bool:
    """Whether a cell has a number, but lacks seeds."""
    return cell.mean is not None and cell.n != cell.expected


def rank_table(
    title: str,
    results: _Results,
    methods: Sequence[str],
    metric: str,
    *,
    short: Mapping[str, int] = {},
    alpha: float = 0.05,
    allow_partial: bool = False,
) -> RankTable:
    """Rank methods in each row and test whether they differ.

    A method without any result is left out. Where another one lacks some, or seeds of some, nothing
    is ranked, unless ``allow_partial`` leaves out the rows that any lacks.

    Args:
        title: What is ranked, in words.
        results: Values by row and method.
        methods: The methods, in order.
        metric: Key of the metric.
        short: By method, the number of rows that it has results in, but not of all seeds.
        alpha: Level of Nemenyi's test.
        allow_partial: Whether to rank the rows that all methods have.
    """
    met = {name for row in results.values() for name in row} | {n for n in short if short[n]}
    ranked = [name for name in methods if name in met]
    empty = RankTable(title, metric, alpha=alpha, notes=tuple(_absent(methods, ranked)))
    lacking = {name: sum(name not in row for row in results.values()) for name in ranked}
    if any(lacking.values()) and not allow_partial:
        return _without(empty, _incomplete(lacking, short, len(results)))
    whole = {name: row for name, row in results.items() if set(ranked) <= set(row)}
    left_out = len(results) - len(whole)
    if left_out:
        empty = _without(empty, f"{left_out} of {len(results)} rows lack a method and take no part")
    if len(ranked) < 2 or not whole:
        return _without(empty, f"not ranked: {len(ranked)} methods share {len(whole)} rows")
    return _ranked(empty, whole, ranked)


def _absent(methods: Sequence[str], ranked: Sequence[str]) -> Iterator[str]:
    absent = [name for name in methods if name not in ranked]
    if absent:
        yield f"without results and left out: {', '.join(absent)}"


def _incomplete(lacking: Mapping[str, int], short: Mapping[str, int], rows: int) -> str:
    gaps = []
    for name, gap in lacking.items():
        seeds = short.get(name, 0)
        if seeds:
            gaps.append(f"{name} lacks seeds in {seeds} of {rows} rows")
        if gap > seeds:
            gaps.append(f"{name} lacks {gap - seeds} of {rows} rows")
    return (
        f"not ranked: {', '.join(gaps)}; choose methods by -m, or --allow-partial ranks the rows "
        "that all have, of whatever seeds there are"
    )


def _without(table: RankTable, note: str) -> RankTable:
    return replace(table, notes=(*table.notes, note))


def _ranked(empty: RankTable, results: _Results, methods: Sequence[str]) -> RankTable:
    better = METRICS[empty.metric].larger_is_better
    values = [[row[name] for name in methods] for row in results.values()]
    test = friedman_test(values, larger_is_better=better, decimals=DIGITS)
    order = sorted(range(len(methods)), key=lambda index: test.mean_ranks[index])
    ranks = rank_rows(values, larger_is_better=better, decimals=DIGITS)
    difference = nemenyi_difference(test.n, len(methods), alpha=empty.alpha)
    groups = indistinguishable(test.mean_ranks, difference)
    return replace(
        empty,
        methods=tuple(methods[i] for i in order),
        rows=tuple(results),
        values=tuple(tuple(row[i] for i in order) for row in values),
        ranks=tuple(tuple(float(row[i]) for i in order) for row in ranks),
        test=replace(test, mean_ranks=tuple(test.mean_ranks[i] for i in order)),
        difference=difference,
        groups=tuple(tuple(methods[i] for i in group) for group in groups),
    )


def render_ranks(tables: Sequence[RankTable], format: str) -> str:
    """Return rank tables as text of a format, a key of :data:`osadbench.report.FORMATS`."""
    if format == "json":
        return json_text(SCHEMA, tables=[asdict(table) for table in tables])
    if format == "csv":
        return csv_text((line for table in tables for line in _lines(table)), _COLUMNS)
    return sheets_text([_sheet(table) for table in tables], format)


def _lines(table: RankTable) -> Iterator[dict[str, Any]]:
    for name, values, ranks in zip(table.rows, table.values, table.ranks, strict=True):
        for cell in zip(table.methods, values, ranks, strict=True):
            line = (table.title, name, cell[0], table.metric, *cell[1:])
            yield dict(zip(_COLUMNS, line, strict=True))


def _sheet(table: RankTable) -> Sheet:
    title = f"Ranks by {METRICS[table.metric].name}: {table.title}"
    if table.test is None:
        return Sheet(title, (), (), table.notes)
    lines = [
        (name, *(f"{rank:g}" for rank in ranks))
        for name, ranks in zip(table.rows, table.ranks, strict=True)
    ]
    means = ("mean rank", *(f"{mean:.2f}" for mean in table.test.mean_ranks))
    notes = (*_test_texts(table, table.test), *table.notes)
    return Sheet(title, ("", *table.methods), (*lines, means), notes)


def _test_texts(table: RankTable, test: FriedmanResult) -> Iterator[str]:
    if test.n == 1:
        yield "one row says nothing of differences between methods: no test"
        return
    k = len(table.methods)
    yield (
        f"Friedman over {test.n} rows: chi2 = {test.chi2:.2f} ({k - 1} df), p {p_text(test.p)}; "
        f"Iman and Davenport: F = {test.f:.2f} ({k - 1} and {(k - 1) * (test.n - 1)} df), p "
        f"{p_text(test.p_f)}; smallest possible p {bare_p_text(test.smallest_p)}"
    )
    if test.smallest_p in (test.p, test.p_f) and test.smallest_p < 1:
        yield "the smallest possible p stands where an approximation gives less (ours)"
    if test.p_f >= table.alpha:
        yield (
            f"no difference found at {table.alpha:g}: what the next line tells apart must not be "
            "claimed"
        )
    together = "; ".join(", ".join(group) for group in table.groups) or "none"
    yield (
        f"Nemenyi's critical difference of mean ranks at {table.alpha:g}: {table.difference:.2f}; "
        f"not told apart: {together}"
    )
