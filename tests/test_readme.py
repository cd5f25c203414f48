"""What the texts tell a reader to type is typed here, in their order, in a temporary folder."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from image_trees import write_category

import osadbench

ROOT = Path(__file__).parent.parent
TEXTS = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"]

#: Commands that are not typed here, and why. `make` is asked what it would do instead.
NOT_RUN = {
    "make demo": "computes 24 cells on 2,223 images; its command stands below it, and is run",
    "make test": "runs this test",
    "make lint": "looks at files, not at what they do; a target of its own in .ci/run",
    "make types": "installs the package; a target of its own in .ci/run",
    "python3 -m venv .venv && . .venv/bin/activate": "changes the shell it is typed in",
    'pip install -c constraints.txt -e ".[demo]"': "fetches gigabytes",
}

#: What is added to a command to have it done in seconds. A later option wins over an earlier one.
QUICK = {
    "run": ["--preset", "smoke", "--seeds", "1", "--shots", "1", "--known-class", "hole"],
    "report": ["--include-smoke"],
}
#: Stands in for the default dataset.
DATASET = ["-d", "synthetic/disc[size=32,n_train=8,n_test_normal=4,n_per_class=4]"]
JOB = shlex.join(["-m", "devnet", "-p", "hard", *QUICK["run"], *DATASET])
#: The same for the scripts that measure.
QUICK_SCRIPTS = {
    "benchmarks/measure.py": ["--cold", "--repeats", "2", "--out", ".", "--job", JOB],
    "benchmarks/kdad_step.py": ["--steps", "1"],
    "benchmarks/store_report.py": ["--records", "40", "--repeats", "1"],
    "benchmarks/datasets.py": ["--images", "16", "--cached", "8"],
}
TAKE_PLUGINS = ("run", "check", "describe", "list")


class Block(NamedTuple):
    language: str
    content: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown file."""
    source = (ROOT / text).read_text(encoding="utf-8")
    for language, content in re.findall(r"^```(\w*)\n(.*?)^```$", source, re.MULTILINE | re.DOTALL):
        yield Block(language, content)


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block, without comments; of any other block, none."""
    if block.language not in ("bash", "console"):
        return []
    lines = (re.sub(r"\s+# .*|^\$ ", "", line).strip() for line in block.content.splitlines())
    return [line for line in lines if line]


SAID = {text: [c for block in blocks(text) for c in commands(block)] for text in TEXTS}


def run(arguments: list[str], folder: Path) -> str:
    # `make test` hands its own options and variables on.
    kept = {
        k: v for k, v in os.environ.items() if k != "ARGS" and not k.startswith(("MAKE", "MFLAGS"))
    }
    environment = {**kept, "OSADBENCH_OFFLINE": "1"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def quick(command: str, folder: Path) -> list[str]:
    """Return the arguments of a command in a form that takes seconds.

    In a checkout the files in ``methods`` are found by themselves (see test_packaging.py); a
    temporary folder is no checkout, so they are handed over.
    """
    program, *rest = shlex.split(command)
    if program == "python" and rest[0] in QUICK_SCRIPTS:
        return [sys.executable, str(ROOT / rest[0]), *rest[1:], *QUICK_SCRIPTS[rest[0]]]
    assert program == "osadbench", f"neither run nor on the list of those that are not: {command}"
    options = list(QUICK.get(rest[0], []))
    if rest[0] == "run" and "-d" not in rest:
        options += DATASET
    if rest[0] in TAKE_PLUGINS:
        options += [word for path in methods_in(folder) for word in ("--plugin", str(path))]
    return [sys.executable, "-m", "osadbench", *rest, *options]


def methods_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("methods/*.py"))


def follow(block: Block, folder: Path) -> list[str]:
    """Do what a block says; return what each step printed."""
    if block.language == "python":
        return [follow_python(block.content, folder)]
    return [run(quick(c, folder), folder) for c in commands(block) if c not in NOT_RUN]


def follow_python(code: str, folder: Path) -> str:
    """Run code, or write it to the file that its first line names."""
    named = re.match(r"# (methods/\w+\.py)\n", code)
    if named is None:
        return run([sys.executable, "-c", code], folder)
    path = folder / named[1]
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_what_a_text_says_works(text: str, tmp_path: Path) -> None:
    for category in ("carpet", "metal_nut"):
        write_category(tmp_path / "my-images" / category, classes={"cut": 4, "hole": 4})
    write_category(tmp_path / "other-images" / "leather")
    printed = [part for block in blocks(text) for part in follow(block, tmp_path)]
    runs = [command for command in SAID[text] if command.startswith("osadbench run")]
    assert sum("AUROC" in part for part in printed) >= len(runs)
    for path in methods_in(tmp_path):
        name = re.findall(r'@register_method\("(.+)"\)', path.read_text(encoding="utf-8"))
        assert f"osadbench check {name[0]}" in SAID[text], f"{text} shows {path.name} unchecked"
    for path in tmp_path.glob("results-*.json"):
        check_measurement(json.loads(path.read_text(encoding="utf-8")), "\n".join(printed))


def check_measurement(measured: dict[str, Any], printed: str) -> None:
    *answers, again, cold = measured["commands"]
    assert [len(timing["seconds"]) for timing in (*answers, again, cold)] == [2] * 5 + [1]
    assert all(0 < timing["median"] < cold["median"] for timing in (*answers, again))
    assert cold["peak_memory_bytes"] > 100 * 2**20
    by_method = {cost["method"]: cost for cost in measured["cells"]}
    assert set(by_method) == {"devnet", "dra"} and measured["label"] == "my-machine"
    seconds = [by_method["dra"][f"{step}_seconds"] for step in ("fit", "score")]
    assert min(seconds) > 0
    assert f"| 1 | {seconds[0]:.2f} | {seconds[1]:.2f} |" in printed
    assert f"`{again['command']}` | {again['median']:.2f} |" in printed


def test_an_unfinished_job_is_not_measured(tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "measure.py")
    command = [
        sys.executable,
        script,
        "--results",
        "nothing",
        *QUICK_SCRIPTS["benchmarks/measure.py"],
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "error: nothing lacks cells of the job: osadbench run -m devnet" in done.stderr
    assert done.returncode == 1 and not list(tmp_path.glob("*.json"))


def test_the_list_of_commands_that_are_not_run_is_still_needed() -> None:
    assert set(NOT_RUN) <= {command for said in SAID.values() for command in said}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize("command", [command for command in NOT_RUN if command[:5] == "make "])
def test_make_would_do_it(command: str) -> None:
    run([*shlex.split(command), "--dry-run"], ROOT)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_demo_is_the_command_that_the_readme_says_it_is() -> None:
    said = "osadbench run --methods dra,devnet --protocol hard"
    assert said in SAID["README.md"]
    would = run(["make", "--dry-run", "demo", "ARGS=--seeds 1"], ROOT).splitlines()[-1]
    assert would == f".venv/bin/{said} --seeds 1"


@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="needs elpv-dataset")
def test_the_main_job_is_what_the_readme_says_it_is(tmp_path: Path) -> None:
    plan = ["plan", "--methods", "dra,devnet", "--protocol", "hard"]
    output = run([sys.executable, "-m", "osadbench", *plan], tmp_path)
    cells = [line for line in output.splitlines() if re.match(r"to run +[0-9a-f]{12} ", line)]
    assert f"That makes {len(cells)} cells" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"computes {len(cells)} cells" in NOT_RUN["make demo"]


def test_what_the_texts_point_to_is_there() -> None:
    for text in TEXTS:
        source = (ROOT / text).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)\)", source)
        files = re.findall(r"`((?:osadbench|methods|protocols|tests|docs)/[\w./]+)`", source)
        missing = [name for name in links if not (ROOT / text).parent.joinpath(name).exists()]
        missing += [name for name in files if not (ROOT / name).exists()]
        # written by the commands of the text itself
        assert set(missing) <= {"methods/mine.py", "methods/colour.py"}, text


def test_the_picture_names_rooms_that_exist() -> None:
    picture = (ROOT / "docs" / "data-flow.svg").read_text(encoding="utf-8")
    named = re.findall(r"\b(?:osadbench|methods|protocols)/(?:\w+/?)*(?:\.py)?", picture)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_version_and_licence_are_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {osadbench.__version__}\n" in citation
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == osadbench.__version__  # type: ignore[index]
    assert "\nlicense: MIT\n" in citation
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
