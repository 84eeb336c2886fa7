"""The command line: one module per group of commands, each a thin layer over the library.

Slow imports (redis-py, the gateway, cryptography) happen in the commands that need them, so that
help and usage errors take 0.2 s instead of 0.6.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Final

import typer

from ime_live.cli import (
    bars,
    contracts,
    doctor,
    drain,
    feed,
    publish,
    record,
    serve,
    settings,
    tail,
    token,
    watch,
)
from ime_live.cli.arguments.options import present_name, rename_variables
from ime_live.cli.lines import reason_of
from ime_live.cli.running import write_stderr
from ime_live.errors import ImeLiveError, RefusedError, SettingsError

app = typer.Typer(
    name="ime-live",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": present_name,
    },
)
app.command()(serve.demo)
app.command()(serve.serve)
app.command()(serve.up)
app.command()(drain.drain)
app.add_typer(contracts.app, name="contracts")
app.command()(publish.publish)
app.command()(record.record)
app.command()(tail.tail)
app.command()(watch.watch)
app.command()(doctor.doctor)
app.add_typer(feed.app, name="feed")
app.command()(bars.bars)
app.command(context_settings=settings.CONTEXT)(settings.settings)
app.add_typer(token.app, name="token")


def _show_version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        from ime_live.gateway.stream.fanout import IMPLEMENTATION
        from ime_live.monitoring.commit import find_commit

        language = {"c": "C", "python": "Python"}[IMPLEMENTATION]
        commit = find_commit()
        built = f"commit {commit}, " if commit else ""
        typer.echo(f"ime-live {version('ime-live')} ({built}fan-out in {language})")
        raise typer.Exit


@app.callback()
def main(
    show_version: bool = typer.Option(
        False,
        "--version",
        help="Show the version and the commit, and exit.",
        callback=_show_version,
        is_eager=True,
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Show the traceback of an error; it may also follow the command."
    ),
) -> None:
    """Live market data of the Iran Mercantile Exchange over WebSocket.

    Every setting is also an environment variable: --redis-url is IME_LIVE_REDIS_URL. The exit
    status is 0 for success, 1 for a failure and 2 for wrong usage.
    """
    del show_version, debug  # `run` has read it
    rename_variables()


_DEBUG: Final = "--debug"

_STANDARD_OUTPUT: Final = 1

# Errors of a write to standard output that the program cannot repair.
_OUTPUT_ERRORS: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})


def _run_app() -> None:
    """Run the command line; output that cannot be written causes no traceback."""
    try:
        app(prog_name="ime-live")
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        # Python flushes its buffer at exit, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)
        if error.errno != errno.EPIPE:  # a closed pipe is not worth a message
            write_stderr(f"ime-live: output cannot be written: {reason_of(error)}")
        sys.exit(1)


def run() -> None:
    """Run the command line; report an error in one line, after a traceback with ``--debug``."""
    debug = _pop_debug_flag()
    try:
        _run_app()
    except ImeLiveError as error:
        if debug:
            write_stderr(traceback.format_exc())
        detail = error.detail if isinstance(error, RefusedError) else ""
        write_stderr(f"ime-live: {error}" + (f"; {detail}" if detail else ""))
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except ModuleNotFoundError:
        raise  # see `ime_live.__main__`
    except Exception as error:
        # A bug. Where there is no terminal, a service cannot be run again with --debug.
        if debug or not sys.stderr.isatty():
            raise
        write_stderr(
            f"ime-live: an unexpected error: {error!r}; give --debug to see where, and please "
            "report it"
        )
        sys.exit(1)


def _pop_debug_flag() -> bool:
    """Remove ``--debug`` from the arguments, at any position; return whether it was given."""
    options = sys.argv[1:]
    if "--" in options:
        options = options[: options.index("--")]
    if _DEBUG not in options:
        return False
    sys.argv.remove(_DEBUG)
    return True
