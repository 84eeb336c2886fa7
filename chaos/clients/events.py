"""A client of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chaos.clients.client import OPEN_TIMEOUT, TRY_LATER, ZONE, Client, RefusedError, decode
from ime_live.market import version_of


class EventClient(Client):
    """A client of server-sent events that resumes with Last-Event-ID, as browsers do."""

    _last = ""

    async def _connect(self, gateway: str) -> str:
        async with asyncio.timeout(OPEN_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._frontend.ports[gateway], limit=1 << 20
            )
        try:
            head = (
                f"GET {self._path('sse')} HTTP/1.1\r\nHost: chaos\r\nAccept: text/event-stream\r\n"
            )
            if self._last:
                head += f"Last-Event-ID: {self._last}\r\n"
            writer.write(head.encode() + b"\r\n")
            async with asyncio.timeout(OPEN_TIMEOUT):
                answer = await reader.readuntil(b"\r\n\r\n")
            line = answer.decode().splitlines()[0]
            if int(line.split()[1]) in TRY_LATER:
                raise RefusedError(line)
            if not line.startswith("HTTP/1.1 200 "):
                return line
            return await self._read(reader, gateway)
        except asyncio.IncompleteReadError:
            return "closed before the response's headers"
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, gateway: str) -> str:
        fields: dict[str, str] = {}
        received = False
        while line := await reader.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "retry":  # the first line of a stream; no blank line follows
                last = version_of(self._last, ZONE) if self._last else None
                since = None if last is None else last - self._frontend.event_overlap
                self._opened(gateway, since)
            elif name:
                fields[name] = value
            if name:
                continue
            if fields.get("event") == "end":
                if decode(fields["data"])["code"] in TRY_LATER and not received:
                    raise RefusedError(fields["data"])
                return fields["data"]
            if "data" in fields:
                received = True
                self._last = fields.get("id", self._last)
                self._receive(fields["data"])
            fields = {}
        return "closed without an end event"

    def _start_of_stream(self) -> Mapping[str, str]:
        # Last-Event-ID takes precedence.
        return {"snapshot": "true"}
