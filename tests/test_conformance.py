from __future__ import annotations

import pytest

from osadbench.registry import METHODS, PROTOCOLS
from osadbench.testing import check_method, check_protocol, format_results


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_keeps_the_contract(name: str) -> None:
    results = check_method(METHODS.get(name), engine="smoke")
    assert all(result.passed for result in results), format_results(results)


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_every_protocol_keeps_the_contract(name: str) -> None:
    results = check_protocol(PROTOCOLS.get(name))
    assert all(result.passed for result in results), format_results(results)


def test_no_component_is_broken() -> None:
    entries = [*METHODS.entries(), *PROTOCOLS.entries()]
    assert {entry.name: entry.error for entry in entries if entry.error} == {}
