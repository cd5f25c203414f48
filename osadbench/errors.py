"""Every error that osadbench raises on purpose, under one root.

What ends a cell or the program from outside, a timeout or a signal, is no error of these: it must
pass every ``except Exception`` of a method.

Each message says in one line what was expected, what came, and what to do. The command line prints
it without a traceback and exits with the class's ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = [
    "CacheError",
    "CheckFailedError",
    "ContractError",
    "DamagedRecordError",
    "DataError",
    "NotFittedError",
    "OsadbenchError",
    "OtherSchemaError",
    "ParameterError",
    "PluginError",
    "PrecheckError",
    "StoreError",
    "UsageError",
    "WeightsError",
    "WorkerDiedError",
    "did_you_mean",
    "first_of",
    "one_line",
]


class OsadbenchError(Exception):
    """Root of all errors of the package."""

    exit_code = 1


class UsageError(OsadbenchError):
    """A request that cannot be understood: an unknown name, a value out of range."""

    exit_code = 2


class ParameterError(UsageError):
    """One or more wrong parameters; the message lists all of them."""


class PluginError(UsageError):
    """A plug-in that cannot be loaded, or that claims a name already taken."""


class PrecheckError(OsadbenchError):
    """Something needed is missing or unusable; found before any work has started."""

    exit_code = 3


class DataError(PrecheckError):
    """A dataset that is missing, incomplete, or against the rules of its loader."""


class WeightsError(PrecheckError):
    """Network weights that are missing or do not fit the network."""


class StoreError(PrecheckError):
    """A result store that cannot be read or written."""


class OtherSchemaError(StoreError):
    """A record whose layout this osadbench does not read: a newer one's, or one given up since."""


class DamagedRecordError(StoreError):
    """A record, or its file of scores, that is not what was once written."""


class CacheError(PrecheckError):
    """A cache folder that cannot be written."""


class CheckFailedError(OsadbenchError):
    """A comparison or a conformance check that found a difference."""

    exit_code = 4


class ContractError(OsadbenchError, ValueError):
    """A method was given, or gave back, something against the method contract."""


class NotFittedError(ContractError):
    """``score`` was called before ``fit``."""


class WorkerDiedError(OsadbenchError):
    """A worker ended before its result came, for want of memory or by a crash in native code."""


def one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of its message, such as ``"OSError: no disk"``."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def first_of(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Return names, those after the first ``most`` as a number: ``"a, b and 4 more"``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the tail of an error about an unknown name: nearest names, then all of them.

    Args:
        name: What was typed.
        known: The valid names.

    Returns:
        A clause such as ``"did you mean dra? known: devnet, dra, knn"``.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    nearest = [n for n in names if n.lower() in near]
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return f"{hint}known: {', '.join(names) if names else 'none'}"
