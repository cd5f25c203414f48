"""The committed results are whole, and the numbers in the README and the docs are theirs."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from osadbench.metrics import compute_metrics
from osadbench.report import build_report, render
from osadbench.store import Store

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "results" / "elpv-frozen"
SWEPT = ROOT / "results" / "elpv-sweeps"

sys.path.insert(0, str(ROOT / "benchmarks"))
import compare_elpv  # noqa: E402
import sweeps_elpv  # noqa: E402

SEEDS, SHOTS, ROWS = (0, 1, 2), (1, 10), ("elpv", "mono", "poly")
WITHOUT_LABELS = {"dsvdd-frozen", "featdistill", "kdad", "knn", "meanfeature", "patchcore"}
WITHOUT_LABELS |= {"untrained"}


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(MEASURED)


def test_every_cell_is_there_clean_and_from_one_commit(store: Store) -> None:
    records = store.records()
    assert store.problems() == []
    found = sorted((r.label, r.row, r.shots, r.seed) for r in records)
    assert found == sorted(
        (label, row, shots, seed)
        for label in compare_elpv.METHODS
        for row in ROWS
        for shots in ((0,) if label in WITHOUT_LABELS else SHOTS)
        for seed in SEEDS
    )
    assert {r.label for r in records if r.status == "skipped"} == {"kdad"}
    assert {r.status for r in records} == {"done", "skipped"}
    assert len({record.provenance["commit"] for record in records}) == 1
    assert {record.provenance["dirty"] for record in records} == {False}


def test_metrics_come_out_of_the_stored_scores(store: Store) -> None:
    for record in store.records():
        if record.status == "done":
            table = store.scores(record.key)
            again = compute_metrics(table.labels, table.scores)
            assert again == pytest.approx(record.metrics, abs=1e-12)
            assert record.split["test"] == len(table.paths)
            assert not set(record.split["train_anomalies"]) & set(table.paths)


def test_methods_meet_the_same_splits(store: Store) -> None:
    digests: dict[tuple[object, ...], set[str]] = {}
    for record in store.records():
        place = (record.protocol, record.row, record.shots, record.seed)
        digests.setdefault(place, set()).add(record.split["digest"])
    assert len(digests) == len(ROWS) * len(SEEDS) * (len(SHOTS) + 1)
    assert all(len(found) == 1 for found in digests.values())


def test_all_shots_have_one_test_set(store: Store) -> None:
    tests: dict[tuple[object, ...], set[str]] = {}
    for record in store.records():
        place = (record.protocol, record.row, record.seed)
        tests.setdefault(place, set()).add(record.split["test_digest"])
    assert all(len(found) == 1 for found in tests.values())


def test_the_committed_report_is_that_of_the_records(store: Store) -> None:
    report = build_report(store.records(), methods=compare_elpv.METHODS, costs=True)
    assert (MEASURED / "report.md").read_text(encoding="utf-8") == render(report, "markdown")


def test_the_page_beside_the_published_values_is_that_of_the_records(store: Store) -> None:
    page = (ROOT / "docs" / "elpv.md").read_text(encoding="utf-8")
    assert compare_elpv.comparison(store.records()) in page


def test_gaps_over_a_twentieth_are_read_in_words(store: Store) -> None:
    """Every method with such a gap to its published value has a paragraph that explains it."""
    page = (ROOT / "docs" / "elpv.md").read_text(encoding="utf-8")
    for method in compare_elpv.wide_gaps(store.records()):
        assert f"**{method}**" in page, method


def test_the_readme_shows_these_numbers(store: Store) -> None:
    assert compare_elpv.summary(store.records()) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="needs elpv-dataset")
def test_the_command_of_the_page_gives_the_tables_from_the_records(store: Store) -> None:
    page = (ROOT / "docs" / "elpv.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^osadbench (run -p .*)$", page, re.MULTILINE)
    arguments = [*shlex.split(command), "--rerun", "none", "--offline"]
    done = subprocess.run(
        [sys.executable, "-m", "osadbench", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = build_report(store.records(), methods=compare_elpv.METHODS)
    assert done.stdout.strip() == render(report, "terminal").strip()


def test_the_sweeps_are_whole_clean_and_from_one_commit() -> None:
    store = Store(SWEPT)
    records = store.records()
    assert store.problems() == []
    assert {(r.status, r.dataset, r.provenance["dirty"]) for r in records} == {
        ("done", "elpv", False)
    }
    assert len({record.provenance["commit"] for record in records}) == 1
    # Shots, contamination, K and N_r: points by methods by seeds.
    assert len(records) == (8 * 4 + 5 * 4 + 5 + 3) * 3
    for record in records:
        table = store.scores(record.key)
        assert compute_metrics(table.labels, table.scores) == pytest.approx(record.metrics)


def test_the_page_has_the_sweeps_tables_and_figures() -> None:
    page = (ROOT / "docs" / "elpv.md").read_text(encoding="utf-8")
    for table in sweeps_elpv.tables(SWEPT):
        assert table in page
    for name in sweeps_elpv.SWEEPS:
        assert f"(figures/elpv-{name}.png)" in page
        for suffix in (".pdf", ".png"):
            assert (ROOT / "docs" / "figures" / f"elpv-{name}{suffix}").stat().st_size > 5000


def test_a_stand_in_is_named_below_a_papers_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "osadbench", "table", "dra-7", "-o", str(MEASURED)],
        capture_output=True,
        text=True,
    )
    assert "Note: in the column deepsad, ours is deepsad-frozen" in done.stdout
    assert "in the column minns" not in done.stdout
