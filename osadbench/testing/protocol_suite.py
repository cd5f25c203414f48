"""The guarantees of a protocol, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from osadbench.protocol import Protocol
from osadbench.testing import protocol_checks as checks
from osadbench.testing.protocol_checks import ProtocolCase
from osadbench.testing.results import CheckResult, require_subclass, run_checks
from osadbench.testing.toys import toy_manifest
from osadbench.types import Manifest

__all__ = ["PROTOCOL_CHECKS", "check_protocol", "protocol_case"]

#: What a protocol must keep, and the check of it, in the order in which they run.
PROTOCOL_CHECKS: Mapping[str, Callable[[ProtocolCase], None]] = {
    "splits say what they are": checks.splits_say_what_they_are,
    "paths are sorted": checks.paths_are_sorted,
    "training and test images are disjoint": checks.train_and_test_are_disjoint,
    "labels are in their places": checks.labels_are_in_their_places,
    "same seeds, same splits": checks.same_seeds_same_splits,
    "same splits in another process": checks.same_splits_in_other_process,
    "fewer shots are a part of more": checks.shots_are_nested,
    "no more anomalies than shots": checks.shots_are_kept,
    "seeds draw differently": checks.seeds_draw_differently,
    "impossible requests are refused": checks.impossible_requests_are_refused,
}


def check_protocol(
    protocol_class: type[Protocol], *, manifest: Manifest | None = None, **params: Any
) -> list[CheckResult]:
    """Check that a protocol keeps the contract of :mod:`osadbench.protocol`.

    Args:
        protocol_class: The protocol.
        manifest: What it splits; by default :func:`osadbench.testing.toy_manifest`.
        **params: Parameters of the protocol.

    Returns:
        One result for each guarantee; a broken one stops none of the others.

    Raises:
        UsageError: ``protocol_class`` is not a subclass of ``Protocol``.
    """
    return run_checks(protocol_case(protocol_class, manifest, params), PROTOCOL_CHECKS)


def protocol_case(
    protocol_class: type[Protocol], manifest: Manifest | None, params: Mapping[str, Any]
) -> ProtocolCase:
    """Return the case of a protocol; raises ``UsageError`` if the class is not a protocol."""
    require_subclass(protocol_class, Protocol)
    return ProtocolCase(protocol_class, toy_manifest() if manifest is None else manifest, params)
