"""What a line of a table is, and in which order lines and columns stand."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from report_tools import cell, grid, record

from osadbench.errors import UsageError
from osadbench.report import GROUPINGS, Report, Table, build_report, render
from osadbench.types import Record

ROWS = {"mono": 0.6, "poly": 0.8}


def two_datasets(**changes: Any) -> list[Record]:
    """Return two methods on a dataset of two rows and on one of a single row."""
    better = {row: value + 0.1 for row, value in ROWS.items()}
    return [
        *grid({"dra": better, "knn": ROWS}, **changes),
        *grid({"dra": {"aitex": 0.5}, "knn": {"aitex": 0.9}}, dataset="aitex", **changes),
    ]


def only(report: Report) -> Table:
    (table,) = report.tables
    return table


def means(report: Report, label: str) -> dict[str, float | None]:
    index = only(report).columns.index(label)
    return {
        row.name: None if (mean := row.cells[index].mean) is None else round(mean, 6)
        for row in only(report).rows
    }


def test_a_line_for_each_dataset_is_its_mean_over_rows() -> None:
    report = build_report(two_datasets(), group_by="dataset")
    assert (only(report).dataset, only(report).columns) == ("means by dataset", ("dra", "knn"))
    assert means(report, "dra") == {"aitex": 0.5, "elpv": 0.8, "mean": 0.65}
    assert means(report, "knn") == {"aitex": 0.9, "elpv": 0.7, "mean": 0.8}
    by_row = build_report(two_datasets())
    for name, table in (("aitex", 0), ("elpv", 1)):
        line, mean = cell(report, name, "dra"), by_row.tables[table].rows[-1].cells[0]
        assert (line.mean, line.std, line.n, line.mark) == (mean.mean, mean.std, 3, mean.mark)
    assert [cell(report, "mean", label).mark for label in ("dra", "knn")] == ["second", "best"]


def test_the_mean_of_datasets_varies_as_its_seeds_do() -> None:
    values = {"a": [0.5, 0.7], "b": [0.9, 0.7], "c": [0.6, 0.9]}
    records = [
        record("dra", name, seed, value, dataset=name, known_class="")
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]
    mean = cell(build_report(records, group_by="dataset"), "mean", "dra")
    one, two = (0.5 + 0.9 + 0.6) / 3, (0.7 + 0.7 + 0.9) / 3
    assert mean.mean == pytest.approx((one + two) / 2)
    assert mean.std == pytest.approx(abs(one - two) / 2**0.5)


def test_datasets_are_tested_in_pairs() -> None:
    (test,) = build_report(two_datasets(), group_by="dataset").tests
    assert test.result is not None
    assert test.result.n == 2
    (test,) = build_report(two_datasets()).tests
    assert test.result is not None
    assert test.result.n == 3


def test_a_line_for_each_protocol_is_its_mean_over_datasets() -> None:
    records = [
        *two_datasets(),
        *grid({"dra": {"elpv": 0.9}}, protocol="general", known_class="", shots=1),
        *grid({"knn": {"elpv": 0.7}}, protocol="general", known_class="", shots=0),
    ]
    report = build_report(records, group_by="protocol")
    assert means(report, "dra") == {
        "general protocol, 1 shot": 0.9,
        "hard protocol, 10 shots": 0.65,
        "mean": 0.775,
    }
    assert means(report, "knn")["general protocol, 1 shot"] == 0.7
    assert report.tests == ()
    assert "means by protocol, all protocols: AUROC" in render(report)


def test_presets_and_weights_never_share_a_line() -> None:
    records = [*two_datasets(), *two_datasets(engine={"preset": "paper"})]
    records += two_datasets(weights="random:0")
    for group_by in GROUPINGS:
        tables = build_report(records, group_by=group_by).tables
        found = {(t.setting.preset, t.setting.weights[:6]) for t in tables}
        assert len(found) == 3, group_by
        assert len(tables) == (3 if group_by in ("dataset", "protocol") else 6)


def test_missing_results_are_missing_in_means_of_means() -> None:
    records = [r for r in two_datasets() if (r.label, r.row) != ("knn", "mono")]
    failed = record("knn", "mono", 0, status="failed", reason="boom")
    report = build_report([*records, failed], group_by="dataset")
    assert means(report, "knn") == {"aitex": 0.9, "elpv": None, "mean": None}
    assert only(report).footnotes == ("failed: boom",)
    assert cell(report, "elpv", "knn").notes == (1,)
    records = [r for r in two_datasets() if (r.label, r.dataset) != ("knn", "elpv")]
    report = build_report(records, group_by="dataset")
    assert means(report, "knn") == {"aitex": 0.9, "elpv": None, "mean": None}


def test_a_line_for_each_method_turns_the_table() -> None:
    report = build_report(two_datasets(), group_by="method", methods=["knn", "dra"])
    text = render(report)
    assert re.search(r"^ +mono +poly +mean$", text, re.M)
    lines = [line.split()[0] for line in text.splitlines() if re.search(r"\d±", line)]
    assert lines == ["knn", "dra", "knn", "dra"]
    assert "*: best, +: second in the column" in text
    assert "|  | mono | poly | mean |" in render(report, "markdown")
    assert r"\begin{tabular}{lrrr}" in render(report, "latex")
    plain = build_report(two_datasets(), methods=["knn", "dra"])
    assert report.tables == plain.tables
    assert render(report, "csv") == render(plain, "csv")


def test_sorted_by_means_the_best_method_comes_first() -> None:
    records = [*two_datasets(), *grid({"none": {"poly": 0.9}})]
    tables = build_report(records, sort="mean").tables
    assert [t.columns for t in tables] == [("knn", "dra"), ("dra", "knn", "none")]
    for table in tables:
        assert all(tuple(c.label for c in row.cells) == table.columns for row in table.rows)
        assert tuple(facts.label for facts in table.facts) == table.columns
    worst = build_report(records, sort="mean", metric="fpr95").tables[0]
    assert worst.columns == ("knn", "dra"), "the smallest is best"
    assert {t.reference for t in build_report(records, sort="mean").tests} == {"dra"}


def test_sorted_by_a_method_its_best_row_comes_first() -> None:
    records = [*grid({"dra": {"a": 0.6, "b": 0.8, "c": 0.7}, "knn": {"a": 0.9, "d": 0.5}})]
    for sort, rows in (("dra", "bcad"), ("knn", "adbc")):
        table = only(build_report(records, sort=sort, metric="auroc"))
        assert "".join(row.name for row in table.rows[:-1]) == rows
        assert table.rows[-1].aggregate
    with pytest.raises(UsageError, match="no results of method 'drra': did you mean dra"):
        build_report(records, sort="drra")


def test_datasets_stand_in_the_order_asked_for() -> None:
    report = build_report(two_datasets(), datasets=["elpv", "aitex"])
    assert [table.dataset for table in report.tables] == ["elpv", "aitex"]
    grouped = build_report(two_datasets(), datasets=["elpv"], group_by="dataset")
    assert [row.name for row in only(grouped).rows] == ["elpv", "aitex", "mean"]


def test_an_unknown_grouping_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot group by 'datasets': did you mean dataset"):
        build_report(two_datasets(), group_by="datasets")


def test_json_and_csv_have_the_lines() -> None:
    report = build_report(two_datasets(), group_by="dataset")
    values = json.loads(render(report, "json"))
    assert (values["group_by"], values["schema"]) == ("dataset", 1)
    assert [row["name"] for row in values["tables"][0]["rows"]] == ["aitex", "elpv", "mean"]
    lines = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert [line["row"] for line in lines if line["method"] == "dra"] == ["aitex", "elpv", "mean"]


def fields_of(value: object) -> set[str]:
    """Return the names of the fields in a JSON document, but for those of settings and data."""
    if isinstance(value, list):
        return set().union(*map(fields_of, value))
    if not isinstance(value, dict):
        return set()
    free = ("engine", "departures", "outliers", "remarks", "manifests")
    return set(value).union(*(fields_of(v) for k, v in value.items() if k not in free))


def test_the_page_on_the_json_names_every_field() -> None:
    page = (Path(__file__).parent.parent / "docs" / "report-json.md").read_text(encoding="utf-8")
    values = json.loads(render(build_report(two_datasets(), costs=True), "json"))
    assert values["costs"] and values["tests"][0]["result"]
    assert fields_of(values) - set(re.findall(r"`(\w+)`", page)) == set()
    assert f"Its\n`schema` is {values['schema']}." in page


def test_the_page_on_the_json_names_classes_that_there_are() -> None:
    root = Path(__file__).parent.parent
    page = (root / "docs" / "report-json.md").read_text(encoding="utf-8")
    named = re.findall(r"((?:`\w+`(?:, )?)+)(?: and others)? in `(osadbench/[\w/]+)\.py`", page)
    found = [(path, name) for names, path in named for name in re.findall(r"\w+", names)]
    assert len(found) == 10
    for path, name in found:
        assert is_dataclass(getattr(importlib.import_module(path.replace("/", ".")), name))
