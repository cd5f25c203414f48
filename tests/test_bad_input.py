"""What a user can get wrong, and the one line that says so."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import DATA, FEW, TOYS, Cli, cli_fixture, statuses, toys_fixture  # noqa: F401
from image_trees import write_category, write_image

from osadbench.datasets import dataset_names
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.store import Store

#: A run of the toy method, but for its protocol.
MEAN = ["run", "-m", "mean", "-o", "out", "-d", DATA]


def one_line(result: Any) -> str:
    """Return the error, which is the last line, without traceback."""
    lines = result.err.splitlines()
    assert "Traceback" not in result.err and result.out == ""
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], result.err
    return str(lines[-1].removeprefix("error: "))


KNOWN = ", ".join(METHODS.names())
HARD = ["-p", "hard"]
ONE = ["--shots", "1", "--seed", "0"]

CASES = {
    "no method": (
        ["run", *HARD],
        "no method: name some by -m, such as -m dra,devnet (osadbench list)",
    ),
    "no protocol": (
        ["run", "-m", "knn"],
        "no protocol: name some by -p, such as -p hard (osadbench list)",
    ),
    "unknown method": (
        ["run", "-m", "patchcor", *HARD],
        f"no method 'patchcor': did you mean patchcore? known: {KNOWN}",
    ),
    "no method fits": (
        ["run", "-m", "z*", *HARD],
        f"'z*' fits no method here: known: {KNOWN}",
    ),
    "nothing left out": (
        ["run", "-m", "knn,!kn", *HARD],
        "'kn' fits no method here: did you mean knn? known: knn",
    ),
    "unknown protocol": (
        [*MEAN, "-p", "hrad"],
        "no protocol 'hrad': did you mean hard? known: contamination, cross-domain, general, hard",
    ),
    "unknown dataset": (
        [*MEAN, *HARD, "-d", "elvp"],
        f"no dataset 'elvp': did you mean elpv? known: {', '.join(dataset_names())}",
    ),
    "empty dataset": (
        ["run", "-m", "knn", *HARD, "-d", ""],
        "no dataset: name some by -d, such as -d elpv (osadbench list)",
    ),
    "unknown category": (
        ["run", "-m", "knn", *HARD, "-d", "synthetic/grian"],
        "synthetic has no category 'grian': did you mean grain? known: disc, grain, weave",
    ),
    "category of a dataset without any": (
        ["run", "-m", "knn", *HARD, "-d", "elpv/mono"],
        "elpv has no categories here: drop '/mono'",
    ),
    "dataset parameters": (
        ["run", "-m", "knn", *HARD, "-d", "synthetic[sise=64,seed=-1]"],
        "synthetic has no parameter 'sise' (did you mean seed or size? known: difficulty, "
        "n_per_class, n_test_normal, n_train, seed, size); synthetic.seed='-1': input should be "
        "greater than or equal to 0",
    ),
    "one dataset in two forms": (
        [*MEAN, *HARD, "-d", "synthetic/disc"],
        "synthetic is asked for with two sets of parameters, which one table cannot hold: run "
        "them one by one, each with an output folder of its own",
    ),
    "unknown known class": (
        [*MEAN, *HARD, "--known-class", "hoel"],
        "synthetic/disc has no known class 'hoel': did you mean hole? known: hole, scratch, "
        "specks, stain",
    ),
    "known class of general": (
        [*MEAN, "-p", "general", "--known-class", "hole", *ONE],
        "general has no known class, got hole: drop --known-class or use the protocol hard",
    ),
    "brackets": (
        ["run", "-m", "dra[lr]", *HARD],
        "expected key=value inside the brackets of 'dra[lr]', got 'lr'",
    ),
    "setting without a name": (
        [*MEAN, *HARD, "--set", "lr=1"],
        "--set expects component.key=value, such as dra.lr=1e-4, got 'lr=1'",
    ),
    "setting of a method that is not run": (
        [*MEAN, *HARD, "--set", "dra.lr=1", "--set", "knn.k=1"],
        "--set names dra, knn, which is not run: expected engine, mean",
    ),
    "preset by setting": (
        [*MEAN, *HARD, "--set", "engine.preset=paper"],
        "engine.preset cannot be set: give --preset",
    ),
    "cache by setting": (
        [*MEAN, *HARD, "--set", "engine.cache_dir=x"],
        "engine.cache_dir cannot be set: give --cache-dir",
    ),
    "unknown preset": (
        [*MEAN, *HARD, "--preset", "smok"],
        "no preset 'smok': did you mean smoke? known: frozen, paper, paper-text, smoke",
    ),
    "image sizes": (
        [*MEAN, *HARD, "--image-sizes", "320,huge"],
        "--image-sizes expects whole numbers of 32 or more, such as 320,224: got 'huge'",
    ),
    "two equal columns": (
        [*MEAN[:2], "mean,mean[shift=0]", *MEAN[3:], *HARD],
        "mean is asked for twice: name it once",
    ),
    "shots 0": (
        [*MEAN, *HARD, "--shots", "1,0"],
        "--shots expects whole numbers of 1 or more, such as 1,10: got '0'",
    ),
    "shots of text": (
        [*MEAN, *HARD, "--shots", "ten"],
        "--shots expects whole numbers of 1 or more, such as 1,10: got 'ten'",
    ),
    "no shots": (
        [*MEAN, *HARD, "--shots", ","],
        "--shots expects whole numbers of 1 or more, such as 1,10: got nothing",
    ),
    "negative seed": (
        [*MEAN, *HARD, "--seeds", "0,-1"],
        "--seeds expects whole numbers of 0 or more, such as 0,1,2: got '-1'",
    ),
    "seeds of text": (
        [*MEAN, *HARD, "--seeds", "0..4"],
        "--seeds expects whole numbers of 0 or more, such as 0,1,2: got '0..4'",
    ),
    "a seed as a number of seeds": (
        [*MEAN, *HARD, "--seeds", "20261122"],
        "--seeds 20261122 means that many seeds, and 1000 is the most: for that one seed give "
        "--seed 20261122",
    ),
    "seeds twice": (
        [*MEAN, *HARD, "--seeds", "3", "--seed", "1"],
        "expected --seeds or --seed, got both: give one of them",
    ),
    "timeout of 0": (
        [*MEAN, *HARD, "--timeout", "0"],
        "--timeout expects seconds above 0, such as 600, got 0",
    ),
    "timeout that is no number": (
        [*MEAN, *HARD, "--timeout", "nan"],
        "--timeout expects seconds above 0, such as 600, got nan",
    ),
    "missing plug-in": (
        ["list", "--plugin", "nowhere.py"],
        "no plug-in file nowhere.py: give the path of a .py file",
    ),
    "splits and shots": (
        ["run", "-m", "knn", "--splits", "x.json", "--shots", "1", *HARD],
        "--splits says itself what -p and --shots would say: drop one or the other",
    ),
    "describe nothing": (
        ["describe", "synthetc"],
        "no method, protocol or dataset 'synthetc': did you mean synthetic? known: "
        f"{', '.join(sorted([*METHODS.names(), *PROTOCOLS.names(), *dataset_names()]))}",
    ),
    "describe under nothing": (
        ["describe", "knn", "--preset", "papers"],
        "no preset 'papers': did you mean paper or paper-text? known: frozen, paper, paper-text, "
        "smoke",
    ),
    "check nothing": (
        ["check", "kn"],
        f"no method 'kn': did you mean knn? known: {KNOWN}",
    ),
    "check with a wrong parameter": (
        ["check", "knn", "--set", "k=0", "--set", "n=1"],
        "knn has no parameter 'n' (known: k); knn.k='0': input should be greater than or equal "
        "to 1",
    ),
    "check with half a parameter": (
        ["check", "knn", "--set", "k"],
        "--set expects key=value, such as lr=1e-3, got 'k'",
    ),
    "name of a new method": (
        ["new-method", "My Method"],
        "expected a name such as 'nearest-colour' (lower-case letters, digits, - and _; not a "
        "word of Python), got 'My Method'",
    ),
}


@pytest.mark.parametrize(("words", "message"), CASES.values(), ids=CASES)
def test_usage(cli: Cli, toys: list[str], words: list[str], message: str) -> None:
    if "mean" in " ".join(words):
        words = [*words, *toys]
    result = cli(*words)
    assert (result.code, one_line(result)) == (2, message)
    assert not Path("out").exists()


def test_all_mistakes_of_parameters_are_listed_together(cli: Cli) -> None:
    result = cli(
        *("run", "-m", "devnet[lr=fast,epoch=3],knn[k=0]", *HARD, "-d", DATA),
        *("--set", "devnet.head=big", "--set", "engine.precision=fp8"),
        *("--set", "engine.views=8"),
    )
    assert result.code == 2
    starts = [
        "engine has no parameter 'views' (did you mean normal_views or pseudo_views or seen_views?",
        "engine.precision='fp8': input should be 'auto', 'fp32' or 'bf16'",
        "devnet has no parameter 'epoch' (did you mean epochs or steps_per_epoch? known: ",
        "devnet.lr='fast': input should be a valid number, unable to parse",
        "devnet.head='big': input should be ",
        "knn.k='0': input should be greater than or equal to 1",
    ]
    mistakes = one_line(result).split("; ")
    assert len(mistakes) == len(starts)
    assert all(text.startswith(start) for text, start in zip(mistakes, starts, strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "no such command 'rnu'"),
        (["run", "--sots", "1"], "no such option '--sots'"),
        (["run", "--timeout", "soon"], "'soon' is not a valid float"),
        (["run", "-j", "0"], "0 is not in the range x>=1"),
        (["run", "--rerun", "never"], "'never' is not one of 'missing', 'failed', 'all', 'none'"),
        (["report", "-f", "html"], "'html' is not one of 'terminal', 'markdown'"),
        (["list", "method"], "'method' is not one of 'methods'"),
        (
            ["report", "--group-by", "x"],
            "'x' is not one of 'row', 'dataset', 'protocol', 'method' (",
        ),
        (["run", "--shots"], "option '--shots' requires an argument ("),
        (["show"], "missing argument 'KEY' (osadbench show -h shows what there is)"),
        (["merge"], "missing argument 'SOURCES...'"),
    ],
)
def test_usage_that_the_parser_refuses(cli: Cli, words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert message in result.err and "Traceback" not in result.err


@pytest.mark.parametrize("words", [[], ["data"]])
def test_a_group_without_a_command_prints_its_help(cli: Cli, words: list[str]) -> None:
    result = cli(*words)
    assert (result.out + result.err).startswith("Usage: osadbench")
    assert "Commands:" in result.out + result.err


@pytest.mark.parametrize("words", [["--debug", "run"], ["run", "--debug"]])
def test_debug_shows_the_traceback(cli: Cli, words: list[str]) -> None:
    result = cli(*words, "-m", "devnt", "-p", "hard", "-d", DATA)
    assert result.code == 2
    assert "Traceback" in result.err and "registry.py" in result.err
    assert result.err.splitlines()[-1].startswith("error: no method 'devnt'")


def test_an_unexpected_error_says_how_to_see_more(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("osadbench.cli.running.make_plan", break_down)
    result = cli("plan", "-m", "knn", "-p", "hard")
    assert result.code == 1
    expected = "unexpected ZeroDivisionError: by zero (--debug shows where)"
    assert one_line(result) == expected
    assert "break_down" in cli("plan", "-m", "knn", "-p", "hard", "--debug").err


# --- data ---


def test_more_shots_than_there_are(cli: Cli, toys: list[str]) -> None:
    result = cli(*MEAN, *toys, "-p", "general", "--shots", "48", "--seed", "0")
    assert (result.code, one_line(result)) == (
        3,
        "synthetic/disc has 48 anomalies, but a pool of 48 must leave some to test: ask for fewer "
        "shots, or add anomalies",
    )


def test_the_package_of_elpv_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_elpv(name: str, package: str | None = None) -> Any:
        return None if name == "elpv_dataset" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_elpv)
    result = cli("run", "-m", "knn", "-p", "hard", "--preset", "smoke")
    assert (result.code, one_line(result)) == (
        3,
        "elpv is not here: give its folder by --data-root DIR, or put it at elpv below the folder "
        'OSADBENCH_DATA_DIR; pip install "osadbench[demo]" brings it, or get '
        "https://github.com/zae-bayern/elpv-dataset",
    )


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ([], "folder needs a folder of images: give --data-root DIR, or put it at folder below"),
        (["--data-root", "nowhere"], "no folder nowhere: give folder's folder by --data-root DIR"),
        (["--data-root", "empty"], "empty holds no category (a folder with train/good and test)"),
    ],
)
def test_a_folder_that_is_not_there(
    cli: Cli, toys: list[str], place: list[str], message: str
) -> None:
    Path("empty").mkdir()
    result = cli("run", "-m", "mean", "-p", "hard", "-d", "folder", *place, *toys)
    assert result.code == 3
    assert one_line(result).startswith(message)


def test_data_check_lists_all_problems(cli: Cli) -> None:
    write_category(Path("parts/screw"), test=3)
    write_category(Path("parts/nut"), test=3)
    Path("parts/screw/test/good/000.png").write_bytes(b"no image")
    write_image(Path("parts/screw/train/hole/000.png"))
    Path("parts/nut/test/hole/000.png").write_bytes(
        Path("parts/nut/train/good/000.png").read_bytes()
    )
    result = cli("data", "check", "parts")
    assert (result.code, result.out) == (3, "")
    assert "Traceback" not in result.err
    assert result.err.startswith("error: 3 problems in parts:\n")
    for part in (
        "screw/test/good/000.png (cannot identify image file",
        "screw: train/hole: train may hold the class good only",
        "nut: train/good/000.png and test/hole/000.png have the same content",
    ):
        assert part in result.err, result.err
    missing = cli("data", "check", "nowhere")
    assert missing.code == 2 and "no dataset and no folder 'nowhere': known: " in missing.err


def test_splits_of_other_images(cli: Cli, toys: list[str]) -> None:
    cli("split", *FEW, "--save", "splits.json")
    words = ["run", "-m", "mean", "--splits", "splits.json", *toys]
    result = cli(*words, "-d", "synthetic/disc[size=48,n_train=5,n_test_normal=3,n_per_class=3]")
    assert result.code == 3
    assert one_line(result).startswith("the splits of synthetic/disc were made for other images")
    result = cli(*words, "-d", "synthetic/weave[size=48,n_train=5,n_test_normal=3,n_per_class=3]")
    assert (result.code, one_line(result)) == (
        2,
        "the splits given are of other datasets than those asked for by -d",
    )


def test_splits_that_were_edited(cli: Cli, toys: list[str]) -> None:
    cli("split", *FEW, "--save", "splits.json")
    file = Path("splits.json")
    content = json.loads(file.read_text())
    content["splits"][1]["test"].pop()
    file.write_text(json.dumps(content))
    result = cli("run", "-m", "mean", "--splits", file, *toys)
    assert (result.code, one_line(result)) == (
        3,
        "1 splits of splits.json do not match their digests: the file was changed by hand; make "
        "it anew with osadbench split --save FILE",
    )


# --- weights, devices, backbones ---

SMOKE = ["run", "-m", "knn", *FEW[:-1], "1", "--preset", "smoke", "-o", "out"]


@pytest.mark.parametrize("preset", ["smoke", "paper"])
def test_an_unknown_backbone(cli: Cli, preset: str) -> None:
    words = ["--preset", preset, "--weights", "random", "--backbone", "resnet81"]
    result = cli(*SMOKE, *words)
    assert result.code == 2
    assert one_line(result).startswith("no backbone 'resnet81': did you mean resnet18 or ")
    assert Store("out").records() == []


#: Too small for AlexNet's last pooling.
ALEXNET = ["--backbone", "alexnet.tv_in1k", "--weights", "random", "--image-sizes", "64,32"]


@pytest.mark.parametrize(("method", "preset"), [("knn", "smoke"), ("devnet", "paper")])
def test_images_too_small_for_the_backbone(cli: Cli, method: str, preset: str) -> None:
    words = [method if word == "knn" else word for word in SMOKE]
    result = cli(*words, "--preset", preset, *ALEXNET)
    message = "image size 32 is too small for backbone alexnet.tv_in1k: "
    assert (result.code, one_line(result)[: len(message)]) == (2, message)
    assert Store("out").records() == []


def test_images_of_another_size_than_the_backbones(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Input height (32) doesn't match model (224).\nand more")

    monkeypatch.setattr("osadbench.nn.backbones.Backbone.forward", refuse)
    result = cli(*SMOKE)
    assert (result.code, one_line(result)) == (
        2,
        "image size 32 does not fit backbone test_efficientnet: Input height (32) doesn't match "
        "model (224).",
    )


def test_weights_that_are_not_there(cli: Cli) -> None:
    result = cli(*SMOKE, "--weights", "nowhere.pth")
    assert (result.code, one_line(result)) == (
        3,
        "no weights file 'nowhere.pth': give auto, random, or the path of a .safetensors, .pth or "
        ".pt file",
    )


def test_weights_of_another_network(cli: Cli) -> None:
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("test_resnet").state_dict(), "other.safetensors")
    result = cli(*SMOKE, "--weights", "other.safetensors")
    assert result.code == 3
    assert one_line(result).startswith("weights other.safetensors do not fit the backbone: ")
    Path("broken.safetensors").write_bytes(b"no weights")
    result = cli(*SMOKE, "--weights", "broken.safetensors")
    assert result.code == 3
    assert one_line(result).startswith("cannot read weights broken.safetensors (")
    assert Store("out").records() == []


def test_a_device_that_is_not_there(cli: Cli) -> None:
    result = cli(*SMOKE, "--device", "cuda:99")
    assert result.code == 3
    assert re.match(r"device 'cuda:99' cannot be used \(.*\): give --device cpu", one_line(result))


# --- folders and disks ---


@pytest.mark.parametrize("command", ["run", "plan", "status", "report", "merge"])
def test_an_output_folder_that_is_a_file(cli: Cli, toys: list[str], command: str) -> None:
    Path("out").write_text("a file")
    Path("other/cells").mkdir(parents=True)
    words = {"run": MEAN[1:], "plan": MEAN[1:], "merge": ["other", "-o", "out"]}
    options = [*HARD, *ONE, *toys] if command in ("run", "plan") else []
    result = cli(command, *words.get(command, ["-o", "out"]), *options)
    assert result.code == 3
    assert " out" in one_line(result)
    assert Path("out").read_text() == "a file"


def test_an_output_folder_that_cannot_be_made(
    cli: Cli, toys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if "out" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = cli(*MEAN, *HARD, *ONE, *toys)
    assert (result.code, one_line(result)) == (
        3,
        "cannot write results in out (Permission denied): check its permissions, or name another "
        "folder by --output-dir",
    )


def fill_disk(monkeypatch: pytest.MonkeyPatch, is_full: Callable[[str], bool]) -> None:
    """Let every move of a file into its place fail whose target is on the full disk."""
    replace = os.replace

    def fail(source: Any, target: Any) -> Path:
        if is_full(str(target)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)
        return Path(target)

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)


def test_a_full_disk_for_results(
    cli: Cli, toys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def is_full(target: str) -> bool:
        written.append(target)
        return sum(name.endswith(".json") for name in written) > 2

    with monkeypatch.context() as patch:
        fill_disk(patch, is_full)
        result = cli("run", "-m", "mean", *FEW, *toys, "-o", "out")
    assert result.code == 3
    assert result.err.splitlines()[-1] == (
        "error: cannot write results in out (No space left on device): free some space, or name "
        "another folder by --output-dir"
    )
    n_kept = len(Store("out").records())
    assert 0 < n_kept < 3 and not list(Path("out/cells").glob("*.tmp"))
    assert cli("run", "-m", "mean", *FEW, *toys, "-o", "out").code == 0
    assert statuses(Path("out")) == {"mean": ["done"] * 3}
    assert Store("out").problems() == []


@pytest.mark.parametrize("part", ["features", "images"])
def test_a_full_disk_for_the_cache(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    words = [*SMOKE, "--cache-dir", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        fill_disk(patch, lambda target: f"{os.sep}{part}{os.sep}" in target)
        result = cli(*words)
    assert result.code == 3
    assert re.search(
        r"^error: cannot write the cache in .*No space left on device.*: free some space or name "
        "another folder by OSADBENCH_CACHE_DIR$",
        result.err,
        re.MULTILINE,
    )
    assert Store("out").records() == []
    assert cli(*words).code == 0


def test_a_damaged_cache_is_built_anew(cli: Cli, tmp_path: Path) -> None:
    words = [*SMOKE, "--cache-dir", tmp_path / "cache"]
    assert cli(*words).code == 0
    key = Store("out").keys()[0]
    scores = Store("out").scores(key)
    shards = list((tmp_path / "cache/features").rglob("*.npy"))
    for shard in shards:
        content = bytearray(shard.read_bytes())
        content[-100] ^= 1
        shard.write_bytes(content)
    result = cli(*words, "--rerun", "all")
    assert result.code == 0
    said = re.findall(r"^warning: cache file (.*) was damaged and will", result.err, re.MULTILINE)
    assert sorted(said) == sorted(str(shard.with_suffix("")) for shard in shards)
    assert Store("out").scores(key) == scores
    assert "damaged" not in cli(*words, "--rerun", "all").err


# --- records ---


@pytest.fixture
def key(cli: Cli, toys: list[str]) -> str:
    """The key of a stored record, of seed 0."""
    assert cli("run", "-m", "mean", *FEW, *toys, "-o", "out").code == 0
    return next(record.key for record in Store("out").records() if record.seed == 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda json_file, npz_file: json_file.write_bytes(json_file.read_bytes()[:-40]),
        lambda json_file, npz_file: json_file.write_bytes(b""),
        lambda json_file, npz_file: npz_file.unlink(),
        lambda json_file, npz_file: npz_file.write_bytes(npz_file.read_bytes()[:-1] + b"x"),
    ],
    ids=["cut", "empty", "no scores", "other scores"],
)
def test_a_damaged_record_is_set_aside_and_computed_anew(
    cli: Cli, toys: list[str], key: str, damage: Callable[[Path, Path], object]
) -> None:
    file, scores = Path("out/cells", f"{key}.json"), Path("out/cells", f"{key}.npz")
    before = scores.read_bytes()
    damage(file, scores)
    words = ["-m", "mean", *FEW, *toys, "-o", "out"]
    plan = cli("plan", *words).out
    assert f"damaged  {key[:12]}" in plan and "1 damaged, 2 done; 1 will be computed" in plan
    left = cli("run", *words, "--rerun", "none")
    assert left.code == 1
    warning = f"warning: record {key} is damaged and left out; --rerun missing computes it"
    assert warning in left.err.splitlines()
    assert "seeds 1, 2" in left.out
    result = cli("run", *words)
    assert result.code == 0
    assert (
        f"warning: record {key} was damaged; kept as {key}.json.damaged-1 and computed anew"
        in result.err.splitlines()
    )
    assert scores.read_bytes() == before
    assert Path("out/cells", f"{key}.json.damaged-1").exists()
    assert "3 of 3 cells answered from out" in cli("run", *words).err


@pytest.mark.parametrize(
    ("schema", "age", "remedy"),
    [(2, "newer", "upgrade osadbench"), (0, "older", "take an older osadbench")],
)
def test_a_record_in_another_layout_is_left_untouched(
    cli: Cli, toys: list[str], key: str, schema: int, age: str, remedy: str
) -> None:
    file = Path("out/cells", f"{key}.json")
    file.write_text(file.read_text().replace('"schema": 1', f'"schema": {schema}'))
    before = file.read_bytes()
    for command in ("run", "plan"):
        result = cli(command, "-m", "mean", *FEW, *toys, "-o", "out", "--rerun", "all")
        assert (result.code, one_line(result)) == (
            3,
            f"record {key} has schema {schema}, {age} than the 1 that this osadbench reads: "
            f"{remedy}, or name another folder by --output-dir",
        )
    assert file.read_bytes() == before


def test_merging_what_is_no_results_folder(cli: Cli, key: str) -> None:
    Path("photos").mkdir()
    result = cli("merge", "out", "photos", "-o", "both")
    assert (result.code, one_line(result)) == (
        3,
        "expected a results folder, one with cells/ in it, got photos",
    )
    assert not Path("both").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "abc"], "expected 4 or more digits of a key, got 'abc'"),
        (["show", "ffff0"], "no cell 'ffff0' in out: check the key and the folder"),
        (["show", "nonsense"], "no cell 'nonsense' in out: check the key and the folder"),
    ],
)
def test_showing_no_record(cli: Cli, key: str, words: list[str], message: str) -> None:
    result = cli(*words, "-o", "out")
    assert (result.code, one_line(result)) == (3, message)


def test_showing_one_of_several_records(cli: Cli, key: str) -> None:
    twin = key[:8] + "0" * 24
    record = json.loads(Path("out/cells", f"{key}.json").read_text())
    Path("out/cells", f"{twin}.json").write_text(json.dumps({**record, "key": twin}))
    result = cli("show", key[:8], "-o", "out")
    keys = ", ".join(sorted([key, twin]))
    assert (result.code, one_line(result)) == (
        3,
        f"'{key[:8]}' fits 2 cells, give more: {keys}",
    )


def test_scores_of_a_failed_cell(cli: Cli, toys: list[str]) -> None:
    cli("run", "-m", "raises", *FEW[:-1], "1", *toys, "-o", "out")
    key = Store("out").keys()[0]
    result = cli("show", key, "--scores", "-o", "out")
    assert (result.code, one_line(result)) == (
        3,
        f"no scores of cell {key} in out: only done cells have scores",
    )


@pytest.mark.parametrize("command", ["report", "status", "show"])
def test_results_that_are_not_there(cli: Cli, command: str) -> None:
    result = cli(command, *(["abcd"] if command == "show" else []))
    assert (result.code, one_line(result)) == (
        3,
        "no results in results/runs: run something first, or name a folder by -o",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "auc"], "no metric 'auc': did you mean auroc? known: "),
        (["-m", "means"], "no results of method 'means': did you mean mean? known: mean"),
        (["--reference", "dra"], "no results of method 'dra': known: mean"),
        (["-p", "hard"], "no results of protocol 'hard': known: general"),
        (["-d", "elpv"], "no results of dataset 'elpv': known: synthetic"),
    ],
)
def test_reporting_what_is_not_there(cli: Cli, key: str, words: list[str], message: str) -> None:
    result = cli("report", "-o", "out", *words)
    assert result.code == 2
    assert one_line(result).startswith(message)


# --- plug-ins ---


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def (:", "SyntaxError: invalid syntax"),
        ("import no_such_library\n" + TOYS, "ModuleNotFoundError: No module named 'no_such"),
        (TOYS + "\nraise SystemExit('bye')", "SystemExit: bye"),
    ],
    ids=["syntax", "import", "exit"],
)
def test_a_broken_plugin_stops_nothing_else(
    cli: Cli, toys: list[str], code: str, error: str
) -> None:
    broken = Path("broken.py")
    broken.write_text(code.replace('method("', 'method("bad-'))
    plugins = [*toys, "--plugin", broken]
    listed = cli("list", *plugins)
    assert listed.code == 0
    name = "broken" if "def (" in code else "bad-mean"
    assert re.search(rf"^  {name} +BROKEN: {error}", listed.out, re.MULTILINE), listed.out
    assert re.search(r"^  mean +Distance", listed.out, re.MULTILINE)
    result = cli("run", "-m", "mea?", *FEW[:-1], "1", *plugins, "-o", "out")
    assert (result.code, statuses(Path("out"))) == (0, {"mean": ["done"]})
    start = f"warning: method {name!r} of {broken.resolve()} is broken and left out: {error}"
    assert any(line.startswith(start) for line in result.err.splitlines())
    asked = cli("run", "-m", name, *FEW, *plugins, "-o", "out")
    assert asked.code == 2
    assert f"method {name!r} of {broken.resolve()} is broken: {error}" in asked.err


def test_check_of_a_file_without_methods(cli: Cli) -> None:
    Path("empty.py").write_text("")
    result = cli("check", "empty.py")
    assert (result.code, one_line(result)) == (
        2,
        'empty.py registers no method: put @register_method("name") on a class',
    )
    Path("broken.py").write_text("def (:")
    result = cli("check", "broken.py")
    assert result.code == 2
    assert one_line(result).startswith("broken.py is broken: SyntaxError: invalid syntax")


def test_a_name_that_is_taken(cli: Cli, toys: list[str]) -> None:
    Path("more.py").write_text(TOYS)
    result = cli(*MEAN, *HARD, *toys, "--plugin", "more.py")
    assert result.code == 2
    assert re.fullmatch(
        r"method 'mean' is claimed by \S+toys.py and \S+more.py: rename one of them",
        one_line(result),
    )
    assert cli("new-method", "knn").code == 2
