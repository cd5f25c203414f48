from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_tools import ENGINE, cell, grid, record

from osadbench.errors import StoreError, UsageError
from osadbench.report import FORMATS, Comparison, build_report, render
from osadbench.report.texts import counted, effect_text, wrapped
from osadbench.stats import WilcoxonResult
from osadbench.types import Record

GOLDEN = Path(__file__).parent / "golden"


def found(test: Comparison) -> WilcoxonResult:
    assert test.result is not None
    return test.result


def two_methods() -> list[Record]:
    return grid({"devnet": {"mono": 0.7, "poly": 0.9}, "dra": {"mono": 0.8, "poly": 0.85}})


def mixed() -> list[Record]:
    """Return results with everything that can be missing or uneven in one report."""
    records = grid(
        {
            "devnet": {"mono": 0.7, "poly": 0.81},
            "dra": {"mono": 0.75, "poly": 0.8},
            "dra[lr=0.0001,n_ref=1]": {"mono": 0.751, "poly": 0.8},
        }
    )
    records += [
        record("knn", "mono", seed, status="skipped", reason="no honest form here")
        for seed in range(3)
    ]
    records += [record("knn", "poly", seed, 0.82 + seed / 50) for seed in range(2)]
    reason = "OutOfMemoryError: 50% of 2_000 MB & more"
    records += [record("knn", "poly", 2, status="failed", reason=reason)]
    records += grid({"devnet": {"aitex": 0.6}, "dra": {"aitex": 0.65}}, seeds=(0,), dataset="aitex")
    records[0].provenance["commit"] = "99887766aabbccdd"
    return [*records, record(engine={"preset": "smoke"})]


def test_means_deviations_and_counts() -> None:
    report = build_report(two_methods())
    (table,) = report.tables
    assert table.columns == ("devnet", "dra")
    assert table.seeds == (0, 1, 2)
    assert [row.name for row in table.rows] == ["mono", "poly", "mean"]
    devnet = cell(report, "mono", "devnet")
    assert devnet.mean == pytest.approx(0.7)
    assert devnet.std == pytest.approx(0.01), "sample deviation of .69, .70, .71"
    assert (devnet.n, devnet.expected, devnet.failed, devnet.skipped) == (3, 3, 0, 0)
    assert (devnet.fit_seconds, devnet.score_seconds, devnet.peak_memory_bytes) == (4.0, 1.0, 1002)


def test_mean_row_takes_the_deviation_over_seeds_of_the_mean_over_rows() -> None:
    records = [
        record("dra", row, seed, value)
        for row, values in {"mono": (0.6, 0.8), "poly": (0.9, 0.7)}.items()
        for seed, value in enumerate(values)
    ]
    report = build_report(records)
    mean = cell(report, "mean", "dra")
    assert report.tables[0].rows[-1].aggregate
    assert mean.mean == pytest.approx(0.75)
    assert mean.std == pytest.approx(0.0, abs=1e-12), "both seeds have .75 over the rows"
    assert cell(report, "mono", "dra").std == pytest.approx(0.2 / 2**0.5)


def test_one_row_has_no_mean_row_and_one_seed_no_deviation() -> None:
    report = build_report([record()])
    assert [row.name for row in report.tables[0].rows] == ["mono"]
    assert cell(report, "mono", "dra").std is None
    assert "0.800" in render(report)
    assert "±" not in render(report)


def test_missing_seeds_are_counted_and_not_marked() -> None:
    records = [r for r in two_methods() if (r.label, r.row, r.seed) != ("dra", "mono", 2)]
    report = build_report(records)
    dra = cell(report, "mono", "dra")
    assert (dra.n, dra.expected, dra.mark) == (2, 3, "")
    assert cell(report, "mean", "dra").n == 2
    assert "0.795±0.007  2/3" in render(report)
    assert r"0.795\,$\pm$\,0.007 {\scriptsize 2/3}" in render(report, "latex")
    (test,) = report.tests
    assert test.result is None
    assert "devnet vs dra: not computed, dra lacks seeds in 1 of 2 rows" in render(report)
    assert "--allow-partial takes the rows there are" in report.notes[0]


def test_allow_partial_marks_and_tests_them() -> None:
    records = [r for r in two_methods() if (r.label, r.row, r.seed) != ("dra", "mono", 2)]
    assert "such cells are not marked" in render(build_report(records), "latex")
    report = build_report(records, allow_partial=True)
    assert "such cells are not marked" not in render(report, "latex")
    assert report.notes == ()
    assert cell(report, "mono", "dra").mark == "best"
    assert found(report.tests[0]).n == 2
    without_row = [r for r in two_methods() if (r.label, r.row) != ("dra", "mono")]
    report = build_report(without_row, allow_partial=True)
    assert found(report.tests[0]).n == 1
    assert cell(report, "mean", "dra").mean is None
    assert cell(report, "mono", "dra").n == 0


def test_failed_and_skipped_cells_get_a_dash_and_a_footnote() -> None:
    report = build_report(mixed())
    elpv = report.tables[1]
    assert elpv.dataset == "elpv"
    skipped, failed = cell(report, "mono", "knn", 1), cell(report, "poly", "knn", 1)
    assert (skipped.mean, skipped.n, skipped.skipped, skipped.notes) == (None, 0, 3, (1,))
    assert (failed.n, failed.failed, failed.notes) == (2, 1, (2,))
    assert elpv.footnotes == (
        "skipped: no honest form here",
        "failed: OutOfMemoryError: 50% of 2_000 MB & more",
    )
    assert cell(report, "mean", "knn", 1).mean is None


def test_a_failure_is_never_a_number() -> None:
    report = build_report([record(status="failed", reason="boom"), record("knn")])
    assert cell(report, "mono", "dra").mean is None
    assert re.search(r"^mono +- +\[1\] +0.800$", render(report), re.MULTILINE)


def test_a_done_record_without_the_metric_is_missing() -> None:
    report = build_report([record(), record("knn", metrics={"ap": 0.5})])
    assert report.tables[0].footnotes == ("no auroc was recorded",)
    assert cell(report, "mono", "knn").notes == (1,)


def test_best_and_second_by_the_means_as_printed() -> None:
    values = {"a": 0.80004, "b": 0.79996, "c": 0.7, "d": 0.7, "e": 0.6}
    report = build_report([record(label, auroc=value) for label, value in values.items()])
    marks = [c.mark for c in report.tables[0].rows[0].cells]
    assert marks == ["best", "best", "", "", ""]
    report = build_report([record(label, auroc=values[label]) for label in "acde"])
    marks = [c.mark for c in report.tables[0].rows[0].cells]
    assert marks == ["best", "second", "second", ""]


def test_smallest_is_best_for_fpr95() -> None:
    report = build_report(two_methods(), metric="fpr95")
    assert cell(report, "mono", "devnet").mean == pytest.approx(0.3)
    assert cell(report, "mono", "dra").mark == "best"
    assert "FPR at 95\\% recall" in render(report, "latex")


def test_a_single_column_is_not_marked() -> None:
    assert cell(build_report([record()]), "mono", "dra").mark == ""


def test_smoke_results_are_left_out_and_counted() -> None:
    smoke = record(engine={"preset": "smoke"})
    report = build_report([*two_methods(), smoke])
    assert len(report.tables) == 1
    assert report.notes == (
        "left out 1 result of preset smoke, which measures nothing (--include-smoke shows them)",
    )
    presets = [t.setting.preset for t in build_report([smoke], include_smoke=True).tables]
    assert presets == ["smoke"]
    assert "left out 1 result of preset smoke" in render(build_report([smoke]))


def test_nothing_to_show_says_so() -> None:
    for name in set(FORMATS) - {"csv"}:
        assert "no results to show" in render(build_report([]), name)
    assert render(build_report([]), "csv").count("\n") == 1


def test_mixed_provenance_is_noted() -> None:
    records = two_methods()
    assert build_report(records).tables[0].notes == ()
    records[0].provenance.update(commit="99887766aabbccdd", dirty=True, precision="bf16")
    # Whether it was not installed or not written down, no other version is known.
    records[1].provenance["versions"] = {"torch": "2.11.0"}
    assert build_report(records).tables[0].notes == (
        "the results mix commits: 1a2b3c4d5e, 99887766aa",
        "the results mix precisions: bf16, fp32",
        "the results mix versions of timm: 1.0.20, unknown",
        "1 of 12 results come from code with uncommitted changes",
    )


def test_failures_do_not_count_as_mixed() -> None:
    failed = record("knn", status="failed", reason="x", provenance={"commit": "other"})
    assert build_report([record(), failed]).tables[0].notes == ()


def test_tables_are_split_by_all_that_makes_numbers_incomparable() -> None:
    records = [
        record(),
        record(shots=1),
        record(protocol="general"),
        record(weights="random:0"),
        record(engine={"image_sizes": [224]}),
        record(dataset="aitex"),
    ]
    report = build_report(records)
    assert len(report.tables) == 6
    text = render(report)
    assert "elpv, hard protocol, 1 shot: AUROC" in text
    assert "weights random:0" in text
    assert "image_sizes=[224]" in text
    assert "image_sizes=[320, 224]" in text
    assert "precision" not in text


def test_known_classes_of_a_category_stand_in_a_table_of_their_own() -> None:
    records = [
        record(row=f"{category}/color", dataset="mvtec", category=category, known_class="color")
        for category in ("carpet", "metal_nut")
    ]
    assert [t.dataset for t in build_report(records).tables] == ["mvtec/carpet", "mvtec/metal_nut"]
    general = [
        record(row=category, dataset="mvtec", category=category, known_class="")
        for category in ("carpet", "metal_nut")
    ]
    (table,) = build_report(general).tables
    assert (table.dataset, [row.name for row in table.rows]) == (
        "mvtec",
        ["carpet", "metal_nut", "mean"],
    )


def test_two_records_of_one_place_are_refused_by_their_keys() -> None:
    with pytest.raises(StoreError, match="one result of dra on elpv, mono, seed 0, got k1 and k2"):
        build_report([record(key="k1"), record(key="k2")])


def test_order_of_records_does_not_matter() -> None:
    assert build_report(mixed()) == build_report(mixed()[::-1])


# DevNet's Table 2, ten shots, DevNet and MINNS: nine datasets, p = 0.0391.
DEVNET = [0.887, 0.958, 0.846, 0.982, 0.829, 0.790, 0.945, 0.782, 0.988]
MINNS = [0.813, 0.943, 0.788, 0.984, 0.647, 0.803, 0.939, 0.774, 0.961]


def published() -> list[Record]:
    return [
        record(label, f"set{i}", auroc=value, dataset=f"set{i}", known_class="", protocol="general")
        for label, values in (("devnet", DEVNET), ("minns", MINNS))
        for i, value in enumerate(values)
    ]


def test_rows_pair_across_datasets_as_in_the_papers() -> None:
    report = build_report(published())
    assert len(report.tables) == 9
    (test,) = report.tests
    assert found(test).p == pytest.approx(0.0390625)
    # Of the ranks 1 to 9, which sum to 45, minns has 1 (headct) and 4 (mastcam).
    assert test.effect == pytest.approx((40 - 5) / 45)
    line = "devnet vs minns: r = +0.78, p = 0.039 (n = 9 rows, smallest possible 0.004)"
    assert line in render(report)


def test_the_effect_size_has_the_sign_of_the_reference() -> None:
    # mono -.1 has rank 2, poly +.05 rank 1.
    (test,) = build_report(two_methods()).tests
    assert test.effect == pytest.approx((1 - 2) / 3)
    (turned,) = build_report(two_methods(), reference="dra").tests
    assert turned.effect == pytest.approx((2 - 1) / 3)
    # fpr95 is 1 - auroc here: what is better is smaller.
    (smaller,) = build_report(two_methods(), metric="fpr95").tests
    assert smaller.effect == pytest.approx((2 - 1) / 3)


def test_only_a_test_that_was_computed_has_an_effect_size() -> None:
    report = build_report([*two_methods(), record("knn", "mono")])
    assert [(t.method, t.effect is None) for t in report.tests] == [("dra", False), ("knn", True)]
    document = json.loads(render(report, "json"))
    assert [test["effect"] for test in document["tests"]] == [pytest.approx(-1 / 3), None]
    alone = build_report([*two_methods()[:6], record("knn", "mono")])
    for form in ("terminal", "markdown", "latex"):
        assert "not computed, " in render(alone, form)
        assert "rank-biserial" not in render(alone, form)
        assert render(report, form).count("rank-biserial") == 1


def test_pairs_are_means_over_seeds_and_mean_rows_take_no_part() -> None:
    (test,) = build_report(two_methods()).tests
    assert (found(test).n, found(test).p, found(test).smallest_p) == (2, 1.0, 0.5)


def test_pairs_differ_as_printed() -> None:
    records = [record("a", auroc=0.80004), record("b", auroc=0.79996)]
    (test,) = build_report(records).tests
    assert (found(test).n_zero, found(test).p, test.effect) == (1, 1.0, 0.0)
    assert "r = +0.00, p = 1.000 (n = 1 row, 1 equal, smallest possible 1.000)" in render(
        build_report(records)
    )


def test_effect_sizes_have_a_sign_and_zero_has_one() -> None:
    texts = ["-1.00", "+0.00", "+0.00", "+0.78"]
    assert [effect_text(value) for value in (-1.0, -0.004, 0.0, 35 / 45)] == texts


def test_lines_end_before_a_number_and_its_name() -> None:
    assert wrapped(f"{'x' * 95} p = 0.500") == f"{'x' * 95}\n  p = 0.500"
    assert wrapped(f"{'x' * 90} p = 0.500") == f"{'x' * 90} p = 0.500"
    records = grid({label: {"mono": 0.5, "poly": 0.6} for label in ("a" * 24, "b" * 24, "knn")})
    lines = render(build_report(records)).splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line.endswith((" =", " r", " p", " Holm", " n"))]


def test_holm_counts_the_tests_of_a_setting() -> None:
    rows = {f"row{i}": i / 1000 for i in range(1, 8)}
    values = {
        label: {row: base + v for row, v in rows.items()}
        for label, base in (("a", 0.5), ("b", 0.6), ("c", 0.7))
    }
    report = build_report(grid(values))
    assert [t.method for t in report.tests] == ["b", "c"]
    assert [t.p_holm for t in report.tests] == [2 / 64, 2 / 64]
    assert [t.effect for t in report.tests] == [-1.0, -1.0]
    assert "a vs b: r = -1.00, p = 0.016, Holm = 0.031 (n = 7 rows" in render(report)


def test_methods_choose_and_order_columns() -> None:
    records = [record(label) for label in ("knn", "dra[lr=0.1]", "dra[lr=0.2]", "devnet")]
    report = build_report(records, methods=["knn", "dra"])
    assert report.tables[0].columns == ("knn", "dra[lr=0.1]", "dra[lr=0.2]")
    assert {t.reference for t in report.tests} == {"knn"}
    exact = build_report([*records, record("dra")], methods=["dra", "dra"])
    assert exact.tables[0].columns == ("dra",)


def test_reference_by_label_or_method() -> None:
    records = [record(label) for label in ("devnet", "dra[lr=0.1]", "knn")]
    for name in ("dra", "dra[lr=0.1]"):
        tests = build_report(records, reference=name).tests
        assert [(t.reference, t.method) for t in tests] == [
            ("dra[lr=0.1]", "devnet"),
            ("dra[lr=0.1]", "knn"),
        ]


def test_reference_without_results_under_a_setting() -> None:
    records = [*two_methods(), record("knn", shots=1), record("dra", shots=1)]
    tests = build_report(records, reference="devnet").tests
    reasons = {t.method: t.reason for t in tests if t.setting.shots == 1}
    assert reasons == {name: "devnet lacks seeds in 1 of 1 rows" for name in ("dra", "knn")}
    tests = build_report(records, reference="devnet", allow_partial=True).tests
    assert {t.reason for t in tests if t.setting.shots == 1} == {"they share no row"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "auroq"}, "no metric 'auroq': did you mean auroc"),
        ({"methods": ["drra"]}, "no results of method 'drra': did you mean dra"),
        ({"reference": "knn"}, "no results of method 'knn': .*known: devnet, dra"),
        ({"reference": "devnet", "methods": ["dra"]}, "'devnet': .*known: dra$"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_report(two_methods(), **arguments)


def test_a_reference_of_several_columns_is_refused() -> None:
    records = [record("dra[lr=0.1]"), record("dra[lr=0.2]")]
    with pytest.raises(UsageError, match=r"one column, got 'dra', which is dra\[lr=0.1\] and"):
        build_report(records, reference="dra")


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match="no format 'latec': did you mean latex"):
        render(build_report([]), "latec")


@pytest.mark.parametrize("name", ["terminal", "markdown", "latex"])
def test_golden_text(name: str) -> None:
    report = render(build_report(mixed()), name)
    # A release changes the version, not the layout.
    report = re.sub(r"osadbench \d[\w.+]*\w", "osadbench VERSION", report)
    assert report == (GOLDEN / f"report_{name}.txt").read_text(encoding="utf-8")


def test_terminal_stays_within_100_columns_without_trailing_spaces() -> None:
    for line in render(build_report(mixed())).splitlines():
        assert len(line) <= 100
        assert line == line.rstrip()


def test_colour_replaces_the_signs() -> None:
    report = build_report(two_methods())
    text = render(report, color=True)
    assert "\033[1m0.800±0.010\033[0m" in text
    assert "\033[4m0.700±0.010\033[0m" in text
    assert "0.800±0.010*" in render(report)
    assert "\033" not in render(report)
    assert "*" not in text
    lines = [re.sub(r"\033\[\dm", "", line) for line in text.splitlines()]
    widths = {len(line) for line in lines if re.search(r"\d±", line)}
    assert widths == {len("mono  0.700±0.010  0.800±0.010")}


def test_latex_escapes_and_balances() -> None:
    text = render(build_report(mixed()), "latex")
    assert r"dra{[}lr=0.0001,n\_ref=1{]}" in text
    assert r"tf\_efficientnet\_lite0" in text
    assert r"OutOfMemoryError: 50\% of 2\_000 MB \& more" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    bare = re.sub(r"\\[{}$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(table.partition("}")[0]) - 1
        lines = re.findall(r"^(.*) \\\\$", table, re.MULTILINE)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {columns - 1}


def test_latex_escapes_every_special_character() -> None:
    text = render(build_report([record(row="[a]\\~^<>|#{}$b")]), "latex")
    escaped = (
        r"{[}a{]}\textbackslash{}\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textgreater{}\textbar{}\#\{\}\$b & 0.800 \\"
    )
    assert escaped in text.splitlines()


def test_markdown_tables_keep_their_columns() -> None:
    text = render(build_report([record("a|b", auroc=0.9), record("c_d")]), "markdown")
    assert "|  | a\\|b | c\\_d |" in text
    assert "| mono | **0.900** | _0.800_ |" in text


def test_csv_has_one_line_for_each_cell_with_unrounded_numbers() -> None:
    lines = list(csv.DictReader(io.StringIO(render(build_report(mixed()), "csv"))))
    assert len(lines) == 2 + 3 * 4
    (failed,) = [x for x in lines if x["row"] == "poly" and x["method"] == "knn"]
    assert float(failed["mean"]) == pytest.approx(0.83)
    assert (failed["n"], failed["expected"], failed["failed"]) == ("2", "3", "1")
    assert failed["reasons"] == "failed: OutOfMemoryError: 50% of 2_000 MB & more"
    assert (failed["preset"], failed["seeds"], failed["aggregate"]) == ("frozen", "0 1 2", "false")
    (skipped,) = [x for x in lines if x["row"] == "mono" and x["method"] == "knn"]
    assert (skipped["mean"], skipped["std"]) == ("", "")
    assert sum(x["aggregate"] == "true" for x in lines) == 4


def test_json_holds_everything() -> None:
    report = build_report(mixed())
    values = json.loads(render(report, "json"))
    assert values["schema"] == 1
    assert values["metric"] == "auroc"
    assert [t["dataset"] for t in values["tables"]] == ["aitex", "elpv"]
    assert values["tables"][0]["setting"]["engine"] == ENGINE
    by_method = {t["method"]: t for t in values["tests"]}
    assert by_method["knn"]["result"] is None
    assert by_method["dra"]["result"]["n"] == 3
    assert values["notes"] == list(report.notes)


def test_a_report_imports_nothing_heavy() -> None:
    code = (
        "import sys; from osadbench.report import build_report, render; render(build_report([])); "
        "heavy = {'torch', 'scipy', 'sklearn', 'pandas', 'osadbench.runner', 'osadbench.store'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_counts_of_things() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2)] == ["0 cells", "1 cell", "2 cells"]


def test_what_a_record_says_of_its_images_and_weights() -> None:
    plain = record()
    assert (plain.place, plain.preset) == ("elpv", "frozen")
    assert (plain.manifest, plain.outlier_source, plain.source) == ("", "", "")
    crossed = record(split={"adaptation": {"source": "grid", "normals": 8}})
    assert crossed.source == "grid"
    split = {"manifest": "0a1b", "outliers": {"source": "lag", "digest": "2c", "images": 9}}
    whole = record(dataset="mvtec", category="grid", split=split)
    assert (whole.place, whole.manifest, whole.outlier_source) == ("mvtec/grid", "0a1b", "lag")
    own = record(departures={"backbone": "vgg16"})
    bare = record(weights="none")
    found = [(r.has_own_backbone, r.uses_engine_backbone) for r in (plain, own, bare)]
    assert found == [(False, True), (True, False), (False, False)]
