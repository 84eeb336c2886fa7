"""picows, a WebSocket library in Cython: one shared subscription, a send a message and client."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.servers.shared import Rooms, listen, names_in

rooms: Rooms[WSTransport] = Rooms()


class Client(WSListener):  # type: ignore[misc]
    """A client, in its rooms while it is connected."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Add the client to its rooms."""
        rooms.join(self._names, transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Ignore messages of the client."""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Remove the client from its rooms."""
        rooms.leave(self._names, transport)


def listener(request: WSUpgradeRequest) -> Client:
    """Make a client of a request."""
    return Client(names_in(request.path.decode()))


def deliver(name: str, message: str) -> None:
    """Send a message to all members of its room."""
    data = message.encode()
    for transport in rooms.of(name):
        transport.send(WSMsgType.TEXT, data)


async def main() -> None:
    """Serve until killed."""
    server = await ws_create_server(listener, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    async with server:
        await asyncio.gather(server.serve_forever(), listen(deliver))


if __name__ == "__main__":
    uvloop.run(main())
