"""Functions in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from osadbench.errors import StoreError, WorkerDiedError
from osadbench.workers import in_workers


def whoami(number: int) -> tuple[int, int]:
    return number, os.getpid()


def refuse(number: int) -> None:
    raise StoreError(f"no {number}")


def die(number: int) -> None:
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)


def interrupted(number: int) -> int:
    """Send Ctrl-C to this process, as a terminal does to all."""
    os.kill(os.getpid(), signal.SIGINT)
    return number


def alive(process: int) -> bool:
    """Return whether a process is there and is no zombie."""
    status = Path(f"/proc/{process}/status")
    try:
        return "\nState:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_results_come_from_other_processes_and_these_end() -> None:
    found = dict(in_workers(whoami, ((number,) for number in range(20)), 2))
    assert sorted(found) == list(range(20))
    assert os.getpid() not in found.values()
    if Path("/proc/self/status").exists():
        assert not any(map(alive, set(found.values())))


def test_an_error_in_a_worker_is_that_error_here() -> None:
    with pytest.raises(StoreError, match="no 3"):
        list(in_workers(refuse, [(3,)], 2))


def test_a_worker_that_dies_is_told_from_an_error() -> None:
    with pytest.raises(WorkerDiedError):
        list(in_workers(die, [(0,), (1,)], 2))
    assert [number for number, _ in in_workers(whoami, [(7,)], 2)] == [7]


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal to send")
def test_workers_leave_ctrl_c_to_the_main_process() -> None:
    assert sorted(in_workers(interrupted, [(1,), (2,)], 2)) == [1, 2]


def test_closing_ends_what_is_under_way() -> None:
    results = in_workers(whoami, ((number,) for number in range(1000)), 2)
    _, process = next(results)
    results.close()
    if Path("/proc/self/status").exists():
        assert not alive(process)
