"""Clients of all kinds on two gateways, each with a `ClientChecker`.

A client connects to a random gateway, stays connected, and reconnects to any of them.
"""

from __future__ import annotations

import asyncio
import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidHandshake, WebSocketException

import ime_live
from chaos.checker import ClientChecker, ClientOptions, Violation
from chaos.market import now
from chaos.states import IDS, NAMES
from ime_live.market import timestamp_of, version_of
from ime_live.messages import STATUS, STREAM
from ime_live.timezones import TEHRAN, zone_of

_RECONNECT_DELAY: Final = (0.05, 0.4)  # seconds
_OPEN_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 1.0
_POLL_INTERVAL: Final = 0.1
_PAUSES: Final = (0.0, 0.05, 0.05, 0.2, 1.0)  # seconds after each message of a slow client
_SLOW_BUFFER: Final = 4096  # bytes of SO_RCVBUF of a slow client
_QUEUES: Final[Sequence[ime_live.QueueName]] = ("latest", "drop_oldest", "block")
_ZONE: Final = zone_of(TEHRAN)
_BY_NAME: Final = {name: contract_id for contract_id, name in NAMES.items()}

_decode = msgspec.json.Decoder().decode


class Frontend:
    """Where clients connect.

    Attributes:
        ports: of the gateways, by name.
        balancer: port of a proxy that spreads connections over the gateways.
        excused: gateways that were killed or stopped during the present fault, and may end
            connections.
        faulty: whether a fault is going on, so that gateways may refuse to serve for now.
        refused: how often they have, since somebody set it to 0.
        starts: how often each gateway was started again.
        event_overlap: microseconds before a ``Last-Event-ID`` from which states may come again.
    """

    def __init__(self, ports: Mapping[str, int], balancer: int, *, event_overlap: int = 0) -> None:
        self.ports = ports
        self.balancer = balancer
        self.excused: set[str] = set()
        self.faulty = True
        self.refused = 0
        self.event_overlap = event_overlap
        self.starts = dict.fromkeys(ports, 0)


class RefusedError(Exception):
    """A gateway refuses a client temporarily (1013, or 503 over HTTP); the text is its reason."""


_TRY_LATER: Final = (1013, 503)


class Client(ABC):
    """A client.

    Attributes:
        checker: of its history.
        parameters: further query parameters.
        quick: set while a slow client should read at full speed.
    """

    def __init__(self, checker: ClientChecker, frontend: Frontend, chance: random.Random) -> None:
        self.checker = checker
        self.parameters: Mapping[str, str] = {}
        self.quick = asyncio.Event()
        self._frontend = frontend
        self._random = chance
        self._by_name = chance.random() < 0.5

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            gateway = self._random.choice(list(self._frontend.ports))
            try:
                reason = await self._connect(gateway)
            except RefusedError as error:
                self._frontend.refused += 1
                self.checker.refused(now(), f"{error}", expected=self._frontend.faulty)
                reason = ""
            except (OSError, TimeoutError, InvalidHandshake) as error:
                reason = f"{type(error).__name__}: {error}"
            if self.checker.connected:
                expected = self._excused(gateway)
                self.checker.closed(now(), reason, expected=expected)
            await asyncio.sleep(self._random.uniform(*_RECONNECT_DELAY))

    def _excused(self, gateway: str) -> bool:
        return gateway in self._frontend.excused

    @abstractmethod
    async def _connect(self, gateway: str) -> str:
        """Connect, and receive to the end of the connection; returns the reason of the end."""

    def _opened(self, gateway: str, since: int | None) -> None:
        name = f"{gateway}, start {self._frontend.starts[gateway]}"
        self.checker.opened(now(), name, since)

    def _path(self, protocol: str) -> str:
        contracts = self.checker.options.contracts
        pairs = [
            ("contract_names", NAMES[i]) if self._by_name else ("contract_id", i) for i in contracts
        ]
        pairs += self.parameters.items()
        if self.checker.options.max_rate:
            pairs.append(("max_rate", f"{self.checker.options.max_rate:g}"))
        if self.checker.options.sections:
            pairs.append(("sections", ",".join(self.checker.options.sections)))
        pairs += self._start_of_stream().items()
        kind = "name" if self._by_name else "id"
        return f"/live/data/{protocol}/contract/{kind}?{urlencode(pairs)}"

    def _since(self) -> int | None:
        """The oldest of the states that a client which resumes holds, if it holds all."""
        options, held = self.checker.options, self.checker.held
        if options.resumes and held.keys() >= set(options.contracts):
            return min(held[i].version for i in options.contracts)
        return None

    def _start_of_stream(self) -> Mapping[str, str]:
        options, since = self.checker.options, self._since()
        if since is not None:
            return {"since": timestamp_of(since, _ZONE)}
        return {"snapshot": "true"} if options.snapshot or options.resumes else {}

    def _receive(self, text: bytes | str) -> None:
        message: dict[str, Any] = _decode(text)
        if message["channel"] == STREAM:
            name = message.get("contractName")
            contract_id = message["ContractId"] if name is None else _BY_NAME[name]
            version = version_of(message["timestamp"], _ZONE)
            self.checker.state(now(), contract_id, version, message["data"])
        elif message["channel"] == STATUS:
            data = message["data"]
            named = {
                _BY_NAME.get(key, key): None if said is None else version_of(said, _ZONE)
                for key, said in data["contracts"].items()
            }
            said = version_of(message["timestamp"], _ZONE)
            self.checker.status(now(), said, named, current=data["current"])


class WebSocketClient(Client):
    """A WebSocket client."""

    async def _connect(self, gateway: str) -> str:
        url = f"ws://127.0.0.1:{self._frontend.ports[gateway]}{self._path('websocket')}"
        since, received = self._since(), False
        async with connect_websocket(
            url,
            proxy=None,
            open_timeout=_OPEN_TIMEOUT,
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
                if connection.close_code in _TRY_LATER and not received:
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
            async with asyncio.timeout(_OPEN_TIMEOUT):
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


class EventClient(Client):
    """A client of server-sent events that resumes with Last-Event-ID, as browsers do."""

    _last = ""

    async def _connect(self, gateway: str) -> str:
        async with asyncio.timeout(_OPEN_TIMEOUT):
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
            async with asyncio.timeout(_OPEN_TIMEOUT):
                answer = await reader.readuntil(b"\r\n\r\n")
            line = answer.decode().splitlines()[0]
            if int(line.split()[1]) in _TRY_LATER:
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
                last = version_of(self._last, _ZONE) if self._last else None
                since = None if last is None else last - self._frontend.event_overlap
                self._opened(gateway, since)
            elif name:
                fields[name] = value
            if name:
                continue
            if fields.get("event") == "end":
                if _decode(fields["data"])["code"] in _TRY_LATER and not received:
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


class LibraryClient(Client):
    """A program with the client library, which reconnects through the balancer."""

    async def _connect(self, gateway: str) -> str:
        contracts = self.checker.options.contracts
        half = len(contracts) // 2
        self.checker.opened(now(), "the balancer")
        try:
            await self._stream(contracts[:half], contracts[half:])
        except ime_live.ImeLiveError as error:
            return repr(error)
        return "the stream has ended"

    def _excused(self, gateway: str) -> bool:
        return False  # the library must survive everything

    async def _stream(self, by_name: Sequence[str], by_id: Sequence[str]) -> None:
        async with ime_live.connect(
            f"http://127.0.0.1:{self._frontend.balancer}",
            [NAMES[i] for i in by_name],
            by_id,
            queue=self._random.choice(_QUEUES),
            status=True,
            proxy=None,
            max_reconnect_delay=1.0,
            on_connection=self._count_refusals,
        ) as stream:
            watching = asyncio.create_task(self._watch(stream))
            try:
                async for message in stream:
                    data = message.to_dict()["data"]
                    contract_id = message.contract_id or _BY_NAME[message.contract_name or ""]
                    version = version_of(message.timestamp_text, _ZONE)
                    self.checker.state(now(), contract_id, version, data)
            finally:
                watching.cancel()

    def _count_refusals(self, event: ime_live.ConnectionEvent) -> None:
        if any(str(code) in event.reason for code in _TRY_LATER):
            self._frontend.refused += 1

    async def _watch(self, stream: ime_live.Stream[ime_live.Payload]) -> None:
        before: ime_live.Status | None = None
        while True:
            status = stream.status
            if status is not None and status is not before:
                named = {
                    _BY_NAME.get(key, key): None if at is None else _microseconds(at)
                    for key, at in status.contracts.items()
                }
                # It may be from before the contracts by id were added, and what it names may still
                # be in the queue.
                whole = named.keys() == set(self.checker.options.contracts)
                if whole and all(at is None or self._holds(i, at) for i, at in named.items()):
                    before = status
                    said = _microseconds(status.timestamp)
                    self.checker.status(now(), said, named, current=status.current)
            await asyncio.sleep(_POLL_INTERVAL)

    def _holds(self, contract_id: str, version: int) -> bool:
        held = self.checker.held.get(contract_id)
        return held is not None and held.version >= version


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


class Kind(msgspec.Struct, frozen=True):
    """A kind of client.

    Attributes:
        name: for reports.
        share: how many clients of a hundred are of this kind.
        make: its class.
        options: fields of `ClientOptions` besides the contracts.
        parameters: further query parameters.
    """

    name: str
    share: int
    make: type[Client]
    options: Mapping[str, Any] = {}
    parameters: Mapping[str, str] = {}


_STATUS: Final = {"status": "true"}
_LIBRARY: Final = {"resumes": True, "blind": True}

KINDS: Final[Sequence[Kind]] = (
    Kind("plain", 14, WebSocketClient),
    Kind("snapshot", 10, WebSocketClient, {"snapshot": True}),
    Kind("status", 14, WebSocketClient, {"snapshot": True}, _STATUS),
    Kind("resuming", 14, WebSocketClient, {"resumes": True}, _STATUS),
    Kind("throttled", 10, WebSocketClient, {"snapshot": True, "max_rate": 4.0}, _STATUS),
    Kind("sections", 6, WebSocketClient, {"snapshot": True, "sections": ("Aggregate",)}),
    Kind("sections", 4, WebSocketClient, {"snapshot": True, "sections": ("ContractInfo",)}),
    Kind("slow", 10, SlowClient, {"snapshot": True}, _STATUS),
    Kind("events", 5, EventClient, {"resumes": True}),
    Kind("events with status", 5, EventClient, {"resumes": True}, _STATUS),
    Kind("library", 8, LibraryClient, _LIBRARY, _STATUS),
)


def make_clients(
    count: int, frontend: Frontend, report: Callable[[Violation], None], chance: random.Random
) -> list[Client]:
    """Make clients of random kinds and selections.

    Args:
        count: their number, at most 100.
        frontend: where they connect.
        report: called with each violation.
        chance: decides.
    """
    kinds = [kind for kind in KINDS for _ in range(kind.share)]
    chance.shuffle(kinds)
    clients = []
    for n, kind in enumerate(kinds[:count]):
        contracts = chance.sample(IDS, chance.choice([1, 5, 10, 20, len(IDS)]))
        options = ClientOptions(tuple(contracts), **kind.options)
        client = kind.make(ClientChecker(f"{kind.name} {n}", options, report), frontend, chance)
        client.parameters = kind.parameters
        clients.append(client)
    return clients
