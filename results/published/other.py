"""What the papers print beside results: sizes of datasets, p-values; and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osadbench.errors import UsageError, did_you_mean
from osadbench.published.files import read_file
from osadbench.published.tables import COUNT_TABLES

__all__ = ["DatasetCounts", "Gap", "PublishedTest", "dataset_counts", "gaps", "pvalues"]


@dataclass(frozen=True)
class DatasetCounts:
    """What a paper says of a dataset's size.

    Attributes:
        dataset: Dataset.
        subset: Category, or ``""``.
        normal_train: Normal images to train on.
        normal_test: Normal images to test on.
        anomalies: Anomalous images.
        n_classes: Anomaly classes.
        type: ``"texture"``, ``"object"`` or ``"medical"``; empty for sums.
        aggregate: Whether this is the sum over the categories.
        note: Remarks.
    """

    dataset: str
    subset: str
    normal_train: int
    normal_test: int
    anomalies: int
    n_classes: int
    type: str
    aggregate: bool
    note: str = ""


@dataclass(frozen=True)
class PublishedTest:
    """One Wilcoxon signed-rank test of the DevNet paper, two-sided.

    Attributes:
        paper: ``"devnet"``.
        table: Number of the table that prints it.
        n_pairs: Number of pairs.
        method_a: The method that is tested.
        method_b: The method it is tested against.
        p_printed: The printed p-value, four digits.
        p_recomputed: What the printed means give.
        method_used: ``"exact"`` or ``"approx"`` (normal approximation).
        zero_differences: Pairs without a difference.
        reproduced: Whether the two agree to four digits.
        note: Remarks.
    """

    paper: str
    table: int
    n_pairs: int
    method_a: str
    method_b: str
    p_printed: float
    p_recomputed: float
    method_used: str
    zero_differences: int
    reproduced: bool
    note: str = ""


@dataclass(frozen=True)
class Gap:
    """A value that a table could be expected to have and does not.

    Attributes:
        table: Name of the table, such as ``"devnet-5"``.
        dataset: Dataset.
        subset: Subset, or ``""``.
        method: The method's name in the data.
        note: Why.
    """

    table: str
    dataset: str
    subset: str
    method: str
    note: str = ""


def dataset_counts(table: str) -> tuple[DatasetCounts, ...]:
    """Return a paper's table of datasets.

    Args:
        table: ``"dra-5"`` or ``"devnet-1"``; they differ in the type of the medical sets alone.

    Raises:
        UsageError: It is no table of datasets.
    """
    if table not in COUNT_TABLES:
        raise UsageError(f"{table!r} is no table of datasets: {did_you_mean(table, COUNT_TABLES)}")
    rows = read_file("datasets.csv")
    return tuple(_counts(row) for row in rows if f"{row['paper']}-{row['table']}" == table)


def pvalues() -> tuple[PublishedTest, ...]:
    """Return the p-values of the DevNet paper's Tables 2 and 3."""
    return tuple(map(_test, read_file("pvalues.csv")))


def gaps() -> tuple[Gap, ...]:
    """Return the values that are missing."""
    return tuple(
        Gap(
            row["file"].replace("_table", "-"),
            row["dataset"],
            row["subset"],
            row["method"],
            row["note"],
        )
        for row in read_file("gaps.csv")
    )


def _counts(row: Mapping[str, str]) -> DatasetCounts:
    return DatasetCounts(
        dataset=row["dataset"],
        subset=row["subset"],
        normal_train=int(row["normal_train"]),
        normal_test=int(row["normal_test"]),
        anomalies=int(row["anomalies"]),
        n_classes=int(row["n_classes"]),
        type=row["type"],
        aggregate=row["aggregate"] == "true",
        note=row["note"],
    )


def _test(row: Mapping[str, str]) -> PublishedTest:
    return PublishedTest(
        paper=row["paper"],
        table=int(row["table"]),
        n_pairs=int(row["n_pairs"]),
        method_a=row["method_a"],
        method_b=row["method_b"],
        p_printed=float(row["p_printed"]),
        p_recomputed=float(row["p_recomputed"]),
        method_used=row["method_used"],
        zero_differences=int(row["zero_differences"]),
        reproduced=row["reproduced"] == "true",
        note=row["note"],
    )
