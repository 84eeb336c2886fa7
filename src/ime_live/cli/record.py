"""The command that records a service's stream, for every user of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ime_live.cli.lines import reason_of
from ime_live.cli.options import with_settings
from ime_live.cli.running import run_until_stopped, tell
from ime_live.contracts import Market
from ime_live.errors import SettingsError
from ime_live.settings import LogSettings
from ime_live.spelling import counted

if TYPE_CHECKING:
    from ime_live.archive.recorder import StreamRecorder

_LIVE: Final = 1.0  # seconds between two pictures of the line on a terminal
_PLAIN: Final = 60.0  # seconds between two lines elsewhere

_CLEAR_LINE: Final = "\x1b[2K"


@with_settings(LogSettings)
def record(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the recording; one file per day.")
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|ID", help="Contracts to record; GC* is a pattern of names."),
    ] = None,
    markets: Annotated[
        list[Market] | None,
        typer.Option(
            "--market",
            metavar="MARKET",
            help="Record contracts of IMEFutures, IMEOption or IMEDepositCertificate; may be given "
            "several times.",
        ),
    ] = None,
    underlyings: Annotated[
        list[str] | None,
        typer.Option(
            "--underlying",
            metavar="NAME|ID",
            help="Record contracts on an underlying; may be given several times.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Record all contracts.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Address of the service, as wss://example.org; else IME_LIVE_URL is read.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File with the token, read again when it is refused; else IME_LIVE_TOKEN is read.",
        ),
    ] = None,
    *,
    settings: LogSettings,
) -> None:
    """Record every state of contracts from a service, until Ctrl-C or SIGTERM.

    A file per day takes the messages as they were sent, one per line, compressed. Started again,
    it goes on where it ended, also after a crash. `demo --source DIR` plays the recording.
    """
    from ime_live.archive.listing import Wanted
    from ime_live.archive.recorder import StreamRecorder
    from ime_live.archive.writer import ArchiveWriter
    from ime_live.logs import configure_logging

    wanted = Wanted(
        names=tuple(names or ()),
        markets=tuple(markets or ()),
        underlyings=tuple(underlyings or ()),
        all=everything,
    )
    configure_logging(settings)
    token = TokenFile(token_file) if token_file is not None else None
    if token is not None:
        token()  # a file that cannot be read is an error at once

    writer = ArchiveWriter(folder, report=tell)

    async def work() -> None:
        with writer:
            recorder = StreamRecorder(writer, wanted, url=url, token=token)
            showing = asyncio.create_task(_show(recorder))
            try:
                await recorder.run()
            finally:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)

    try:
        run_until_stopped(work())
    finally:
        clear = _CLEAR_LINE if sys.stderr.isatty() else ""
        tell(f"{clear}recorded {counted(writer.states, 'new state')} in {folder}")


class TokenFile:
    """Reads the token from a file, each time it is called."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        try:
            token = self._path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"--token-file {self._path}: {reason_of(error)}") from error
        if not token:
            raise SettingsError(f"--token-file {self._path} must have a token, but is empty")
        return token


async def _show(recorder: StreamRecorder) -> None:
    """Tell how far the recording is: in one line of a terminal, or in lines of the log."""
    live = sys.stderr.isatty()
    while True:
        await asyncio.sleep(_LIVE if live else _PLAIN)
        progress = recorder.progress
        if live:
            # In a thread, as a terminal may be stopped. The cursor stays at the line's beginning,
            # so that a log line overwrites it.
            columns = shutil.get_terminal_size().columns - 1  # a longer one would take two lines
            line = f"{_CLEAR_LINE}{line_of(progress)[:columns]}\r".encode()
            await asyncio.to_thread(os.write, sys.stderr.fileno(), line)
        else:
            import structlog

            structlog.get_logger().info("recording", **progress)


def line_of(progress: dict[str, object]) -> str:
    """Return the line of a terminal.

    Args:
        progress: see `ime_live.archive.recorder.StreamRecorder.progress`.
    """
    states = f"{progress['states']:,} states of {progress['contracts']} contracts"
    size = f"{progress['kilobytes']:,} kB"
    newest = f"newest {progress['newest']}" if progress["newest"] else "no state yet"
    return f"{states}, {size}, {newest}" + ("" if progress["connected"] else ", not connected")
