"""The command that shows contracts live: a table on a terminal, lines or JSON in a pipe."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ime_live.cli.arguments.selecting import (
    Everything,
    Markets,
    Names,
    Token,
    TokenPath,
    Underlyings,
    Url,
    selection_of,
    token_of,
)
from ime_live.cli.running import write_stderr
from ime_live.errors import ImeLiveError, SettingsError

if TYPE_CHECKING:
    from ime_live.client.connecting import Connecting
    from ime_live.client.protocol.message import ConnectionEvent
    from ime_live.market import Payload

_MISSING: Final = (
    'the table needs more packages ({} is missing): pip install "ime-live[terminal]"; '
    "--lines and --json work without them"
)


def watch(
    names: Names = None,
    markets: Markets = None,
    underlyings: Underlyings = None,
    everything: Everything = False,
    url: Url = None,
    token: Token = None,
    token_file: TokenPath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON per message, as received.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="Write one line per message, even on a terminal.")
    ] = False,
) -> None:
    """Watch contracts live: a table on a terminal, lines elsewhere.

    Keys of the table: / searches, s sorts by the next column, r reverses the order, d hides the
    depth of the selected contract, and q quits. The table needs: pip install "ime-live[terminal]".
    The stream reconnects automatically. If messages arrive faster than they can be shown, only the
    newest state of each contract is shown.
    """
    from ime_live.client.connecting import connect
    from ime_live.client.options import service_of

    if as_json and lines:
        raise SettingsError("--json and --lines must not be given together; leave one out")
    selection = selection_of(names, markets, underlyings, everything)
    credentials = token_of(token, token_file)
    service = service_of(url)
    # The command reports connections itself.
    client_log = logging.getLogger("ime_live.client")
    client_log.addHandler(logging.NullHandler())
    client_log.propagate = False

    def make(on_connection: Callable[[ConnectionEvent], object]) -> Connecting[Payload]:
        return connect(
            url, **selection, token=credentials, status=True, on_connection=on_connection
        )

    if as_json or lines or not _is_terminal():
        _print(make, service.named("ws"), as_json=as_json)
    elif error := _show(make, service.place):
        raise error


def _is_terminal() -> bool:
    terminal = sys.stdout.isatty() and sys.stdin.isatty()
    return terminal and os.environ.get("TERM", "") not in ("", "dumb")


def _print(
    make: Callable[[Callable[[ConnectionEvent], object]], Connecting[Payload]],
    address: str,
    *,
    as_json: bool,
) -> None:
    last_text, advice = "", "; trying again: check --url, and whether the gateway runs"

    def tell_once(event: ConnectionEvent) -> None:
        nonlocal last_text, advice
        if event.connected:
            text, advice = "connected", "; trying again"
        else:
            text = f"not connected to {address}: {event.reason}{advice}"
        if text != last_text and not event.final:
            last_text = text
            write_stderr(f"ime-live: {text}")

    # A blocking stream receives in a thread of its own: a slow reader of the pipe delays the
    # lines, and not the connection.
    with make(tell_once) as stream:
        for message in stream:
            if as_json:
                sys.stdout.buffer.write(message.raw + b"\n")
                sys.stdout.buffer.flush()
            else:
                typer.echo(str(message))


def _show(
    make: Callable[[Callable[[ConnectionEvent], object]], Connecting[Payload]], place: str
) -> ImeLiveError | None:
    try:
        from ime_live.terminal.watch_app import WatchApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise SettingsError(_MISSING.format(error.name)) from None
    from ime_live.process import signals

    app = WatchApp(make, place)

    async def work() -> ImeLiveError | None:
        def stop(_: signal.Signals) -> None:
            app.exit()

        with signals.handle(stop):
            # The terminal is closed.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.exit)
            return await app.run_async()

    return asyncio.run(work())
