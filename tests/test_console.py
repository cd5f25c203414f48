from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from osadbench import console
from osadbench.console import Progress, cell_line, configure_logging, counting
from osadbench.types import Record


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "key": "0" * 32,
        "status": "done",
        "method": "dra",
        "label": "dra[lr=0.01]",
        "params": {},
        "engine": {},
        "weights": "none",
        "fit_seed": 1,
        "protocol": "hard",
        "dataset": "folder",
        "category": "nut",
        "known_class": "hole",
        "shots": 10,
        "seed": 2,
        "row": "nut/hole",
        "split": {},
        "metrics": {"auroc": 0.91237},
        "provenance": {"fit_seconds": 10.04, "score_seconds": 2.0},
    }
    return Record(**{**values, **changes})


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The library's logger without handlers, put back as it was afterwards."""
    logger = logging.getLogger("osadbench")
    before = (logger.level, logger.propagate, logger.handlers)
    logger.handlers = []
    yield logger
    logger.level, logger.propagate, logger.handlers = before


def test_a_finished_cell_in_a_line() -> None:
    what = "dra[lr=0.01] folder/nut hard hole 10-shot seed 2"
    assert cell_line(record()) == f"done    {what}: auroc 0.912 in 12.0 s"
    bad = record(status="failed", metrics={}, reason="ValueError: no")
    assert cell_line(bad) == f"failed  {what}: ValueError: no"
    short = record(status="skipped", metrics={}, reason="too few", category="", known_class="")
    assert cell_line(short) == "skipped dra[lr=0.01] folder hard 10-shot seed 2: too few"


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (logging.DEBUG, ["detail", "news", "warning: trouble"]),
        (logging.INFO, ["news", "warning: trouble"]),
        (logging.WARNING, ["warning: trouble"]),
    ],
)
def test_levels_of_talk(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], level: int, lines: list[str]
) -> None:
    configure_logging(logging.INFO)
    configure_logging(level)
    logger.debug("detail")
    logger.info("news")
    logger.warning("trouble")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", lines)


def test_progress_prints_plain_lines_where_there_is_no_terminal(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(logging.INFO)
    records = [record(seed=seed) for seed in range(10)]
    with Progress(10) as progress:
        assert list(progress.follow(records)) == records
    err = capsys.readouterr().err
    assert "\r" not in err and "%" not in err
    lines = err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("[ 1/10] done    dra[lr=0.01] folder/nut hard hole 10-shot seed 0:")
    assert lines[9].startswith("[10/10] done")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("level", "enabled", "bar"),
    [
        (logging.INFO, True, True),
        (logging.INFO, False, False),
        (logging.WARNING, True, False),
    ],
)
def test_a_terminal_gets_a_bar(
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    level: int,
    enabled: bool,
    bar: bool,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    configure_logging(level)
    with Progress(3, enabled=enabled) as progress:
        list(progress.follow([record()]))
    text = screen.getvalue()
    assert ("1/3" in text.replace("[1/3]", "") and "\r" in text) == bar
    assert ("[1/3] done" in text) == (level == logging.INFO)


@pytest.mark.parametrize(
    ("level", "patience", "shown"),
    [(logging.INFO, 0, True), (logging.INFO, 60, False), (logging.WARNING, 0, False)],
)
def test_calls_are_counted_on_a_terminal_if_they_take_long(
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    level: int,
    patience: float,
    shown: bool,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console, "PATIENCE", patience)
    configure_logging(level)
    with counting(3, "cell") as counted:
        absolute, text_of = counted(abs), counted(str)
        assert (absolute(-1), absolute(2)) == (1, 2)
        # A bar is drawn anew ten times a second.
        time.sleep(0.2)
        assert text_of(3) == "3"
    text = screen.getvalue()
    assert ("3/3" in text and "cell" in text) == shown
    assert shown or not text


def test_calls_are_not_counted_where_there_is_no_terminal(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0)
    configure_logging(logging.INFO)
    with counting(1, "cell") as counted:
        assert counted(str)(7) == "7"
    assert capsys.readouterr() == ("", "")


def test_a_traceback_is_told_to_those_who_ask_for_more(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = record(status="failed", metrics={}, reason="no", traceback="Traceback: line 7")
    for level, is_shown in ((logging.INFO, False), (logging.DEBUG, True)):
        configure_logging(level)
        with Progress(1) as progress:
            list(progress.follow([bad]))
        assert ("line 7" in capsys.readouterr().err) == is_shown
