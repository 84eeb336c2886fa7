"""WebSocket clients, fast and slow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import WebSocketException

from chaos.clients.client import OPEN_TIMEOUT, TRY_LATER, Client, RefusedError

_CLOSE_TIMEOUT: Final = 1.0
_PAUSES: Final = (0.0, 0.05, 0.05, 0.2, 1.0)  # seconds after each message of a slow client
_SLOW_BUFFER: Final = 4096  # bytes of SO_RCVBUF of a slow client


class WebSocketClient(Client):
    """A WebSocket client."""

    async def _connect(self, gateway: str) -> str:
        url = f"ws://127.0.0.1:{self._frontend.ports[gateway]}{self._path('websocket')}"
        since, received = self._since(), False
        async with connect_websocket(
            url,
            proxy=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            compression=self._random.choice(["deflate", None]),
            **await self._options(gateway),
        ) as connection:
            self._opened(gateway, since)
            try:
                while True:
                    self._receive(await connection.recv())
                    received = True
                    await self._pause()
            except WebSocketException:
                reason = f"{connection.close_code} {connection.close_reason}"
                if connection.close_code in TRY_LATER and not received:
                    raise RefusedError(reason) from None
                return reason

    async def _options(self, gateway: str) -> Mapping[str, Any]:
        return {}

    async def _pause(self) -> None:
        pass


class SlowClient(WebSocketClient):
    """A WebSocket client that reads slowly, and at times not at all."""

    async def _options(self, gateway: str) -> Mapping[str, Any]:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
        connection.setblocking(False)
        try:
            address = ("127.0.0.1", self._frontend.ports[gateway])
            async with asyncio.timeout(OPEN_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return {"sock": connection, "max_queue": 1}

    async def _pause(self) -> None:
        if not self.quick.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._random.choice(_PAUSES)):
                    await self.quick.wait()
