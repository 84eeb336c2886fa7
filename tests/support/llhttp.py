"""Requests as llhttp reads them, for comparison: two readers that differ can be played off."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httptools


class Llhttp:
    """The requests that llhttp finds, which Node.js uses, and uvicorn by way of httptools."""

    def __init__(self, received: bytes) -> None:
        self.requests: list[tuple[Any, ...]] = []
        self._parser = httptools.HttpRequestParser(self)
        self.refused = True
        """Whether it has stopped before the end: at a fault, or where a protocol takes over."""
        with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(received)
            self.refused = False

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: tuple[Any, ...] = ()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        # Bytes behind a body's chunks are reported in the same way.
        self._head = (self._parser.get_method(), self._target, len(self._fields))

    def on_message_complete(self) -> None:
        method, target, count = self._head
        joined: dict[bytes, list[bytes]] = {}
        for name, value in self._fields[:count]:
            joined.setdefault(name, []).append(value)
        fields = {name: b", ".join(values) for name, values in joined.items()}
        self.requests.append((method, target, fields))
