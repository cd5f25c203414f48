"""The command line. Parsing and printing only; torch is loaded when a cell runs, not before."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from osadbench._version import __version__
from osadbench.cli import explore, results, running
from osadbench.console import configure_logging
from osadbench.errors import OsadbenchError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version")
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", count=True, help="Say less: warnings only.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(verbose: int, quiet: int, debug: bool) -> None:
    """Benchmark open-set supervised anomaly detection, seeded and reproducible."""
    levels = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
    configure_logging(levels[max(-1, min(1, verbose - quiet))])


for command in (*running.COMMANDS, *results.COMMANDS, *explore.COMMANDS):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 all is well; 1 finished, but a cell failed; 2 usage; 3 something needed is missing; 4 a check
    found a difference; 130 interrupted; 143 terminated.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(words, prog_name="osadbench", standalone_mode=False)
    except click.exceptions.Abort:
        return _fail("interrupted; what was finished is stored", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OsadbenchError as error:
        return _fail(f"error: {error}", error.exit_code, debug="--debug" in words)
    except Exception as error:
        text = f"error: unexpected {type(error).__name__}: {error} (--debug shows where)"
        return _fail(text, 1, debug="--debug" in words)
    return code if isinstance(code, int) else 0


def _fail(text: str, code: int, *, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    click.echo(text, err=True)
    return code


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(143)
