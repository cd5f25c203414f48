"""Columns that differ from their table: without labels, with engines or outliers of their own."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_tools import cell, grid, record

from osadbench.errors import StoreError
from osadbench.records import from_json, to_frame, to_json
from osadbench.report import Report, Table, build_report, render
from osadbench.stats import wilcoxon
from osadbench.types import Record

OLD = Path(__file__).parent / "golden" / "record_schema_1.json"
OWN = "sha256:" + "ab12cd34" * 8
VGG = "sha256:" + "77aa88bb" * 8
RANDOM = "random:0"
ROWS = {"mono": 0.6, "poly": 0.7}
KDAD: dict[str, Any] = {
    "weights": VGG,
    "departures": {"backbone": "vgg16", "image_sizes": [128]},
}
WORDS = ("terminal", "markdown", "latex")


def one_and_ten(label: str, **changes: Any) -> list[Record]:
    """Return a supervised method's results; ten shots have one point more."""
    more = {row: value + 0.01 for row, value in ROWS.items()}
    return [*grid({label: ROWS}, shots=1, **changes), *grid({label: more}, shots=10, **changes)]


def no_labels(label: str, **changes: Any) -> list[Record]:
    return grid({label: ROWS}, shots=0, **changes)


def layout(report: Report) -> list[tuple[int, str, tuple[str, ...]]]:
    """Return shots, weights and columns of each table."""
    return [(t.setting.shots, t.setting.weights, t.columns) for t in report.tables]


def only(report: Report) -> Table:
    (table,) = report.tables
    return table


def plain(text: str) -> str:
    """Return a rendered report without line breaks and escapes."""
    return re.sub(r"\s+", " ", text.replace("\\", ""))


def test_results_without_labels_stand_in_the_tables_of_all_shots() -> None:
    report = build_report([*one_and_ten("dra"), *no_labels("knn")])
    assert layout(report) == [(1, OWN, ("dra", "knn")), (10, OWN, ("dra", "knn"))]
    for row in ("mono", "poly", "mean"):
        one, ten = (cell(report, row, "knn", table) for table in (0, 1))
        assert (one.mean, one.std, one.n) == (ten.mean, ten.std, ten.n)
        assert cell(report, row, "dra", 0).mean != cell(report, row, "dra", 1).mean
    note = "knn uses no labelled anomalies: the numbers are the same for any number of shots"
    assert [table.notes for table in report.tables] == [(note,), (note,)]


def test_results_without_labels_stand_where_their_test_images_are() -> None:
    ten, twenty = {"test_digest": "a"}, {"test_digest": "b"}
    records = [record("dra", shots=10, split=ten), record("dra", shots=20, split=twenty, key="d2")]
    records += [record("knn", auroc=0.6, shots=0, split=ten)]
    records += [record("knn", auroc=0.7, shots=0, split=twenty, key="k2")]
    tables = {table.setting.shots: table for table in build_report(records).tables}
    assert sorted(tables) == [10, 20]
    assert [tables[n].rows[0].cells[1].mean for n in (10, 20)] == [0.6, 0.7]


def test_without_any_labels_there_is_one_table_that_says_so() -> None:
    report = build_report([*no_labels("knn"), *no_labels("patchcore")])
    assert layout(report) == [(0, OWN, ("knn", "patchcore"))]
    assert only(report).notes == ()
    for form in WORDS:
        assert "hard protocol, no labelled anomalies" in plain(render(report, form))
        assert "0 shot" not in render(report, form)


def test_each_dataset_and_protocol_has_its_own_shots() -> None:
    elsewhere = {"dataset": "aitex", "protocol": "general", "known_class": ""}
    report = build_report([*one_and_ten("dra"), *no_labels("knn"), *no_labels("knn", **elsewhere)])
    found = [(t.setting.protocol, t.dataset, t.setting.shots) for t in report.tables]
    assert found == [("general", "aitex", 0), ("hard", "elpv", 1), ("hard", "elpv", 10)]


def test_a_result_that_fits_two_places_at_once_is_refused() -> None:
    twice = [record("knn", shots=0, key="k1"), record("knn", shots=10, key="k2")]
    with pytest.raises(StoreError, match="one result of knn on elpv, mono, seed 0, got k1 and k2"):
        build_report(twice)


def test_tests_pair_columns_with_and_without_labels_by_row() -> None:
    rows = {f"row{i}": 0.6 + i / 100 for i in range(6)}
    better = {row: value + 0.01 + i / 1000 for i, (row, value) in enumerate(rows.items())}
    records = grid({"dra": better}, shots=10) + grid({"patchcore": rows}, shots=0, **KDAD)
    (test,) = build_report(records).tests
    assert (test.reference, test.method, test.setting.shots) == ("dra", "patchcore", 10)
    expected = wilcoxon(list(better.values()), list(rows.values()), decimals=3)
    assert test.result == expected
    assert (expected.n, expected.p) == (6, 2 / 2**6)


def test_columns_without_the_engines_backbone_join_its_tables_of_all_weights() -> None:
    records = [
        *grid({"dra": ROWS}),
        *grid({"dra": ROWS}, weights=RANDOM),
        *grid({"kdad": ROWS}, **KDAD),
        *grid({"colour": ROWS}, weights="none"),
        *grid({"patchcore": ROWS}, departures={"image_sizes": [224]}),
    ]
    assert layout(build_report(records)) == [
        (10, RANDOM, ("kdad", "dra", "colour")),
        (10, OWN, ("kdad", "dra", "colour", "patchcore")),
    ]


def test_two_weights_of_a_methods_own_backbone_go_with_their_kind() -> None:
    kdad = [
        *grid({"kdad": ROWS}, **KDAD),
        *grid({"kdad": ROWS}, departures=KDAD["departures"], weights=RANDOM),
    ]
    both = [*grid({"dra": ROWS}), *grid({"dra": ROWS}, weights="random:7")]
    report = build_report([*kdad, *both])
    assert [weights for _, weights, _ in layout(report)] == ["random:7", OWN]
    notes = [table.notes for table in report.tables]
    said = "kdad: backbone=vgg16, image_sizes=128 by definition; weights "
    assert notes == [(said + RANDOM,), (said + "sha256:77aa88bb77aa",)]
    report = build_report([*kdad, *grid({"dra": ROWS})])
    assert layout(report) == [(10, "none", ("kdad",)), (10, OWN, ("kdad", "dra"))]


def test_labels_and_weights_are_told_apart_at_once() -> None:
    records = [
        *grid({"dra": ROWS}, shots=10),
        *grid({"dra": ROWS}, shots=1, weights=RANDOM),
        *no_labels("knn"),
        *no_labels("knn", weights="sha256:" + "ef" * 32),
        *no_labels("kdad", **KDAD),
    ]
    assert layout(build_report(records)) == [
        (0, "sha256:" + "ef" * 32, ("kdad", "knn")),
        (1, RANDOM, ("kdad", "dra")),
        (10, OWN, ("kdad", "dra", "knn")),
    ]
    records = [*no_labels("knn"), *grid({"colour": ROWS}, weights="none", shots=5)]
    assert layout(build_report(records)) == [(5, OWN, ("colour", "knn"))]


def test_without_the_engines_backbone_the_caption_does_not_name_it() -> None:
    records = [*grid({"kdad": ROWS}, **KDAD), *grid({"colour": ROWS}, weights="none")]
    report = build_report(records)
    assert layout(report) == [(10, "none", ("kdad", "colour"))]
    for form in WORDS:
        text = render(report, form)
        assert "preset frozen" in text
        assert "lite0" not in text
    assert "no backbone" not in render(report)


def test_departures_are_noted_once_for_columns_that_share_them() -> None:
    changed: dict[str, Any] = {"departures": {"image_sizes": [448, 224], "train_backbone": False}}
    records = [
        *grid({"dra": ROWS}),
        *grid({"padim": ROWS, "patchcore": ROWS}, **changed),
        *grid({"kdad": ROWS}, **KDAD),
        *grid({"colour": ROWS}, weights="none"),
    ]
    assert only(build_report(records)).notes == (
        "kdad: backbone=vgg16, image_sizes=128 by definition; weights sha256:77aa88bb77aa",
        "padim and patchcore: image_sizes=448+224, train_backbone=False by definition",
        "colour uses no backbone",
    )


def test_departures_that_changed_between_runs_are_all_noted() -> None:
    records = [
        record("knn", "mono"),
        record("knn", "poly", departures={"image_sizes": [64]}),
        record("knn", "tri", departures={"image_sizes": [96]}),
    ]
    assert only(build_report(records)).notes == (
        "knn: image_sizes=64 by definition in some cells",
        "knn: image_sizes=96 by definition in some cells",
    )


def test_a_column_without_a_number_has_no_notes() -> None:
    bad = {"status": "skipped", "reason": "no honest form", "shots": 0, **KDAD}
    report = build_report([record(), record("kdad", **bad)])
    assert only(report).columns == ("kdad", "dra")
    assert only(report).notes == ()
    (facts,) = [f for f in only(report).facts if f.label == "kdad"]
    assert (facts.cells, facts.departures[0]["backbone"]) == (0, "vgg16")


def outliers(source: str = "synthetic", images: int = 180) -> dict[str, Any]:
    return {"outliers": {"source": source, "digest": "cd" * 32, "images": images}}


def test_external_outliers_are_noted_by_source_and_number() -> None:
    def on(label: str, category: str, found: dict[str, Any]) -> Record:
        place: dict[str, Any] = {"dataset": "mvtec", "category": category, "known_class": ""}
        return record(label, category, split=found, **place)

    records = [
        on("dra", "carpet", {}),
        on("mlep", "carpet", outliers()),
        on("saoe", "carpet", outliers()),
        on("flos", "carpet", outliers()),
        on("flos", "grid", outliers(images=90)),
        on("flos", "wood", outliers("dtd", 512)),
    ]
    assert only(build_report(records)).notes == (
        "flos: external outliers from dtd (512 images)",
        "flos: external outliers from synthetic (90 to 180 images)",
        "saoe and mlep: external outliers from synthetic (180 images)",
    )


def test_outliers_of_two_sources_in_one_place_are_two_columns() -> None:
    records = [
        *grid({"dra": ROWS}),
        *grid({"saoe": ROWS}, split=outliers()),
        *grid({"saoe": ROWS}, split=outliers("dtd")),
    ]
    report = build_report(records, methods=["dra", "saoe"])
    names = ("dra", "saoe (outliers dtd)", "saoe (outliers synthetic)")
    assert only(report).columns == names
    # Where each dataset has a source of its own, the method is one column.
    report = build_report([*records[:12], *grid({"saoe": ROWS}, dataset="x", split=outliers("y"))])
    assert [table.columns for table in report.tables] == [("saoe", "dra"), ("saoe",)]


def test_remarks_are_counted_and_those_alike_but_for_numbers_are_one() -> None:
    def notes(*remarks: str) -> dict[str, Any]:
        return {"provenance": {"notes": list(remarks)}}

    records = [
        record("mlep-img", "mono", 0, **notes("the hinge was inactive from epoch 10 on")),
        record(
            "mlep-img",
            "mono",
            1,
            **notes(
                "the hinge was inactive from epoch 8 on", "the hinge was inactive from epoch 9 on"
            ),
        ),
        record("mlep-img", "mono", 2, **notes("the hinge was inactive from epoch 9 on", "odd")),
        *[record("mlep-img", "poly", seed) for seed in range(3)],
        *[record("dra", row, s, **notes("rate 0.5")) for row in ROWS for s in range(3)],
    ]
    report = build_report(records)
    assert only(report).notes == (
        "dra: rate 0.5",
        "mlep-img: the hinge was inactive from epoch 8 to 10 on (3 of 6 cells)",
        "mlep-img: odd (1 of 6 cells)",
    )
    assert build_report(records[::-1]) == report


def test_numbers_in_names_are_no_ranges() -> None:
    records = [
        record("a", "mono", provenance={"notes": ["vgg16 at 1e-05 of 3.5"]}),
        record("a", "poly", provenance={"notes": ["vgg16 at 1e-03 of 3.5"]}),
        record("a", "tri", provenance={"notes": ["vgg19 at 1e-03 of 3.5"]}),
    ]
    assert only(build_report(records)).notes == (
        "a: vgg16 at 1e-05 to 1e-03 of 3.5 (2 of 3 cells)",
        "a: vgg19 at 1e-03 of 3.5 (1 of 3 cells)",
    )


def everything() -> list[Record]:
    """Return results whose columns have all that can be noted."""
    return [
        *one_and_ten("dra"),
        *one_and_ten("saoe", split=outliers(), provenance={"notes": ["50% were_kept"]}),
        *no_labels("kdad", **KDAD),
        *no_labels("colour", weights="none", provenance={"precision": None}),
    ]


@pytest.mark.parametrize("form", WORDS)
def test_every_form_of_words_has_the_notes_below_each_table(form: str) -> None:
    report = build_report(everything())
    text = plain(render(report, form))
    assert [len(table.notes) for table in report.tables] == [5, 5]
    for note in report.tables[0].notes:
        assert text.count(f"Note: {note}") == 2


def test_a_method_without_a_backbone_has_no_precision_to_mix() -> None:
    assert "precisions" not in render(build_report(everything()))
    pixels = record("dsvdd", weights="none", provenance={"precision": "bf16"})
    notes = only(build_report([record(), pixels])).notes
    assert notes == ("dsvdd uses no backbone", "the results mix precisions: bf16, fp32")


def test_csv_has_them_in_every_line() -> None:
    lines = list(csv.DictReader(io.StringIO(render(build_report(everything()), "csv"))))
    assert len(lines) == 2 * 3 * 4
    by_method = {line["method"]: line for line in lines if line["shots"] == "10"}
    columns = ("departures", "labelled", "outliers", "remarks")
    assert {method: [line[c] for c in columns] for method, line in by_method.items()} == {
        "dra": ["", "true", "", ""],
        "kdad": [f"backbone=vgg16 image_sizes=128 weights={VGG}", "false", "", ""],
        "colour": ["", "false", "", ""],
        "saoe": ["", "true", f"source=synthetic digest={'cd' * 32} images=180", "50% were_kept"],
    }


def test_json_has_them_as_values() -> None:
    report = json.loads(render(build_report(everything()), "json"))
    facts = {found["label"]: found for found in report["tables"][1]["facts"]}
    assert facts["kdad"] == {
        "label": "kdad",
        "cells": 6,
        "shots": 0,
        "uses_backbone": True,
        "departures": [{**KDAD["departures"], "weights": VGG}],
        "outliers": [],
        "remarks": {},
    }
    assert facts["saoe"]["outliers"] == [outliers()["outliers"]]
    assert facts["saoe"]["remarks"] == {"50% were_kept": 6}
    assert (facts["colour"]["uses_backbone"], facts["saoe"]["shots"]) == (False, 10)
    assert report["costs"] == []


A, B = "aaaaaaaa" + "0" * 56, "bbbbbbbb" + "0" * 56


def on_images(digest: str, started: float) -> dict[str, Any]:
    return {"split": {"manifest": digest}, "provenance": {"started": started}}


def test_other_images_of_one_name_stand_in_tables_of_their_own() -> None:
    changed = {row: value + 0.1 for row, value in ROWS.items()}
    records = [
        *grid({"dra": ROWS, "devnet": ROWS}, **on_images(A, 5.0)),
        *grid({"dra": changed, "devnet": ROWS}, **on_images(B, 7.0)),
        *no_labels("knn", **on_images(B, 9.0)),
        *grid({"dra": ROWS, "devnet": ROWS}, dataset="aitex", **on_images("c" * 64, 1.0)),
        *grid({"dra": ROWS}, protocol="general", **on_images(A, 6.0)),
    ]
    report = build_report(records)
    found = [(t.dataset, t.setting.images, t.columns) for t in report.tables[1:]]
    assert found == [
        ("aitex", 0, ("devnet", "dra")),
        ("elpv", 0, ("devnet", "dra", "knn")),
        ("elpv", 1, ("devnet", "dra")),
    ]
    said = "{} (elpv); other tables have other images of that name"
    old, new = (f"images of manifest {said}".format(digest[:8]) for digest in (A, B))
    assert [table.notes[-1:] for table in report.tables] == [(old,), (), (new,), (old,)]
    assert [table.manifests for table in report.tables[1:3]] == [{"aitex": "c" * 64}, {"elpv": B}]
    assert cell(report, "mono", "dra", 2).mean == pytest.approx(0.7)
    # No row counts twice: the older images have a test of their own.
    tested = [(t.setting.images, t.method, t.result and t.result.n) for t in report.tests]
    assert tested == [(0, "dra", 4), (0, "knn", None), (1, "dra", 2)]
    assert build_report(records[::-1]) == report


def test_other_images_of_all_categories_stay_together_by_their_first_results() -> None:
    def run(manifests: dict[str, str], started: float, seed: int = 0) -> list[Record]:
        place: dict[str, Any] = {"dataset": "mvtec", "known_class": ""}
        return [
            record("dra", name, seed, category=name, **place, **on_images(digest, started + i))
            for i, (name, digest) in enumerate(manifests.items())
        ]

    def rows(records: list[Record]) -> list[tuple[dict[str, str], int]]:
        tables = build_report(records).tables
        return [(dict(table.manifests), len(table.seeds)) for table in tables]

    small = {"mvtec/carpet": A, "mvtec/grid": "d" * 64}
    large = {"mvtec/carpet": "c" * 64, "mvtec/grid": B}
    first = run({"carpet": A, "grid": "d" * 64}, 10.0)
    second = run({"carpet": "c" * 64, "grid": B}, 20.0)
    assert rows(first) == [(small, 1)]
    assert only(build_report(first)).notes == ()
    assert [row.name for row in only(build_report(first)).rows] == ["carpet", "grid", "mean"]
    # A later seed of the first images does not make them the newest.
    later = run({"carpet": A}, 30.0, seed=1)
    assert rows([*first, *second, *later]) == [(large, 1), (small, 2)]
    assert rows([*first, *run({"carpet": "c" * 64}, 20.0)]) == [
        ({**small, "mvtec/carpet": "c" * 64}, 1),
        ({"mvtec/carpet": A}, 1),
    ]
    (note,) = build_report([*first, *second]).tables[0].notes
    assert note == (
        "images of manifest cccccccc (mvtec/carpet), bbbbbbbb (mvtec/grid); other tables have "
        "other images of that name"
    )


def test_two_results_on_the_same_images_are_refused_still() -> None:
    same = [record(key=key, split={"manifest": A}) for key in ("k1", "k2")]
    other = record(key="k3", split={"manifest": B})
    with pytest.raises(StoreError, match="got k1 and k2: move one out of the store"):
        build_report([*same, other])


def test_costs_are_there_if_asked_for_and_count_each_result_once() -> None:
    records = [
        *one_and_ten("dra", provenance={"fit_seconds": 200.0, "peak_memory_bytes": 3 * 2**30}),
        record("dra", "mono", 7, status="failed", reason="boom", provenance={"fit_seconds": 9e9}),
        *no_labels("knn", provenance={"fit_seconds": 0.5, "device": "cuda:0 (X)"}),
        record("odd", provenance=dict.fromkeys(("fit_seconds", "score_seconds"))),
        record("void", provenance=dict.fromkeys((*MEASURED, "device"))),
    ]
    assert build_report(records).costs == ()
    assert "GiB" not in render(build_report(records))
    report = build_report(records, methods=["void", "odd", "knn", "dra"], costs=True)
    found = [
        (c.label, c.cells, c.fit_seconds, c.score_seconds, c.peak_memory_bytes, c.devices)
        for c in report.costs
    ]
    assert found == [
        ("odd", 1, None, None, 1000, ("cpu",)),
        ("knn", 6, 0.5, 1.0, 1002, ("cuda:0 (X)",)),
        ("dra", 12, 200.0, 1.0, 3 * 2**30, ("cpu",)),
    ]
    text = render(report)
    assert re.search(r"^method +cells +fit \(s\) +score \(s\) +memory \(GiB\) +device$", text, re.M)
    assert re.search(r"^dra +12 +200\.0 +1\.00 +3\.00 +cpu$", text, re.M)
    assert re.search(r"^odd +1 +- +- +0\.00 +cpu$", text, re.M)
    assert "| dra | 12 | 200.0 | 1.00 | 3.00 | cpu |" in render(report, "markdown")
    assert json.loads(render(report, "json"))["costs"][2]["fit_seconds"] == 200.0
    assert r"dra & 12 & 200.0 & 1.00 & 3.00 & cpu \\" in render(report, "latex")


MEASURED = ("fit_seconds", "score_seconds", "peak_memory_bytes")


def test_costs_are_those_of_a_preset() -> None:
    records = [record(), record(engine={"preset": "paper"}), record(engine={"preset": "smoke"})]
    report = build_report(records, costs=True)
    assert [(cost.preset, cost.cells) for cost in report.costs] == [("frozen", 1), ("paper", 1)]
    assert re.search(r"^paper +dra +1 +3\.00", render(report), re.M)
    assert "| preset | method |" in render(report, "markdown")


def test_records_without_the_field_are_read_and_written_ones_keep_it() -> None:
    old = OLD.read_bytes()
    assert "departures" not in json.loads(old)
    assert from_json(old, json.loads(old)["key"]).departures == {}
    made = record(key="k", status="failed", reason="x", **KDAD)
    assert from_json(to_json(made), "k") == made
    frame = to_frame([made, record()])
    assert frame["departures.backbone"].tolist()[0] == "vgg16"
    lacking = json.loads(to_json(made))
    del lacking["departures"], lacking["label"]
    with pytest.raises(ValueError, match="missing or unknown fields: label$"):
        from_json(json.dumps(lacking).encode(), "k")
