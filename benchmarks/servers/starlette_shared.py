"""Starlette with one shared subscription: a bounded queue and a sending task for each client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.servers.shared import Rooms, listen

Queue = asyncio.Queue[str]

rooms: Rooms[Queue] = Rooms()


def deliver(name: str, message: str) -> None:
    """Put a message into the queue of each client; the oldest gives way."""
    for queue in rooms.of(name):
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(message)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Listen as long as the server runs."""
    task = asyncio.create_task(listen(deliver))
    yield
    task.cancel()


async def stream(websocket: WebSocket) -> None:
    """Send what comes into the client's queue."""
    names = websocket.query_params.getlist("contract_names")
    await websocket.accept()
    queue: Queue = asyncio.Queue(1000)
    rooms.join(names, queue)
    try:
        while True:
            await websocket.send_text(await queue.get())
    except WebSocketDisconnect:
        pass
    finally:
        rooms.leave(names, queue)


app = Starlette(
    routes=[WebSocketRoute("/live/data/websocket/contract/name", stream)], lifespan=lifespan
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", ws_per_message_deflate=False)
