from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from osadbench.errors import PluginError, UsageError
from osadbench.registry import METHODS, PROTOCOLS, Registry

RunPython = Callable[..., str]

HERE = Path(__file__).parent

GOOD = '''
from osadbench.registry import register_method


class Helper:
    pass


@register_method("{name}")
class Good:
    """The first line.

    The second line.
    """
'''


def registry(package: str = "no_such_package", kind: str = "method") -> Registry:
    return Registry(kind, package, "no.such.group")


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """An empty package of a name that no other test uses, on the import path."""
    folder = tmp_path / re.sub(r"\W", "_", f"package_of_{request.node.name}")
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_files_are_listed_without_being_imported(package: Path) -> None:
    (package / "one.py").write_text(GOOD.format(name="one") + "\nraise RuntimeError('imported')")
    (package / "_private.py").write_text(GOOD.format(name="private"))
    (package / "helpers.py").write_text("'''No component here.'''")
    (package / "notes.txt").write_text("nor here")
    (entry,) = registry(package.name).entries()
    assert (entry.name, entry.summary, entry.error) == ("one", "The first line.", None)
    assert entry.builtin
    assert entry.origin == str(package / "one.py")
    assert not any(name.startswith(f"{package.name}.") for name in sys.modules)


def test_decorators_are_read_in_every_spelling(package: Path) -> None:
    (package / "several.py").write_text(
        "from osadbench import registry\n"
        "from osadbench.registry import register_method, register_protocol\n"
        "@register_method('b')\nclass B: ...\n"
        "@registry.register_method('a')\nclass A: 'About a.'\n"
        "@register_protocol('p')\nclass P: ...\n"
        "class C: ...\n"
    )
    assert registry(package.name).names() == ["a", "b"]
    assert registry(package.name, "protocol").names() == ["p"]
    assert [entry.summary for entry in registry(package.name).entries()] == ["About a.", ""]


def test_a_class_is_imported_when_asked_for_and_knows_its_name(package: Path) -> None:
    (package / "one.py").write_text(GOOD.format(name="my-name"))
    cls = registry(package.name).get("my-name")
    assert cls.__name__ == "Good"
    assert cls.name == "my-name"
    assert cls.__module__ == f"{package.name}.one"
    assert registry(package.name).get("my-name") is cls


def test_an_unknown_name_offers_the_nearest(package: Path) -> None:
    for name in ("devnet", "dra", "knn"):
        (package / f"{name}.py").write_text(GOOD.format(name=name))
    with pytest.raises(UsageError, match=r"no method 'dar': did you mean dra\? known: devnet, dra"):
        registry(package.name).get("dar")
    with pytest.raises(UsageError, match="no protocol 'hrad': known: none"):
        registry(package.name, "protocol").get("hrad")


def test_two_claims_to_a_name_name_both_origins(package: Path, tmp_path: Path) -> None:
    (package / "one.py").write_text(GOOD.format(name="same"))
    (package / "other.py").write_text(GOOD.format(name="other"))
    plugin = tmp_path / "mine.py"
    plugin.write_text(GOOD.format(name="same"))
    found = registry(package.name)
    found.add_plugin(plugin)
    with pytest.raises(PluginError, match=r"'same' is claimed by .*one\.py and .*mine\.py: rename"):
        found.get("same")
    assert [entry.name for entry in found.entries()] == ["other", "same", "same"]
    assert found.names() == ["other", "same"]
    assert found.get("other").name == "other"


def test_a_shipped_file_with_broken_syntax_is_listed_as_broken(package: Path) -> None:
    (package / "bad.py").write_text("class Bad(:\n")
    (package / "good.py").write_text(GOOD.format(name="good"))
    found = registry(package.name)
    assert found.names() == ["good"]
    bad = found.entries()[0]
    assert (bad.name, bad.builtin) == ("bad", True)
    assert bad.error is not None and bad.error.startswith("SyntaxError: ")
    with pytest.raises(PluginError, match=r"method 'bad' of .*bad\.py is broken: SyntaxError"):
        found.get("bad")


def test_a_shipped_file_that_cannot_be_imported_says_so_when_asked_for(package: Path) -> None:
    (package / "one.py").write_text(GOOD.format(name="one") + "\nimport nobody_has_this")
    with pytest.raises(PluginError, match=r"one\.py cannot be loaded: ModuleNotFoundError: No mod"):
        registry(package.name).get("one")


def test_plugin_files_are_taken_in_once(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(GOOD.format(name="mine"))
    found = registry()
    found.add_plugin(plugin)
    found.add_plugin(str(tmp_path / "." / "mine.py"))
    assert found.plugins == (plugin.resolve(),)
    (entry,) = found.entries()
    assert (entry.name, entry.builtin, entry.error) == ("mine", False, None)
    assert found.get("mine").name == "mine"
    assert registry().names() == []


def test_plugin_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    found = registry()
    for folder in ("a", "b"):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(GOOD.format(name=folder))
        found.add_plugin(path)
    assert found.names() == ["a", "b"]
    assert found.get("a") is not found.get("b")


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.py", tmp_path):
        with pytest.raises(PluginError, match=r"no plug-in file .*: give the path of a \.py file"):
            registry().add_plugin(path)


@pytest.mark.parametrize(
    ("text", "name", "error"),
    [
        ("def broken(:", "mine", "SyntaxError: "),
        ("\0", "mine", "(ValueError|SyntaxError): "),
        (
            GOOD.format(name="good") + "import nobody_has_this",
            "good",
            "ModuleNotFoundError: No mod",
        ),
        (GOOD.format(name="good") + "1 / 0", "good", "ZeroDivisionError: division by zero"),
        (GOOD.format(name="good") + "raise SystemExit(3)", "good", "SystemExit: 3"),
        (GOOD.format(name="good") + "del Good", "good", "ImportError: .* defines no class regist"),
    ],
)
def test_a_broken_plugin_file_is_listed_and_stops_nothing(
    tmp_path: Path, text: str, name: str, error: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "fine.py").write_text(GOOD.format(name="fine"))
    found = registry()
    found.add_plugin(tmp_path / "mine.py")
    found.add_plugin(tmp_path / "fine.py")
    assert found.names() == ["fine"]
    (entry,) = (entry for entry in found.entries() if entry.name == name)
    with pytest.raises(PluginError, match=rf"method '{name}' of .*mine\.py is broken: {error}"):
        found.get(name)
    assert entry.error is not None and "\n" not in entry.error


def test_a_broken_plugin_file_is_shown_among_methods_only(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(:")
    for kind, names in (("method", ["mine"]), ("protocol", [])):
        found = registry(kind=kind)
        found.add_plugin(tmp_path / "mine.py")
        assert [entry.name for entry in found.entries()] == names


def test_listing_needs_no_torch(run_python: RunPython) -> None:
    code = (
        "import sys; from osadbench.registry import METHODS, PROTOCOLS\n"
        "print(METHODS.names(), PROTOCOLS.names(), [e.error for e in METHODS.entries()])\n"
        "heavy = {'torch', 'torchvision', 'timm', 'pandas', 'sklearn', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    assert str(METHODS.names()) in run_python(code)


def test_shipped_components_have_a_summary_and_no_name_twice() -> None:
    for found in (METHODS, PROTOCOLS):
        shipped = [entry for entry in found.entries() if entry.builtin]
        assert all(entry.summary.endswith(".") for entry in shipped)
        assert len({entry.name for entry in shipped}) == len(shipped)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plug-in, built and installed by pip into a folder of its own."""
    source = tmp_path_factory.mktemp("plugin") / "source"
    target = source.parent / "installed"
    shutil.copytree(HERE / "plugin", source)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def test_an_installed_package_adds_its_components(installed: Path, run_python: RunPython) -> None:
    code = (
        "import json; from osadbench.registry import METHODS, PROTOCOLS\n"
        "from dataclasses import asdict\n"
        "found = [[asdict(e) for e in r.entries()] for r in (METHODS, PROTOCOLS)]\n"
        "print(json.dumps([*found, METHODS.names(), PROTOCOLS.names()]))"
    )
    methods, protocols, method_names, protocol_names = json.loads(run_python(code, path=installed))
    by_name = {entry["name"]: entry for entry in [*methods, *protocols]}
    assert by_name["brightness"] == {
        "name": "brightness",
        "origin": "osadbench-example-plugin (osadbench_example_plugin.methods:Brightness)",
        "summary": "Distance of an image's mean colour to that of the normal images.",
        "error": None,
        "builtin": False,
    }
    assert by_name["broken"]["error"].startswith("ModuleNotFoundError: No module named 'a_library")
    assert by_name["first-come"]["error"] is None
    assert method_names == sorted([*METHODS.names(), "brightness"])
    assert protocol_names == sorted([*PROTOCOLS.names(), "first-come"])


def test_an_installed_package_works(installed: Path, run_python: RunPython) -> None:
    code = (
        "from osadbench.errors import PluginError\n"
        "from osadbench.registry import METHODS, PROTOCOLS\n"
        "from osadbench.testing import check_method, check_protocol, format_results\n"
        "results = check_method(METHODS.get('brightness'), power=0.5)\n"
        "results += check_protocol(PROTOCOLS.get('first-come'))\n"
        "assert all(result.passed for result in results), format_results(results)\n"
        "try: METHODS.get('broken')\n"
        "except PluginError as error: print(error)"
    )
    message = run_python(code, path=installed)
    assert message.startswith("method 'broken' of osadbench-example-plugin (osadbench_example_plug")
    assert "is broken: ModuleNotFoundError" in message


def test_without_the_package_its_names_are_unknown() -> None:
    assert "brightness" not in METHODS.names()
    with pytest.raises(UsageError, match="no method 'brightness'"):
        METHODS.get("brightness")


def test_a_file_of_the_package_is_no_second_plugin(package: Path) -> None:
    path = package / "one.py"
    path.write_text(GOOD.format(name="one"))
    methods = registry(package.name)
    methods.add_plugin(path)
    assert methods.plugins == ()
    assert methods.get("one").name == "one"
