"""The rules of the house: who may import whom, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: A module or folder of osadbench imports from its own level or from lower ones.
LEVELS = {
    "_version": 0,
    "errors": 0,
    "files": 0,
    "params": 0,
    "progress": 0,
    "seeds": 0,
    "taps": 0,
    "types": 0,
    "cache": 1,
    "images": 1,
    "published": 1,
    "registry": 1,
    "settings": 1,
    "weights": 1,
    "workers": 1,
    "experiments": 2,
    "identity": 2,
    "method": 2,
    "metrics": 2,
    "nn": 2,
    "protocol": 2,
    "provenance": 2,
    "records": 2,
    "scores": 2,
    "datasets": 3,
    "localisation": 3,
    "splitfile": 3,
    "store": 3,
    "plan": 4,
    "runner": 4,
    "stats": 4,
    "report": 4,
    "console": 5,
    "scaffold": 5,
    "testing": 5,
    "cli": 6,
    "__main__": 7,
}

#: A table must come out of stored results alone, and the runner must not know of tables.
APART = ({"plan", "runner"}, {"report", "stats"})

PLUGIN_ROOMS = {
    "methods": {"errors", "method", "nn", "params", "registry", "settings", "taps", "types"},
    "protocols": {"errors", "params", "protocol", "registry", "seeds", "types"},
}

TORCH = {"timm", "torch", "torchvision"}
#: Too slow to import for commands that answer at once.
HEAVY = TORCH | {"joblib", "pandas", "scipy", "sklearn"}


def sources() -> dict[str, Path]:
    """Return every source file by its import name."""
    roots = {"osadbench": ROOT / "osadbench"}
    roots |= {f"osadbench.{name}": ROOT / name for name in PLUGIN_ROOMS}
    found = {}
    for package, folder in roots.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


SOURCES = sources()
CORE = [name for name in SOURCES if name.split(".")[1:2] not in (["methods"], ["protocols"])]


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported; relative imports begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    """Return the part of a name after ``osadbench``: its module, or its folder."""
    return (name.split(".") + [""])[1]


def rooms_used(module: str, tree: ast.AST) -> set[str]:
    """Return the other rooms of osadbench that a module imports from."""
    names = {name for name in imports(tree) if name.split(".")[0] == "osadbench"}
    # `from osadbench import __version__` takes a name, not a room.
    return {room(name) for name in names} - {room(module), "", "__version__"}


def violations(module: str, source: str) -> list[str]:
    """Return what a module's imports do against the rules, in words."""
    tree = ast.parse(source)
    rules = _plugin_rules if room(module) in PLUGIN_ROOMS else _core_rules
    found = [f"imports {name} relatively" for name in imports(tree) if name.startswith(".")]
    return found + list(rules(module, tree))


def _core_rules(module: str, tree: ast.AST) -> Iterator[str]:
    here = room(module)
    level = LEVELS[here] if here else 0
    for used in sorted(rooms_used(module, tree)):
        if used in PLUGIN_ROOMS:
            yield f"names osadbench.{used}"
        elif LEVELS[used] > level:
            yield f"imports {used} of level {LEVELS[used]} from level {level}"
        elif any(here in one and used in other for one, other in (APART, APART[::-1])):
            yield f"imports {used}, which it must not know"
    yield from _constants_that_name_plugins(tree)
    if here != "nn":
        for name in sorted({name.split(".")[0] for name in imports(tree)} & TORCH):
            yield f"imports {name} outside osadbench/nn"
        for name in sorted(set(imported_at_once(tree)) & HEAVY):
            yield f"imports {name} at the top of the file"


def _constants_that_name_plugins(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"osadbench\.(methods|protocols)\.\w+(:\w+)?", node.value):
                yield f"names {node.value}"


def _plugin_rules(module: str, tree: ast.AST) -> Iterator[str]:
    kind = room(module)
    for used in sorted(rooms_used(module, tree) - PLUGIN_ROOMS[kind]):
        yield f"imports {used}, which is not for {kind}"
    for name in imports(tree):
        if kind == "protocols" and re.match(r"osadbench\.protocols\.(?!_)", name):
            yield f"imports another protocol: {name}"
        if kind == "protocols" and name.split(".")[0] in TORCH:
            yield f"imports {name} in a protocol"


def imported_at_once(tree: ast.AST) -> Iterator[str]:
    """Yield the libraries imported as the file is, outside functions and type checking."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name.split(".")[0] for name in imports(ast.Module([node], [])))
        else:
            yield from imported_at_once(node)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_keep_the_rules(module: str) -> None:
    assert violations(module, SOURCES[module].read_text(encoding="utf-8")) == []


def test_every_room_has_a_level() -> None:
    rooms = {room(module) for module in CORE} - {""}
    assert rooms <= set(LEVELS), f"give these a level: {rooms - set(LEVELS)}"
    assert len(rooms) > 10


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in CORE:
        tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
        graph.setdefault(room(module), set()).update(rooms_used(module, tree))
    try:
        assert "errors" in TopologicalSorter(graph).static_order()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("osadbench.errors", "import osadbench.params", []),
        ("osadbench.errors", "from osadbench import registry", ["registry of level 1"]),
        ("osadbench.params", "def f():\n    from osadbench.method import Method", ["method of"]),
        ("osadbench.runner", "from osadbench.stats import holm", ["stats, which it must not"]),
        ("osadbench.report.model", "from osadbench.runner import run", ["runner, which it must"]),
        ("osadbench.stats", "from osadbench.plan import plan", ["plan, which it must not"]),
        ("osadbench.cli", "from osadbench.methods.dra import DRA", ["names osadbench.methods"]),
        ("osadbench.cli", "from osadbench import protocols", ["names osadbench.protocols"]),
        ("osadbench.cli", "load('osadbench.methods.dra')", ["names osadbench.methods.dra"]),
        ("osadbench.cli", "from . import runner", ["relatively"]),
        ("osadbench.cli", "def f():\n    import torch.nn", ["torch outside osadbench/nn"]),
        ("osadbench.cli", "class A:\n    import pandas as pd", ["pandas at the top"]),
        ("osadbench.cli", "try:\n    import pandas\nexcept ImportError: ...", ["pandas at the"]),
        ("osadbench.cli", "def f():\n    from pandas import DataFrame", []),
        ("osadbench.cli", "if TYPE_CHECKING:\n    import pandas", []),
        ("osadbench.nn.heads", "import torch\nfrom osadbench.method import Method", []),
        ("osadbench.nn.heads", "import osadbench.runner", ["runner of level 4 from level 2"]),
        ("osadbench", "from osadbench.method import Method", ["method of level 2"]),
        ("osadbench.methods.dra", "import torch\nfrom osadbench.methods.devnet import A", []),
        ("osadbench.methods.dra", "from osadbench.runner import run", ["runner, which is not for"]),
        ("osadbench.methods.dra", "from osadbench import protocols", ["protocols, which is not"]),
        ("osadbench.protocols.hard", "from osadbench.protocols._draw import draw", []),
        ("osadbench.protocols.hard", "import osadbench.protocols.general", ["another protocol"]),
        ("osadbench.protocols.hard", "from osadbench.nn import heads", ["nn, which is not for"]),
        ("osadbench.protocols.hard", "def f():\n    import torch", ["torch in a protocol"]),
    ],
)
def test_the_rules_find_what_is_planted(module: str, source: str, found: list[str]) -> None:
    problems = violations(module, source)
    assert len(problems) == len(found), problems
    assert all(part in problem for part, problem in zip(found, problems, strict=True)), problems


@pytest.mark.parametrize("name", sorted(PLUGIN_ROOMS))
def test_the_bare_name_of_a_mapped_folder_cannot_be_imported(name: str) -> None:
    command = [sys.executable, "-c", f"import {name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"ImportError: import 'osadbench.{name}', not '{name}'" in done.stderr


def test_importing_the_core_reaches_nothing_heavy() -> None:
    modules = [module for module in CORE if room(module) != "nn"]
    code = (
        "import importlib, sys\n"
        "for module in sys.argv[1:]: importlib.import_module(module)\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *modules]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
