"""Seeds by named axes.

A seed is the hash of a base seed and of the axes that it may depend on, so that the caller says
what is shared. A split's axes leave the method out: all methods meet the same split.
"""

from __future__ import annotations

import hashlib
import json

__all__ = ["derive_seed"]


def derive_seed(base: int, /, **axes: str | int) -> int:
    """Return a seed in ``[0, 2**63)`` for a base seed and named axes.

    The scheme (SHA-256 of canonical JSON) is ours, after benchopt's named seed axes.

    Args:
        base: The user's seed; any integer.
        **axes: What the seed depends on, such as ``protocol="hard"``. Order does not matter.
    """
    text = json.dumps([base, axes], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
