from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from store_tools import LABELS, PERFECT, WORSE, outliers, write_cell

from osadbench.report.differences import Differences, Side, differences, render_differences
from osadbench.stats import auroc_difference, holm
from osadbench.store import Store

ROWS = ("a", "b", "c", "d", "e", "f")


def side(folder: Path, **chosen: Any) -> Side:
    records = [
        record
        for record in Store(folder).records()
        if all(getattr(record, name) == value for name, value in chosen.items())
    ]
    return Side(folder.name, records, Store(folder).scores)


def compare(one: Path, other: Path, **options: Any) -> Differences:
    return differences(side(one), side(other), **options)


def methods(folder: Path) -> Differences:
    return differences(side(folder, label="dra"), side(folder, label="knn"), by_label=False)


def test_the_very_same_scores(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_cell(tmp_path / name, scores=WORSE)
    found = compare(tmp_path / "one", tmp_path / "two")
    (cell,), (test,) = found.cells, found.tests
    assert (cell.status, cell.difference) == ("same", 0.0)
    assert cell.interval is not None
    assert (cell.interval.low, cell.interval.high, cell.interval.p) == (0.0, 0.0, 1.0)
    assert test.result is not None
    assert (test.result.p, test.result.n_zero, test.effect) == (1.0, 1, 0.0)
    text = render_differences(found, "terminal")
    assert "1 of 1 cells have the very same scores" in text
    assert "no scores differ: p = 1 by rule" in text


def test_a_difference_comes_with_its_paired_interval(tmp_path: Path) -> None:
    write_cell(tmp_path / "one")
    write_cell(tmp_path / "two", scores=WORSE)
    (cell,) = compare(tmp_path / "one", tmp_path / "two").cells
    assert cell.status == "differs"
    assert cell.difference == pytest.approx(4 / 25)
    assert cell.interval == auroc_difference(LABELS, PERFECT, WORSE)
    (drawn,) = compare(tmp_path / "one", tmp_path / "two", bootstrap=True).cells
    assert drawn.interval is not None
    assert drawn.interval.method == "bootstrap"
    (other,) = compare(tmp_path / "one", tmp_path / "two", metric="ap").cells
    assert other.interval is None


def test_images_are_paired_by_their_paths(tmp_path: Path) -> None:
    write_cell(tmp_path / "one", scores=WORSE)
    folder = tmp_path / "two"
    write_cell(folder, scores=WORSE)
    store = Store(folder)
    (record,) = store.records()
    table = store.scores(record.key)
    backwards = type(table)(
        table.paths[::-1], table.labels[::-1], table.classes[::-1], table.scores[::-1]
    )
    store.write(record, backwards)
    (cell,) = compare(tmp_path / "one", folder).cells
    assert cell.status == "same"


def test_other_images_have_no_interval_and_no_test(tmp_path: Path) -> None:
    write_cell(tmp_path / "one")
    write_cell(tmp_path / "two", prefix="others")
    write_cell(tmp_path / "three", labels=(1, *LABELS[1:5], 0, *LABELS[6:]), scores=WORSE)
    for name in ("two", "three"):
        found = compare(tmp_path / "one", tmp_path / name)
        assert [cell.status for cell in found.cells] == ["other images"]
        assert found.cells[0].interval is None
        assert found.tests[0].reason == "of 1 cells 1 other images"


def test_two_methods_of_one_folder(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra")
    write_cell(tmp_path, "knn", scores=WORSE)
    found = methods(tmp_path)
    (cell,) = found.cells
    assert cell.place.label == ""
    assert cell.difference == pytest.approx(4 / 25)


def test_a_method_without_labels_goes_with_all_shots(tmp_path: Path) -> None:
    for shots in (1, 10):
        write_cell(tmp_path, "dra", shots=shots)
    write_cell(tmp_path, "knn", scores=WORSE, shots=0)
    found = methods(tmp_path)
    assert [(cell.place.shots, cell.status) for cell in found.cells] == [
        (1, "differs"),
        (10, "differs"),
    ]
    swapped = differences(side(tmp_path, label="knn"), side(tmp_path, label="dra"), by_label=False)
    assert [cell.difference for cell in swapped.cells] == [pytest.approx(-4 / 25)] * 2


def test_two_methods_without_labels(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra", shots=0)
    write_cell(tmp_path, "knn", shots=0)
    assert [cell.place.shots for cell in methods(tmp_path).cells] == [0]


def test_the_test_is_over_the_rows_by_means_over_seeds(tmp_path: Path) -> None:
    for row in ROWS:
        for seed in (0, 1):
            write_cell(tmp_path, "dra", row, seed)
            write_cell(tmp_path, "knn", row, seed, WORSE if seed or row == "f" else PERFECT)
    (test,) = methods(tmp_path).tests
    assert test.result is not None
    # All six rows speak for dra: p = 2 / 2^6, and no test of six pairs could give less.
    assert (test.result.n, test.result.W, test.result.p) == (6, 0.0, 1 / 32)
    assert (test.result.smallest_p, test.effect, test.p_holm) == (1 / 32, 1.0, None)
    # Five rows differ in one of two seeds, one in both: (5 / 2 + 1) / 6 of 4 / 25.
    assert test.mean_difference == pytest.approx(3.5 / 6 * 4 / 25)


def test_tests_of_several_methods_are_corrected(tmp_path: Path) -> None:
    for row in ROWS:
        for label in ("dra", "knn"):
            write_cell(tmp_path / "one", label, row)
            scores = WORSE if label == "dra" else PERFECT
            write_cell(tmp_path / "two", label, row, scores=scores)
    found = compare(tmp_path / "one", tmp_path / "two")
    results = [test.result for test in found.tests if test.result]
    assert [test.label for test in found.tests] == ["dra", "knn"]
    assert [test.p_holm for test in found.tests] == holm([result.p for result in results])
    assert [test.p_holm for test in found.tests] == [1 / 16, 1.0]


def test_unequal_seeds_are_refused_unless_partial_is_allowed(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_cell(tmp_path / "one", seed=seed)
    write_cell(tmp_path / "two", scores=WORSE)
    found = compare(tmp_path / "one", tmp_path / "two")
    assert [cell.status for cell in found.cells] == ["differs", "only A"]
    assert found.tests[0].reason == "of 2 cells 1 only A"
    text = render_differences(found, "terminal")
    assert "1 only A: dra elpv hard mono 10-shot seed 1" in text
    assert "not computed, of 2 cells 1 only A; --allow-partial takes what both have" in text
    (test,) = compare(tmp_path / "one", tmp_path / "two", allow_partial=True).tests
    assert test.result is not None
    assert test.mean_difference == pytest.approx(4 / 25), "of the seed that both have"


def test_failures_are_no_numbers(tmp_path: Path) -> None:
    write_cell(tmp_path / "one", "dra")
    write_cell(tmp_path / "two", "dra", status="failed", reason="boom")
    for name in ("one", "two"):
        write_cell(tmp_path / name, "kdad", status="skipped", reason="no form")
    found = compare(tmp_path / "one", tmp_path / "two")
    dra, kdad = found.cells
    assert (dra.status, dra.reason) == ("only A", "B: failed, boom")
    assert kdad.status == "neither"
    assert [test.reason for test in found.tests] == ["of 1 cells 1 only A", "they share no cell"]


def test_a_missing_pixel_auroc_has_the_reason_of_its_record(tmp_path: Path) -> None:
    write_cell(tmp_path / "one", "dra")
    why = {"localisation": {"reason": "no masks"}}
    write_cell(tmp_path / "two", "dra", provenance=why)
    (cell,) = compare(tmp_path / "one", tmp_path / "two", metric="pixel_auroc").cells
    assert cell.reason == "A: no pixel_auroc was recorded; B: no pixel_auroc, no masks"


def test_an_interval_needs_two_images_of_each_class(tmp_path: Path) -> None:
    few = {"labels": (0, 0, 1), "classes": ("good", "good", "hole")}
    write_cell(tmp_path / "one", scores=(1, 2, 3), **few)  # type: ignore[arg-type]
    write_cell(tmp_path / "two", scores=(1, 3, 2), **few)  # type: ignore[arg-type]
    (cell,) = compare(tmp_path / "one", tmp_path / "two").cells
    assert cell.interval is None
    assert cell.reason is not None
    assert cell.reason.startswith("no interval: expected 2 or more images of each class")


@pytest.fixture(name="both")
def both_fixture(tmp_path: Path) -> Path:
    """Two presets and two methods in one folder, another folder of one preset and one commit."""
    for preset in ("frozen", "paper"):
        for label in ("dra", "knn"):
            scores = WORSE if (preset, label) == ("paper", "dra") else PERFECT
            write_cell(tmp_path / "runs", label, scores=scores, engine={"preset": preset})
    commit = {"commit": "feedbeef00112233"}
    write_cell(tmp_path / "later", "dra", scores=WORSE, provenance=commit)
    return tmp_path


def test_the_command_line_takes_presets_methods_and_commits(cli: Cli, both: Path) -> None:
    for one, other, differing in (
        ("runs@frozen", "runs@paper", 1),
        ("runs@frozen:dra", "later", 1),
        ("runs@frozen:dra", "runs@frozen:knn", 0),
        ("runs@paper:dra", "later@feedbee", 0),
        ("runs@frozen@1a2b3c4:knn", "runs@backbone=tf_efficientnet_lite0@paper", 0),
        ("runs@preset=frozen:dra", f"{both}/later@weights=ab12cd", 1),
    ):
        result = cli("compare", one, other, "-f", "csv")
        assert (result.code, result.err) == (0, ""), one
        statuses = [line["status"] for line in csv.DictReader(io.StringIO(result.out))]
        assert statuses.count("differs") == differing, (one, other)
        assert statuses


def test_the_command_line_prints_all_formats(cli: Cli, both: Path) -> None:
    words = ("compare", "runs@frozen", "runs@paper")
    out = cli(*words).out
    assert "dra elpv hard mono 10-shot seed 0  1.000  0.840  +0.160" in out
    assert "1 of 2 cells have the very same scores" in out
    assert "knn elpv" not in out.partition("tests")[0]
    assert "knn elpv" in cli(*words, "--all").out
    assert (
        "| dra elpv hard mono 10-shot seed 0 | 1.000 | 0.840 |" in cli(*words, "-f", "markdown").out
    )
    document = json.loads(cli(*words, "-f", "json").out)
    assert document["schema"] == 1
    assert document["cells"][0]["place"]["label"] == "dra"
    assert document["tests"][0]["result"]["smallest_p"] == 1.0
    lines = list(csv.DictReader(io.StringIO(cli(*words, "-f", "csv").out)))
    assert float(lines[0]["difference"]) == pytest.approx(4 / 25)
    assert lines[0]["interval_method"] == "delong"


def test_a_folder_may_have_the_signs_of_the_grammar_in_its_name(cli: Cli, tmp_path: Path) -> None:
    for name in ("a@b:c", "plain"):
        write_cell(tmp_path / name)
    assert "1 of 1 cells" in cli("compare", "a@b:c", "plain").out
    assert "1 of 1 cells" in cli("compare", "a@b:c@frozen:dra", "plain").out


@pytest.mark.parametrize(
    ("one", "other", "code", "message"),
    [
        ("nowhere", "later", 3, "no results folder begins 'nowhere': expected STORE, STORE@PRESET"),
        ("runs", "later", 2, "A has several results of dra on elpv hard mono 10-shot seed 0"),
        ("runs", "later", 2, "choose by @"),
        ("later", "runs@smoke", 2, "runs@smoke: no results of 'smoke': known: 1a2b3c4d5e, frozen"),
        ("later", "runs@backbone=x", 2, "no results of 'backbone=x': "),
        ("later:dar", "later", 2, "later:dar: no results of method 'dar': did you mean dra?"),
        ("later:knn", "later", 2, "no results of method 'knn'"),
        ("later@feed", "later", 2, "no results of 'feed': did you mean feedbeef00?"),
    ],
)
def test_what_cannot_be_understood_is_one_line(
    cli: Cli, both: Path, one: str, other: str, code: int, message: str
) -> None:
    result = cli("compare", one, other)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert message in result.err


def test_an_unknown_metric_is_one_line(cli: Cli, both: Path) -> None:
    result = cli("compare", "later", "later", "--metric", "auroc2")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("error: no metric 'auroc2': did you mean auroc")
    words = ("compare", "later", "later", "-f", "csv", "--metric")
    assert cli(*words, "f1max") == cli(*words, "oracle_f1")


def test_what_tells_results_of_one_place_apart_is_said(cli: Cli, tmp_path: Path) -> None:
    for weights in ("sha256:" + "ab" * 32, "sha256:" + "cd" * 32):
        write_cell(tmp_path / "runs", weights=weights)
    result = cli("compare", "runs", "runs")
    assert "choose by @weights=abababababab or @weights=cdcdcdcdcdcd" in result.err
    result = cli("compare", "runs@weights=abab", "runs@weights=cdcd")
    assert "1 of 1 cells have the very same scores" in result.out
    for resolution in (224, 320):
        write_cell(tmp_path / "sizes", engine={"image_sizes": [resolution]})
    assert "image_sizes=[224] or @image_sizes=[320]" in cli("compare", "sizes", "sizes").err
    assert "1 of 1" in cli("compare", "sizes@image_sizes=[224]", "sizes@image_sizes=[320]").out


def test_results_of_preset_smoke_take_part_where_they_are_named(cli: Cli, both: Path) -> None:
    write_cell(both / "later", "dra", engine={"preset": "smoke"})
    assert (
        "0 of 1 cells have the very same scores" in cli("compare", "runs@frozen:dra", "later").out
    )
    named = cli("compare", "runs@frozen:dra", "later@smoke")
    assert "1 of 1 cells have the very same scores" in named.out


def test_damaged_scores_are_one_line(cli: Cli, both: Path) -> None:
    (path,) = (both / "later" / "cells").glob("*.npz")
    path.write_bytes(path.read_bytes()[:-1])
    result = cli("compare", "runs@paper:dra", "later")
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
    assert "do not fit the record's digest: osadbench run computes it anew" in result.err


def test_outliers_of_one_source_are_paired_where_one_side_has_several(
    cli: Cli, tmp_path: Path
) -> None:
    for folder, sources in (("one", ("aitex", "sdd")), ("two", ("aitex",)), ("three", ("sdd",))):
        for source in sources:
            scores = PERFECT if source == "aitex" else WORSE
            write_cell(tmp_path / folder, "saoe", scores=scores, split=outliers(source))
    out = cli("compare", "one", "two").out
    assert "1 of 2 cells have the very same scores" in out
    assert "1 only A: saoe (outliers sdd) elpv hard mono 10-shot seed 0" in out
    # Where no side has several, the sources may be what is compared.
    assert "saoe elpv hard mono 10-shot seed 0  1.000" in cli("compare", "two", "three").out
    # The only source of a side goes without saying.
    for words in (["one:saoe (outliers aitex)", "two:saoe"], ["one:saoe (outliers aitex)", "two"]):
        assert "1 of 1 cells have the very same scores" in cli("compare", *words).out, words
    refused = cli("compare", "two", "one:saoe")
    assert refused.code == 2
    assert "one:saoe: no results of method 'saoe': known: saoe (outliers" in refused.err


def test_results_that_nothing_can_choose_among_are_named(cli: Cli, tmp_path: Path) -> None:
    keys = [
        write_cell(tmp_path / "runs", "saoe", split=outliers("aitex", digest)).key
        for digest in ("one", "two")
    ]
    refused = cli("compare", "runs", "runs")
    assert (refused.code, refused.out) == (3, "")
    one, other = sorted(keys)
    assert f"seed 0, {one} and {other}: move one out of the store" in refused.err
    write_cell(tmp_path / "two", "saoe", split=outliers("aitex"))
    later = {"commit": "ffff0000ffff0000"}
    write_cell(tmp_path / "two", "saoe", split=outliers("aitex", "three"), provenance=later)
    assert "@ffff0000ff" in cli("compare", "two", "two").err
    assert cli("compare", "two@ffff0000ff", "two@1a2b3c4d5e").code == 0


def test_partial_is_not_advised_where_it_cannot_help(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "one", row="a")
    write_cell(tmp_path / "two", row="b")
    assert "1 only A, 1 only B; --allow-partial takes" in cli("compare", "one", "two").out
    out = cli("compare", "one", "two", "--allow-partial").out
    assert "dra hard 10 shots: not computed, they share no cell\n" in out
