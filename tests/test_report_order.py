"""The order of columns where none is asked for: that of the papers' main tables."""

from __future__ import annotations

from report_tools import grid, record

from osadbench.experiments import load_experiment
from osadbench.experiments.order import methods_in_order
from osadbench.report import build_report
from osadbench.report.ordering import papers_order

ROWS = {"mono": 0.6, "poly": 0.8}


def columns(*labels: str, **options: object) -> tuple[str, ...]:
    report = build_report(grid({label: ROWS for label in labels}), **options)  # type: ignore[arg-type]
    return report.tables[0].columns


def test_the_methods_are_those_of_the_main_tables_each_once() -> None:
    shown = [c.method for name in ("dra-1", "ahl-1") for c in load_experiment(name).columns]
    assert methods_in_order() == tuple(dict.fromkeys(filter(None, shown)))
    assert methods_in_order()[:2] == ("kdad", "devnet")


def test_columns_stand_as_in_the_papers_then_by_name() -> None:
    names = ("ahl", "dra", "knn", "kdad", "ahl[base=devnet]", "devnet", "deepsad", "saoe")
    expected = ("kdad", "devnet", "saoe", "dra", "ahl[base=devnet]", "ahl", "deepsad", "knn")
    assert columns(*names) == columns(*reversed(names)) == expected


def test_variants_stand_beside_their_method() -> None:
    names = ("dra[lr=0.1]", "devnet", "knn[k=2]", "colour", "dra", "dra[lr=0.01]", "knn", "minns")
    expected = ("devnet", "dra", "dra[lr=0.01]", "dra[lr=0.1]", "colour", "knn", "knn[k=2]")
    assert columns(*names) == (*expected, "minns")
    # Another label of a method, such as a variant with a name of its own, goes by the method.
    assert papers_order([("b", "b"), ("two", "one"), ("a", "a")], ("one", "b")) == ["two", "b", "a"]


def test_methods_that_are_named_keep_the_order_of_their_names() -> None:
    assert columns("dra", "kdad", "knn", methods=["knn", "dra", "kdad"]) == ("knn", "dra", "kdad")


def test_the_others_are_tested_against_the_first_with_a_result() -> None:
    skipped = [record("kdad", row, status="skipped", reason="no form") for row in ROWS]
    tests = build_report([*skipped, *grid({"devnet": ROWS, "dra": ROWS})]).tests
    assert {test.reference for test in tests} == {"devnet"}
    assert [test.method for test in tests] == ["kdad", "dra"]
    assert build_report(skipped).tests == ()
