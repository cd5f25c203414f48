from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from image_trees import write_category, write_elpv, write_image
from raw_tools import Strips, register, write_strips

from osadbench.datasets.declaration import declaration
from osadbench.datasets.elpv import Elpv
from osadbench.datasets.inventory import look

DATA = Path("data")


@pytest.fixture
def here(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Have one more dataset, complete, in the folder of the environment, and ELPV not at all."""
    register(monkeypatch)
    monkeypatch.setattr("osadbench.datasets.elpv._package_folders", list)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "data")
    write_strips(DATA / "strips")
    return cli


def line_of(out: str, name: str) -> list[str]:
    return re.split(" {2,}", next(line for line in out.splitlines() if line.startswith(name)))


# --- list ---


def test_list_says_what_is_where(here: Cli) -> None:
    result = here("data", "list")
    assert result.code == 0
    assert line_of(result.out, "dataset") == ["dataset", "state", "images", "folder", "licence"]
    found = ["strips", "complete", "13", "data/strips", "made-up licence 1.0"]
    assert line_of(result.out, "strips") == found
    assert line_of(result.out, "elpv") == ["elpv", "missing", "-", "-", "CC BY-NC-SA 4.0"]
    assert line_of(result.out, "synthetic")[1] == "local"
    assert "drawn on this machine at first use" in result.out
    assert result.out.endswith("osadbench data fetch NAME gets one, or says how\n")


def test_list_looks_into_another_folder(here: Cli) -> None:
    shutil.move("data", "other")
    assert line_of(here("data", "list").out, "strips")[1] == "missing"
    result = here("data", "list", "--data-root", "other")
    assert line_of(result.out, "strips")[1:4] == ["complete", "13", "other/strips"]
    result = here("data", "list", "--data-root", "nowhere")
    assert result.code == 3 and "no folder nowhere" in result.err


def test_list_draws_decodes_and_hashes_nothing(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synthetic._write", "reading.decode", "reading.file_digest"):
        monkeypatch.setattr(f"osadbench.datasets.{name}", None)
    assert here("data", "list").code == 0


def test_list_as_json(here: Cli) -> None:
    values = json.loads(here("data", "list", "--json").out)
    assert values["schema"] == 1
    (strips,) = [entry for entry in values["datasets"] if entry["name"] == "strips"]
    counts = {"": {"good": 8, "hole one": 3, "tear": 2}}
    assert strips == {
        "name": "strips",
        "state": "complete",
        "folder": "data/strips",
        "licence": "made-up licence 1.0",
        "detail": "",
        "found": counts,
        "expected": counts,
        "images": 13,
    }


def test_what_is_lacking(here: Cli) -> None:
    (DATA / "strips" / "clean" / "s 0.jpg").unlink()
    shutil.rmtree(DATA / "strips" / "broken" / "tear")
    write_image(DATA / "strips" / "broken" / "crack" / "c.png")
    result = here("data", "list")
    assert line_of(result.out, "strips")[1:3] == ["incomplete", "10"]
    assert "\n  6 instead of 8 good, 1 instead of 0 crack, 0 instead of 2 tear\n" in result.out


def test_numbers_that_were_derived(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strips, "counts_are_known", False)
    monkeypatch.setattr(Strips, "counts", {"": {"train/good": 7, "test/good": 2, "test/*": 5}})
    entry = look("strips")
    assert (entry.state, entry.detail) == ("differs", "8 instead of 9 good")
    monkeypatch.setattr(Strips, "counts", {"": {"train/good": 6, "test/good": 2, "test/*": 5}})
    assert look("strips").state == "complete"
    shutil.rmtree(DATA / "strips" / "broken")
    entry = look("strips")
    assert (entry.state, entry.detail) == ("incomplete", "0 instead of 5 anomalies")
    monkeypatch.setattr(Strips, "counts", {})
    assert look("strips").state == "here"


def test_annotations_without_images(here: Cli) -> None:
    write_elpv(DATA / "elpv")
    for image in (DATA / "elpv" / "images").iterdir():
        image.unlink()
    entry = look("elpv")
    assert (entry.state, entry.images) == ("incomplete", 0)
    assert entry.detail == "0 instead of 1508 good, 0 instead of 313 mono, 0 instead of 402 poly"


def test_faults_in_annotations(here: Cli) -> None:
    write_elpv(DATA / "elpv")
    (DATA / "elpv" / "labels.csv").write_text("/etc/passwd 0.0 mono\n")
    entry = look("elpv")
    assert entry.state == "incomplete" and entry.detail.startswith("labels.csv, line 1 is not")


def test_folders_of_something_else(here: Cli) -> None:
    (DATA / "elpv").mkdir()
    (DATA / "strips" / "KolektorSDD2").mkdir()
    result = here("data", "list")
    assert line_of(result.out, "elpv")[1] == line_of(result.out, "strips")[1] == "unusable"
    assert "no elpv in data/elpv: expected labels.csv" in result.out
    assert "data/strips holds another release: get the first one" in result.out


def test_a_converted_dataset_is_as_complete(here: Cli) -> None:
    assert here("data", "prepare", "strips", "--out", "new/strips").code == 0
    entry = look("strips", Path("new"))
    assert (entry.state, entry.folder, entry.images) == ("complete", "new/strips", 13)
    next(Path("new/strips/train/good").iterdir()).unlink()
    assert look("strips", Path("new")).detail == "7 instead of 8 good"


def test_categories_that_are_not_there(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"train/good": 6, "test/good": 4, "test/hole": 3, "test/scratch": 3}
    monkeypatch.setattr(Strips, "counts", {"carpet": one, "grid": one, "wood": one})
    shutil.rmtree(DATA / "strips")
    write_category(DATA / "strips" / "carpet")
    write_category(DATA / "strips" / "wood", train=5)
    entry = look("strips")
    assert entry.detail == "no strips/grid, 9 instead of 10 wood/good"
    assert entry.expected["grid"] == {"good": 10, "hole": 3, "scratch": 3}


def test_archives_that_nobody_has_unpacked(here: Cli) -> None:
    shutil.rmtree(DATA / "strips")
    (DATA / "strips").mkdir()
    (DATA / "strips" / "Strips.ZIP").write_bytes(b"PK")
    told = "expected clean/NAME.jpg and broken/CLASS/NAME, but Strips.ZIP lies there packed: unpack"
    result = here("data", "list")
    assert line_of(result.out, "strips")[1] == "unusable" and told in result.out
    result = here("data", "check", "strips")
    assert result.code == 3 and result.err.startswith(f"error: no strips in data/strips: {told} it")
    (DATA / "strips" / "broken.tar.gz").write_bytes(b"")
    told = "but Strips.ZIP, broken.tar.gz lie there packed: unpack them"
    assert told in here("data", "check", "strips").err


def test_archives_beside_what_is_whole_or_not(here: Cli) -> None:
    (DATA / "strips" / "broken.zip").write_bytes(b"PK")
    assert look("strips").state == "complete" and here("data", "check", "strips").code == 0
    shutil.rmtree(DATA / "strips" / "broken")
    assert look("strips").detail.endswith("; broken.zip lies there packed: unpack it")
    result = here("data", "check", "strips")
    assert result.code == 3 and "\n  broken.zip lies there packed: unpack it\n" in result.err


def test_archives_further_down(here: Cli) -> None:
    shutil.rmtree(DATA / "strips")
    place = DATA / "strips" / "site" / "files"
    place.mkdir(parents=True)
    (place / "Strips.tar.xz").write_bytes(b"")
    told = f"but in {place} Strips.tar.xz lies there packed: unpack it\n"
    assert here("data", "check", "strips").err.endswith(told)
    (place / "KolektorSDD2").mkdir()
    assert here("data", "check", "strips", "--data-root", place).err == (
        f"error: {place} holds another release: get the first one; Strips.tar.xz lies there "
        "packed: unpack it\n"
    )


def test_archives_beside_too_few_images(here: Cli) -> None:
    (DATA / "strips" / "clean" / "s 0.jpg").unlink()
    (DATA / "strips" / "clean.zip").write_bytes(b"PK")
    assert "packed" not in here("data", "check", "strips").out
    (DATA / "strips" / "more.zip").write_bytes(b"PK")
    result = here("data", "check", "strips")
    assert result.code == 0
    assert "\n  warning: more.zip lies there packed: unpack it\n" in result.out


# --- info, describe ---


def test_info_prints_the_declaration(here: Cli) -> None:
    result = here("data", "info", "strips")
    assert result.code == 0
    for line in (
        "title: Strips of a test",
        "licence: made-up licence 1.0",
        "image size: 224 px under the paper preset (our assignment)",
        "masks: pixels above 0 are anomalous",
        "groups: strips, kept whole by --split group",
        "layout: clean/NAME.jpg and broken/CLASS/NAME, or the layout of MVTec AD",
        "download: ask for strips.zip at https://example.org/strips",
        "place: data/strips, or a folder given by --data-root",
        "  expected: 6/2/5",
        "  papers: 6/2/6",
        "  hole one      3  also pit",
        "  tear          2  not taken as known class",
    ):
        assert f"\n{line}\n" in result.out, line
    assert result.out.startswith(Strips.__doc__ or "-")
    assert here("describe", "strips").out == result.out


@pytest.mark.parametrize("name", ["elpv", "folder", "synthetic"])
def test_info_as_json(cli: Cli, name: str) -> None:
    values = json.loads(cli("data", "info", name, "--json").out)
    assert values["schema"] == 1 and values["name"] == name
    assert ("layout" in values) == (name == "elpv")


def test_the_declaration_of_elpv() -> None:
    values = declaration(Elpv)
    (images,) = values["categories"]
    assert images["papers"] == {"normal_train": 1131, "normal_test": 377, "anomalies": 715}
    mono = {"name": "mono", "images": 313, "at_least": None, "known": True, "aliases": []}
    assert images["classes"][0] == mono
    assert values["mask_threshold"] is None and values["archives"] == []


def test_info_of_nothing(cli: Cli) -> None:
    result = cli("data", "info", "elvp")
    assert result.code == 2 and "did you mean elpv?" in result.err


# --- check ---


def test_check_of_a_dataset_by_its_name(here: Cli) -> None:
    result = here("data", "check", "strips")
    assert result.code == 0
    assert result.out.startswith("data/strips: 1 category\n\nstrips: 13 images\n")
    assert "  train/test/anomalous: 6/2/5; papers 6/2/6\n" in result.out
    shutil.move("data/strips", "elsewhere")
    assert here("data", "check", "strips").code == 3
    assert here("data", "check", "strips", "--data-root", "elsewhere").code == 0


@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="no elpv-dataset")
def test_check_of_the_real_elpv(cli: Cli) -> None:
    result = cli("data", "check", "elpv", "--strict-counts")
    assert result.code == 0, result.err
    for line in (
        "train/good    1131",
        "test/good      377",
        "test/mono      313",
        "test/poly      402",
        "train/test/anomalous: 1131/377/715; papers 1131/377/715",
        "duplicates: none",
    ):
        assert f"\n  {line}\n" in result.out


def test_check_of_one_category_and_of_parameters(cli: Cli) -> None:
    small = "[size=32,n_train=4,n_test_normal=2,n_per_class=3]"
    result = cli("data", "check", f"synthetic/disc{small}")
    assert result.code == 0, result.err
    assert "synthetic/disc: 18 images" in result.out and "grain" not in result.out


def test_unexpected_counts_are_a_warning_or_an_error(here: Cli) -> None:
    (DATA / "strips" / "clean" / "s 0.jpg").unlink()
    result = here("data", "check", "strips")
    assert result.code == 0
    assert "warning: unexpected numbers of images: train/good 4 instead of 6" in result.out
    result = here("data", "check", "strips", "--strict-counts")
    assert (result.code, result.out) == (3, "")
    assert "unexpected numbers of images" in result.err


def test_copies_in_train_and_test(here: Cli) -> None:
    parts = Path("parts/nut")
    write_category(parts)
    (parts / "test/good/x.png").write_bytes((parts / "train/good/000.png").read_bytes())
    result = here("data", "check", "parts")
    assert result.code == 3 and "have the same content" in result.err
    assert here("data", "check", "parts", "--on-duplicate", "warn").code == 0
    result = here("data", "check", "parts", "--on-duplicate", "drop")
    assert result.code == 0 and "1 duplicate images are left out" in result.out
    assert here("data", "check", "parts", "--on-duplicate", "ignore").code == 2


def test_a_cache_that_cannot_be_written_is_a_warning(here: Cli) -> None:
    Path("file").write_text("")
    for words in (["check", "strips"], ["prepare", "strips", "--out", "new"]):
        result = here("data", *words, "--cache-dir", "file/cache")
        assert result.code == 0, result.err
        assert "cannot write the cache in" in result.err
        assert result.err.endswith("; nothing is kept for later\n")


def test_a_split_by_groups(here: Cli) -> None:
    assert "0 of them in both" in here("data", "check", "strips", "--split", "group").out


def test_folders_whose_names_hold_brackets(here: Cli) -> None:
    for name in ("u/my data[1]", "strip[s]", "[", "a[b=c]"):
        write_category(Path(name, "nut"))
        result = here("data", "check", name)
        assert result.code == 0 and result.out.startswith(f"{name}: 1 category"), name
    result = here("data", "check", "my data[2]")
    assert result.code == 2 and "no dataset and no folder 'my data[2]'" in result.err
    assert here("data", "check", "").code == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["strips[on_duplicate=drop]", "--on-duplicate", "warn"],
            "on_duplicate is given twice: drop --on-duplicate, or on_duplicate=drop",
        ),
        (
            ["strips[strict_counts=no]", "--strict-counts"],
            "strict_counts is given twice: drop --strict-counts, or strict_counts=no",
        ),
        (["strips[cache=x]"], "strips has no parameter 'cache': drop it from the brackets;"),
        (["strips[root=x]"], "strips has no parameter 'root': drop it from the brackets;"),
        (["strips[self=x]"], "strips has no parameter 'self': drop it from the brackets;"),
        (["strips[name=x]"], "strips has no parameter 'name': drop it from the brackets;"),
    ],
)
def test_options_that_are_given_twice_or_are_none(here: Cli, words: list[str], text: str) -> None:
    for command in (["check"], ["prepare", "--out", "new"]):
        result = here("data", *command, *words)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: {text}")


def test_arguments_of_a_dataset_are_no_parameters(here: Cli) -> None:
    words = ["-m", "knn", "-p", "general", "-d", "strips[cache=x]", "-o", "out"]
    for command in ("plan", "run"):
        result = here(command, *words)
        assert result.code == 2 and "\nerror: strips has no parameter 'cache'" in result.err


def test_the_folder_of_another_dataset(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write_category(Path("parts/nut"))
    write_category(Path("parts/bolt"))
    result = here("data", "check", "strips", "--data-root", "parts")
    assert (result.code, result.out) == (3, "")
    told = "expected the folders train and test of strips in parts, got the categories bolt, nut: "
    assert result.err == f"error: {told}give strips's own folder by --data-root DIR\n"
    monkeypatch.setattr(Strips, "counts", {name: {} for name in "nut abcdef"})
    assert here("data", "check", "strips", "--data-root", "parts").code == 3
    monkeypatch.setattr(Strips, "counts", {name: {} for name in ("nut", "screw")})
    assert here("data", "check", "strips", "--data-root", "parts").code == 0
    told = "expected the categories nut, screw of strips in parts/nut, got the folders train and"
    assert told in here("data", "check", "strips", "--data-root", "parts/nut").err


def test_categories_that_check_does_not_find(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"train/good": 6, "test/good": 4, "test/hole": 3, "test/scratch": 3}
    names = ("bolt", "nut", "cap", "pin", "rod", "tube", "wire")
    monkeypatch.setattr(Strips, "counts", dict.fromkeys(names, one))
    shutil.rmtree(DATA / "strips")
    write_category(DATA / "strips" / "nut")
    told = "6 of 7 categories are not here: bolt, cap, pin, rod, tube and 1 more; get the dataset"
    result = here("data", "check", "strips")
    assert result.code == 0
    assert result.out.startswith(f"data/strips: 1 category\n  warning: {told} anew\n\nstrips/nut:")
    assert "not here" not in here("data", "check", "strips/nut", "--strict-counts").out
    for words in (["check", "strips"], ["prepare", "strips", "--out", "new"]):
        result = here("data", *words, "--strict-counts")
        assert (result.code, result.out) == (3, "")
        assert result.err == f"error: data/strips: {told} anew\n"
    assert (
        f"warning: strips: {told} anew\n" in here("data", "prepare", "strips", "--out", "new").err
    )
    (DATA / "strips" / "rest.tar").write_bytes(b"")
    told = "rod, tube and 1 more; rest.tar lies there packed: unpack it\n"
    assert told in here("data", "check", "strips").out


@pytest.mark.parametrize("name", ["headct", "lag"])
def test_a_copy_of_another_dataset(here: Cli, name: str) -> None:
    assert here("data", "prepare", "strips", "--out", f"new/{name}").code == 0
    told = f"new/{name} is a copy of strips, not of {name}: give {name}'s own folder by"
    result = here("data", "check", name, "--data-root", f"new/{name}")
    assert result.code == 3 and result.err.startswith(f"error: {told}")
    assert told in here("data", "list", "--data-root", "new").out
    # What was read as any folder may be this dataset, and what others call manifest.json is theirs.
    file = Path("new", name, "manifest.json")
    values = json.loads(file.read_text())
    for text in (json.dumps({**values, "dataset": "folder"}), '{"dataset": "x"}', "[]"):
        file.write_text(text)
        assert here("data", "check", name, "--data-root", f"new/{name}").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "strips"],
        ["data", "list"],
        ["data", "prepare", "strips", "--out", "new"],
        ["data", "fetch", "strips"],
        ["plan", "-m", "knn", "-p", "general", "-d", "strips"],
        ["run", "-m", "knn", "-p", "general", "-d", "strips"],
    ],
)
def test_a_variable_without_a_value_is_no_folder(here: Cli, words: list[str]) -> None:
    result = here(*words, "--data-root", "")
    assert (result.code, result.out) == (2, "")
    assert "expected a folder, got '': set the variable, or give . for this folder" in result.err


def test_a_folder_of_a_datasets_name(here: Cli) -> None:
    write_category(Path("strips"))
    assert "\nfolder: 16 images\n" in here("data", "check", "./strips").out
    assert "\nstrips: 13 images\n" in here("data", "check", "strips").out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["elvp"], 2, "no dataset and no folder 'elvp': did you mean elpv?"),
        (["./elpv"], 3, "no folder ./elpv: give one in the layout of MVTec AD"),
        (["data", "--data-root", "data"], 2, "--data-root goes with the name of a dataset"),
        (["strips/carpet"], 2, "strips has no categories here: drop '/carpet'"),
        (["strips[colour=red]"], 2, "strips has no parameter 'colour'"),
        (["folder"], 3, "folder needs a folder of images"),
        (["elpv"], 3, "elpv is not here: give its folder by --data-root DIR"),
    ],
)
def test_targets_that_are_none(here: Cli, words: list[str], code: int, text: str) -> None:
    result = here("data", "check", *words)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"error: {text}") and result.err.count("\n") == 1


# --- prepare ---


def test_prepare(here: Cli) -> None:
    words = ["data", "prepare", "strips", "--out", "new"]
    result = here(*words)
    assert (result.code, result.out) == (
        0,
        "wrote 13 images in new\nread them by -d strips --data-root new\n",
    )
    assert "%|" not in result.err
    assert here(*words).out.startswith("found 13 images in new\n")
    result = here("data", "check", "strips", "--data-root", "new", "--strict-counts")
    assert result.code == 0 and "\n  train/test/anomalous: 6/2/5" in result.out
    result = here(*words, "--split", "group")
    assert result.code == 2 and "have it replaced by --force" in result.err
    result = here(*words, "--split", "group", "--force")
    assert result.code == 0 and result.out.startswith("wrote 13")
    values: dict[str, Any] = json.loads(Path("new/manifest.json").read_text())
    assert values["options"]["split"] == "group"


def test_prepare_shows_a_bar_on_a_terminal(here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    assert "/9 [" in here("data", "prepare", "strips", "--out", "new").err
    assert "/9 [" not in here("data", "prepare", "strips", "--out", "two", "-q").err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["elpv"], 3, "elpv is not here"),
        (["elvp"], 2, "no dataset 'elvp'"),
        (["synthetic/disc"], 2, "a dataset is converted whole: drop '/disc'"),
        (["strips", "--out", "data"], 2, "data and the dataset's own folder data/strips overlap"),
    ],
)
def test_what_cannot_be_prepared(here: Cli, words: list[str], code: int, text: str) -> None:
    result = here("data", "prepare", "--out", "new", *words)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"error: {text}") and result.err.count("\n") == 1
    assert not Path("new").exists()
