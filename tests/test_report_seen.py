from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from store_tools import PERFECT, WORSE, write_cell

from osadbench.report.seen import SeenCell, build_seen
from osadbench.report.seen_text import render_seen
from osadbench.store import Store

GENERAL: dict[str, Any] = {"row": "elpv", "protocol": "general", "known_class": ""}
CRACK = {"seen_classes": ["crack"]}


def cells(folder: Path) -> dict[str, SeenCell]:
    """Return the cells of a folder by their methods."""
    store = Store(folder)
    found = build_seen(store.records(), store.scores)
    assert len({cell.label for cell in found}) == len(found)
    return {cell.label: cell for cell in found}


def test_seen_and_unseen_worked_by_hand(tmp_path: Path) -> None:
    # The one crack of two below four of five normals: (5 + 1) / 10; the holes are all above.
    write_cell(tmp_path, scores=WORSE, split=CRACK, **GENERAL)
    cell = cells(tmp_path)["dra"]
    assert (cell.all.mean, cell.seen.mean, cell.unseen.mean) == pytest.approx((21 / 25, 0.6, 1.0))
    assert [part.anomalies for part in (cell.all, cell.seen, cell.unseen)] == [
        (5, 5),
        (2, 2),
        (3, 3),
    ]
    assert (cell.expected, cell.seen.n, cell.seen.std, cell.reasons) == (1, 1, None, ())


def test_means_are_over_seeds_with_classes_of_their_own(tmp_path: Path) -> None:
    write_cell(tmp_path, scores=WORSE, split=CRACK, **GENERAL)
    write_cell(tmp_path, scores=WORSE, seed=1, split={"seen_classes": ["hole"]}, **GENERAL)
    cell = cells(tmp_path)["dra"]
    assert cell.seen.mean == pytest.approx((0.6 + 1.0) / 2)
    assert cell.seen.std == pytest.approx(0.4 / 2**0.5)
    assert cell.unseen.mean == cell.seen.mean
    assert cell.seen.anomalies == (2, 3)


def test_methods_without_labels_take_the_classes_of_the_others(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra", split=CRACK, **GENERAL)
    write_cell(tmp_path, "knn", scores=WORSE, shots=0, split={"seen_classes": []}, **GENERAL)
    knn = cells(tmp_path)["knn"]
    assert (knn.seen.mean, knn.unseen.mean) == pytest.approx((0.6, 1.0))


def test_methods_without_labels_alone_have_no_seen_classes(tmp_path: Path) -> None:
    write_cell(tmp_path, "knn", shots=0, split={"seen_classes": []}, **GENERAL)
    knn = cells(tmp_path)["knn"]
    assert (knn.all.mean, knn.seen.mean, knn.unseen.mean) == (1.0, None, None)
    assert knn.reasons[0].startswith("no result of a method with labelled anomalies here says")


def test_they_differ_with_the_shots_of_the_table(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra", split=CRACK, shots=1, **GENERAL)
    both = {"seen_classes": ["crack", "hole"]}
    write_cell(tmp_path, "dra", split=both, shots=10, **GENERAL)
    write_cell(tmp_path, "knn", scores=WORSE, shots=0, split={"seen_classes": []}, **GENERAL)
    store = Store(tmp_path)
    found = [cell for cell in build_seen(store.records(), store.scores) if cell.label == "knn"]
    assert [cell.setting.shots for cell in found] == [1, 10]
    assert [cell.seen.mean for cell in found] == pytest.approx([0.6, 21 / 25])
    assert found[1].unseen.mean is None
    assert found[1].reasons == ("no test anomalies of unseen classes",)


def test_old_records_and_failures_have_a_reason(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra", **GENERAL)
    write_cell(tmp_path, "devnet", status="failed", reason="boom", split=CRACK, seed=1, **GENERAL)
    found = cells(tmp_path)
    assert found["dra"].seen.mean is None
    assert found["dra"].all.mean == 1.0
    assert found["dra"].reasons[0].startswith("made before records named the seen classes")
    assert found["devnet"].reasons == ("failed: boom",)
    assert found["devnet"].all.mean is None


def test_contradicting_records_are_not_guessed_from(tmp_path: Path) -> None:
    write_cell(tmp_path, "dra", split=CRACK, **GENERAL)
    write_cell(tmp_path, "devnet", split={"seen_classes": ["hole"]}, **GENERAL)
    for cell in cells(tmp_path).values():
        assert cell.seen.mean is None
        assert cell.reasons == ("results of the same row and seed name other seen classes",)


def test_all_test_anomalies_of_the_hard_protocol_are_unseen(tmp_path: Path) -> None:
    write_cell(tmp_path, scores=WORSE, row="scratch", split={"seen_classes": ["scratch"]})
    cell = cells(tmp_path)["dra"]
    assert (cell.seen.mean, cell.unseen.mean) == (None, cell.all.mean)
    assert cell.reasons == ("no test anomalies of seen classes",)


def test_scores_that_are_all_the_same_in_a_part_have_a_reason(tmp_path: Path) -> None:
    scores = (*[1.0] * 5, 1.0, 1.0, 7.0, 8.0, 9.0)
    write_cell(tmp_path, scores=scores, split=CRACK, **GENERAL)
    cell = cells(tmp_path)["dra"]
    assert (cell.seen.mean, cell.unseen.mean) == (None, 1.0)
    assert cell.reasons[0].startswith("seen classes: expected scores that differ")


def test_formats(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_cell(tmp_path, scores=WORSE, seed=seed, split=CRACK, **GENERAL)
    write_cell(tmp_path, "knn", scores=PERFECT, shots=0, **GENERAL)
    found = list(cells(tmp_path).values())
    text = render_seen(found, "terminal")
    assert "elpv   dra       0.840±0.000 (5)  0.600±0.000 (2)  1.000±0.000 (3)" in text
    assert "elpv   knn       1.000 (5) 1/2    1.000 (2) 1/2    1.000 (3) 1/2" in text
    assert "| elpv | knn | 1.000 (5) 1/2 |" in render_seen(found, "markdown")
    line = next(csv.DictReader(io.StringIO(render_seen(found, "csv"))))
    assert (line["seen_mean"], line["seen_n"], line["seen_anomalies"]) == ("0.6", "2", "2")
    document = json.loads(render_seen(found, "json"))
    assert (document["schema"], document["cells"][0]["unseen"]["anomalies"]) == (1, [3, 3])


def test_the_command_line_shows_a_folder(cli: Cli, tmp_path: Path) -> None:
    write_cell(tmp_path / "runs", "dra", scores=WORSE, split=CRACK, **GENERAL)
    write_cell(tmp_path / "runs", "knn", shots=0, split={"seen_classes": []}, **GENERAL)
    result = cli("seen", "-o", "runs", "-m", "knn")
    assert (result.code, result.err) == (0, "")
    assert "elpv   knn       1.000 (5)      1.000 (2)       1.000 (3)" in result.out
    assert "dra" not in result.out
    assert cli("seen", "-o", "runs", "-p", "hard").err.count("\n") == 1
    nothing = cli("seen", "-o", "runs", "-m", "kdad")
    assert (nothing.code, nothing.err) == (
        2,
        "error: no results of method 'kdad': did you mean dra? known: dra, knn\n",
    )


def test_tables_of_other_weights_or_images_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    for manifest, start in (("aaaa1111aaaa", 1.0), ("bbbb2222bbbb", 2.0)):
        split = {**CRACK, "manifest": manifest}
        write_cell(tmp_path / "runs", split=split, provenance={"started": start}, **GENERAL)
    again: dict[str, Any] = {"split": split, "provenance": {"started": start}}
    write_cell(tmp_path / "runs", weights="random:0", **again, **GENERAL)
    titles = " ".join(cli("seen", "-o", "runs").out.split())
    for images in ("bbbb2222", "aaaa1111"):
        assert titles.count(f"ab12cd34ab12, images of manifest {images} (elpv): AUROC") == 1
    assert "weights random:0, images of manifest bbbb2222 (elpv): AUROC" in titles
    table = cli("seen", "-o", "runs", "-f", "csv").out
    lines = [(line["engine"], line["manifest"]) for line in csv.DictReader(io.StringIO(table))]
    engine = "preset frozen, tf_efficientnet_lite0, weights"
    assert lines == [
        (f"{engine} random:0", "bbbb2222bbbb"),
        (f"{engine} sha256:ab12cd34ab12", "bbbb2222bbbb"),
        (f"{engine} sha256:ab12cd34ab12", "aaaa1111aaaa"),
    ]
