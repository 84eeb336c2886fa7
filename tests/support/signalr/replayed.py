"""Replayed: the test SignalR hub as a process that pushes a recording's frames in a loop."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.boards import frames_of_all_boards
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


def read(files: Sequence[Path]) -> list[bytes]:
    """The frames of NDJSON files, also compressed ones."""
    frames = []
    for file in files:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            frames += [line.strip() for line in lines if line.strip()]
    return frames


async def run(hub: Hub, frames: Sequence[bytes], pace: float) -> None:
    """Push the frames, again and again, until cancelled.

    Args:
        hub: one that is not yet started.
        frames: none take synthetic ones.
        pace: seconds between two frames.
    """
    async with hub:
        print(f"listening port={hub.port} base_url={hub.base_url}", flush=True)
        reported = 0
        while True:
            for frame in frames or frames_of_all_boards(20):
                hub.push(frame)
                for violation in hub.violations[reported:]:
                    print(f"violation: {violation}", file=sys.stderr, flush=True)
                reported = len(hub.violations)
                await asyncio.sleep(pace)


def main() -> None:
    """Read the command line, and run until interrupted."""
    parser = argparse.ArgumentParser(description="A SignalR hub like the exchange's.")
    parser.add_argument("--port", type=int, default=8100, help="0 takes a free one")
    parser.add_argument("--frames", type=Path, nargs="*", default=[], metavar="FILE")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between two frames")
    parser.add_argument("--keep-alive", type=float, default=10.0, help="seconds between two")
    parser.add_argument(
        "--transports", default=",".join(TRANSPORTS), help="those that are not refused"
    )
    parser.add_argument("--agent", default="", help="what User-Agent must begin with")
    given = parser.parse_args()
    hub = Hub()
    hub.port, hub.keep_alive, hub.agent = given.port, given.keep_alive, given.agent
    for transport in set(TRANSPORTS) - set(given.transports.split(",")):
        hub.refuse(transport, Refusal.FORBIDDEN)
    try:
        asyncio.run(run(hub, read(given.frames), given.pace))
    except KeyboardInterrupt:
        return
