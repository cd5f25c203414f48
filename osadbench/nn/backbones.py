"""Backbones: timm networks cut to the feature maps of their last stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osadbench.cache import cache_dir
from osadbench.errors import UsageError, WeightsError, did_you_mean
from osadbench.nn.device import resolve_device
from osadbench.nn.random import isolated_rng
from osadbench.nn.weights_files import load_state, read_state
from osadbench.settings import Engine
from osadbench.taps import LAST, Tap
from osadbench.weights import (
    TORCHVISION_FILES,
    WeightsFile,
    find_weights,
    remember_hub_file,
    torchvision_file,
)

__all__ = ["Backbone", "build_backbone", "check_backbone", "frozen_backbone", "resolve_weights"]

#: Seed of ``--weights random``; its identity names it, so a result can be traced to it.
RANDOM_SEED = 0


class Backbone(nn.Module):
    """A network from images to the feature maps of its stages.

    Args:
        name: Name of a timm model, with or without its weights' tag.

    Attributes:
        mean: Normalisation mean per colour channel, for pixels of 0 to 1.
        std: Normalisation standard deviation per colour channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = _feature_network(name)
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
        first = self._input(images, engine)
        scales = [first]
        for size in engine.image_sizes[1:]:
            if engine.pyramid == "nearest":
                scales.append(F.interpolate(first, size=(size, size), mode="nearest"))
            else:
                small = F.interpolate(
                    images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
                )
                scales.append(self._input(small, engine))
        return scales

    def _input(self, images: Tensor, engine: Engine) -> Tensor:
        return self.normalise(images) if engine.normalise else images

    def channels(self, taps: Sequence[Tap]) -> list[int]:
        """Return the number of channels of the maps of every tap."""
        info = self.network.feature_info.channels()
        return [int(info[self._stage(tap)]) for tap in taps]

    def _stage(self, tap: Tap) -> int:
        reductions = self.network.feature_info.reduction()
        if tap.reduction is None:
            return len(reductions) - 1
        if tap.reduction not in reductions:
            known = ", ".join(map(str, reductions))
            raise UsageError(
                f"backbone {self.name!r} has no stage of stride {tap.reduction}, only of {known}: "
                "name another backbone"
            )
        return int(reductions.index(tap.reduction))

    def forward(self, images: Tensor, taps: Sequence[Tap] = (LAST,)) -> list[Tensor]:
        """Return float32 maps ``(B, C, h, w)`` of every tap of images ``(B, 3, H, W)``."""
        stages = self.network(images.contiguous(memory_format=torch.channels_last))
        return [self._tapped(stages[self._stage(tap)], tap) for tap in taps]

    def _tapped(self, maps: Tensor, tap: Tap) -> Tensor:
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            maps = maps.permute(0, 3, 1, 2)
        return F.max_pool2d(maps, 2).float() if tap.max_pool else maps.float()


class _AlexNet(nn.Module):
    """torchvision's AlexNet up to its last max pooling, with timm's interface; timm has none.

    Maps of 256 channels: 13x13 for 448 pixels, 6x6 for 224.
    """

    class feature_info:  # noqa: N801 - timm's name
        channels = staticmethod(lambda: [256])
        reduction = staticmethod(lambda: [32])

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import alexnet

        self.features = alexnet(weights=None).features

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.features(images)]


def _feature_network(name: str) -> Any:
    if name in TORCHVISION_FILES:
        return _AlexNet()
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
        load_state(backbone.network, read_state(weights.path), weights.path)
    backbone.eval()
    return backbone.to(memory_format=torch.channels_last)


@functools.lru_cache(maxsize=2)
def _frozen(engine: Engine, weights: WeightsFile, device: torch.device) -> Backbone:
    # Weights made in inference mode could not stand on a gradient's way back to the pixels.
    with torch.inference_mode(False):
        backbone = build_backbone(engine, weights).to(device)
        backbone.requires_grad_(False)
    return backbone


def frozen_backbone(engine: Engine, device: torch.device) -> Backbone:
    """Return the backbone in eval mode without gradients; one per process, don't change it."""
    return _frozen(engine, resolve_weights(engine), device)


def check_backbone(engine: Engine, taps: Sequence[Tap] = (LAST,)) -> None:
    """Build an engine's backbone and show it one image of its smallest size.

    Raises:
        UsageError: There is no such backbone, or the image size does not fit it.
        WeightsError: Its weights are missing or of another network.
        PrecheckError: The engine's device can't be used.
    """
    device = resolve_device(engine)
    if engine.train_backbone:
        backbone = build_backbone(engine, resolve_weights(engine)).to(device)
    else:
        backbone = frozen_backbone(engine, device)
    size = engine.image_sizes[-1]
    try:
        backbone(torch.zeros((1, 3, size, size), device=device), taps)
    except (RuntimeError, ValueError, AssertionError) as error:
        # timm's transformers assert that images have the one size that they were made for.
        fault = "does not fit" if isinstance(error, AssertionError) else "is too small for"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"image size {size} {fault} backbone {engine.backbone}: {reason}"
        ) from error


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
    if name in TORCHVISION_FILES:
        return _download_from_torchvision(name)
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


def _download_from_torchvision(name: str) -> str:
    path = torchvision_file(name)
    url = f"https://download.pytorch.org/models/{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name's last part is the start of the file's SHA-256.
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False
        )
    except Exception as error:
        raise WeightsError(
            f"the weights of backbone {name!r} are not on this machine and could not be downloaded "
            f"from {url} ({type(error).__name__}): give --weights FILE (.pth), put that file into "
            f"{path.parent}, or run once with a network"
        ) from error
    return str(path)
