"""Running named checks one after the other, each to its own verdict."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from osadbench.errors import CheckFailedError, UsageError

__all__ = [
    "CheckResult",
    "Skipped",
    "expect",
    "format_results",
    "raises",
    "require_subclass",
    "run_check",
    "run_checks",
]

T = TypeVar("T")


@dataclass(frozen=True)
class CheckResult:
    """The verdict on one guarantee.

    Attributes:
        name: The guarantee in a few words.
        passed: False if the guarantee is broken; a skipped check counts as passed.
        message: What was wrong, ``""`` if nothing was.
        seconds: How long the check took.
        skipped: Why the guarantee does not apply, or None if it was tested.
    """

    name: str
    passed: bool
    message: str
    seconds: float
    skipped: str | None = None


class Skipped(Exception):  # noqa: N818 - it ends a check, but is no error
    """Raised by a check that does not apply; the text says why."""


def expect(condition: object, message: str) -> None:
    """Raise ``CheckFailedError`` with the message unless the condition is true."""
    if not condition:
        raise CheckFailedError(message)


def raises(error: type[Exception], what: str, call: Callable[..., object], *arguments: Any) -> None:
    """Check that a call raises an error of one class.

    Args:
        error: The class.
        what: The call in words, for the message.
        call: What should raise.
        *arguments: What it is called with.

    Raises:
        CheckFailedError: The call raised nothing, or something else.
    """
    try:
        call(*arguments)
    except error:
        return
    except Exception as other:
        _fail(f"{what} raised {_text(other)}; expected {error.__name__}", other)
    raise CheckFailedError(f"{what} raised nothing; expected {error.__name__}")


def _fail(message: str, cause: Exception) -> NoReturn:
    raise CheckFailedError(message) from cause


def require_subclass(cls: object, base: type) -> None:
    """Raise ``UsageError`` unless a class derives from another."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        wanted = f"{base.__module__}.{base.__qualname__}"
        raise UsageError(f"expected a subclass of {wanted}, got {cls!r}")


def run_checks(case: T, checks: Mapping[str, Callable[[T], None]]) -> list[CheckResult]:
    """Run all checks on a case, whatever some of them find, and return one result for each."""
    return [run_check(case, name, check) for name, check in checks.items()]


def run_check(case: T, name: str, check: Callable[[T], None]) -> CheckResult:
    """Run one check; any exception is its failure."""
    start = time.perf_counter()
    message, skipped = "", None
    try:
        check(case)
    except Skipped as reason:
        skipped = str(reason)
    except CheckFailedError as failure:
        message = str(failure)
    except Exception as error:
        message = _text(error)
    return CheckResult(name, not message, message, time.perf_counter() - start, skipped)


def _text(error: Exception) -> str:
    """Return class, text and place of an error that nobody expected, in one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"


def format_results(results: Iterable[CheckResult]) -> str:
    """Return the results as text, one line each: ``ok``, ``skip`` or ``FAIL``, name, reason."""
    return "\n".join(_line(result) for result in results)


def _line(result: CheckResult) -> str:
    if result.skipped is not None:
        return f"skip {result.name}: {result.skipped}"
    if result.passed:
        return f"ok   {result.name} ({result.seconds:.1f} s)"
    return f"FAIL {result.name}: {result.message}"
