"""The commands of the papers' tables: table, plan --table and run --table."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from image_trees import write_category, write_elpv
from latex_tools import compile_latex, document
from report_tools import grid, record

from osadbench.cli import table_missing
from osadbench.datasets import dataset_names
from osadbench.experiments import experiment_names, load_experiment
from osadbench.params import digest
from osadbench.published import dataset_counts, load
from osadbench.registry import METHODS
from osadbench.scores import ScoreTable
from osadbench.store import Store
from osadbench.weights import WeightsFile

#: Datasets of the papers that another folder than the tests' would have to hold.
ELSEWHERE = ("mvtec", "aitex", "mastcam", "hyper-kvasir")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that holds a small ELPV and nothing else."""
    folder = tmp_path / "data"
    write_elpv(folder / "elpv", normals=8, mono=14, poly=14)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", str(folder))
    monkeypatch.setenv("OSADBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def stored(values: dict[str, dict[str, float]], folder: str = "out", **changes: Any) -> Store:
    """Store done cells of ELPV under the hard protocol."""
    store, labels = Store(folder), np.array([0, 1], dtype=np.int8)
    for i, made in enumerate(grid(values, **changes)):
        key = digest([made.key, made.shots, changes, i])[:32]
        scores = ScoreTable(("a", "b"), labels, ("good", "mono"), np.array([0.1, 0.2]))
        store.write(replace(made, key=key), scores)
    return store


def test_a_table_after_a_run_on_one_dataset(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62, "poly": 0.7}})
    result = cli("table", "dra-2", "-o", "out")
    assert result.code == 0, result.err
    assert "2 of 330 cells have results here" in result.out
    assert "to fill the empty cells: osadbench run --table dra-2 -o out" in result.out
    for name in ELSEWHERE:
        (line,) = [line for line in result.out.splitlines() if f"not here: {name}" in line]
        assert ":" in line and line.count("not here") == 1, line
    assert "not here: elpv" not in result.out


def test_labels_of_a_preset_are_found(cli: Cli) -> None:
    # Under the frozen preset, this one calls itself otherwise.
    stored({"deepsad-frozen": {"mono": 0.62, "poly": 0.7}})
    assert "2 of 90 cells have results here" in cli("table", "dra-8", "-o", "out").out
    stored({"deepsad": {"mono": 0.62, "poly": 0.7}}, "other")
    assert "0 of 90 cells have results here" in cli("table", "dra-8", "-o", "other").out


def test_defaults_of_a_parameter_are_no_part_of_a_label(cli: Cli) -> None:
    general: dict[str, Any] = {"protocol": "general", "known_class": ""}
    stored({"devnet": {"elpv": 0.7}, "devnet[top_k=0.05]": {"elpv": 0.8}}, **general)
    result = cli("table", "devnet-top-k", "-o", "out")
    (line,) = [line for line in result.out.splitlines() if line.startswith("elpv")]
    assert line.split() == ["elpv", "-", "0.800±0.010", "0.700±0.010", "-", "-"]


def test_protocols_with_parameters_are_found(cli: Cli) -> None:
    # The rate of ten per cent is the default, which no name holds.
    for rate, name in ((0.5, "contamination[rate=0.05]"), (0.6, "contamination")):
        stored({"devnet": {"elpv": rate}}, protocol=name, known_class="")
    text = cli("table", "devnet-contamination", "-o", "out").out
    heads = next(line for line in text.splitlines() if "devnet 10%" in line)
    assert heads.split()[1::2] == ["0%", "5%", "10%", "15%", "20%"]
    numbers = [line.split() for line in text.splitlines() if line.startswith("elpv")]
    assert ["elpv", "-", "0.500±0.010", "0.600±0.010", "-", "-"] in numbers
    pooled = stored({"minns": {"elpv": 0.7}}, "pooled", protocol="general[pool=40]", known_class="")
    assert len(pooled.records()) == 3
    assert "1 of 256 cells" in cli("table", "devnet-samples", "-o", "pooled").out


def test_without_results_a_table_shows_the_papers_values(cli: Cli) -> None:
    result = cli("table", "dra-7")
    assert result.code == 0
    assert "0 of 69 cells have results here" in result.out
    assert "to fill the empty cells: osadbench run --table dra-7\n" in result.out


def test_a_folder_that_is_named_must_be_there(cli: Cli) -> None:
    result = cli("table", "dra-7", "-o", "nowhere")
    assert result.code == 3
    assert "no results in nowhere: run something first" in result.err


def test_where_no_data_are_here(cli: Cli, data: Path) -> None:
    result = cli("table", "dra-9")
    assert "cells, once the data below are here: osadbench run --table dra-9\n" in result.out
    assert "not here: mvtec (5 categories): " in result.out


def test_what_a_method_skips_waits_for_no_run(cli: Cli) -> None:
    labels = ("devnet", "flos", "saoe", "mlep-img", "dra")
    values = dict.fromkeys(labels, {"mono": 0.7, "poly": 0.6})
    for shots in (1, 10):
        store = stored(values, shots=shots)
    for known, seed in itertools.product(("mono", "poly"), (0, 1, 2)):
        skipped = record("kdad", known, seed, status="skipped", reason="not here", shots=0)
        store.write(replace(skipped, key=digest([known, seed])[:32]))
    text = cli("table", "dra-2", "-o", "out").out
    assert "20 of 330 cells have results here" in text
    # Neither the classes of ELPV nor their mean can be filled, and no data of others are here.
    assert "to fill the empty cells, once the data below are here: osadbench run" in text


PAPER = {
    "preset": "paper",
    "backbone": "resnet18.tv_in1k",
    "image_sizes": [224, 112],
    "pyramid": "nearest",
    "train_backbone": True,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": PAPER, "weights": "random:0"}, "--preset paper --weights random"),
        (
            {"engine": {**PAPER, "image_sizes": [128, 64]}, "weights": "none"},
            "--preset paper --image-sizes 128,64",
        ),
        (
            {"engine": {"backbone": "resnet18", "image_sizes": [224, 112]}, "weights": "none"},
            "--backbone resnet18",
        ),
        (
            {
                "engine": {"precision": "bf16", "normal_views": 0, "image_sizes": [224, 112]},
                "weights": "none",
            },
            "--set engine.normal_views=0 --precision bf16",
        ),
        ({"engine": {"image_sizes": [224, 112]}, "weights": "none"}, ""),
    ],
)
def test_the_command_makes_results_like_those_that_are_shown(
    cli: Cli, changes: dict[str, Any], words: str
) -> None:
    stored({"devnet": {"mono": 0.62}}, **changes)
    (line,) = [t for t in cli("table", "dra-2", "-o", "out").out.splitlines() if "to fill" in t]
    command = f"to fill the empty cells: osadbench run --table dra-2 -o out {words}"
    assert line == command.rstrip()


def test_the_command_names_a_weights_file_by_its_digest(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [WeightsFile("sha256:" + "ab12cd34" * 8, None, "file")]
    monkeypatch.setattr(table_missing, "find_weights", lambda engine, cache: here[0])
    stored({"devnet": {"mono": 0.62}}, engine={"image_sizes": [224, 112]})
    assert "--weights" not in cli("table", "dra-2", "-o", "out").out
    here[0] = WeightsFile("sha256:" + "f" * 64, None, "file")
    text = cli("table", "dra-2", "-o", "out").out
    assert "run --table dra-2 -o out --weights FILE\n  FILE: the weights of the results" in text
    assert "sha256:ab12cd34ab12" in text
    # What is yet to be downloaded may well be the same.
    here[0] = WeightsFile("", None, "hub")
    assert "--weights" not in cli("table", "dra-2", "-o", "out").out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("r2out_l", " --outliers DIR\n  DIR: the folder of external outliers of the results here"),
        ("lag", " --outliers lag\n  not here: "),
        # The choice of ELPV itself.
        ("synthetic", "\n  not here: "),
    ],
)
def test_the_command_names_the_external_outliers(cli: Cli, source: str, words: str) -> None:
    outliers = {"source": source, "digest": "ab", "images": 40}
    changes: dict[str, Any] = {"engine": {"image_sizes": [224, 112]}, "weights": "none"}
    stored({"saoe": {"mono": 0.62}}, split={"outliers": outliers}, **changes)
    assert f"osadbench run --table dra-2 -o out{words}" in cli("table", "dra-2", "-o", "out").out


def test_a_table_that_says_its_outliers_itself_asks_for_none(cli: Cli) -> None:
    outliers = {"source": "lag", "digest": "ab", "images": 40}
    stored({"dra[pseudo=external]": {"mono": 0.62}}, weights="none", split={"outliers": outliers})
    text = cli("table", "dra-4", "-o", "out").out
    assert "1 of 85 cells" in text and "--outliers" not in text


def test_only_options_that_a_table_has_are_advised(cli: Cli, data: Path) -> None:
    text = cli("table", "dra-2").out
    assert "--data-root" not in text
    (line,) = [line for line in text.splitlines() if "not here: aitex" in line]
    assert line.startswith("  not here: aitex: put it at ")
    assert "--data-root" in cli("plan", "--table", "dra-2", "-m", "dra").out


def test_mixed_commits_are_noted_as_in_a_report(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62}})
    stored({"devnet": {"poly": 0.62}}, provenance={"commit": "f" * 16})
    note = "Note: the results mix commits: 1a2b3c4d5e, ffffffffff"
    assert note in cli("table", "dra-2", "-o", "out").out
    assert note in cli("report", "-o", "out").out


def test_results_of_half_a_download_are_told(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62}}, split={"train_normals": 700, "test": 690})
    text = " ".join(cli("table", "dra-2", "-o", "out").out.split())
    assert "elpv: 700 normal training images instead of 1131" in text
    stored({"devnet": {"mono": 0.62}}, "whole", split={"train_normals": 1131, "test": 690})
    assert "by its declaration" not in cli("table", "dra-2", "-o", "whole").out


def test_each_dataset_has_image_sizes_of_its_own(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62}}, engine={"image_sizes": [224, 112]})
    stored({"devnet": {"color": 0.62}}, dataset="mvtec", category="carpet")
    result = cli("table", "dra-2", "-o", "out")
    assert result.code == 0, result.err
    assert "2 of 330 cells have results here" in result.out
    assert "--image-sizes" not in result.out


@pytest.mark.parametrize("name", experiment_names())
def test_every_table_prints(cli: Cli, name: str) -> None:
    result = cli("table", name)
    assert (result.code, result.err) == (0, "")
    assert load_experiment(name).source in result.out
    result = cli("table", name, "--published", "-f", "csv")
    if not load_experiment(name).published:
        assert result.code == 2
        assert "a figure's and are no data here" in result.err
        return
    lines = list(csv.DictReader(io.StringIO(result.out)))
    assert len(lines) == len(load(name))


@pytest.mark.parametrize("format_", ["terminal", "markdown", "latex", "csv", "json"])
def test_formats(cli: Cli, format_: str) -> None:
    stored({"devnet": {"mono": 0.62, "poly": 0.7}})
    result = cli("table", "dra-2", "-o", "out", "-f", format_)
    assert result.code == 0
    assert "0.62" in result.out
    # What is missing belongs to the reader, and not into a file.
    assert ("osadbench run --table" in result.out) == (format_ == "terminal")
    assert ("osadbench run --table" in result.err) == (format_ != "terminal")
    if format_ == "json":
        assert json.loads(result.out)["summary"]["run"] == 2


@pytest.mark.parametrize("name", ["dra-5", "devnet-1"])
def test_tables_of_datasets(cli: Cli, name: str) -> None:
    text = cli("table", name).out
    assert "hyper-kvasir" in text and "mvtec/sum" in text
    lines = list(csv.DictReader(io.StringIO(cli("table", name, "-f", "csv").out)))
    assert [int(line["anomalies"]) for line in lines] == [c.anomalies for c in dataset_counts(name)]
    assert len(json.loads(cli("table", name, "-f", "json").out)["datasets"]) == len(lines)


def test_a_table_of_datasets_fits_on_a_page(cli: Cli, tmp_path: Path) -> None:
    texts = [cli("table", name, "-f", "latex").out for name in ("dra-5", "devnet-1")]
    assert r"\caption{DRA, Table 5 (dra-5): sizes of the datasets, in images.}" in texts[0]
    assert r"mvtec/metal\_nut & object & 220 & 22 & 93 & 4 \\" in texts[0]
    remark = "type differs between the papers: DRA medical, DevNet object"
    assert r"brainmri {[}1{]} & object & 73 & 25 & 155 & 1 \\" in texts[1]
    assert texts[1].count(remark) == 1 and rf"{{[}}1{{]}} {remark}\par" in texts[1]
    log = compile_latex(document("\n".join(texts), "booktabs"), tmp_path)
    assert "Overfull" not in log and "Float too large" not in log


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table", "dra-22"], "the data hold no dra-22: of this paper there are dra-1"),
        (["table", "dra-6"], "the data hold no dra-6"),
        (["table", "dar"], "no table 'dar': "),
        (
            ["table", "dra-2", "--published", "--figure", "x.pdf", "--preset", "paper"],
            "--published prints the paper's values alone, without results: drop --preset and --fig",
        ),
        (
            ["table", "dra-5", "-o", "x"],
            "dra-5 prints the paper's values alone, without results",
        ),
        (["table", "dra-2", "--preset", "frosen"], "no preset 'frosen': did you mean frozen"),
        (
            ["plan", "--table", "dra-5"],
            "dra-5 counts the datasets' images and has no results: osadbench table dra-5 prints it",
        ),
        (["plan", "--table", "dra-2", "-p", "hard"], "--table says itself what -p would say"),
        (["plan", "--table", "dra-2", "--known-class", "mono"], "what --known-class would say"),
        (["plan", "--table", "dra-2", "-m", "knn"], "the table has no method 'knn': it has kdad"),
        (["plan", "--table", "dra-2", "-d", "sdd"], "the table has no dataset 'sdd': known: aitex"),
        (["plan", "--table", "dra-2", "-d", "elpv", "--shots", "5"], "nothing of dra-2 is left by"),
        (["plan", "--table", "dra-2", "--set", "dra.lr=1"], "--set names dra, but a table has"),
        (["plan", "--table", "dra-2", "--set", "engine.x=1"], "engine has no parameter 'x'"),
        (["plan", "--table", "dra-2", "--preset", "x"], "no preset 'x'"),
        (["plan", "--table", "dra-2", "--data-root", "data"], "--data-root is the folder of one"),
        (["run", "--table", "dra-2", "--reference", "dra"], "--reference is for tests"),
        (
            ["plan", "--table", "dra-4", "--outliers", "data"],
            "dra-4 says itself which external outliers its columns take (lag, mvtec): drop --outl",
        ),
    ],
)
def test_what_cannot_be_asked_for(cli: Cli, words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_results_of_several_presets_are_refused_unless_one_is_named(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62}})
    engine = {"preset": "paper", "backbone": "resnet18.tv_in1k"}
    stored({"devnet": {"poly": 0.72}}, engine=engine)
    result = cli("table", "dra-2", "-o", "out")
    assert (result.code, result.out) == (3, "")
    assert "preset: frozen and paper: name one --preset, use a folder" in result.err
    assert "1 of 330 cells" in cli("table", "dra-2", "-o", "out", "--preset", "paper").out
    mixed = cli("table", "dra-2", "-o", "out", "--allow-mixed").out
    assert "2 of 330 cells" in mixed
    assert "0.620±0.010†" in mixed or "0.720±0.010†" in mixed


def test_results_of_preset_smoke_are_no_measurements(cli: Cli) -> None:
    stored({"devnet": {"mono": 0.62}}, engine={"preset": "smoke"})
    text = cli("table", "dra-2", "-o", "out").out
    assert "0 of 330 cells" in text
    assert "Note: left out 3 results of preset smoke, which measures nothing (--preset smo" in text
    text = cli("table", "dra-2", "-o", "out", "--preset", "smoke").out
    assert "1 of 330 cells" in text and "left out" not in text


def test_the_figure_of_a_sweep(cli: Cli) -> None:
    stored({"devnet[top_k=0.05]": {"elpv": 0.8}}, protocol="general", known_class="")
    result = cli("table", "devnet-top-k", "-o", "out", "--figure", "k.pdf")
    assert (result.code, result.err) == (0, "wrote k.pdf\n")
    assert Path("k.pdf").read_bytes().startswith(b"%PDF")
    assert cli("table", "dra-2", "-o", "out", "--figure", "k.pdf").code == 2


def test_the_plan_of_a_table(cli: Cli) -> None:
    # SAOE's outliers would have to be drawn first, which takes long.
    result = cli("plan", "--table", "dra-2", "-m", "!saoe", "-o", "out")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    cells = [line for line in lines if line.startswith("to run")]
    # Two known classes and three seeds: KDAD once, four methods for one and ten shots.
    assert len(cells) == 2 * 3 * (1 + 4 * 2)
    assert any("flos elpv hard poly 10-shot seed 2" in line for line in cells)
    absent = [line for line in lines if line.startswith("can't run")]
    assert len(absent) == 5
    # Carpet has five known classes.
    told = "mvtec/carpet: not here: give its folder by --data-root DIR, or put it at "
    assert any(line.startswith(f"can't run {5 * 27} cells: {told}") for line in absent)
    assert "54 cells: 54 to run; 54 will be computed" in lines
    assert result.err.startswith("assumed: preset frozen\n")


def test_a_part_of_a_table(cli: Cli) -> None:
    words = ["-d", "elpv", "-m", "d*,!devnet", "--shots", "1", "--seed", "4", "-o", "out"]
    lines = cli("plan", "--table", "dra-2", *words).out.splitlines()
    cells = [line.split(maxsplit=3)[3] for line in lines if line.startswith("to run")]
    assert cells == [f"dra elpv hard {known} 1-shot seed 4" for known in ("mono", "poly")]
    assert not any(line.startswith("can't run") for line in lines)


def test_cells_of_two_columns_are_planned_once(cli: Cli) -> None:
    # The mean over classes and the classes are of the same cells.
    lines = cli("plan", "--table", "dra-3", "-d", "elpv", "-o", "out").out.splitlines()
    keys = [line.split()[2] for line in lines if line.startswith("to run")]
    assert len(keys) == len(set(keys)) == 5 * 3 * (1 + 2)


def test_what_one_method_lacks_does_not_stop_the_others(cli: Cli) -> None:
    lines = cli("plan", "--table", "dra-4", "-d", "elpv", "-o", "out").out.splitlines()
    cells = [line for line in lines if line.startswith("to run")]
    # Without MVTec AD and LAG, three of the five sources of pseudo anomalies are left.
    assert len(cells) == 3 * 2 * 3
    absent = [line for line in lines if line.startswith("can't run")]
    assert [line.split(":")[:2] for line in absent] == [
        ["can't run 6 cells", " dra[pseudo=external] on elpv"],
        ["can't run 6 cells", " dra[pseudo=external] on elpv"],
    ]
    # That option is for the folder of ELPV.
    assert not any("--data-root" in line for line in absent)


@pytest.mark.parametrize(
    ("asked", "lacking", "pairs"),
    [
        ("mvtec/carpet,mvtec/grid,mvtec/tile", {"mvtec/tile": 12}, 2),
        ("mvtec/carpet,mvtec/tile", {"mvtec/tile": 6}, 0),
        ("mvtec/tile,mvtec/wood", {"mvtec/tile": 6, "mvtec/wood": 0}, 0),
        ("mvtec/carpet", {"dra on mvtec/carpet": 0}, 0),
    ],
)
def test_cells_of_pairs_are_counted_by_what_is_asked_for(
    cli: Cli, data: Path, asked: str, lacking: dict[str, int], pairs: int
) -> None:
    for name in ("carpet", "grid"):
        write_category(data / "mvtec" / name, classes={"cut": 7, "hole": 7})
    words = ["--table", "dra-9", "-m", "dra", "-d", asked, "--preset", "smoke", "-o", "out"]
    lines = cli("plan", *words).out.splitlines()
    absent = [line.split(": ")[:2] for line in lines if line.startswith("can't run")]
    assert absent == [[f"can't run {n} cells", what] for what, n in lacking.items()]
    assert sum(line.startswith("to run") for line in lines) == 3 * pairs
    if not pairs:
        result = cli("run", *words)
        first = next(iter(lacking))
        assert result.code == 3
        assert f"error: nothing of dra-9 can run here: {first}: " in result.err


def test_nothing_to_run(cli: Cli) -> None:
    planned = cli("plan", "--table", "dra-9", "-o", "out")
    assert (planned.code, planned.out.splitlines()[-1]) == (0, "0 cells; 0 will be computed")
    result = cli("run", "--table", "dra-9", "-o", "out")
    assert result.code == 3
    told = "error: nothing of dra-9 can run here: mvtec/carpet: not here: give its folder by"
    assert told in result.err
    assert "; osadbench plan --table dra-9 says what else" in result.err
    assert not Path("out").exists()


def test_a_run_fills_the_table_and_answers_from_the_store(cli: Cli) -> None:
    words = ["--table", "dra-2", "--preset", "smoke", "-m", "devnet,flos", "--seed", "0"]
    words += ["--shots", "1", "-o", "out"]
    result = cli("run", *words)
    assert result.code == 0, result.err
    assert "4 done" in result.err
    assert [line for line in result.err.splitlines() if line.startswith("can't run")]
    assert "4 of 330 cells have results here" in result.out
    assert "1/3" in result.out
    again = cli("run", *words)
    assert (again.code, again.out) == (0, result.out)
    assert "4 of 4 cells answered from out" in again.err
    assert {r.label for r in Store("out").records()} == {"devnet", "flos"}


@pytest.mark.parametrize(
    ("asked", "shown", "option"),
    [
        (["--seeds", "4,3"], "3, 4", " --seeds 3,4"),
        (["--seed", "3"], "3", " --seed 3"),
        (["--seeds", "4"], "0, 1, 2, 3", " --seeds 0,1,2,3"),
        (["--seeds", "2"], "0, 1, 2", ""),
    ],
)
def test_a_run_shows_the_seeds_that_were_asked_for(
    cli: Cli, asked: list[str], shown: str, option: str
) -> None:
    words = ["--table", "dra-2", "--preset", "smoke", "-m", "devnet", "--shots", "1", "-o", "out"]
    result = cli("run", *words, *asked)
    assert result.code == 0, result.err
    text = " ".join(result.out.split())
    assert f"mean±std over seeds {shown}; ours: preset smoke" in text
    assert "2 of 330 cells have results here" in text and "left out" not in text
    assert f"osadbench run --table dra-2 -o out --preset smoke{option} not here" in text
    # The table itself has the paper's number of seeds.
    again = cli("table", "dra-2", "-o", "out", "--preset", "smoke").out
    assert ("of other seeds than the table's: " in again) == bool(option)


def test_a_table_of_pixels_asks_for_them_itself(cli: Cli, data: Path) -> None:
    write_category(data / "mvtec" / "carpet", classes={"cut": 7, "hole": 7})
    words = ["-m", "devnet", "--seed", "0", "-o", "out", "--preset", "smoke"]
    plain = cli("run", *words, "-p", "general", "-d", "mvtec/carpet", "--shots", "10")
    assert plain.code == 0, plain.err
    # What the images' scores are of fills no cell of this table, and is told.
    table = ["table", "devnet-4", "-o", "out", "--preset", "smoke"]
    before = cli(*table).out
    assert "0 of 60 cells have results here" in before
    assert "[1] no pixel_auroc was recorded" in before
    assert "osadbench run --table devnet-4 -o out" in before
    planned = cli("plan", "--table", "devnet-4", *words).out.splitlines()
    assert [line[:6] for line in planned if "mvtec/carpet general" in line] == ["to run"]
    assert sum(line.startswith("can't run 1 cell: mvtec/") for line in planned) == 14
    result = cli("run", "--table", "devnet-4", *words)
    assert result.code == 0, result.err
    assert "1 of 60 cells have results here" in result.out
    (done,) = Store("out").records()
    assert f"{done.metrics['pixel_auroc']:.3f}" in result.out
    assert done.provenance["localisation"]["averaged"] == 4
    assert "1 of 1 cell answered" in cli("run", "--table", "devnet-4", *words).err


def test_a_failed_cell_is_told_by_the_exit_code(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, X: Any) -> Any:
        raise RuntimeError("no luck today")

    monkeypatch.setattr(METHODS.get("flos"), "score", fail)
    words = ["--preset", "smoke", "-m", "flos", "--seed", "0", "--shots", "1", "-o", "out"]
    result = cli("run", "--table", "dra-2", "-d", "elpv", *words)
    assert result.code == 1
    assert "2 failed" in result.err
    assert "failed: RuntimeError: no luck today" in result.out


def test_a_table_needs_nothing_heavy() -> None:
    code = (
        "import sys\nfrom osadbench.cli import main\n"
        "code = main(['table', 'dra-1'])\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'timm', 'joblib'}\n"
        "print(code, *sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "0\n"


def test_datasets_of_the_tables_are_known_or_told(cli: Cli) -> None:
    known = dataset_names()
    lines = cli("plan", "--table", "devnet-2", "-m", "devnet", "-o", "out").out.splitlines()
    for name in ("sdd", "optical", "brainmri", "headct"):
        (line,) = [line for line in lines if line.startswith("can't run") and f": {name}: " in line]
        assert ("this osadbench has no dataset" in line) == (name not in known)
