"""The papers' tables as data: what is read is what the files say, and the files hang together."""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from pathlib import Path

import pytest

from osadbench.errors import UsageError
from osadbench.published import (
    PublishedValue,
    dataset_counts,
    gaps,
    load,
    pvalues,
    table_names,
)

FOLDER = Path(__file__).parent.parent / "results" / "published"
VALUES = [value for name in table_names() for value in load(name)]


def lines(table: str) -> list[dict[str, str]]:
    path = FOLDER / f"{table.replace('-', '_table')}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def value(table: str, **wanted: object) -> PublishedValue:
    """Return the one value of a table with these attributes."""
    (found,) = [
        v for v in load(table) if all(getattr(v, name) == is_ for name, is_ in wanted.items())
    ]
    return found


def test_every_file_is_a_table_and_every_table_a_file() -> None:
    stems = {path.stem.replace("_table", "-") for path in FOLDER.glob("*_table*.csv")}
    assert set(table_names()) == stems
    assert table_names().index("ahl-9") + 1 == table_names().index("ahl-10")


@pytest.mark.parametrize("table", table_names())
def test_values_are_read_as_the_files_say(table: str) -> None:
    read = load(table)
    assert len(read) == len(lines(table)) > 20
    for found, line in zip(read, lines(table), strict=True):
        assert f"{found.paper}-{found.table}" == table
        for name in ("paper", "setting", "dataset", "subset", "method", "metric", "status", "note"):
            assert getattr(found, name) == line[name]
        # Three digits and no more: nothing is lost when a table prints three.
        assert f"{found.mean:.3f}" == line["mean"]
        # AHL's Table 8 prints one 0.00.
        assert ("" if found.std is None else f"{found.std:.3f}"[: len(line["std"])]) == line["std"]
        assert ("" if found.shots is None else str(found.shots)) == line["shots"]
        assert str(found.aggregate).lower() == line["aggregate"]
        assert found.pseudo_source == line.get("pseudo_source", "")
        printed = line.get("printed_mean", "")
        assert ("" if found.printed_mean is None else f"{found.printed_mean:.3f}") == printed


def test_the_number_of_values_by_status_is_that_of_the_readme() -> None:
    assert Counter(v.status for v in VALUES) == {"printed": 2958, "corrected": 4, "filled": 5}
    assert (
        "2,958 values, `corrected` for 4 and `filled` for 5" in (FOLDER / "README.md").read_text()
    )


def test_what_was_changed_keeps_what_the_copy_says() -> None:
    changed = [v for v in VALUES if v.status == "corrected"]
    assert all(v.printed_mean is not None and v.note for v in changed)
    assert all(v.printed_mean is None for v in VALUES if v.status == "printed")
    found = value("dra-2", dataset="elpv", subset="poly", shots=1, method="mlep")
    assert (found.mean, found.std, found.printed_mean) == (0.483, 0.247, 0.671)


def test_no_cell_stands_twice() -> None:
    cells = Counter(
        (v.paper, v.table, v.setting, v.dataset, v.subset, v.aggregate, v.shots, v.method)
        + (v.pseudo_source, v.source)
        for v in VALUES
    )
    assert cells.most_common(1)[0][1] == 1


@pytest.mark.parametrize("table", ["dra-2", "dra-3", "dra-4", "dra-8", "ahl-8"])
def test_printed_means_are_those_of_their_members(table: str) -> None:
    members: dict[tuple[object, ...], list[float]] = {}
    means: dict[tuple[object, ...], float] = {}
    for v in load(table):
        key = (v.setting, v.dataset, v.shots, v.method, v.pseudo_source)
        if v.aggregate:
            means[key] = v.mean
        elif v.subset:
            members.setdefault(key, []).append(v.mean)
    off = {
        key
        for key, found in members.items()
        if not math.isclose(statistics.fmean(found), means[key], abs_tol=0.0015)
    }
    assert len(members) > 10
    assert off == ({("hard", "mastcam", 10, "devnet", "")} if table == "ahl-8" else set())


def test_ten_shot_baselines_of_dra_are_those_of_devnet() -> None:
    devnet = {
        (v.dataset, v.subset, v.shots, v.method): (v.mean, v.std)
        for v in load("devnet-2")
        if v.status == "printed"
    }
    copied = [
        v
        for table in ("dra-1", "dra-7")
        for v in load(table)
        if v.shots != 1 and v.method in ("kdad", "devnet", "flos", "deepsad", "minns")
    ]
    assert len(copied) == 72 + 48
    assert all(devnet[v.dataset, v.subset, v.shots, v.method] == (v.mean, v.std) for v in copied)


def test_ahls_one_shot_runs_of_devnet_lie_above_those_that_dra_prints() -> None:
    ahl, dra = (
        {
            (value.dataset, value.subset): value.mean
            for value in load(name)
            if value.method == "devnet" and value.shots == 1 and not value.aggregate
        }
        for name in ("ahl-7", "dra-1")
    )
    assert len(ahl) == 23 and ahl.keys() == dra.keys()
    assert f"{statistics.fmean(ahl[row] - dra[row] for row in ahl):.3f}" == "0.049"
    for page in (FOLDER / "README.md", FOLDER.parents[1] / "docs" / "reproduce.md"):
        assert ".049" in page.read_text(encoding="utf-8")


def test_cross_domain_values_name_source_and_target() -> None:
    for table in ("dra-9", "ahl-3"):
        assert all(v.target == v.subset for v in load(table))
    found = value("ahl-3", source="grid", target="carpet", method="ahl_dra")
    assert found.mean == 0.979
    assert value("dra-9", source="grid", target="carpet").mean == 0.833


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("dra-6", "the data hold no dra-6: of this paper there are dra-1, dra-2"),
        ("ahl-6", "the data hold no ahl-6: of this paper there are ahl-1"),
        ("dra-5", "dra-5 counts the datasets' images and has no results"),
        ("dra2", "no table 'dra2': did you mean dra-2"),
        ("", "no table '': known: ahl-1"),
    ],
)
def test_a_table_that_is_not_there(table: str, message: str) -> None:
    with pytest.raises(UsageError, match="^" + message.replace(".", r"\.")):
        load(table)


def test_tables_of_datasets() -> None:
    dra, devnet = dataset_counts("dra-5"), dataset_counts("devnet-1")
    (total,) = [c for c in dra if c.aggregate]
    parts = [c for c in dra if c.dataset == "mvtec" and c.subset]
    assert (total.normal_train, total.normal_test, total.anomalies) == (3629, 467, 1258)
    assert sum(c.anomalies for c in parts) == total.anomalies
    types = {c.dataset: c.type for c in devnet if not c.subset}
    assert [c.dataset for c in dra if not c.subset and c.type != types[c.dataset]] == [
        "brainmri",
        "headct",
        "hyper-kvasir",
    ]
    with pytest.raises(UsageError, match="'dra-1' is no table of datasets: did you mean dra-5"):
        dataset_counts("dra-1")


def test_p_values_and_gaps() -> None:
    tests = pvalues()
    assert len(tests) == 14
    assert [(t.table, t.method_b) for t in tests if not t.reproduced] == [(3, "kdad")]
    assert all((f"{t.p_recomputed:.4f}" == f"{t.p_printed:.4f}") == t.reproduced for t in tests)
    assert {(gap.table, gap.dataset) for gap in gaps()} == {("devnet-5", "mastcam")}
    missing = {gap.method for gap in gaps()}
    assert missing == {v.method for v in load("devnet-5")}
    assert not any(v.dataset == "mastcam" for v in load("devnet-5"))
