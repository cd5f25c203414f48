"""What makes two cells the same: the key of a result, and the seed of its fit.

The key holds everything that can change a score, and nothing else. The device, the number of
workers and the commit are provenance: they stand beside the scores in the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osadbench.params import digest
from osadbench.seeds import derive_seed
from osadbench.settings import Engine
from osadbench.types import Split

__all__ = ["KEY_VERSION", "cell_key", "fit_seed"]

#: Version of the scheme; part of every key. Raise it whenever the same inputs get another key.
KEY_VERSION = 2


def cell_key(
    *,
    split: Split,
    method: str,
    params: Mapping[str, Any],
    engine: Engine,
    weights: str,
    seed_fit: int,
    outliers: str | None = None,
) -> str:
    """Return the key of a cell: one method on one split.

    The scheme is ours, after the versioned task identifiers of inspect_ai: the first 32 digits of
    the SHA-256 of canonical JSON, so that no order of arguments or of dictionaries matters.

    Args:
        split: The split. Its digest covers the dataset's manifest, protocol, known class, shots,
            repetition and every path; also, where it is trained on another category, that one's
            manifest and for how many epochs the training goes on.
        method: Registered name of the method.
        params: The method's parameters with defaults resolved, as JSON values.
        engine: The method's engine; only :meth:`osadbench.settings.Engine.identity` counts.
        weights: Identity of the backbone's weights, such as ``"sha256:..."``.
        seed_fit: Seed the method is given, see :func:`fit_seed`.
        outliers: Digest of the external outliers, or None for methods that take none.

    Returns:
        32 lower-case hex digits.

    Raises:
        ValueError: A parameter is NaN or infinite.
        TypeError: A parameter has no JSON form.
    """
    identity = {
        "key_version": KEY_VERSION,
        "split": split.digest,
        "manifest": split.manifest_digest,
        "method": method,
        "params": dict(params),
        "engine": engine.identity(),
        "weights": weights,
        "fit_seed": seed_fit,
        "outliers": outliers,
    }
    return digest(identity)[:32]


def fit_seed(split: Split, method: str) -> int:
    """Return the seed, in ``[0, 2**63)``, that a method is given on a split.

    It depends on the method as well as on the split's name, so that methods draw independently
    while they share the split itself.
    """
    source = {} if split.adaptation is None else {"source": split.adaptation.source}
    return derive_seed(
        split.seed,
        axis="fit",
        protocol=split.protocol,
        dataset=split.dataset,
        category=split.category,
        known_class=split.known_class,
        shots=split.shots,
        method=method,
        **source,
    )
