"""No table mixes what must not be compared, unless asked to, and then it says so."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from report_tools import grid, record
from store_tools import write_cell

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


def odd_cells(records: list[Record], **options: Any) -> set[tuple[str, str]]:
    """Return row and column of what is marked as made otherwise."""
    tables = build_report(records, allow_mixed=True, **options).tables
    return {
        (row.name, c.label) for table in tables for row in table.rows for c in row.cells if c.odd
    }


def test_what_is_made_otherwise_than_most_is_marked() -> None:
    rows = ("mono", "poly", "mean")
    assert odd_cells(two_versions()) == {(row, "devnet") for row in rows}
    assert odd_cells(two_versions(), group_by="dataset") == {("elpv", "devnet")}
    # One seed of one row is enough for its cell and the mean over it.
    records = [r for r in two_versions() if r.label != "devnet"]
    late = next(r for r in records if (r.row, r.label) == ("mono", "knn"))
    records = [replace(r, **made_by("0.2.0")) if r is late else r for r in records]
    assert odd_cells(records) == {("mono", "knn"), ("mean", "knn")}
    failed = record("devnet", status="failed", reason="boom", **made_by("0.3.0"))
    assert odd_cells([*records, failed]) == {("mono", "knn"), ("mean", "knn")}


def test_datasets_made_otherwise_are_marked_in_the_table_of_their_means() -> None:
    records = [*grid({"dra": ROWS, "knn": ROWS}, **made_by("0.1.0"))]
    for name, version in (("x", "0.2.0"), ("y", "0.1.0")):
        records += grid({"dra": ROWS, "knn": ROWS}, dataset=name, **made_by(version))
    assert odd_cells(records) == set(), "each table is of one version"
    found = odd_cells(records, group_by="dataset")
    assert found == {(row, label) for row in ("x", "mean") for label in ("dra", "knn")}


def test_only_the_rarer_weights_of_a_method_are_marked() -> None:
    own: dict[str, Any] = {"departures": {"backbone": "vgg16"}}
    records = [*grid({"dra": ROWS})]
    records += [record("kdad", row, seed, weights=VGG, **own) for row in ROWS for seed in (0, 1)]
    records += [record("kdad", "poly", 2, weights=OTHER, **own)]
    assert odd_cells(records) == {("poly", "kdad"), ("mean", "kdad")}


def test_a_package_without_a_version_is_not_made_otherwise() -> None:
    records = [*grid({"dra": ROWS, "knn": ROWS}, **of_torch("2.11.0"))]
    records += grid({"devnet": ROWS}, **of_torch("2.15.0"))
    records += grid({"flos": ROWS}, **of_torch(""))
    assert {label for _, label in odd_cells(records)} == {"devnet"}


def test_marks_of_what_is_made_otherwise_stand_in_every_format() -> None:
    report = build_report(two_versions(), allow_mixed=True)
    for form in ("terminal", "markdown"):
        text = render(report, form)
        assert text.count("†") == 4
        assert "†: made otherwise than most of the table" in text
    source = render(report, "latex")
    assert source.count(r"$^\dagger$") == 4
    assert r"second underlined; $^\dagger$: made otherwise than most of the table." in source
    lines = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert {line["method"] for line in lines if line["odd"] == "true"} == {"devnet"}
    plain = build_report(grid({"dra": ROWS}))
    assert all("†" not in render(plain, form) for form in ("terminal", "markdown"))


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


def of_torch(version: str, **others: str) -> dict[str, Any]:
    return {"provenance": {"versions": {"osadbench": "0.1.0", "torch": version, **others}}}


#: What a table of two versions of two packages says; those of osadbench are the same.
TWO = (
    "versions of python: 3.11.7 (dra), 3.12.1 (knn); versions of torch: 2.11.0 (dra), 2.15.0 (knn)"
)
COMMANDS = ("report", "ranks", "seen", "intervals")


def two_torches(folder: Path) -> str:
    """Store two methods' results of two versions of packages and return the folder's name."""
    write_cell(folder / "runs", "dra", **of_torch("2.11.0", python="3.11.7"))
    write_cell(folder / "runs", "knn", **of_torch("2.15.0", python="3.12.1"))
    return "runs"


@pytest.mark.parametrize("command", COMMANDS)
def test_versions_of_a_package_that_computes_are_refused_in_one_line(
    cli: Cli, tmp_path: Path, command: str
) -> None:
    result = cli(command, "-o", two_torches(tmp_path))
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
    assert f"the results of elpv, hard protocol, 10 shots mix {TWO}: move" in result.err
    # A column of one version is no mixture, though nothing can be ranked with it alone.
    alone = cli(command, "-o", "runs", "-m", "knn")
    assert alone.err == "" and "preset frozen" in alone.out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_allowed_versions_of_packages_are_noted(
    cli: Cli, tmp_path: Path, command: str, form: str
) -> None:
    result = cli(command, "-o", two_torches(tmp_path), "--allow-mixed", "-f", form)
    assert (result.code, result.err) == (0, "")
    text = " ".join(result.out.split())
    for part in TWO.split("; "):
        assert text.count(f"the results mix {part}") == 1
    assert "versions of torch: 2.11.0, 2.15.0" not in text


@pytest.mark.parametrize("command", ["report", "seen", "intervals"])
def test_allowed_mixtures_stand_in_every_line_of_csv(
    cli: Cli, tmp_path: Path, command: str
) -> None:
    text = cli(command, "-o", two_torches(tmp_path), "--allow-mixed", "-f", "csv").out
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 2
    assert {line["mixed"] for line in lines} == {
        "; ".join(f"the results mix {part}" for part in TWO.split("; "))
    }


def test_scores_of_a_table_that_is_refused_are_not_read(cli: Cli, tmp_path: Path) -> None:
    for path in (tmp_path / two_torches(tmp_path)).rglob("*.npz"):
        path.write_bytes(b"damaged")
    for command in ("seen", "intervals"):
        assert TWO in cli(command, "-o", "runs").err


def test_a_package_without_a_version_is_no_other_version() -> None:
    records = [*grid({"dra": ROWS}, **of_torch("2.11.0", timm="1.0.20"))]
    records += grid({"knn": ROWS}, **of_torch("2.11.0"))
    notes = build_report(records).tables[0].notes
    assert notes == ("the results mix versions of timm: 1.0.20, unknown",)


def test_intervals_of_other_weights_stand_in_tables_of_their_own(cli: Cli, tmp_path: Path) -> None:
    for weights in (VGG, OTHER):
        write_cell(tmp_path / "runs", weights=weights)
    result = cli("intervals", "-o", "runs", "-f", "markdown")
    assert result.out.count("| interval |") == 2
    for weights in (VGG, OTHER):
        assert f"weights {weights[:19]}" in result.out
    cells = json.loads(cli("intervals", "-o", "runs", "-f", "json").out)["cells"]
    assert len({cell["engine"] for cell in cells}) == 2


def test_what_is_published_of_a_run_has_one_set_of_versions(cli: Cli) -> None:
    frozen = Path(__file__).parent.parent / "results" / "elpv-frozen"
    for command in ("report", "ranks"):
        result = cli(command, "-o", str(frozen))
        assert (result.code, result.err) == (0, "")
