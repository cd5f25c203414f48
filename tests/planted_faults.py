"""Faults that the tests plant in the code they look at, to show that their checks can fail.

A test file has functions ``check_...`` without arguments, a test that they pass (see
:func:`each_check`), and a list ``FAULTS``. ``test_planted_faults.py`` collects the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

Check = Callable[[], None]


class Fault(NamedTuple):
    """What goes wrong in implementations, and the check that finds it.

    Attributes:
        what: The fault, in words.
        target: The module or class in which it is planted, as its users look it up.
        attribute: The name of what is replaced there.
        replacement: What stands there in its place.
        check: Passes without the fault, and raises ``AssertionError`` with it.
    """

    what: str
    target: Any
    attribute: str
    replacement: Any
    check: Check


def each_check(namespace: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Return a decorator that runs a test with each check of its file, as argument ``check``.

    Args:
        namespace: The file's ``globals()``; the test must stand behind the checks.
    """
    checks = {
        name.removeprefix("check_"): value
        for name, value in namespace.items()
        if name.startswith("check_") and value.__module__ == namespace["__name__"]
    }
    return pytest.mark.parametrize("check", checks.values(), ids=checks)
