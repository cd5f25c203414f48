"""The committed results are whole, and the numbers in the README are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from osadbench.metrics import compute_metrics
from osadbench.report import build_report, render
from osadbench.store import Store

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "results" / "elpv-frozen"

#: DRA, Tables 1 and 2: ELPV, by shots and row; methods in the order of COLUMNS.
PUBLISHED = {
    (1, "general"): ("0.675±0.024", "0.514±0.076"),
    (1, "hard, mono known"): ("0.735±0.031", "0.634±0.087"),
    (1, "hard, poly known"): ("0.671±0.051", "0.662±0.050"),
    (1, "hard, mean"): ("0.703±0.022", "0.648±0.057"),
    (10, "general"): ("0.845±0.013", "0.846±0.022"),
    (10, "hard, mono known"): ("0.731±0.021", "0.599±0.040"),
    (10, "hard, poly known"): ("0.800±0.064", "0.804±0.022"),
    (10, "hard, mean"): ("0.766±0.029", "0.702±0.023"),
}
COLUMNS = ("dra", "devnet", "knn")
ROWS = {"elpv": "general", "mono": "hard, mono known", "poly": "hard, poly known"}


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(MEASURED)


def test_every_record_is_done_clean_and_from_one_commit(store: Store) -> None:
    records = store.records()
    assert store.problems() == []
    assert len(records) == 54
    assert {record.status for record in records} == {"done"}
    assert len({record.provenance["commit"] for record in records}) == 1
    assert {record.provenance["dirty"] for record in records} == {False}


def test_metrics_come_out_of_the_stored_scores(store: Store) -> None:
    for record in store.records():
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
    assert len(digests) == 18
    assert all(len(found) == 1 for found in digests.values())


def test_one_and_ten_shots_have_one_test_set(store: Store) -> None:
    tests: dict[tuple[object, ...], set[tuple[str, ...]]] = {}
    for record in store.records():
        place = (record.protocol, record.row, record.seed)
        tests.setdefault(place, set()).add(store.scores(record.key).paths)
    assert all(len(found) == 1 for found in tests.values())


def test_the_committed_report_is_that_of_the_records(store: Store) -> None:
    report = build_report(store.records(), methods=COLUMNS)
    assert (MEASURED / "report.md").read_text() == render(report, "markdown")


def test_readme_shows_these_numbers(store: Store) -> None:
    readme = (ROOT / "README.md").read_text()
    for line in readme_lines(store):
        assert line in readme


def readme_lines(store: Store) -> list[str]:
    """Return the README's table of measured and published values, line by line."""
    cells = {}
    for table in build_report(store.records(), methods=COLUMNS).tables:
        for row in table.rows:
            if row.aggregate and table.setting.protocol == "general":
                continue
            name = "hard, mean" if row.aggregate else ROWS[row.name]
            values = (f"{cell.mean:.3f}±{cell.std:.3f}" for cell in row.cells)
            cells[table.setting.shots, name] = list(values)
    lines = []
    for (shots, name), (dra, devnet) in PUBLISHED.items():
        ours = cells[shots, name]
        lines.append(f"| {shots} | {name} | {ours[0]} | {dra} | {ours[1]} | {devnet} | {ours[2]} |")
    return lines
