"""No table mixes what must not be compared, unless asked to, and then it says so."""

from __future__ import annotations

from typing import Any

import pytest
from report_tools import grid, record

from osadbench.errors import StoreError
from osadbench.report import GROUPINGS, build_report, render
from osadbench.types import Record

ROWS = {"mono": 0.6, "poly": 0.8}
VGG, OTHER = "sha256:" + "77aa88bb" * 8, "sha256:" + "99cc00dd" * 8


def made_by(version: str | None) -> dict[str, Any]:
    versions = {"torch": "2.11.0"} | ({} if version is None else {"osadbench": version})
    return {"provenance": {"versions": versions}}


def two_versions() -> list[Record]:
    old, new = made_by("0.1.0"), made_by("0.2.0")
    return [*grid({"dra": ROWS, "knn": ROWS}, **old), *grid({"devnet": ROWS}, **new)]


def test_versions_in_one_table_are_refused_with_what_differs() -> None:
    message = (
        r"the results of elpv, hard protocol, 10 shots mix versions of osadbench: "
        r"0\.1\.0 \(dra, knn\), 0\.2\.0 \(devnet\): move .* or let --allow-mixed show them"
    )
    for group_by in ("row", "method"):
        with pytest.raises(StoreError, match=message) as error:
            build_report(two_versions(), group_by=group_by)
        assert "\n" not in str(error.value)
        assert error.value.exit_code == 3


def test_a_result_of_an_unknown_version_is_one_of_another() -> None:
    records = [*grid({"dra": ROWS}, **made_by("0.1.0")), *grid({"knn": ROWS}, **made_by(None))]
    with pytest.raises(StoreError, match=r"0\.1\.0 \(dra\), unknown \(knn\)"):
        build_report(records)


def test_allowed_mixtures_are_noted_below_the_table() -> None:
    report = build_report(two_versions(), allow_mixed=True)
    note = "the results mix versions of osadbench: 0.1.0 (dra, knn), 0.2.0 (devnet)"
    assert report.tables[0].notes == (note,)
    for form in ("terminal", "markdown", "latex"):
        assert f"Note: {note}" in render(report, form)
    assert report.tables[0].versions == ("0.1.0", "0.2.0")
    assert "osadbench 0.1.0 and 0.2.0. Best" in render(report, "latex")


def test_schemas_in_one_table_are_refused() -> None:
    records = [*grid({"dra": ROWS}), *grid({"knn": ROWS}, schema=2)]
    with pytest.raises(StoreError, match=r"mix record schemas: 1 \(dra\), 2 \(knn\)"):
        build_report(records)


def test_two_weights_of_one_methods_own_backbone_are_refused() -> None:
    own: dict[str, Any] = {"departures": {"backbone": "vgg16"}}
    records = [*grid({"dra": ROWS}), record("kdad", "mono", weights=VGG, **own)]
    records += [record("kdad", "poly", weights=OTHER, **own)]
    with pytest.raises(StoreError, match=r"weights of kdad: sha256:77aa88bb77aa \(mono\), sha256"):
        build_report(records)
    notes = build_report(records, allow_mixed=True).tables[0].notes
    assert any(note.startswith("the results mix weights of kdad") for note in notes)


def test_presets_and_the_engines_weights_have_tables_of_their_own() -> None:
    records = [*grid({"dra": ROWS}), *grid({"knn": ROWS}, engine={"preset": "paper"})]
    records += grid({"devnet": ROWS}, weights=OTHER)
    for group_by in GROUPINGS:
        tables = build_report(records, group_by=group_by).tables
        assert sorted(table.columns for table in tables) == [("devnet",), ("dra",), ("knn",)]


def test_tables_of_two_versions_stand_side_by_side_but_have_no_common_mean() -> None:
    records = [*grid({"dra": ROWS}, **made_by("0.1.0"))]
    records += grid({"dra": {"x": 0.5}}, dataset="x", **made_by("0.2.0"))
    assert len(build_report(records).tables) == 2
    with pytest.raises(StoreError, match="means by dataset, hard protocol, 10 shots mix versions"):
        build_report(records, group_by="dataset")


def test_what_failed_is_not_mixed_in() -> None:
    failed = record("knn", status="failed", reason="boom", **made_by("0.2.0"))
    assert build_report([*grid({"dra": ROWS}, **made_by("0.1.0")), failed]).tables[0].notes == ()
