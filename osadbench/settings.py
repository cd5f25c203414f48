"""Presets, and the settings of the engine that they name. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from osadbench.errors import UsageError, did_you_mean
from osadbench.params import Params, resolve_params

__all__ = ["PRESETS", "Engine", "engine"]

FROZEN_BACKBONE = "tf_efficientnet_lite0"


class Engine(Params):
    """How a method turns images into feature maps, and where it computes.

    The fields up to ``precision`` change a method's scores and belong to a result's identity; the
    others only say where the work is done.

    Attributes:
        preset: Name of the preset that the settings started from.
        backbone: Name of a timm model with feature maps; its last stage is used.
        weights: ``"auto"`` (the ``demo`` extra's file where it fits, else timm's download),
            ``"random"`` (drawn from a fixed seed), or the path of a safetensors or ``.pth`` file.
        image_sizes: Side lengths in pixels of the pyramid's scales, largest first. A run takes the
            dataset's own size and its half, where the backbone is trained or that size is below the
            preset's.
        pyramid: How smaller scales are made: ``"antialias"`` (bilinear with antialiasing) or
            ``"nearest"`` (nearest neighbour on the normalised tensor, as the public code of DevNet
            and DRA does).
        normalise: Whether pixels are normalised as the backbone was trained to see them; else they
            enter it as values of 0 to 1.
        train_backbone: Whether the backbone is trained with the heads.
        normal_views: Cached rotated views per normal training image, beside the plain one. Without
            any, heads learn to tell a rotated image from a plain one instead of an anomaly from a
            normal: on the ``synthetic`` dataset (difficulty 0.8, general protocol, ten shots, three
            categories, three seeds) 4 in place of 0 raised DevNet's mean AUROC from .747 to .857
            and FLOS's from .691 to .815. Used, like the next two, only where the backbone is
            frozen.
        seen_views: Cached rotated views per labelled anomaly, beside the plain one.
        pseudo_views: Cached pseudo anomalies in all, spread over the normal training images.
        precision: ``"fp32"``, ``"bf16"`` (autocast around the backbone), or ``"auto"``: bf16 on
            GPUs that compute in it and on processors with AMX.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        offline: Never try the network.
        cache_dir: Folder of the feature cache; None keeps features in memory only.
    """

    preset: str = "frozen"
    backbone: str = FROZEN_BACKBONE
    weights: str = "auto"
    image_sizes: tuple[int, ...] = (320, 224)
    pyramid: Literal["antialias", "nearest"] = "antialias"
    normalise: bool = True
    train_backbone: bool = False
    normal_views: int = pydantic.Field(default=4, ge=0)
    seen_views: int = pydantic.Field(default=24, ge=0)
    pseudo_views: int = pydantic.Field(default=512, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    offline: bool = False
    cache_dir: str | None = None

    @pydantic.field_validator("image_sizes")
    @classmethod
    def _sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 32 or list(value) != sorted(value, reverse=True):
            raise ValueError("image sizes must be 32 pixels or more, largest first")
        return value

    def identity(self) -> dict[str, Any]:
        """Return the settings that change scores, without the weights (their hash stands apart)."""
        elsewhere = {"weights", "device", "offline", "cache_dir"}
        return self.model_dump(mode="json", exclude=elsewhere)


_PAPER = {
    # The original torchvision weights: timm's default tag of resnet18 is another training recipe.
    "backbone": "resnet18.tv_in1k",
    "image_sizes": (448, 224),
    "pyramid": "nearest",
    "train_backbone": True,
}

#: Engine settings by preset. Methods add their own parameters per preset.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "frozen": {},
    "paper": _PAPER,
    "paper-text": _PAPER,
    "smoke": {
        "backbone": "test_efficientnet",
        "weights": "random",
        "image_sizes": (64, 32),
        "normal_views": 1,
        "seen_views": 4,
        "pseudo_views": 16,
        "precision": "fp32",
    },
}


def engine(preset: str = "frozen", **overrides: Any) -> Engine:
    """Return a preset's engine settings.

    Args:
        preset: ``"frozen"`` (fixed backbone, cached features), ``"paper"`` (ResNet-18 trained end
            to end with the public code's optimiser), ``"paper-text"`` (the same with the papers'
            printed optimiser values) or ``"smoke"`` (seconds; for tests, not for numbers).
        **overrides: Fields of :class:`Engine`.

    Raises:
        UsageError: The preset is unknown.
        ParameterError: A field is unknown or has a wrong value.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}: {did_you_mean(preset, PRESETS)}")
    return resolve_params(Engine, "engine", {**PRESETS[preset], "preset": preset}, overrides)
