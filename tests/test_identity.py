from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import osadbench
from osadbench import provenance
from osadbench.identity import KEY_VERSION, cell_key, fit_seed
from osadbench.images import DECODER
from osadbench.provenance import checkout_state, collect_provenance
from osadbench.settings import Engine
from osadbench.types import Adaptation, Split

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text("utf-8"))
CURRENT: list[dict[str, Any]] = GOLDEN.get(str(KEY_VERSION), [])


def golden_key(entry: dict[str, Any]) -> str:
    split = Split.from_dict(entry["split"])
    return cell_key(
        split=split,
        method=entry["method"],
        params=entry["params"],
        engine=Engine(**entry["engine"]),
        weights=entry["weights"],
        seed_fit=fit_seed(split, entry["method"]),
        outliers=entry.get("outliers"),
    )


def test_every_key_version_has_golden_values() -> None:
    versions = [str(version) for version in range(1, KEY_VERSION + 1)]
    assert list(GOLDEN) == versions, "add an entry for the new KEY_VERSION; never edit an old one"


@pytest.mark.parametrize("entry", CURRENT, ids=[entry["name"] for entry in CURRENT])
def test_golden_keys_and_seeds(entry: dict[str, Any]) -> None:
    help_text = "keys changed: raise KEY_VERSION and add an entry to keys.json; never edit one"
    assert golden_key(entry) == entry["key"], help_text
    assert fit_seed(Split.from_dict(entry["split"]), entry["method"]) == entry["fit_seed"]


def make_split(**changes: Any) -> Split:
    split = Split(
        protocol="hard",
        dataset="elpv",
        category="",
        known_class="mono",
        shots=1,
        seed=0,
        manifest_digest="ab" * 32,
        train_normals=("a.png", "b.png"),
        train_anomalies=("x.png",),
        test=("c.png", "y.png"),
    )
    return replace(split, **changes)


def make_adapted(**changes: Any) -> Split:
    adaptation = Adaptation("poly", "12" * 32, ("d.png",), 10)
    return make_split(adaptation=replace(adaptation, **changes))


def key(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "split": make_split(),
        "method": "dra",
        "params": {"lr": 0.001, "n_ref": 5},
        "engine": Engine(),
        "weights": "sha256:" + "cd" * 32,
        "seed_fit": 7,
    }
    return cell_key(**{**arguments, **changes})


def test_key_is_32_hex_digits() -> None:
    assert len(key()) == 32
    assert set(key()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"split": make_split(manifest_digest="ba" * 32)},
        {"split": make_split(shots=10)},
        {"split": make_split(seed=1)},
        {"split": make_split(known_class="poly")},
        {"split": make_split(protocol="general")},
        {"split": make_split(train_anomalies=("y.png",), test=("c.png", "x.png"))},
        {"method": "devnet"},
        {"params": {"lr": 0.01, "n_ref": 5}},
        {"params": {"lr": 0.001}},
        {"engine": Engine(image_sizes=(448, 224))},
        {"engine": Engine(preset="other")},
        {"engine": Engine(precision="fp32")},
        {"engine": Engine(normalise=False)},
        {"weights": "random:0"},
        {"seed_fit": 8},
        {"outliers": "ef" * 32},
    ],
    ids=str,
)
def test_key_depends_on_what_changes_scores(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [{"source": "mono"}, {"source_digest": "21" * 32}, {"normals": ("e.png",)}, {"epochs": 9}],
    ids=str,
)
def test_key_depends_on_how_the_training_goes_on(changes: dict[str, Any]) -> None:
    keys = {key(split=s) for s in (make_split(), make_adapted(), make_adapted(**changes))}
    assert len(keys) == 3


def test_key_does_not_depend_on_order_or_place() -> None:
    assert key(params={"n_ref": 5, "lr": 0.001}) == key()
    elsewhere = Engine(device="cuda:1", offline=True, cache_dir="/tmp/other")
    assert key(engine=elsewhere) == key()


def test_key_refuses_what_has_no_one_text() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key(params={"lr": float("nan")})
    with pytest.raises(TypeError, match="object has no canonical JSON"):
        key(params={"lr": object()})


def test_fit_seed_depends_on_the_method_and_the_cell_but_not_on_paths() -> None:
    seed = fit_seed(make_split(), "dra")
    assert 0 <= seed < 2**63
    assert fit_seed(make_split(manifest_digest="ba" * 32, test=("z.png",)), "dra") == seed
    others = [
        fit_seed(make_split(), "devnet"),
        fit_seed(make_split(seed=1), "dra"),
        fit_seed(make_split(shots=10), "dra"),
        fit_seed(make_split(known_class="poly"), "dra"),
        fit_seed(make_split(category="mono"), "dra"),
        fit_seed(make_adapted(), "dra"),
        fit_seed(make_adapted(source="mono"), "dra"),
    ]
    assert len({seed, *others}) == 8
    assert fit_seed(make_adapted(epochs=9, normals=("e.png",)), "dra") == others[-2]


def test_keys_and_provenance_need_no_torch_and_no_hash_seed() -> None:
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import test_identity as t;"
        "t.collect_provenance();"
        "print(t.key(), 'torch' in sys.modules, t.golden_key(t.CURRENT[0]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [key(), "False", CURRENT[0]["key"]]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--no-gpg-sign", "-m", "first")
    return package


def test_checkout_state_names_commit_and_changed_code(checkout: Path) -> None:
    file = checkout / "__init__.py"
    commit, dirty = checkout_state(file)
    assert commit is not None
    assert len(commit) in (40, 64)
    assert dirty is False
    (checkout.parent / "notes.txt").write_text("no code")
    assert checkout_state(file) == (commit, False)
    (checkout.parent / "new_method.py").write_text("y = 2\n")
    assert checkout_state(file) == (commit, True)
    (checkout.parent / "new_method.py").unlink()
    file.write_text("x = 2\n")
    assert checkout_state(file) == (commit, True)


def test_checkout_state_ignores_a_work_tree_that_does_not_track_the_file(checkout: Path) -> None:
    installed = checkout.parent / "venv" / "osadbench"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert checkout_state(installed / "__init__.py") == (None, None)


def test_checkout_state_ignores_the_variables_of_a_git_hook(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = checkout_state(checkout / "__init__.py")
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))
    assert checkout_state(checkout / "__init__.py") == expected
    assert expected[0] is not None


def test_checkout_state_without_git_or_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "a.py").write_text("")
    git(fresh, "init", "--quiet")
    git(fresh, "add", "a.py")
    assert checkout_state(fresh / "a.py") == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_state(checkout / "__init__.py") == (None, None)


def test_provenance_names_versions_and_is_the_callers_own() -> None:
    found = collect_provenance()
    assert set(found) == {"commit", "dirty", "versions", "platform", "decoder"}
    assert found["decoder"] == DECODER
    assert found["versions"]["osadbench"] == osadbench.__version__
    assert found["versions"]["python"] == sys.version.split()[0].rstrip("+")
    assert all(found["versions"][name] for name in ("numpy", "torch", "timm", "scikit-learn"))
    json.dumps(found)
    found["versions"]["numpy"] = "changed"
    assert collect_provenance()["versions"]["numpy"] != "changed"


def test_a_library_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_LIBRARIES", ("osadbench-no-such-library",))
    assert provenance._collected.__wrapped__()["versions"]["osadbench-no-such-library"] is None
