"""Backbones: timm networks cut to the feature maps of their last stage."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osadbench.cache import cache_dir
from osadbench.errors import UsageError, WeightsError, did_you_mean
from osadbench.nn.random import isolated_rng
from osadbench.settings import Engine
from osadbench.weights import WeightsFile, find_weights, remember_hub_file

__all__ = ["Backbone", "build_backbone", "frozen_backbone", "load_state", "resolve_weights"]

#: Seed of ``--weights random``; its identity names it, so a result can be traced to it.
RANDOM_SEED = 0


class Backbone(nn.Module):
    """A network from normalised images to the feature maps of its last stage.

    Args:
        name: Name of a timm model, with or without its weights' tag.

    Attributes:
        channels: C of the feature maps.
        mean: Normalisation mean per colour channel, for pixels of 0 to 1.
        std: Normalisation standard deviation per colour channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = _feature_network(name)
        self.channels: int = self.network.feature_info.channels()[-1]
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        shape = (1, 3, 1, 1)
        mean = torch.tensor(config.mean if config else timm.data.IMAGENET_DEFAULT_MEAN)
        std = torch.tensor(config.std if config else timm.data.IMAGENET_DEFAULT_STD)
        self.register_buffer("mean", mean.view(shape), persistent=False)
        self.register_buffer("std", std.view(shape), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images ``(B, 3, H, W)`` of 0 to 1 as the network was trained to see them."""
        return (images - self.mean) / self.std

    def pyramid(self, images: Tensor, engine: Engine) -> list[Tensor]:
        """Return normalised images at every scale of ``engine.image_sizes``.

        Args:
            images: Float ``(B, 3, S, S)`` of 0 to 1 with S the first image size.
            engine: Names the sizes and the way to shrink. DevNet's public code shrinks the
                normalised tensor by nearest neighbour; antialiasing is ours.
        """
        first = self.normalise(images)
        scales = [first]
        for size in engine.image_sizes[1:]:
            if engine.pyramid == "nearest":
                scales.append(F.interpolate(first, size=(size, size), mode="nearest"))
            else:
                small = F.interpolate(
                    images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
                )
                scales.append(self.normalise(small))
        return scales

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 maps ``(B, C, h, w)`` of normalised images ``(B, 3, H, W)``."""
        maps = self.network(images.contiguous(memory_format=torch.channels_last))[-1]
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            maps = maps.permute(0, 3, 1, 2)
        return cast(Tensor, maps.float())


def _feature_network(name: str) -> Any:
    # timm would look for a name of the form "hf-hub:..." on the network, even without weights.
    if not timm.is_model(name):
        near, _, _ = did_you_mean(name.partition(".")[0], timm.list_models()).partition("known:")
        raise UsageError(f"no backbone {name!r}: {near}name a timm model with feature maps")
    try:
        return timm.create_model(name, pretrained=False, features_only=True)
    except RuntimeError as error:
        raise UsageError(
            f"backbone {name!r} cannot be built ({error}): name a timm model with feature maps"
        ) from None


def build_backbone(engine: Engine, weights: WeightsFile) -> Backbone:
    """Return a new backbone with its weights loaded, on the CPU, in eval mode.

    Raises:
        UsageError: timm has no such network.
        WeightsError: The weights don't fit the network.
    """
    with isolated_rng(RANDOM_SEED):
        backbone = Backbone(engine.backbone)
    if weights.path is not None:
        load_state(backbone.network, _read_state(weights.path), weights.path)
    backbone.eval()
    return backbone.to(memory_format=torch.channels_last)


@functools.lru_cache(maxsize=2)
def _frozen(engine: Engine, weights: WeightsFile, device: torch.device) -> Backbone:
    backbone = build_backbone(engine, weights).to(device)
    backbone.requires_grad_(False)
    return backbone


def frozen_backbone(engine: Engine, device: torch.device) -> Backbone:
    """Return the backbone in eval mode without gradients; one per process, don't change it."""
    return _frozen(engine, resolve_weights(engine), device)


def resolve_weights(engine: Engine) -> WeightsFile:
    """Return the weights file of an engine, downloading it into timm's usual cache if need be.

    Raises:
        WeightsError: It is neither on this machine nor to be had; the message names the ways out.
    """
    cache = cache_dir(engine.cache_dir)
    found = find_weights(engine, cache)
    if found.path is not None or found.kind == "random":
        return found
    path = _download(engine.backbone, cache)
    # Not by its note, which a cache folder that cannot be written does not hold.
    downloaded = find_weights(engine.model_copy(update={"weights": path}), cache)
    return dataclasses.replace(downloaded, kind="hub")


def _download(name: str, cache: Path) -> str:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"timm has no weights for backbone {name!r}: give --weights FILE, or name another one"
        )
    from huggingface_hub import hf_hub_download

    filename = "model.safetensors"
    try:
        path = hf_hub_download(config.hf_hub_id, filename)
    except Exception as error:
        raise WeightsError(
            f"the weights of backbone {name!r} are not on this machine and could not be downloaded "
            f"from {config.hf_hub_id} ({type(error).__name__}): give --weights FILE (safetensors "
            "or .pth), or run once with a network"
        ) from error
    remember_hub_file(cache, name, config.hf_hub_id, filename)
    return str(path)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"cannot read weights {path} ({reason}): expected a safetensors file, or a .pth file "
            "of plain tensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"weights {path} hold no state dict: expected tensors by name")
    return dict(state)


def load_state(network: nn.Module, state: Mapping[str, Tensor], origin: Path | str) -> None:
    """Load weights name by name; every tensor of the network must be there in its shape.

    Tensors that the network lacks (a classifier) are left out. EfficientNet-PyTorch's names for
    EfficientNet-Lite0 are translated to timm's, and timm's for a whole network to those of its
    feature maps' network.

    Raises:
        WeightsError: Names or shapes don't fit; the first few are listed.
    """
    if any(name.startswith("_conv_stem") for name in state):
        state = {_timm_name(name): value for name, value in state.items()}
    wanted = network.state_dict()
    wrapped = {_flat(name): name for name in wanted}
    state = {wrapped.get(_flat(name), name): value for name, value in state.items()}
    # Counters of batch norm are no weights, and some files leave them out.
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    wrong = [f"{name} is missing" for name in sorted(needed - state.keys())]
    wrong += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & state.keys())
        if state[name].shape != wanted[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise WeightsError(
            f"weights {origin} do not fit the backbone: {'; '.join(wrong[:3])}{more}: give the "
            "weights of this very network"
        )
    network.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)


def _flat(name: str) -> str:
    # timm cuts some networks to their feature maps by joining the outer two levels of names with
    # "_", and puts others below "model".
    return name.removeprefix("model.").replace(".", "_")


def _timm_name(name: str) -> str:
    """Translate a tensor's name from EfficientNet-PyTorch's naming to timm's."""
    # The first block has no expansion, so its three batch norms start at _bn1; and timm numbers
    # blocks within their stage.
    match = re.fullmatch(r"_blocks\.(\d+)\.(.+)", name)
    if match is None:
        for old, new in (
            ("_conv_stem", "conv_stem"),
            ("_bn0", "bn1"),
            ("_conv_head", "conv_head"),
            ("_bn1", "bn2"),
            ("_fc", "classifier"),
        ):
            if name.startswith(old + "."):
                return new + name[len(old) :]
        return name
    number = int(match[1])
    layers = _BLOCK if number else _FIRST_BLOCK
    old, _, field = match[2].partition(".")
    if number >= len(_STAGES) or old not in layers:
        return name
    stage, block = _STAGES[number]
    return f"blocks.{stage}.{block}.{layers[old]}.{field}"


#: Stage and place in it of EfficientNet-Lite0's 16 blocks.
_STAGES = [(s, b) for s, n in enumerate((1, 2, 2, 3, 3, 4, 1)) for b in range(n)]
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip
_BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
