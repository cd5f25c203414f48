"""Folders that may not be entered are named, and keep nobody from the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import raw_trees_1
import raw_trees_2
from cli_tools import Cli, cli_fixture  # noqa: F401
from image_trees import write_category
from raw_tools import lock, register, write_strips

from osadbench.datasets.inventory import look

#: By dataset, how to write it, and a folder of it.
LOCKED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "aitex": (raw_trees_2.write_aitex, "Mask_images"),
    "brainmri": (raw_trees_2.write_brainmri, "yes"),
    "headct": (raw_trees_2.write_headct, ""),
    "hyper-kvasir": (raw_trees_1.write_hyper_kvasir, "upper-gi-tract"),
    "lag": (raw_trees_2.write_lag, "non_glaucoma"),
    "magnetic-tile": (raw_trees_1.write_magnetic_tile, "MT_Free"),
    "mastcam": (raw_trees_1.write_mastcam, "test_novel"),
    "mvtec": (raw_trees_1.write_mvtec, "carpet"),
    "optical": (raw_trees_2.write_optical, "Class1"),
    "visa": (raw_trees_1.write_visa, "pcb1"),
}


@pytest.fixture
def here(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "data")
    return cli


@pytest.mark.parametrize("name", LOCKED)
def test_a_folder_that_may_not_be_entered(
    here: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, folder = LOCKED[name]
    write(Path("data", name))
    lock(monkeypatch, Path("data", name, folder))
    for target in (name, f"data/{name}"):
        result = here("data", "check", target)
        assert (result.code, result.out) == (3, "")
        assert f"data/{name}" in result.err and "Permission denied" in result.err
        assert "check the permissions" in result.err or "check its permissions" in result.err
    # It may be told that it is here, but not that something unexpected has happened.
    assert "unexpected" not in here("data", "fetch", name).err
    entry = look(name)
    assert entry.state == "unusable" and "Permission denied" in entry.detail


def test_the_others_are_listed_all_the_same(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    write_strips(Path("data/strips"))
    raw_trees_2.write_headct(Path("data/headct"))
    lock(monkeypatch, Path("data/headct"))
    result = here("data", "list")
    assert result.code == 0 and "strips         complete" in result.out
    assert "headct         unusable" in result.out
    assert "cannot list data/headct (Permission denied): check its permissions" in result.out


def test_folders_to_write_to(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    write_strips(Path("data/strips"))
    Path("locked").mkdir()
    lock(monkeypatch, Path("locked"))
    for words in (
        ["prepare", "strips", "--out", "locked"],
        ["prepare", "strips", "--out", "locked/new"],
        ["fetch", "sdd", "--data-root", "locked"],
        ["fetch", "sdd", "--data-root", "locked/new"],
        ["check", "locked"],
        ["check", "locked/new"],
        ["check", "folder", "--data-root", "locked/new"],
        ["list", "--data-root", "locked/new"],
    ):
        result = here("data", *words)
        assert (result.code, result.out) == (3, ""), words
        assert result.err.startswith("error: cannot "), words
        assert "(Permission denied): check" in result.err, words


def test_what_stands_beside_a_locked_folder(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write_category(Path("parts/nut"))
    Path("parts/nut/notes").mkdir()
    lock(monkeypatch, Path("parts/nut/notes"))
    assert here("data", "check", "parts").code == 0
