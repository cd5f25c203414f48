"""The ablations of DRA (Table 3 and Fig. 3) by the paper's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from osadbench.methods.dra import DRA
from osadbench.methods.saoe import SAOE
from osadbench.registry import register_method

__all__ = ["DRA1A", "DRA2A", "DRA3AN", "DRA3AR", "DRANonDisentangled"]


@register_method("dra1a")
class DRA1A(DRA):
    """DRA with the seen head alone (Table 3); its normals stay normal."""

    fixed: ClassVar[Mapping[str, Any]] = {"heads": ("seen",)}


@register_method("dra2a")
class DRA2A(DRA):
    """DRA with the seen and the pseudo head (Table 3)."""

    fixed: ClassVar[Mapping[str, Any]] = {"heads": ("seen", "pseudo")}


@register_method("dra3ar")
class DRA3AR(DRA):
    """DRA with the seen, the pseudo and the residual head (Table 3)."""

    fixed: ClassVar[Mapping[str, Any]] = {"heads": ("seen", "pseudo", "residual")}


@register_method("dra3an")
class DRA3AN(DRA):
    """DRA with the seen, the pseudo and the holistic normality head (Table 3)."""

    fixed: ClassVar[Mapping[str, Any]] = {"heads": ("seen", "pseudo", "holistic")}


@register_method("dra-nondisentangled")
class DRANonDisentangled(SAOE):
    """One head with three classes in place of DRA's four heads (Fig. 3).

    The figure compares DRA with a plain classifier of normal, seen and pseudo anomalous images,
    which is SAOE's without outlier exposure.
    """

    fixed: ClassVar[Mapping[str, Any]] = {"n_outliers": 0}
