"""Where and how precisely to compute."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from osadbench.errors import PrecheckError
from osadbench.settings import Engine

__all__ = ["autocast", "device_name", "resolve_device", "resolve_precision"]

#: What the system says of a processor beside its name.
_PARTS = {"cpu family": "family", "model": "model"}


def resolve_device(engine: Engine) -> torch.device:
    """Return the device to compute on.

    Raises:
        PrecheckError: The device asked for is unknown or not there.
    """
    if engine.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(engine.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PrecheckError(
            f"device {engine.device!r} cannot be used ({reason}): give --device cpu, or auto"
        ) from None
    return device


def resolve_precision(engine: Engine, device: torch.device) -> str:
    """Return ``"fp32"`` or ``"bf16"`` for the backbone's convolutions.

    ``auto`` takes bf16 on GPUs that compute in it and on CPUs with AMX. AVX-512's bf16 instructions
    alone are not enough: PyTorch's convolutions are slower with them than in fp32.
    """
    if engine.precision != "auto":
        return engine.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _cpu_flags() & {"amx_bf16"} else "fp32"
    return "fp32"


def device_name(device: torch.device) -> str:
    """Return the name of the hardware behind a device.

    Of a processor with family and model where the system tells them: names such as "AMD EPYC" are
    of several, whose sums differ in the last bit.
    """
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return device.type
    told = dict(map(_pair, reversed(_cpu_info())))
    name = told.get("model name") or platform.processor() or "cpu"
    parts = [f"{what} {told[key]}" for key, what in _PARTS.items() if told.get(key)]
    return f"{name} ({' '.join(parts)})" if parts else name


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip().lower(), value.strip()


def _cpu_flags() -> set[str]:
    lines = (line for line in _cpu_info() if line.lower().startswith(("flags", "features")))
    return set(next(lines, "").split())


def _cpu_info() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the autocast context of a precision that :func:`resolve_precision` gave."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
