"""A paper's table with our results in it: cells, verdicts, order, makes, and all formats."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from matplotlib.container import ErrorbarContainer
from report_tools import grid, record

from osadbench._version import __version__
from osadbench.errors import StoreError, UsageError
from osadbench.experiments import load_experiment, read_experiment
from osadbench.published import PublishedValue, load, table_names
from osadbench.report.published import (
    ComparedCell,
    ComparedTable,
    DeclaredImages,
    Labels,
    build_published_table,
)
from osadbench.report.published.cells import verdict
from osadbench.report.published.data import as_csv, as_json
from osadbench.report.published.figure import save_figure, sweep_figure
from osadbench.report.published.latex import latex
from osadbench.report.published.summary import kendall_tau, same_order
from osadbench.report.published.text import markdown, terminal
from osadbench.types import Record

PLAIN = Labels(method=lambda preset, method: method, protocol=lambda protocol: protocol)
FORMATS = {"terminal": terminal, "markdown": markdown, "latex": latex, "csv": as_csv}

#: What dra-2 prints of ELPV with ten shots: mono .599±.040 and poly .804±.022 for DevNet, .731±.021
#: and .800±.064 for DRA.
ELPV = {"devnet": {"mono": 0.620, "poly": 0.700}, "dra": {"mono": 0.731, "poly": 0.810}}


def build(
    records: Sequence[Record], table: str = "dra-2", *, allow_mixed: bool = False
) -> ComparedTable:
    return build_published_table(
        load_experiment(table), load(table), records, PLAIN, allow_mixed=allow_mixed
    )


def cell(table: ComparedTable, row: str, column: str, shots: int | None = 10) -> ComparedCell:
    (line,) = [r for r in table.rows if r.name == row]
    (index,) = [j for j, c in enumerate(table.columns) if (c.title, c.shots) == (column, shots)]
    found = line.cells[index]
    assert found is not None
    return found


def mean(found: ComparedCell) -> float | None:
    return None if found.ours is None else found.ours.mean


def test_our_values_stand_beside_the_papers() -> None:
    table = build(grid(ELPV))
    mono = cell(table, "elpv/mono", "devnet")
    assert mono.ours is not None
    assert (mono.ours.mean, mono.ours.std) == pytest.approx((0.620, 0.01))
    assert (mono.published, mono.published_std) == (0.599, 0.040)
    assert (mono.difference, mono.verdict) == (0.021, "within")
    poly = cell(table, "elpv/poly", "devnet")
    assert (poly.difference, poly.verdict) == (-0.104, "outside")
    assert mean(cell(table, "elpv/mono", "devnet", 1)) is None
    assert mean(cell(table, "carpet/color", "devnet")) is None


def test_a_mean_row_needs_all_its_members() -> None:
    table = build(grid(ELPV))
    both = cell(table, "elpv/mean", "devnet")
    assert both.ours is not None
    # Seeds are .01 apart in both rows, and so in their mean.
    assert (both.ours.mean, both.ours.std) == pytest.approx((0.66, 0.01))
    assert both.published == 0.702
    one = build(grid({"devnet": {"mono": 0.6}}))
    assert mean(cell(one, "elpv/mean", "devnet")) is None


def test_the_mean_over_categories_needs_all_fifteen() -> None:
    names = load_experiment("dra-1")
    assert names.blocks[0].rows[0] == "mvtec/*"
    categories = [r.subset for r in build([], "dra-1").rows if r.dataset == "mvtec" and r.subset]

    def records(subsets: Sequence[str]) -> list[Record]:
        common: dict[str, Any] = {"dataset": "mvtec", "protocol": "general", "known_class": ""}
        return [
            record("dra", subset, seed, 0.9, category=subset, **common)
            for subset in subsets
            for seed in (0, 1, 2)
        ]

    assert len(categories) == 15
    whole = build(records(categories), "dra-1")
    assert mean(cell(whole, "mvtec/mean", "dra")) == pytest.approx(0.9)
    assert mean(cell(whole, "mvtec/grid", "dra")) == pytest.approx(0.9)
    partial = build(records(categories[1:]), "dra-1")
    assert mean(cell(partial, "mvtec/mean", "dra")) is None


def test_results_without_labels_stand_in_the_column_without_shots() -> None:
    table = build(grid({"kdad": {"mono": 0.7}}, shots=0))
    assert mean(cell(table, "elpv/mono", "kdad", None)) == pytest.approx(0.7)
    # Where a paper prints a label-free method with shots, they fill these.
    sweep = read_experiment(
        "x",
        'title = "t"\nsource = "s"\nseeds = [0, 1, 2]\ncolumns = [\n'
        '{ heading = "knn", method = "knn", shots = 1 },\n'
        '{ heading = "knn", method = "knn", shots = 10 },\n]\n'
        '[[blocks]]\nsetting = "hard"\nprotocol = "hard"\nrows = ["elpv/mono"]\n',
    )
    built = build_published_table(sweep, (), grid({"knn": {"mono": 0.7}}, shots=0), PLAIN)
    assert [mean(cell(built, "elpv/mono", "knn", shots)) for shots in (1, 10)] == pytest.approx(
        [0.7, 0.7]
    )


def test_other_results_of_the_folder_are_left_out() -> None:
    others = [
        *grid({"dra[lr=0.1]": {"mono": 0.9}}),
        *grid({"dra": {"mono": 0.9}}, protocol="general", known_class=""),
        *grid({"dra": {"mono": 0.9}}, shots=5),
        *grid({"dra": {"mono": 0.9}}, seeds=(3, 4)),
        *grid({"dra": {"mono": 0.9}}, dataset="folder"),
    ]
    assert build(others).summary.run == 0
    assert build([*others, *grid(ELPV)]).summary.run == 4


def test_results_of_the_table_that_are_left_out_are_counted() -> None:
    smoke = [replace(r, key=f"{r.key}:smoke") for r in grid(ELPV, engine={"preset": "smoke"})]
    others = grid({"dra": {"mono": 0.9}, "knn": {"mono": 0.9}}, seeds=(4, 3))

    def notes(records: list[Record]) -> list[str]:
        return [note for note in build(records).notes if note.startswith("left out")]

    assert notes(grid(ELPV)) == []
    assert notes([*grid(ELPV), *smoke, *others]) == [
        "left out 2 results of other seeds than the table's: 3, 4",
        "left out 12 results of preset smoke, which measures nothing (--preset smoke shows them)",
    ]
    experiment = load_experiment("dra-2")
    shown = build_published_table(experiment, (), smoke, PLAIN, include_smoke=True)
    assert shown.summary.run == 4 and not any("left out" in note for note in shown.notes)


def test_classes_are_found_under_their_other_names() -> None:
    records = grid({"dra": {"metal_contamination": 0.9}}, dataset="mvtec", category="carpet")
    assert mean(cell(build(records), "carpet/metal", "dra")) == pytest.approx(0.9)


def test_parameters_that_medical_images_need() -> None:
    records = grid({"dra[pseudo=external]": {"barretts": 0.8}}, dataset="hyper-kvasir")
    table = build(records)
    assert mean(cell(table, "hyper-kvasir/barretts", "dra")) == pytest.approx(0.8)
    plain = grid({"dra": {"barretts": 0.8}}, dataset="hyper-kvasir")
    assert build(plain).summary.run == 0


def test_outliers_decide_between_columns_of_one_method() -> None:
    label = "dra[pseudo=external]"
    records = [
        record(label, "mono", seed, value, split={"outliers": {"source": source, "images": 8}})
        for source, value in (("mvtec", 0.6), ("lag", 0.7))
        for seed in (0, 1, 2)
    ]
    records = [replace(r, key=f"{r.key}:{i}") for i, r in enumerate(records)]
    table = build(records, "dra-4", allow_mixed=True)
    assert mean(cell(table, "elpv/mono", "mvtec")) == pytest.approx(0.6)
    assert mean(cell(table, "elpv/mono", "lag")) == pytest.approx(0.7)
    assert mean(cell(table, "elpv/mono", "cutmix")) is None


#: Of results on carpet.
CARPET: dict[str, Any] = {"dataset": "mvtec", "category": "carpet", "known_class": ""}


def carpet_from(source: str, values: dict[str, float]) -> list[Record]:
    """Return results of methods that were trained on another category and tested on carpet."""
    rows = {label: {f"{source}->carpet": value} for label, value in values.items()}
    split = {"adaptation": {"source": source, "normals": 280}}
    return grid(rows, protocol="cross-domain", split=split, **CARPET)


def test_source_and_target_of_cross_domain_results() -> None:
    table = build(carpet_from("grid", {"dra": 0.85}), "dra-9")
    found = cell(table, "mvtec/carpet", "dra from grid", None)
    assert (found.published, found.difference) == (0.833, 0.017)
    # The paper prints no spread there.
    assert found.verdict == ""
    assert mean(cell(table, "mvtec/carpet", "dra from wood", None)) is None
    same = build(grid({"dra": {"carpet": 0.9}}, protocol="general", **CARPET), "ahl-3")
    assert cell(same, "mvtec/carpet", "dra same").published == 0.945
    assert mean(cell(same, "mvtec/carpet", "dra same")) == pytest.approx(0.9)


def test_columns_without_a_counterpart_have_no_cell_of_ours_but_a_reason() -> None:
    table = build([], "ahl-4")
    assert cell(table, "elpv", "fs_dra").ours is None
    assert cell(table, "elpv", "fs_dra").published == 0.874
    assert any(note.startswith("no results of fs_dra: its ten anomalies") for note in table.notes)
    # Eight datasets and the mean over MVTec AD, of which that mean is one row of its own.
    assert (table.summary.cells, table.summary.run) == (27, 0)


@pytest.mark.parametrize(
    ("difference", "std", "published_std", "expected"),
    [
        (0.030, 0.010, 0.020, "within"),
        (-0.030, 0.010, 0.020, "within"),
        (0.031, 0.010, 0.020, "outside"),
        (0.0, 0.0, 0.0, "within"),
        # Our .0104 is printed as .010.
        (0.031, 0.0104, 0.020, "outside"),
        (0.3, 0.1, 0.2, "within"),
        (0.0, None, 0.02, ""),
        (0.0, 0.02, None, ""),
    ],
)
def test_the_rule_of_the_verdict(
    difference: float, std: float | None, published_std: float | None, expected: str
) -> None:
    assert verdict(difference, std, published_std) == expected


def test_cells_that_lack_seeds_are_shown_but_not_judged() -> None:
    table = build(grid({"devnet": {"mono": 0.6}}, seeds=(0, 1)))
    found = cell(table, "elpv/mono", "devnet")
    assert (found.difference, found.verdict, found.complete) == (0.001, "", False)
    assert (table.summary.run, table.summary.compared) == (1, 0)
    assert "0.600±0.007 2/3" in terminal(table)


def test_reasons_of_cells_without_a_value_are_footnotes() -> None:
    records = [record("dra", "mono", seed, status="failed", reason="no luck") for seed in (0, 1, 2)]
    table = build(records)
    assert table.footnotes == ("failed: no luck",)
    assert "- [1]" in terminal(table)


def test_a_mean_without_a_value_says_why_its_members_have_none() -> None:
    def records(status: str, **changes: Any) -> list[Record]:
        return [
            record("kdad", "mono", seed, status=status, reason="no luck", shots=0, **changes)
            for seed in (0, 1, 2)
        ]

    poly = grid({"kdad": {"poly": 0.7}}, shots=0)
    table = build([*records("skipped"), *poly])
    found = cell(table, "elpv/mean", "kdad", None).ours
    assert found is not None
    assert (found.mean, found.skipped, found.failed, found.notes) == (None, 3, 0, (1,))
    assert table.footnotes == ("skipped: no luck",)
    assert "- [1]" in terminal(table)
    failed = cell(build(records("failed")), "elpv/mean", "kdad", None).ours
    assert failed is not None and (failed.skipped, failed.failed) == (0, 3)
    whole = build([*records("done"), *poly])
    assert "[1]" not in terminal(whole)


def test_the_summary_counts_what_is_no_mean_over_others() -> None:
    summary = build(grid(ELPV)).summary
    # 30 known classes, 11 columns; the six means are left out.
    assert (summary.cells, summary.run, summary.compared) == (330, 4, 4)
    assert (summary.judged, summary.within) == (4, 3)
    differences = [0.021, 0.104, 0.0, 0.010]
    assert summary.mean_difference == pytest.approx(sum(differences) / 4)
    (ranks,) = summary.ranks
    # mono: DRA above DevNet in both. poly: DevNet above in the paper, below here.
    assert (ranks.shots, ranks.rows, ranks.kept, ranks.mean_tau) == (10, 2, 1, 0.0)
    # Means: .7015 against .7655 in the paper, .660 against .7705 here.
    assert ranks.means_tau == 1.0


def test_a_table_of_means_counts_its_means() -> None:
    table = build(grid(ELPV), "ahl-2")
    assert (table.summary.cells, table.summary.run) == (84, 2)
    assert mean(cell(table, "elpv/mean", "dra")) == pytest.approx(0.7705)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]),
        ([0.7, 0.7, 0.8, 0.9], [0.6, 0.7, 0.7, 0.9]),
        ([0.1, 0.4, 0.2, 0.2, 0.9], [0.5, 0.5, 0.5, 0.1, 0.2]),
    ],
)
def test_kendalls_tau_is_that_of_scipy(a: list[float], b: list[float]) -> None:
    assert kendall_tau(a, b) == pytest.approx(scipy.stats.kendalltau(a, b).statistic)


def test_order_without_an_order() -> None:
    assert kendall_tau([0.5, 0.5], [0.1, 0.2]) is None
    assert kendall_tau([0.5], [0.1]) is None
    assert same_order([0.5, 0.5], [0.1, 0.2])
    assert not same_order([0.1, 0.2, 0.3], [0.1, 0.3, 0.2])


def changed(**changes: Any) -> list[Record]:
    """Return ELPV's results, DRA's of poly made otherwise."""
    records = grid(ELPV)
    odd = [r for r in records if (r.label, r.row) == ("dra", "poly")]
    return [replace(r, **changes) if r in odd else r for r in records]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": {"preset": "paper", "backbone": "resnet18"}}, "preset: frozen and paper: name"),
        ({"weights": "sha256:" + "f" * 64}, "weights: sha256:ab12cd34ab12 and sha256:ffff"),
        (
            {"provenance": {"versions": {"torch": "2.12.0", "timm": "1.0.20"}}},
            "version of torch: 2.11.0 and 2.12.0",
        ),
        ({"engine": {**grid(ELPV)[0].engine, "precision": "bf16"}}, "engine setting precision"),
    ],
)
def test_results_made_otherwise_are_refused_and_named(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=re.escape(message)):
        build(changed(**changes))
    table = build(changed(**changes), allow_mixed=True)
    assert cell(table, "elpv/poly", "dra").mixed
    assert not cell(table, "elpv/mono", "dra").mixed
    assert "0.810±0.010†" in terminal(table)
    assert any(note.startswith("results differ in ") for note in table.notes)


def test_other_images_of_one_name_are_refused() -> None:
    with pytest.raises(StoreError, match="images of elpv: aaa and bbb"):
        build(
            [
                *grid({"dra": {"mono": 0.7}}, split={"manifest": "aaa"}),
                *grid({"dra": {"poly": 0.7}}, split={"manifest": "bbb"}),
            ]
        )


def images_note(declared: dict[str, DeclaredImages], **changes: Any) -> list[str]:
    records = grid({"dra": {"mono": 0.7}}, **changes)
    experiment = load_experiment("dra-9" if "protocol" in changes else "dra-2")
    if "protocol" in changes:
        records = [replace(r, row="grid->carpet") for r in records]
    table = build_published_table(experiment, (), records, PLAIN, declared=declared)
    assert table.summary.run == 1
    return [note for note in table.notes if "by its declaration" in note]


def test_results_on_other_images_than_declared_are_told() -> None:
    declared = {"elpv": DeclaredImages(1131, 1092), "aitex": DeclaredImages(1, 1)}
    whole = {"train_normals": 1131, "test": 690}
    assert images_note(declared, split=whole) == []
    (note,) = images_note(declared, split={**whole, "train_normals": 700})
    assert note.endswith(": elpv: 700 normal training images instead of 1131")
    (note,) = images_note(declared, split={**whole, "test": 1093})
    assert note.endswith(": elpv: 1093 test images of 1092 or fewer")
    # Unlabelled anomalies are no normal images of the dataset.
    mixed = {**whole, "train_normals": 1231, "unlabelled_anomalies": 100}
    assert images_note(declared, split=mixed) == []
    assert images_note({}, split={**whole, "train_normals": 700}) == []


def test_images_of_source_and_target_are_held_against_their_declarations() -> None:
    declared = {"mvtec/grid": DeclaredImages(264, 78), "mvtec/carpet": DeclaredImages(280, 117)}
    split = {"train_normals": 264, "test": 117}
    changes: dict[str, Any] = {
        "dataset": "mvtec",
        "category": "carpet",
        "known_class": "",
        "protocol": "cross-domain",
    }

    def note(trained: int, adapted: int) -> list[str]:
        adaptation = {"source": "grid", "normals": adapted}
        values = {**split, "train_normals": trained, "adaptation": adaptation}
        return images_note(declared, split=values, **changes)

    assert note(264, 280) == []
    (text,) = note(100, 90)
    assert "mvtec/grid: 100 normal training images instead of 264" in text
    assert "mvtec/carpet: 90 normal training images instead of 280" in text


def test_backbones_of_their_own_may_have_weights_of_their_own() -> None:
    own = grid(
        {"kdad": {"mono": 0.7}}, shots=0, weights="sha256:vgg", departures={"backbone": "vgg16"}
    )
    none = grid({"flos": {"mono": 0.7}}, weights="none")
    assert build([*grid(ELPV), *own, *none]).summary.run == 6


def test_of_several_makes_the_usual_one_stands() -> None:
    other = [
        replace(
            r, key=f"{r.key}:other", engine={**r.engine, "preset": "paper"}, metrics={"auroc": 1}
        )
        for r in grid({"dra": {"mono": 0.7}})
    ]
    table = build([*other, *grid(ELPV)], allow_mixed=True)
    assert mean(cell(table, "elpv/mono", "dra")) == pytest.approx(0.731)
    assert not cell(table, "elpv/mono", "dra").mixed


@pytest.mark.parametrize(
    ("split", "difference"),
    [
        ({}, ": move one out of the store (osadbench show KEY prints it)"),
        ({"train_anomalies": ["a"]}, ", which differ in labelled anomalies: move one out"),
    ],
)
def test_two_results_of_one_make_are_refused(split: dict[str, Any], difference: str) -> None:
    twice = [replace(r, key=f"{r.key}:2") for r in grid({"dra": {"mono": 0.7}}, split=split)]
    message = "expected one result of dra on elpv, mono, seed 0, got dra:None:mono:0 and dra:None:"
    with pytest.raises(StoreError, match=re.escape(message) + ".*" + re.escape(difference)):
        build([*grid(ELPV), *twice])


def on_images(images: str, started: float = 0.0) -> dict[str, Any]:
    return {"split": {"test_digest": images}, "provenance": {"started": started}}


def test_results_of_other_test_images_are_marked_and_told() -> None:
    values = {"dra": {"mono": 0.7, "poly": 0.8}, "devnet": {"mono": 0.6, "poly": 0.7}}
    same = grid(values, **on_images("a"))
    one_shot = [replace(r, key=f"{r.key}:1", shots=1) for r in same]
    other = grid({"flos": {"mono": 0.9}}, **on_images("b"))
    unlabelled = grid({"kdad": {"mono": 0.5}}, shots=0, **on_images("b"))
    told = (
        "not to be compared, as measured on other test images than the other results of their row "
        "and seed (†): 6 results of flos, kdad"
    )
    table = build([*same, *one_shot, *other, *unlabelled])
    assert [note for note in table.notes if "test images" in note] == [told]
    assert cell(table, "elpv/mono", "flos").mixed
    assert cell(table, "elpv/mono", "kdad", None).mixed
    assert not cell(table, "elpv/mono", "dra").mixed and "0.900±0.010†" in terminal(table)
    # What another row is tested on is no matter, nor another protocol.
    poly = grid({"flos": {"poly": 0.9}}, **on_images("a"))
    general = grid({"flos": {"mono": 0.9}}, protocol="general", **on_images("c"))
    alone = build([*same, *poly, *general])
    assert not any("test images" in note for note in alone.notes)
    assert "†" not in terminal(alone)


def test_of_results_of_several_test_images_those_of_the_row_are_shown() -> None:
    newer = grid({"dra": {"mono": 0.9}}, **on_images("a", started=9.0))
    again = [replace(r, key=f"{r.key}:again") for r in newer]
    table = build([*again, *grid(ELPV, **on_images("b"))])
    assert mean(cell(table, "elpv/mono", "dra")) == pytest.approx(0.731)
    (note,) = [note for note in table.notes if "test images" in note]
    assert note.startswith("left out 3 results of dra on other test images than most of their row")
    # Where no other method decides, the newest are shown, of all seeds.
    table = build([*again, *grid({"dra": {"mono": 0.7}}, **on_images("b", started=5.0))])
    assert mean(cell(table, "elpv/mono", "dra")) == pytest.approx(0.9)
    assert "†" not in terminal(table)


def test_a_failed_result_gives_way_to_a_finished_one() -> None:
    failed = [
        replace(r, key=f"{r.key}:old", status="failed", metrics={}, reason="old")
        for r in grid({"dra": {"mono": 0.7}})
    ]
    table = build([*failed, *grid(ELPV)])
    assert mean(cell(table, "elpv/mono", "dra")) == pytest.approx(0.731)
    assert table.footnotes == ()


def printed(values: Sequence[PublishedValue]) -> list[tuple[Any, ...]]:
    return [
        (v.setting, v.dataset, v.subset, v.method, v.shots, v.mean, v.std, v.status) for v in values
    ]


@pytest.mark.parametrize("name", table_names())
def test_the_papers_table_alone_equals_the_data(name: str) -> None:
    """Compare every value of every table, both ways, with the files as they are read."""
    table = build([], name)
    lines = list(csv.DictReader(io.StringIO(as_csv(table, published_only=True))))
    found = [
        (
            line["setting"],
            line["dataset"],
            line["subset"],
            line["published_method"],
            int(line["shots"]) if line["shots"] else None,
            float(line["published_mean"]),
            float(line["published_std"]) if line["published_std"] else None,
            line["status"],
        )
        for line in lines
    ]

    def moved(value: tuple[Any, ...]) -> tuple[Any, ...]:
        # AHL's Table 3 has a column for results on one category, which the rows call cross-domain.
        return ("cross-domain", *value[1:]) if name == "ahl-3" else value

    def order(value: tuple[Any, ...]) -> str:
        return repr(value)

    assert sorted(found, key=order) == sorted(map(moved, printed(load(name))), key=order)
    assert len(json.loads(as_json(table, published_only=True))["values"]) == len(found)


@pytest.mark.parametrize("published_only", [True, False])
def test_changed_values_have_a_sign_and_a_legend(published_only: bool) -> None:
    table = build([], "devnet-3")
    for form in (terminal, markdown):
        text = form(table, published_only=published_only)
        assert [text.count(f"{number}‡") for number in ("0.978±0.016", "0.568±0.053")] == [1, 1]
        assert (len(re.findall(r"\d‡", text)), len(re.findall(r"\d§", text))) == (2, 5)
        assert "‡: corrected: the copy" in text and "§: filled in from another table" in text
    source = latex(table, published_only=published_only)
    assert (source.count(r"016$^\ddagger$"), source.count(r"$^\S$ ")) == (1, 5)
    assert r"$^\ddagger$: corrected" in source and r"$^\S$: filled in" in source
    unchanged = terminal(build([], "dra-1"), published_only=published_only)
    assert "‡" not in unchanged and "§" not in unchanged


def test_data_formats_say_how_values_were_changed() -> None:
    table = build([], "devnet-3")
    lines = list(csv.DictReader(io.StringIO(as_csv(table, published_only=True))))
    values = json.loads(as_json(table, published_only=True))["values"]
    assert sum(line["status"] != "printed" for line in lines) == 7
    for found in (lines, values):
        (one,) = [v for v in found if (v["subset"], v["column"]) == ("color", "devnet")][1:]
        assert (one["dataset"], one["status"]) == ("metal_nut", "corrected")
        assert (float(one["printed_mean"]), float(one["printed_std"])) == (0.798, 0.016)
        assert one["note"].startswith("text has 0.798; DRA Table 2 has")
    whole = cell(table, "metal_nut/color", "devnet")
    assert (whole.published, whole.printed_mean) == (0.978, 0.798)


def test_our_best_and_second_values_of_a_row_are_marked() -> None:
    values = {
        "devnet": {"mono": 0.62, "poly": 0.7},
        "dra": {"mono": 0.731, "poly": 0.81},
        "flos": {"mono": 0.5, "poly": 0.81},
    }
    records = [*grid(values), *grid({"kdad": {"mono": 0.99, "poly": 0.1}}, shots=0)]
    table = build(records)

    def marks(row: str) -> list[str]:
        found = (cell(table, row, name) for name in ("devnet", "flos", "dra"))
        return [c.ours.mark for c in found if c.ours is not None]

    # KDAD stands beside the columns of one shot, where nothing else has run.
    assert marks("elpv/mono") == ["second", "", "best"]
    assert marks("elpv/poly") == ["", "best", "best"]
    alone = cell(table, "elpv/mono", "kdad", None).ours
    assert alone is not None and alone.mark == ""
    source = latex(table)
    assert r"\underline{0.620\,$\pm$\,0.010} & 0.500\,$\pm$\,0.010" in source
    assert r"\textbf{0.731\,$\pm$\,0.010}" in source
    assert source.count(r"\textbf") == 4 and "textbf" not in latex(build([]))


def test_cells_that_lack_seeds_are_not_marked() -> None:
    table = build([*grid(ELPV), *grid({"flos": {"mono": 0.9}}, seeds=(0, 1))])
    source = latex(table)
    assert r"0.900\,$\pm$\,0.007 2/3" in source and r"\textbf{0.900" not in source
    assert "fractions are seeds done of those expected, and such cells are not marked." in source


def test_columns_of_different_sources_are_not_compared() -> None:
    alone = [*carpet_from("grid", {"dra": 0.85}), *carpet_from("wood", {"dra": 0.8})]
    assert "textbf" not in latex(build(alone, "dra-9"))
    beside = [*carpet_from("grid", {"ahl": 0.9}), *carpet_from("wood", {"ahl": 0.9})]
    assert latex(build([*alone, *beside], "ahl-3")).count("textbf") == 2


def test_the_caption_says_the_version_that_made_the_results() -> None:
    versions = {"versions": {"osadbench": "9.8.7"}}
    made = latex(build([replace(r, provenance=versions) for r in grid(ELPV)]))
    assert "weights sha256:ab12cd34ab12, osadbench 9.8.7. Of our values in a row: best in" in made
    assert f"as printed; osadbench {__version__}.}}" in latex(build([]), published_only=True)
    assert f"no results here; osadbench {__version__} (continued" in latex(build([]))


def test_latex_has_the_signs_of_mixed_results() -> None:
    source = latex(build(changed(weights="sha256:" + "f" * 64), allow_mixed=True))
    assert r"0.810\,$\pm$\,0.010$^\dagger$" in source.replace("\\textbf{", "").replace("}$^", "$^")
    assert "U+2020" not in source


@pytest.mark.parametrize("name", table_names())
def test_the_papers_table_as_text_has_every_value(name: str) -> None:
    table = build([], name)
    for form in (terminal, markdown):
        text = form(table, published_only=True)
        numbers = re.findall(r"\d\.\d{3}(?:±\d\.\d{3})?", text)
        wanted = [f"{v.mean:.3f}" + ("" if v.std is None else f"±{v.std:.3f}") for v in load(name)]
        assert sorted(numbers) == sorted(wanted)
        assert "ours" not in text


def test_text_of_a_table() -> None:
    text = terminal(build(grid(ELPV)))
    caption = " ".join(text.partition("\n\n")[0].split())
    assert caption == (
        "DRA, Table 2 (dra-2): Hard setting, six datasets; AUROC, mean±std over seeds 0, 1, 2; "
        "ours: preset frozen, tf_efficientnet_lite0, weights sha256:ab12cd34ab12"
    )
    lines = text.splitlines()
    poly = [i for i, line in enumerate(lines) if line.startswith("elpv/poly")][-1]
    assert lines[poly].split()[1:] == ["ours", "0.700±0.010", "-", "-", "-", "0.810±0.010"]
    assert lines[poly + 1].split()[0] == "paper"
    assert lines[poly + 2].split() == ["diff", "-0.104", "!", "+0.010", "="]
    assert "4 of 330 cells have results here" in text
    assert "order of the methods with 10 shots kept in 1 of 2 rows" in text


def test_markdown_of_a_table() -> None:
    text = markdown(build(grid(ELPV)))
    heads = [line for line in text.splitlines() if "devnet<br>10 shots" in line]
    assert len(heads) == 1 and heads[0].count("|") == 8
    assert "| elpv/mono" in text


def test_markdown_of_a_table_shows_all_signs() -> None:
    text = markdown(build(grid(ELPV)))
    assert "| hyper-kvasir/barretts\\_short\\_seg" in text
    assert "tf\\_efficientnet\\_lite0" in text and "(\\|diff\\| is" in text
    assert "<br>" in text and "\\<br" not in text


def test_data_formats_hold_unrounded_numbers() -> None:
    table = build(grid({"devnet": {"mono": 0.61234567}}))
    lines = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(lines) == len(load("dra-2"))
    (line,) = [found for found in lines if found["mean"]]
    assert float(line["mean"]) == pytest.approx(0.61234567)
    assert (line["column"], line["method"], line["shots"]) == ("devnet", "devnet", "10")
    assert (line["difference"], line["verdict"]) == ("0.013", "within")
    document = json.loads(as_json(table))
    assert document["schema"] == 1
    assert document["summary"]["run"] == 1


def test_a_sweep_has_our_values_alone() -> None:
    experiment = load_experiment("devnet-top-k")
    records = grid(
        {"devnet[top_k=0.05]": {"elpv": 0.8}}, protocol="general", known_class="", dataset="elpv"
    )
    text = terminal(build_published_table(experiment, (), records, PLAIN))
    (line,) = [line for line in text.splitlines() if line.startswith("elpv")]
    assert line.split() == ["elpv", "-", "0.800±0.010", "-", "-", "-"]
    assert "diff" not in text


def swept(name: str = "devnet-samples") -> ComparedTable:
    """Return a sweep in which more labelled anomalies are better, ELPV's alone."""
    records = [
        replace(
            record(c.method, "elpv", seed, 0.6 + 0.005 * (c.shots or 0) + 0.01 * seed),
            protocol="general[pool=40]",
            known_class="",
            shots=c.shots or 0,
            key=f"{c.title} {c.shots} {seed}",
        )
        for c in load_experiment(name).columns
        for seed in (0, 1, 2)
    ]
    return build_published_table(load_experiment(name), (), records, PLAIN)


def test_the_figure_of_a_sweep_has_a_panel_for_each_dataset_with_results() -> None:
    figure = sweep_figure(swept(), load_experiment("devnet-samples"))
    (panel,) = figure.axes
    assert panel.get_title() == "elpv"
    methods = [container.get_label() for container in panel.containers]
    assert methods == ["deepsad", "flos", "minns", "devnet"]
    line = cast(ErrorbarContainer, panel.containers[0]).lines[0]
    assert line is not None
    assert np.asarray(line.get_xdata()).tolist() == [5, 10, 15, 20, 25, 30, 35, 40]
    # Seeds are .01 apart, so that the mean is that of the middle one.
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx(
        [0.61 + 0.005 * n for n in range(5, 41, 5)]
    )


def test_a_figure_without_an_axis_has_the_methods_beside_each_other(tmp_path: Path) -> None:
    experiment = load_experiment("dra-disentangled")
    common: dict[str, Any] = {"protocol": "general", "known_class": ""}
    records = [
        *grid({"dra": {"elpv": 0.8}, "dra-nondisentangled": {"elpv": 0.7}}, **common),
        *grid({"dra": {"sdd": 0.9}}, dataset="sdd", **common),
    ]
    table = build_published_table(experiment, (), records, PLAIN)
    (panel,) = sweep_figure(table, experiment).axes
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["sdd", "elpv"]
    drawn = {}
    for container in panel.containers:
        line = cast(ErrorbarContainer, container).lines[0]
        assert line is not None
        drawn[container.get_label()] = np.asarray(line.get_xydata()).tolist()
    assert drawn["dra"] == [pytest.approx([0.1, 0.9]), pytest.approx([1.1, 0.8])]
    assert drawn["dra-nondisentangled"] == [pytest.approx([0.9, 0.7])]
    save_figure(table, experiment, tmp_path / "figure.pdf")
    empty = build_published_table(experiment, (), [], PLAIN)
    with pytest.raises(UsageError, match="no results to draw: run osadbench run --table dra-dis"):
        sweep_figure(empty, experiment)


@pytest.mark.parametrize("ending", ["pdf", "png"])
def test_the_same_results_give_the_same_file(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in paths:
        save_figure(swept(), load_experiment("devnet-samples"), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert len(first) > 5000


def test_figures_that_cannot_be_drawn(tmp_path: Path) -> None:
    sweep = load_experiment("devnet-samples")
    with pytest.raises(UsageError, match=r"ends in \.pdf or \.png, got .*x\.gif"):
        save_figure(swept(), sweep, tmp_path / "x.gif")
    with pytest.raises(UsageError, match="dra-2 is a table and has no figure"):
        save_figure(build(grid(ELPV)), load_experiment("dra-2"), tmp_path / "x.pdf")
    empty = build_published_table(sweep, (), [], PLAIN)
    with pytest.raises(UsageError, match="no results to draw: run osadbench run --table devnet-s"):
        save_figure(empty, sweep, tmp_path / "x.pdf")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write .*: name another file"):
        save_figure(swept(), sweep, tmp_path / "file" / "x.pdf")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX")
def test_latex_compiles(tmp_path: Path) -> None:
    table = build(changed(weights="sha256:" + "f" * 64), allow_mixed=True)
    sweep = build_published_table(load_experiment("devnet-samples"), (), [], PLAIN)
    tables = [latex(table), latex(sweep)]
    tables += [latex(build([], name), published_only=True) for name in table_names()]
    document = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    pages = [f"{text}\n\\clearpage" for text in tables]
    source = "\n".join([*document, *pages, r"\end{document}"])
    (tmp_path / "table.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout
