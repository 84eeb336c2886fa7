"""The service as it is usually written with FastAPI: a Redis subscription for each client."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI, Query, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.websocket("/live/data/websocket/contract/name")
async def stream(websocket: WebSocket, contract_names: Annotated[list[str], Query()]) -> None:
    """Forward what comes on the channels of these contracts."""
    await websocket.accept()
    client = redis.from_url(os.environ["REDIS_URL"])
    pubsub = client.pubsub()
    await pubsub.subscribe(*[f"bench:{name}" for name in contract_names])
    try:
        async for message in pubsub.listen():
            if message["type"] == "message":
                await websocket.send_text(message["data"].decode())
    except WebSocketDisconnect:
        pass
    finally:
        await pubsub.aclose()
        await client.aclose()


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", ws_per_message_deflate=False)
