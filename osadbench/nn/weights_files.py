"""Reading weights files into networks, name by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from osadbench.errors import WeightsError, first_of

__all__ = ["load_state", "read_state"]


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of a ``.pth`` file of plain tensors, by name.

    Raises:
        WeightsError: The file can't be read or holds something else.
    """
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
        raise WeightsError(
            f"weights {origin} do not fit the backbone: {first_of(wrong, 3, '; ')}: give the "
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
