"""The command line. One thin file per command: parse, call the library, print."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from functools import partial
from typing import NoReturn

import typer

from gradbench.cli import (
    check,
    compare,
    explain,
    export,
    list_,
    measure,
    merge,
    new,
    plot,
    recommend,
    report,
    run,
    show,
    status,
)
from gradbench.cli.parsing import AllCommands, OneCommand
from gradbench.cli.streams import Streams
from gradbench.core.errors import GradbenchError, UsageError
from gradbench.core.version import VERSION

INTERRUPTED = 130
"""What shells end with at Ctrl-C."""

app = typer.Typer(
    name="gradbench",
    cls=AllCommands,
    help="Bias and variance of ELBO gradient estimators, with error bars, against exact gradients.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_command = partial(app.command, cls=OneCommand)
_command("run")(run.run)
_command("measure")(measure.measure)
_command("compare")(compare.compare)
_command("plot")(plot.plot)
_command("recommend")(recommend.recommend)
_command("status")(status.status)
_command("merge")(merge.merge)
_command("explain")(explain.explain)
_command("check")(check.check)
_command("new")(new.new)
_command("export")(export.export)
_command("report")(report.report)
_command("list")(list_.list_)
_command("show")(show.show)


def _version(asked: bool) -> None:
    if asked:
        print(f"gradbench {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Bias and variance of ELBO gradient estimators, with error bars, against exact gradients."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: errors are one or two lines on stderr, and an exit code."""
    with Streams() as streams:
        code = _exit_code(arguments)
        if "stdout" in streams.closed:
            _warn("stdout is closed: nothing is printed there")
        if (failure := streams.failure()) is not None:
            _fail(f"stdout cannot be written ({failure.strerror}): not all of the results were printed")
            code = code or UsageError.exit_code
    sys.exit(code)


def command() -> NoReturn:
    """Be the command, and end this process with it: what is in memory is left to the system.

    To take torch and pandas apart module by module would take half a second.
    """
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or nobody reads it, which main has said
            stream.flush()
    os._exit(code)


def _exit_code(arguments: list[str] | None) -> int:
    """Run a command; say what is wrong, if anything is."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        code = app(arguments, prog_name="gradbench", standalone_mode=False, obj=[str(word) for word in given])
    except GradbenchError as error:
        _fail(str(error))
        code = error.exit_code
    except OSError as error:  # a full disk, a folder that is gone or may not be written
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        code = UsageError.exit_code
    except typer.Abort:  # Ctrl-C, where no run goes on from it
        _fail("interrupted")
        code = INTERRUPTED
    except Exception as error:
        # a fault in the command line itself, which typer describes; anything else is a bug, and shows as one
        if not hasattr(error, "format_message"):
            raise
        if str(error):  # empty where typer has printed the help instead
            _fail(_usage(error))
        code = 2
    return code if isinstance(code, int) else 0


def _fail(message: str) -> None:
    from gradbench.cli.output import fail

    fail(message)


def _warn(message: str) -> None:
    from gradbench.cli.output import warn

    warn(message)


def _usage(error: Exception) -> str:
    message = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "gradbench")
    lines = " ".join(str(message).replace("Value error, ", "").split())
    return f"{lines[:1].lower()}{lines[1:].rstrip('.')}; see {path} --help"
