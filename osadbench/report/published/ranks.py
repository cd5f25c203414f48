"""Ranks of the methods in a paper's own table, without results of ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osadbench.errors import UsageError, did_you_mean
from osadbench.published import PublishedValue, load
from osadbench.report.ranks import RankTable, rank_table
from osadbench.report.texts import counted

__all__ = ["PAPERS", "published_ranks"]

#: The papers' names, by those in the data.
PAPERS = {"ahl": "AHL", "devnet": "DevNet", "dra": "DRA"}


def published_ranks(
    name: str,
    shots: int = 10,
    methods: Iterable[str] = (),
    *,
    over: str = "rows",
    alpha: float = 0.05,
    allow_partial: bool = False,
) -> RankTable:
    """Return the ranks in a table of a paper, by image-level AUROC.

    Args:
        name: Paper and number, such as ``"dra-1"``.
        shots: Labelled anomalies; methods that use none take part with any number.
        methods: Columns to rank, in order; all without any.
        over: ``"rows"``, which are the means of datasets where the paper prints no others; or
            ``"datasets"``, where the paper's own mean of a dataset is its value.
        alpha: Level of Nemenyi's test.
        allow_partial: Whether to rank the rows that all methods have.

    Raises:
        UsageError: An unknown table or method, or a table with several values of a method in a row.
    """
    values = [
        value
        for value in load(name)
        if value.shots in (None, shots) and value.metric == "image_auroc"
    ]
    columns = list(dict.fromkeys(value.method for value in values))
    if not columns:
        raise UsageError(f"{name} has no image-level AUROC with {shots} shots: try other --shots")
    chosen = list(methods) or columns
    for method in chosen:
        if method not in columns:
            raise UsageError(
                f"{name} has no {shots}-shot column {method!r}: {did_you_mean(method, columns)}"
            )
    # Where a table prints the means of a dataset alone, these are its rows.
    split = {(value.setting, value.dataset) for value in values if value.subset}
    wanted = [
        value
        for value in values
        if value.method in chosen
        and not (
            value.subset
            if over == "datasets"
            else value.aggregate and (value.setting, value.dataset) in split
        )
    ]
    title = f"{_title(values[0])}, {counted(shots, 'shot')}"
    results = _by_row(name, wanted)
    return rank_table(title, results, chosen, "auroc", alpha=alpha, allow_partial=allow_partial)


def _by_row(name: str, values: Sequence[PublishedValue]) -> dict[str, dict[str, float]]:
    results: dict[str, dict[str, float]] = {}
    for value in values:
        row = f"{value.dataset} {value.subset}".strip()
        found = results.setdefault(row, {})
        if value.method in found:
            raise UsageError(
                f"{name} has several values of {value.method} on {row}: ranks need a table of "
                "methods, such as dra-1"
            )
        found[value.method] = value.mean
    return results


def _title(value: PublishedValue) -> str:
    return f"{PAPERS.get(value.paper, value.paper)} Table {value.table}, as published"
