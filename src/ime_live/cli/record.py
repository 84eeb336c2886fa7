"""The command that records the stream of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.arguments.selecting import (
    Everything,
    Markets,
    Names,
    Token,
    TokenPath,
    Underlyings,
    Url,
    token_of,
)
from ime_live.cli.running import progress, run_until_stopped, write_stderr
from ime_live.settings import LogSettings
from ime_live.spelling import pluralize


@with_settings(LogSettings)
def record(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the recording; one file per day.")
    ],
    names: Names = None,
    markets: Markets = None,
    underlyings: Underlyings = None,
    everything: Everything = False,
    url: Url = None,
    token: Token = None,
    token_file: TokenPath = None,
    *,
    settings: LogSettings,
) -> None:
    """Record every state of contracts from a service to files.

    It runs until Ctrl-C or SIGTERM. Messages are stored as received, one per line, in a compressed
    file per day. After a restart or a crash, the recording continues where it ended. `demo --source
    DIR` plays it.
    """
    import structlog

    from ime_live.archive.listing import RecordingSelection
    from ime_live.archive.recorder import StreamRecorder
    from ime_live.archive.writer import ArchiveWriter
    from ime_live.logs import configure_logging

    selection = RecordingSelection(
        names=tuple(names or ()),
        markets=tuple(markets or ()),
        underlyings=tuple(underlyings or ()),
        all=everything,
    )
    configure_logging(settings)
    credentials = token_of(token, token_file)
    writer = ArchiveWriter(folder, report=write_stderr)

    async def work() -> None:
        with writer:
            recorder = StreamRecorder(writer, selection, url=url, token=credentials)

            def log() -> None:
                structlog.get_logger().info("recording", **recorder.progress)

            async with progress(lambda: line_of(recorder.progress), log):
                await recorder.run()

    try:
        run_until_stopped(work())
    finally:
        write_stderr(f"recorded {pluralize(writer.states, 'new state')} in {folder}")


def line_of(counts: dict[str, object]) -> str:
    """Return the progress line of a terminal.

    Args:
        counts: see `ime_live.archive.recorder.StreamRecorder.progress`.
    """
    states = f"{counts['states']:,} states of {counts['contracts']} contracts"
    size = f"{counts['kilobytes']:,} kB"
    newest = f"newest {counts['newest']}" if counts["newest"] else "no state yet"
    return f"{states}, {size}, {newest}" + ("" if counts["connected"] else ", not connected")
