"""The variants of DevNet (section 6.8.1 and Table 5) by the paper's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from osadbench.methods.devnet import DevNet
from osadbench.registry import register_method
from osadbench.settings import PRESETS

__all__ = ["DevNetAlexNetDS", "DevNetDS", "DevNetPatchDS", "DevNetRep", "DevNetResNet50DS"]


@register_method("devnet-rep")
class DevNetRep(DevNet):
    """DevNet without a scoring layer: deviations of the representation itself (Rep)."""

    fixed: ClassVar[Mapping[str, Any]] = {"head": "rep"}


@register_method("devnet-ds")
class DevNetDS(DevNet):
    """DevNet with the signed mean of all patch scores in place of the top K (DS)."""

    fixed: ClassVar[Mapping[str, Any]] = {"head": "ds"}


@register_method("devnet-patch-ds")
class DevNetPatchDS(DevNet):
    """DevNet with every patch trained by its image's label, and their mean at test (Patch-DS)."""

    fixed: ClassVar[Mapping[str, Any]] = {"head": "patch-ds"}


def _on(backbone: str) -> Mapping[str, Mapping[str, Any]]:
    # The smoke preset stays small.
    return {preset: {"backbone": backbone} for preset in PRESETS if preset != "smoke"}


@register_method("devnet-alexnet-ds")
class DevNetAlexNetDS(DevNetDS):
    """DevNet-DS on AlexNet, whatever the preset's backbone (Table 5)."""

    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = _on("alexnet.tv_in1k")


@register_method("devnet-resnet50-ds")
class DevNetResNet50DS(DevNetDS):
    """DevNet-DS on ResNet-50, whatever the preset's backbone (Table 5)."""

    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = _on("resnet50.tv_in1k")
