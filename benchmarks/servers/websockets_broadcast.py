"""The `websockets` library's own way to fan out: `broadcast`."""

from __future__ import annotations

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.servers.shared import Rooms, listen, names_in

rooms: Rooms[ServerConnection] = Rooms()


async def stream(connection: ServerConnection) -> None:
    """Keep the client in its rooms until it leaves."""
    assert connection.request is not None  # noqa: S101 - it has one once it is open
    names = names_in(connection.request.path)
    rooms.join(names, connection)
    try:
        await connection.wait_closed()
    finally:
        rooms.leave(names, connection)


async def main() -> None:
    """Serve until killed."""
    async with serve(stream, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096):
        await listen(lambda name, message: broadcast(rooms.of(name), message))


if __name__ == "__main__":
    uvloop.run(main())
