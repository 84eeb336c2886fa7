"""StreamProtocol: one WebSocket connection on a transport.

An upgrade request comes in with its transport; handshake, frames, pings and the close go out.
The sans-I/O classes of the `websockets` library do the protocol's part; updates are written to
the transport by the hub as ready bytes and never pass through here. What a stream needs of its
process it is given as `Services`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from collections.abc import Callable, Collection, Mapping, MutableSet
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway import wire
from ime_live.gateway.auth import Authenticator, Identity, find_token
from ime_live.gateway.directory import Directory
from ime_live.gateway.handshake import deflate_of
from ime_live.gateway.heartbeat import Heartbeat
from ime_live.gateway.hub import Hub
from ime_live.gateway.metrics import Metrics
from ime_live.gateway.rounds import Rounds
from ime_live.gateway.session import (
    By,
    StreamRequest,
    endpoint_of,
    read_request,
    select,
)
from ime_live.gateway.topic import Client
from ime_live.gateway.upstream import Upstream
from ime_live.gateway.watch import Watch
from ime_live.settings import GatewaySettings

log = structlog.get_logger()

# Seconds that a peer gets to answer our close frame and to take what was written before it.
CLOSE_TIMEOUT: Final = 5.0

# A client may send five seconds' worth of messages at once.
_BURST_SECONDS: Final = 5.0

# Names logged of a selection; a client may ask for a thousand.
_LOGGED_CONTRACTS: Final = 10

_ABNORMAL: Final = 1006

# A client's answer to our empty ping: a masked frame without a payload.
_EMPTY_PONG: Final = b"\x8a\x80"
_PONG_LENGTH: Final = 6

# Tells the processes of one machine apart in the logs, and the connections of one process.
_PROCESS: Final = secrets.token_hex(2)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Services:
    """What a stream needs of its process.

    Attributes:
        handshake: negotiates each handshake in turn, see `gateway.handshake`.
        monotonic: seconds, for durations.
        wall: seconds since the Unix epoch, for the expiry of tokens.
    """

    settings: GatewaySettings
    zone: ZoneInfo
    authenticator: Authenticator
    directory: Directory
    upstream: Upstream
    hub: Hub
    watch: Watch
    rounds: Rounds
    heartbeat: Heartbeat
    metrics: Metrics
    loop: asyncio.AbstractEventLoop
    handshake: ServerProtocol
    monotonic: Callable[[], float]
    wall: Callable[[], float]


class StreamProtocol(asyncio.Protocol):
    """One WebSocket connection; see the module's text."""

    __slots__ = (
        "_about",
        "_allowance",
        "_client",
        "_closer",
        "_connections",
        "_deflate",
        "_frames",
        "_heard",
        "_opened",
        "_opening",
        "_outcome",
        "_paused",
        "_selection",
        "_services",
        "_transport",
        "write",
    )

    def __init__(self, services: Services, connections: MutableSet[Any]) -> None:
        """Make a stream without a transport.

        Args:
            services: what it needs of its process.
            connections: all connections of the process, which its server ends when it stops.
        """
        self._services = services
        self._connections = connections
        self._transport: asyncio.Transport
        self.write: Callable[[bytes], int]
        """Hand whole frames to the kernel; for the hub, while it has not paused us."""
        self._about: dict[str, object] = {}
        """What every log line of this connection says."""
        self._deflate: PerMessageDeflate | None = None
        self._frames: Protocol | None = None
        """Made when the client sends more than pongs: most never do, and it takes 3 kB."""
        self._client: Client | None = None
        self._selection: Collection[str] = ()
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._outcome: tuple[int, str] | None = None
        """Close code and reason, once one side has ended the stream."""
        self._paused = False
        self._opened = self._heard = 0.0
        self._allowance = 0.0

    # The handshake

    def open(self, transport: asyncio.Transport, request: Request) -> None:
        """Take over ``transport``, on which ``request`` has come."""
        services = self._services
        self._transport = transport
        # From the first byte on, what the kernel does not take at once pauses us.
        transport.set_write_buffer_limits(high=0)
        # While we are not paused, the transport holds nothing, and the hub may write to the
        # socket past it, which spares 7 % of a delivery's CPU. The hub lets go of us in
        # `connection_lost` at the latest, and only after that is the socket closed, and its
        # number free for another connection.
        self.write = partial(os.write, transport.get_extra_info("socket").fileno())
        self._opened = services.monotonic()
        self._connections.add(self)
        self._about["connection"] = f"{_PROCESS}-{next(_numbers)}"
        self._about["peer"] = _peer_of(transport)
        path, _, query = request.path.partition("?")
        by = endpoint_of(path, services.settings.root_path)
        if by is None:
            self._reject(services.handshake.reject(404, "There is no stream at this path.\n"))
            return
        response = services.handshake.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._reject(response)
            return
        self._deflate = deflate_of(services.handshake)
        self._opening = services.loop.create_task(
            self._open(by, query, request.headers, response.serialize())
        )

    def _reject(self, response: Response) -> None:
        self._transport.write(response.serialize())
        self._transport.close()

    async def _open(self, by: By, query: str, headers: Headers, response: bytes) -> None:
        services = self._services
        refusal = None
        current: Collection[str] = ()
        try:
            request = read_request(by, query, services.zone)
            identity = await self._authenticate(request, headers)
            self._about |= {
                "subject": identity.subject,
                "by": by.value,
                "contracts": request.contracts[:_LOGGED_CONTRACTS],
                "count": len(request.contracts),
            }
            selection = select(
                request,
                services.directory.registry,
                identity.may_see,
                services.settings.max_contracts,
            )
            self._selection = selection.keys()
            await services.upstream.acquire(self._selection)
            if request.status:
                current = await services.rounds.compare(self._selection)
        except RefusedError as error:
            refusal = error
        except Exception:
            log.exception("opening failed", **self._about)
            refusal = RefusedError("internal error", code=CloseCode.INTERNAL_ERROR)
        self._opening = None
        services.metrics.opened()
        # Not before: when the client has this, it misses nothing of what is published.
        self._transport.write(response)
        if refusal is not None:
            # A client sees the code and the reason on an accepted connection only.
            self.end(refusal)
            return
        self._begin(request, identity, selection, current=len(current) == len(selection))

    async def _authenticate(self, request: StreamRequest, headers: Headers) -> Identity:
        offered = [
            protocol
            for value in headers.get_all("Sec-WebSocket-Protocol")
            for protocol in parse_subprotocol(value)
        ]
        authorizations = headers.get_all("Authorization")
        token = find_token(authorizations[0] if authorizations else None, offered, request.token)
        return await self._services.authenticator.authenticate(token)

    def _begin(
        self,
        request: StreamRequest,
        identity: Identity,
        selection: Mapping[str, bytes],
        *,
        current: bool,
    ) -> None:
        services = self._services
        compressed = (
            self._deflate is not None and self._deflate.local_max_window_bits >= wire.WINDOW_BITS
        )
        self._client = client = services.hub.join(selection, self, compressed=compressed)
        now = services.monotonic()
        expires = None if identity.expires is None else now + identity.expires - services.wall()
        services.heartbeat.add(self, now, expires)
        if self._paused:
            self.pause_writing()
        if request.newer_than is not None:
            services.hub.send_states(client, request.newer_than)
        if request.status:
            services.watch.add(client, current=current)
        self._allowance = services.settings.client_rate * _BURST_SECONDS
        self._heard = now
        log.info("stream opened", **self._about)

    def keep(self, rest: bytes) -> None:
        """Send what the kernel did not take, when it does."""
        self._transport.write(rest)

    # What the client sends

    def data_received(self, data: bytes) -> None:
        """Frames have come: pongs, pings, a close, or messages, which are read and ignored."""
        if self._frames is None:
            if len(data) == _PONG_LENGTH and data.startswith(_EMPTY_PONG):
                self._services.heartbeat.answered(self)
                return
            if self._opening is not None:
                # RFC 6455, 4.1: a client waits for the answer to its handshake.
                self._transport.abort()
                return
        frames = self._protocol()
        frames.receive_data(data)
        for frame in frames.events_received():
            if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE:
                continue
            if frame.opcode is Opcode.PONG:
                self._services.heartbeat.answered(self)
            elif not self._allow():
                self.end(RefusedError("too many messages"))
                break
        self._send(frames)

    def _protocol(self) -> Protocol:
        if self._frames is None:
            self._frames = Protocol(
                Side.SERVER, state=State.OPEN, max_size=self._services.settings.max_client_message
            )
            if self._deflate is not None:
                self._frames.extensions = [self._deflate]
        return self._frames

    def _allow(self) -> bool:
        rate = self._services.settings.client_rate
        now = self._services.monotonic()
        self._allowance = min(rate * _BURST_SECONDS, self._allowance + (now - self._heard) * rate)
        self._heard = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _send(self, frames: Protocol) -> None:
        for data in frames.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                # Only our half: closing at once would reset the connection while the client
                # is still sending, and it would not get to see our close frame.
                self._transport.write_eof()
            else:
                self._transport.close()
        if frames.state is not State.OPEN and self._outcome is None:
            self._ended(*_outcome_of(frames))

    def eof_received(self) -> None:
        """The client has closed its half; the transport closes ours."""

    # The transport

    def pause_writing(self) -> None:
        """The transport takes no more for now."""
        self._paused = True
        if self._client is not None:
            self._services.hub.pause(self._client)
            self._services.heartbeat.pause(self, self._services.monotonic())

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        if self._client is not None:
            self._services.heartbeat.resume(self)
            self._services.hub.resume(self._client)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._outcome is None and self._client is not None:
            if exc is not None:
                self._about["error"] = str(exc) or repr(exc)
            self._ended(_ABNORMAL, "connection lost")
        self._leave()
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._connections.discard(self)

    # The end

    def ping(self) -> None:
        """Send a ping."""
        self._transport.write(wire.PING)

    def end(self, refusal: RefusedError) -> None:
        """Close the connection for this reason."""
        if self._outcome is not None:
            return
        self._ended(int(refusal.code), refusal.kind)
        frames = self._protocol()
        if frames.state is State.OPEN:
            frames.send_close(refusal.code, refusal.reason)
            self._send(frames)

    def shutdown(self) -> None:
        """The process stops: close soon, each client at another moment, so that they do not all
        come back at once."""
        if self._opening is not None:
            self._transport.abort()
            return
        refusal = RefusedError("going away", code=CloseCode.GOING_AWAY)
        spread = self._services.settings.drain
        self._services.loop.call_later(random.uniform(0, spread), self.end, refusal)  # noqa: S311

    def _ended(self, code: int, reason: str) -> None:
        self._outcome = (code, reason)
        self._leave()
        if not self._transport.is_closing():
            self._closer = self._services.loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
        self._services.metrics.closed(code, reason)
        log.info(
            "stream closed",
            **self._about,
            code=code,
            reason=reason,
            seconds=round(self._services.monotonic() - self._opened, 3),
        )

    def _leave(self) -> None:
        services = self._services
        services.heartbeat.remove(self)
        if self._client is not None:
            services.hub.leave(self._client)
            services.watch.remove(self._client)
            self._client = None
        selection, self._selection = self._selection, ()
        services.upstream.release(selection)


def _outcome_of(frames: Protocol) -> tuple[int, str]:
    # The reason that a client gives is its own text, and no label for a metric.
    if frames.close_rcvd is not None and frames.close_rcvd_then_sent:
        return frames.close_rcvd.code, "client left"
    sent = frames.close_sent
    if sent is None:
        return _ABNORMAL, "connection lost"
    return sent.code, _PROTOCOL_REASONS.get(sent.code, "protocol error")


_PROTOCOL_REASONS: Final[Mapping[int, str]] = {
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.INVALID_DATA: "invalid UTF-8",
}


def _peer_of(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "-")
