"""The command line. Parsing and printing only; torch is loaded when a cell runs, not before."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from osadbench._version import __version__
from osadbench.console import configure_logging
from osadbench.errors import OsadbenchError

__all__ = ["MODULES", "cli", "main"]

#: What newer versions of click raise to print the help of a group without a command.
_HELP: tuple[type, ...] | type = getattr(click.exceptions, "NoArgsIsHelpError", ())
_LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
#: The module of this package that has each command among its ``COMMANDS``.
MODULES = {
    "check": "explore",
    "compare": "compare",
    "data": "data",
    "describe": "describe",
    "intervals": "intervals",
    "list": "explore",
    "merge": "results",
    "new-method": "explore",
    "plan": "running",
    "ranks": "ranks",
    "report": "results",
    "run": "running",
    "seen": "seen",
    "show": "results",
    "split": "running",
    "status": "results",
    "table": "table",
}


def _talk(context: click.Context, parameter: click.Parameter, value: int) -> None:
    # Asked for before or after the command's name, or both: the last word counts.
    if value:
        configure_logging(_LEVELS[1 if parameter.name == "verbose" else -1])


def _common_options() -> list[click.Option]:
    shared: dict[str, Any] = {"is_flag": True, "expose_value": False, "is_eager": True}
    return [
        click.Option(["-v", "--verbose"], callback=_talk, help="Say more.", **shared),
        click.Option(["-q", "--quiet"], callback=_talk, help="Say less: warnings only.", **shared),
        click.Option(["--debug"], help="Show the traceback of an error.", **shared),
    ]


def _add_common_options(command: click.Command) -> None:
    command.params += _common_options()
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _add_common_options(below)


class _Commands(click.Group):
    """Commands that are loaded when they are met, since each waits for what its module imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Of a name that there isn't, click says which one of those loaded was meant.
        for name in (cmd_name,) if cmd_name in MODULES else MODULES:
            if name not in self.commands:
                self._load(MODULES[name])
        return super().get_command(ctx, cmd_name)

    def _load(self, module: str) -> None:
        for command in importlib.import_module(f"osadbench.cli.{module}").COMMANDS:
            _add_common_options(command)
            self.add_command(command)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version")
def cli() -> None:
    """Benchmark open-set supervised anomaly detection, seeded and reproducible."""


cli.params += _common_options()


class _Terminated(BaseException):
    """SIGTERM came; no ``SystemExit``, which a method's own code might raise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 all is well; 1 finished, but a cell failed or has no result; 2 usage; 3 something needed is
    missing; 4 a check found a difference; 130 interrupted; 143 terminated.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    configure_logging(_LEVELS[0])
    # What Pillow warns of is large, but is read all the same; above twice that size it raises.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    try:
        with _terminable():
            code = cli.main(words, prog_name="osadbench", standalone_mode=False)
    except click.exceptions.Abort:
        return _fail("interrupted; finished cells of a run are stored", 130)
    except _Terminated:
        return _fail("terminated; finished cells of a run are stored", 143)
    except click.ClickException as error:
        if not isinstance(error, _HELP):
            return _fail(_usage_text(error), error.exit_code, debug="--debug" in words)
        error.show()
        return 2
    except OsadbenchError as error:
        return _fail(f"error: {error}", error.exit_code, debug="--debug" in words)
    except BrokenPipeError:
        return _abandon_output()
    except Exception as error:
        text = f"error: unexpected {type(error).__name__}: {error} (--debug shows where)"
        return _fail(text, 1, debug="--debug" in words)
    return code if isinstance(code, int) else 0


def _usage_text(error: click.ClickException) -> str:
    """Return what the parser refuses in one line, as all other errors are."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "osadbench"
    return f"error: {text[:1].lower()}{text[1:]} ({command} -h shows what there is)"


def _fail(text: str, code: int, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    click.echo(text, err=True)
    return code


def _abandon_output() -> int:
    # The reader, such as head, is gone; Python would complain of it once more at exit.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise _Terminated
