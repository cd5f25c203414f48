"""The suites as pytest classes, for the tests of plug-ins. pytest is imported only as they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar

from osadbench.method import Method
from osadbench.protocol import Protocol
from osadbench.settings import Engine
from osadbench.testing.method_case import MethodCase
from osadbench.testing.method_suite import METHOD_CHECKS, method_case
from osadbench.testing.protocol_checks import ProtocolCase
from osadbench.testing.protocol_suite import PROTOCOL_CHECKS, protocol_case
from osadbench.testing.results import run_check
from osadbench.testing.toys import toy_manifest
from osadbench.types import Manifest

__all__ = ["MethodConformance", "ProtocolConformance"]

T = TypeVar("T")


def _one_test_for_each(checks: Mapping[str, Any], metafunc: Any) -> None:
    if "guarantee" in metafunc.fixturenames:
        metafunc.parametrize("guarantee", list(checks))


def _assert_kept(case: T, checks: Mapping[str, Callable[[T], None]], guarantee: str) -> None:
    import pytest

    result = run_check(case, guarantee, checks[guarantee])
    if result.skipped is not None:
        pytest.skip(result.skipped)
    if not result.passed:
        pytest.fail(f"{guarantee}: {result.message}", pytrace=False)


class MethodConformance:
    """One pytest test for each guarantee of :func:`osadbench.testing.check_method`.

    Subclass it in a test file::

        class TestMine(MethodConformance):
            method_class = Mine

    Class attributes:
        method_class: The method.
        engine: Engine settings, or the name of a preset.
        params: Parameters of the method.
    """

    method_class: ClassVar[type[Method]]
    engine: ClassVar[Engine | str] = "smoke"
    params: ClassVar[Mapping[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Parametrise over the guarantees; called by pytest."""
        _one_test_for_each(METHOD_CHECKS, metafunc)

    @classmethod
    @cache
    def _case(cls) -> MethodCase:
        return method_case(cls.method_class, cls.engine, cls.params)

    def test_keeps(self, guarantee: str) -> None:
        """Assert one guarantee."""
        _assert_kept(self._case(), METHOD_CHECKS, guarantee)


class ProtocolConformance:
    """One pytest test for each guarantee of :func:`osadbench.testing.check_protocol`.

    Subclass it in a test file::

        class TestMine(ProtocolConformance):
            protocol_class = Mine

    Class attributes:
        protocol_class: The protocol.
        params: Parameters of the protocol.
    """

    protocol_class: ClassVar[type[Protocol]]
    params: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def manifest(cls) -> Manifest:
        """Return the manifest to split; override it where the protocol needs a special one."""
        return toy_manifest()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Parametrise over the guarantees; called by pytest."""
        _one_test_for_each(PROTOCOL_CHECKS, metafunc)

    @classmethod
    @cache
    def _case(cls) -> ProtocolCase:
        return protocol_case(cls.protocol_class, cls.manifest(), cls.params)

    def test_keeps(self, guarantee: str) -> None:
        """Assert one guarantee."""
        _assert_kept(self._case(), PROTOCOL_CHECKS, guarantee)
