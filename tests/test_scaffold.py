from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from osadbench import scaffold
from osadbench.errors import UsageError
from osadbench.registry import Registry
from osadbench.scaffold import new_method
from osadbench.testing import check_method, format_results

ROOT = Path(__file__).parent.parent


def load(path: Path, name: str) -> Any:
    registry = Registry("method", "osadbench.methods", "osadbench.methods")
    registry.add_plugin(path)
    return registry.get(name)


@pytest.mark.parametrize(
    ("name", "file", "class_name"),
    [
        ("mine", "mine.py", "Mine"),
        ("nearest-colour2", "nearest_colour2.py", "NearestColour2"),
        ("snake_case", "snake_case.py", "SnakeCase"),
    ],
)
def test_file_and_class_are_named_after_the_method(
    tmp_path: Path, name: str, file: str, class_name: str
) -> None:
    path = new_method(name, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / file
    method = load(path, name)
    assert method.__name__ == class_name
    assert method.name == name
    assert f"osadbench check {name} --plugin {file}" in path.read_text()


@pytest.mark.parametrize("params", [{}, {"bins": 8, "neighbours": 40, "weight": 1.0}])
def test_the_new_method_keeps_the_contract(tmp_path: Path, params: dict[str, Any]) -> None:
    method = load(new_method("my-method", tmp_path), "my-method")
    results = check_method(method, **params)
    assert all(result.passed for result in results), format_results(results)
    (skipped,) = [result for result in results if result.skipped is not None]
    assert skipped.name == "score maps have the images' sizes"


def test_the_new_file_is_clean(tmp_path: Path) -> None:
    path = new_method("my-method", tmp_path)
    for command in (["check"], ["format", "--check"]):
        config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *config, str(path)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("precious")
    with pytest.raises(UsageError, match=r"mine\.py exists already: take another name or folder"):
        new_method("mine", tmp_path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["", "Mine", "2fast", "a b", "../up", "_x", "a--b", "a-", "naïve", "import", "true"]
)
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected a name such as 'nearest-colour'"):
        new_method(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_taken_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="mine", origin="methods/mine.py")
    monkeypatch.setattr(scaffold, "METHODS", SimpleNamespace(entries=lambda: [entry]))
    with pytest.raises(UsageError, match=r"'mine' exists already in methods/mine\.py"):
        new_method("mine", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write .*: take another folder"):
        new_method("mine", tmp_path / "file" / "below")
