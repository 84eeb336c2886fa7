"""The test SignalR hub: a server on real sockets that speaks classic SignalR, as the exchange does.

Written from `shared/spec/ime-hub.md` and the behaviour of SignalR 2.4's server, not from our
client. Violations by a client are collected in `violations`, which every test asserts to be
empty. As a process it replays frames:
`python -m tests.support.signalr.hub --port 8100 --frames FILE…`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from tests.support.signalr.backlog import Backlog
from tests.support.signalr.channels import Channel, EventStream, Poll, WebSocketChannel
from tests.support.signalr.checks import (
    RECEIVING,
    Session,
    of_headers,
    of_query,
    of_session,
    of_token,
)
from tests.support.signalr.refusals import HTML, Refusal, Refusals
from tests.support.signalr.server import PATIENCE, LoopbackServer
from tests.support.signalr.wire import Exchange, Request

ROOT: Final = "/realTimeServer/"
BOARDS: Final = "/api/"

_POLLING: Final = "longPolling"


class Hub(LoopbackServer):
    """A server on loopback that speaks SignalR 2.4, with faults that a test sets.

    Attributes:
        requests: all that have come, in order.
        sessions: by connection token, of the server's present life.
        negotiation: fields of negotiate's answer that are other than usual.
        keep_alive: seconds between two keep-alives.
        silent: whether no keep-alives are sent.
        beats: how many were sent.
        poll_timeout: seconds after which a poll is answered with nothing.
        cookie_first: whether negotiate is refused to those that have not loaded ``/``.
        grace: seconds within which a connection that a client has closed is seen to be closed.
        agent: what User-Agent must begin with.
        boards: what the REST boards answer, by path below ``/api/``.
        ahead: seconds by which its clock is ahead of this machine's.
        bearer: the token that every call must carry; empty if there is to be none.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.requests: list[Request] = []
        self.sessions: dict[str, Session] = {}
        self.negotiation: dict[str, Any] = {}
        self.keep_alive = 0.1
        self.silent = False
        self.beats = 0
        self.poll_timeout = PATIENCE
        self.cookie_first = False
        self.grace = 1.0
        self.agent = "ime-live"
        self.ahead = 0.0
        self.bearer = ""
        self._held = False
        self.boards: dict[str, Sequence[Mapping[str, Any]]] = {
            "Future/LiveMarket": [],
            "Option/LiveMarket": [],
            "CDC/CDCLiveMarket": [],
        }
        self.backlog = Backlog()
        self._refusals = Refusals()
        self._cookies: dict[str, str] = {}
        self._issued: set[str] = set()
        self._receiving: list[Exchange] = []
        self._channels: dict[Channel, Session] = {}
        self._keep_alive_task: asyncio.Task[None] | None = None

    # State that tests read

    @property
    def base_url(self) -> str:
        """The ``base_url`` for a client."""
        return self.origin + ROOT

    @property
    def polling_url(self) -> str:
        """The ``polling_url`` for a client."""
        return self.origin + BOARDS

    @property
    def live(self) -> str:
        """The transport that a client is connected and started by; empty if none is."""
        for session in self.sessions.values():
            if session.started and not session.aborted:
                if session.transport == _POLLING:
                    return session.transport
                if session in self._channels.values():
                    return session.transport
        return ""

    @property
    def received(self) -> list[Request]:
        """The requests so far that frames come by."""
        return [each for verb in RECEIVING for each in self.calls(verb)]

    def calls(self, verb: str, transport: str = "") -> list[Request]:
        """The requests of a kind so far, of one transport if it is given."""
        return [
            each
            for each in self.requests
            if each.path == ROOT + verb and transport in ("", each.query.get("transport"))
        ]

    def story(self) -> str:
        """Return the latest requests to the SignalR hub, and the violations."""
        recent = [f"{r.path} {r.query.get('transport', '')}" for r in self.requests[-20:]]
        return f"{recent}, {super().story()}"

    @property
    def reachable(self) -> bool:
        """Whether a frame that is pushed now is sent at once."""
        return bool(self._channels)

    async def connected(self, transport: str) -> None:
        """Wait until a client is connected by a transport, and can be sent frames."""
        await self.until(lambda: self.live == transport and self.reachable)

    # Actions that tests call

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        await super().start()
        self._keep_alive_task = asyncio.create_task(self._send_keep_alives())

    async def stop(self) -> None:
        """Close everything, and forget tokens and cursors."""
        if self._keep_alive_task is not None:
            self._keep_alive_task.cancel()
            await asyncio.wait({self._keep_alive_task})
            self._keep_alive_task = None
        await super().stop()
        self.sessions.clear()
        self.backlog = Backlog()

    async def restart(self, *, same_key: bool = False) -> None:
        """Be another server on the same port.

        With the machine key of the one before, tokens that it has issued are good: a reconnect is
        taken, and nothing comes before the next push.
        """
        before = self.sessions.values() if same_key else ()
        revived = {
            each.token: Session(
                each.token,
                each.id,
                each.transport,
                started=True,
                revived=True,
                groups=each.groups,
            )
            for each in list(before)
        }
        await self.stop()
        await self.start()
        self.sessions |= revived

    def push(self, frame: bytes | Sequence[Any]) -> None:
        """Push a frame's messages, or messages as such; messages not taken now wait.

        A frame's own cursor is replaced by one of this SignalR hub; the rest is sent as it is.
        """
        made = self.backlog.append(frame)
        if not self._held:
            for channel in list(self._channels):
                self._give(channel, made)

    def hold(self) -> None:
        """Keep pushed messages from now on, as a server does whose client reads slowly."""
        self._held = True

    def release(self) -> None:
        """Send what was kept, all in one frame."""
        self._held = False
        for channel, session in list(self._channels.items()):
            if missed := self.backlog.after(session.given[-1]):
                self._give(channel, missed)

    def join(self, groups: str) -> None:
        """Put all clients into a group; they send its token back from then on."""
        for channel, session in list(self._channels.items()):
            self._give(channel, self.backlog.joined(groups))
            session.groups = groups

    def abort(self) -> None:
        """Abort all connections: a client that reconnects is let in and sent away, each time."""
        for session in self.sessions.values():
            session.ended = True
        for channel in list(self._channels):
            channel.end()
        self._channels.clear()

    def push_text(self, text: bytes) -> None:
        """Send anything where a frame belongs."""
        for channel in list(self._channels):
            channel.send(text)
            if isinstance(channel, Poll):
                del self._channels[channel]

    def cut(self, during: bytes | Sequence[Any] = b"") -> None:
        """Close all connections; in the middle of a frame, which waits then, if one is given."""
        if during:
            part = self.backlog.append(during)
            for channel in self._channels:
                channel.send_part(part)
        self._channels.clear()
        self.close_connections()

    def end(self) -> None:
        """End all connections in good order, as a server does that is shut down."""
        for channel in list(self._channels):
            channel.send(self.backlog.moved())
            channel.end()
        self._channels.clear()

    def refuse(self, what: str, how: Refusal) -> None:
        """Refuse a transport, or a call (``negotiate``, ``start``, ``poll``, …), from now on."""
        self._refusals.by[what] = how

    def ask_to_wait(self, retry_after: str) -> None:
        """Say ``Retry-After`` with refusals that have a status; an empty text for not any more."""
        self._refusals.retry_after = retry_after

    def accept(self, *what: str) -> None:
        """Refuse it no more."""
        for each in what:
            del self._refusals.by[each]

    # Responses to clients

    async def _send_keep_alives(self) -> None:
        while True:
            await asyncio.sleep(self.keep_alive)
            if not self.silent and self._channels:
                self.beats += 1
                for channel in self._channels:
                    channel.keep_alive()

    async def answer(self, exchange: Exchange) -> None:
        """Answer as the path asks."""
        request = exchange.request
        exchange.ahead = self.ahead
        self.requests.append(request)
        if request.path == "/":
            self._greet(exchange)
        elif request.path.startswith(BOARDS):
            await self._answer_board(exchange, request.path.removeprefix(BOARDS))
        elif request.path.startswith(ROOT):
            await self._answer_call(exchange, request.path.removeprefix(ROOT))
        else:
            self.violations.append(f"{request.path}: no such path")
            exchange.answer(404, HTML, "text/html")

    def _greet(self, exchange: Exchange) -> None:
        self._cookies.setdefault("ASP.NET_SessionId", secrets.token_hex(12))
        for name, value in self._cookies.items():
            exchange.headers.append(("Set-Cookie", f"{name}={value}; path=/; HttpOnly"))
        exchange.answer(200, HTML, "text/html; charset=utf-8")

    async def _answer_board(self, exchange: Exchange, name: str) -> None:
        if not await self._refusals.refused(exchange, "boards", name):
            rows = self.boards.get(name)
            body = json.dumps(rows, ensure_ascii=False) if rows is not None else HTML
            exchange.answer(404 if rows is None else 200, body)

    async def _answer_call(self, exchange: Exchange, verb: str) -> None:
        request = exchange.request
        wrong = of_headers(request, self.agent, self._cookies) + of_query(verb, request)
        wrong += of_token(request, self.bearer)
        self._complain(verb, request, wrong)
        if verb == "negotiate":
            if not await self._refusals.refused(exchange, verb):
                self._negotiate(exchange)
            return
        token = request.query.get("connectionToken", "")
        session = self.sessions.get(token)
        if session is None:
            if token not in self._issued:
                self._complain(verb, request, [f"connectionToken {token!r} was never given"])
            exchange.answer(400, "The ConnectionId is in the incorrect format.", "text/html")
        elif verb in RECEIVING:
            await self._receive(exchange, verb, session)
        elif not await self._refusals.refused(exchange, verb):
            self._complain(verb, request, of_session(verb, request, session))
            if verb == "start":
                session.started = True
                exchange.answer(200, '{ "Response": "started" }')
            elif verb == "abort":
                session.aborted = True
                exchange.answer(200, "", "text/plain")
                for channel in [c for c, s in self._channels.items() if s is session]:
                    channel.end()
            else:
                self._complain(verb, request, ["no such call"])
                exchange.answer(404, HTML, "text/html")

    def _complain(self, verb: str, request: Request, wrong: Sequence[str]) -> None:
        by = request.query.get("transport", "")
        self.violations += [f"{verb} {by}: {each}" for each in wrong]

    def _negotiate(self, exchange: Exchange) -> None:
        if self.cookie_first and not self._cookies:
            exchange.answer(403, HTML, "text/html")
            return
        id_ = secrets.token_hex(16)
        token = base64.b64encode(b"\xfb\xef\xff" + secrets.token_bytes(47)).decode()  # "++//…="
        self.sessions[token] = Session(token=token, id=id_)
        self._issued.add(token)
        usual = {
            "Url": ROOT.rstrip("/"),
            "ConnectionToken": token,
            "ConnectionId": id_,
            "KeepAliveTimeout": 20.0,
            "DisconnectTimeout": 30.0,
            "ConnectionTimeout": 110.0,
            "TryWebSockets": True,
            "ProtocolVersion": "2.0",  # also to a client of 2.1
            "TransportConnectTimeout": 5.0,
            "LongPollDelay": 0.0,
        }
        exchange.answer(200, json.dumps(usual | self.negotiation))

    async def _receive(self, exchange: Exchange, verb: str, session: Session) -> None:
        request = exchange.request
        await self._alone(verb, request)
        self._receiving.append(exchange)
        try:
            transport = request.query.get("transport", "")
            self._complain(verb, request, of_session(verb, request, session))
            session.transport = transport
            if await self._refusals.refused(exchange, transport, verb):
                return
            await self._send_frames(exchange, verb, session)
        finally:
            self._receiving.remove(exchange)

    async def _alone(self, verb: str, request: Request) -> None:
        # A connection that the client has closed may be seen to be closed a little later.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.grace):
                while self._receiving:  # noqa: ASYNC110 - closed by other tasks
                    await asyncio.sleep(0.002)
        if self._receiving:
            self._complain(verb, request, ["a second connection while there is one"])

    async def _send_frames(self, exchange: Exchange, verb: str, session: Session) -> None:
        request = exchange.request
        if session.transport == "webSockets":
            channel: Channel = WebSocketChannel(exchange)
        elif session.transport == "serverSentEvents":
            channel = EventStream(exchange)
        else:
            channel = Poll(exchange, self.poll_timeout, self.backlog.nothing())
        mute = self._refusals.by.get(session.transport) is Refusal.MUTE
        self._channels[channel] = session
        # A server that sends no keep-alives closes what has lasted for so long.
        lasting: asyncio.TimerHandle | None = None
        if self.negotiation.get("KeepAliveTimeout", "") is None and channel.transport != _POLLING:
            timeout = self.negotiation.get("ConnectionTimeout", 110.0)
            lasting = asyncio.get_running_loop().call_later(timeout, channel.end)
        try:
            if mute:
                pass
            elif session.ended:
                channel.end()
            elif verb == "connect":
                delay = self.negotiation.get("LongPollDelay", 0.0)
                polled = isinstance(channel, Poll)
                self._give(channel, self.backlog.opening(delay if polled else 0.0))
                session.opened = True
            else:
                cursor = (request.form | request.query).get("messageId", "")
                if missed := self.backlog.after(cursor):
                    self._give(channel, missed)
            sent = await channel.serve()
            self._complain(verb, request, [f"sent {each!r}" for each in sent])
        finally:
            if lasting is not None:
                lasting.cancel()
            self._channels.pop(channel, None)

    def _give(self, channel: Channel, frame: bytes) -> None:
        session = self._channels[channel]
        channel.send(frame)
        session.given.append(self.backlog.cursor)
        if isinstance(channel, Poll):
            del self._channels[channel]


if __name__ == "__main__":
    from tests.support.signalr.replayed import main

    main()
