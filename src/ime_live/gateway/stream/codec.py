"""Interfaces between a stream's connection and its codec, which speaks WebSocket or events.

A `Connection` asks its codec for the bytes that begin, keep alive and end a stream. Only for bytes
from the client it is the other way round: the codec tells the connection what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

from ime_live.errors import RefusedError
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.stream_query import StreamRequest

ABNORMAL: Final = 1006
"""Close code of a connection that was lost; never sent (RFC 6455, 7.4.1)."""


class Codec(Protocol):
    """The bytes around one stream's messages."""

    one_way: ClassVar[bool]
    """Whether the client sends nothing after its request: neither pongs nor a close."""

    log_fields: ClassVar[Mapping[str, object]]
    """Fields of the stream's log lines."""

    @property
    def by(self) -> By:
        """How the contracts of the request are named; known after `negotiate`."""

    @property
    def format(self) -> wire.Format:
        """Format of the messages; known after `negotiate`."""

    def negotiate(self, head: RequestHead, /) -> bytes:
        """Read the request's head; return a response if no stream can begin, else empty bytes."""

    def complete(
        self, request: StreamRequest, head: RequestHead, /
    ) -> tuple[StreamRequest, str | None]:
        """Return the request with what the head adds to its query, and the token, if any."""

    def accept(self) -> bytes:
        """Return the response that begins the stream."""

    def refuse(self, refusal: RefusedError, /) -> bytes:
        """Return the response that says why no stream begins."""

    def goodbye(self, refusal: RefusedError, /) -> bytes:
        """Return the message with the reason of the end; empty if the stream is ending already."""

    def ping(self) -> bytes:
        """Return bytes that show whether the client is still there."""

    def started(self, stream: RunningStream, /) -> None:
        """Handle the data that arrived before the response, which was just sent."""

    def receive(self, data: bytes, stream: RunningStream, /) -> None:
        """Handle bytes from the client."""

    def close(self) -> None:
        """Drop received data that was not handled; the stream is over."""


class RunningStream(Protocol):
    """A connection as its codec sees it."""

    def send(self, data: bytes, /) -> None:
        """Send bytes after all that was sent before."""

    def pong_received(self) -> None:
        """Note that the client has sent a pong."""

    def message_received(self, message: bytes, *, binary: bool) -> None:
        """Handle a message of the client; raises RefusedError if the stream must end."""

    def closed(self, code: int, reason: str, /) -> None:
        """Note that the stream has ended, unless it had before."""

    def end(self, refusal: RefusedError, /) -> None:
        """End the stream, and tell the client why."""

    def linger(self, *, quiet: float = 0.0) -> None:
        """Send nothing more, and discard what the client sends; see `LingeringClose`."""

    def pause_reading(self) -> None:
        """Leave received data in the kernel."""

    def resume_reading(self) -> None:
        """Read received data."""

    def read_slowly(self) -> None:
        """Pause reading for a moment, because received data is discarded."""
