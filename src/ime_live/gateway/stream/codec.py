"""Interfaces between a stream's connection and its codec, for WebSocket or server-sent events.

A `Connection` calls its codec for the bytes that begin, keep alive and end a stream. For bytes from
the client, the codec calls the methods of `RunningStream`.
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
    """Makes and reads the bytes around the messages of one stream."""

    one_way: ClassVar[bool]
    """Whether the client sends nothing after its request: no pong, no close frame."""

    log_fields: ClassVar[Mapping[str, object]]
    """Fields of the stream's log lines."""

    @property
    def by(self) -> By:
        """Whether the request names contracts by name or by id; set by `negotiate`."""

    @property
    def format(self) -> wire.Format:
        """Format of the messages; set by `negotiate`."""

    def negotiate(self, head: RequestHead, /) -> bytes:
        """Read the head of the request.

        Returns:
            A response that rejects the request; empty if a stream can begin.
        """

    def complete(
        self, request: StreamRequest, head: RequestHead, /
    ) -> tuple[StreamRequest, str | None]:
        """Add parameters from the head to the request.

        Returns:
            The request, and the token; None without one.
        """

    def accept(self) -> bytes:
        """Return the response that begins the stream."""

    def refuse(self, refusal: RefusedError, /) -> bytes:
        """Return the response to a request that is refused."""

    def end_message(self, refusal: RefusedError, /) -> bytes:
        """Return the last message, with the reason; empty if the stream is ending already."""

    def ping(self) -> bytes:
        """Return bytes that keep the connection alive, and that a present client answers."""

    def response_sent(self, stream: RunningStream, /) -> None:
        """Handle the data that arrived before the response was sent."""

    def receive(self, data: bytes, stream: RunningStream, /) -> None:
        """Handle bytes from the client."""

    def close(self) -> None:
        """Drop received data that was not handled; the stream is over."""


class RunningStream(Protocol):
    """Interface of a connection to its codec."""

    def send(self, data: bytes, /) -> None:
        """Send bytes, after all bytes that were passed in before."""

    def pong_received(self) -> None:
        """Note that the client has sent a pong."""

    def message_received(self, message: bytes, *, binary: bool) -> None:
        """Handle a message of the client; raises RefusedError if the stream must end."""

    def closed(self, code: int, reason: str, /) -> None:
        """Note that the stream has ended; a second call does nothing."""

    def end(self, refusal: RefusedError, /) -> None:
        """End the stream, and send the client the code and the reason."""

    def linger(self, *, quiet: float = 0.0) -> None:
        """Send nothing more, and discard data from the client; see `LingeringClose`."""

    def pause_reading(self) -> None:
        """Leave received data in the kernel."""

    def resume_reading(self) -> None:
        """Read received data."""

    def read_slowly(self) -> None:
        """Pause reading briefly, because received data is discarded."""
