"""Targets: messages and records in Redis, as somebody with access to it may write them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from typing import Any, Final

import msgspec

from fuzz.memory_gateway import in_loop
from fuzz.target import Target
from ime_live.contracts import read_contract
from ime_live.errors import ContractError, FeedError, PayloadError, StoreError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.rest.bodies import static_data
from ime_live.gateway.upstream.sections import read_sections
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.market import SECTIONS, Payload, Update
from ime_live.market_json import MAX_STATE_BYTES, read_payload, stored_json
from ime_live.registry import Registry
from ime_live.status import read_status
from ime_live.store.bar import HEADER, LAST_MINUTE, pack, unpack
from ime_live.store.keys import Keys
from ime_live.store.pubsub import PubSub
from ime_live.store.records import LastState, state_in, timestamp_in
from ime_live.store.revocation import read_revocation
from tests.support.clock import GivenClock
from tests.support.frames import Reader
from tests.support.hub_world import NOW, A, B, World

_LATEST: Final = 10**17
_MOST_LINES: Final = 100
_TODAY: Final = date(2026, 5, 23)
_IDENTITY: Final = Identity("a", None, ("KASH*", "id:1?", "سکه*"))


class _Unused:
    """The comparisons of an upstream, which notes contracts that may be behind."""

    async def compare(self, ids: object) -> None: ...

    def doubt(self, contract_id: str) -> None: ...

    def forget(self, contract_id: str) -> None: ...

    # Its channels

    connected = True
    refusal = None
    refused: Final[Mapping[str, str]] = {}

    async def subscribe(self, ids: object) -> bool:
        return bool(ids)

    def unsubscribe(self, ids: object) -> None: ...


def read_publications(data: bytes) -> None:
    """Pass messages of a contract's channel to a client; each line of the input is one.

    A message that is dropped changes nothing; any other one is the state that clients get next.
    """
    world = World()
    world.open("1", last=Update(NOW - 10_000_000, A))
    _, writer = world.join("1")
    malformed: list[None] = []
    unused = _Unused()
    upstream = Upstream(
        world.states,
        unused,
        unused,
        clock=GivenClock(lambda: world.now),
        on_malformed=lambda: malformed.append(None),
        on_received=lambda: None,
    )
    given: list[Payload] = []
    lines = data.split(b"\n")[:_MOST_LINES]
    for line in lines:
        before = world.states.present("1")
        world.now += 1_000
        refused = len(malformed)
        upstream.on_message("1", line)
        world.tick()
        if len(malformed) > refused:
            assert world.states.present("1") == before, "a malformed message changes the state"
        else:
            given.append(_documented(line))
    received = Reader().messages(b"".join(writer.writes))
    assert all(message.payload in given for message in received), "a client gets another state"
    versions = [message.version for message in received]
    assert versions == sorted(set(versions)), "timestamps must grow"
    payloads = [message.payload for message in received]
    assert all(a != b for a, b in pairwise(payloads)), "equal states"
    for payload in given:
        _check_payload(payload)
    if len(malformed) == len(lines):
        raise PayloadError("no message can be read")


def _documented(message: bytes) -> Payload:
    """Return the payload in a message, as Python's own reader has it, without unknown keys."""
    data = json.loads(message.decode("utf-8", "replace"))["data"]
    return msgspec.convert({name: data[name] for name in SECTIONS}, Payload)


def _check_payload(payload: Payload) -> None:
    """Check that a payload can be published, stored and read again."""
    try:
        stored = stored_json(payload)
    except PayloadError:
        assert len(payload.to_json()) > MAX_STATE_BYTES // 2
        return
    assert read_payload(stored) == payload, "not the same when it is stored"
    json.loads(stored)
    payload.to_dict()


def read_record(data: bytes) -> None:
    """Read a record of the store; the input is its kind, a line feed and the record."""
    kind, _, record = data.partition(b"\n")
    _RECORDS.get(kind, _read_contract)(record)


def _read_contract(record: bytes) -> None:
    contract = read_contract(record)
    assert read_contract(contract.to_json()) == contract, "not the same when it is written again"
    registry = Registry([contract], conflicts=[])
    assert registry.by_id(contract.contract_id) is contract
    assert registry.by_name(contract.contract_name) is contract
    again, result = registry.with_import([contract])
    assert len(again) == 1
    assert not result.added
    _IDENTITY.may_see(contract)
    for details in (True, False):
        json.loads(static_data([contract], _TODAY, details=details).json)
    contract.to_dict()
    for underlying in contract.underlyings:
        assert registry.of_underlying(underlying)


def _read_state(record: bytes) -> None:
    version, _, stored = record.partition(b" ")
    state = state_in(version, stored, (b"", None), _LATEST)
    if isinstance(state, PayloadError):
        raise state
    assert isinstance(state, LastState)
    try:
        update = state.read()
    except PayloadError:
        _expect(PayloadError, lambda: read_sections(stored))
        raise
    sections = read_sections(stored)
    assert list(sections) == list(SECTIONS)
    whole = b"{" + b",".join(b'"%b":%b' % (k.encode(), v) for k, v in sections.items()) + b"}"
    assert read_payload(whole) == update.payload, "REST calls show another state than streams"
    timestamp_in(version)


def _expect(kind: type[Exception], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} is missing")


def _read_bars(record: bytes) -> None:
    bars = unpack(record)
    minutes = [bar.minute for bar in bars]
    assert minutes == sorted(set(minutes))
    assert all(0 <= minute <= LAST_MINUTE for minute in minutes)
    again = unpack(record[:HEADER].ljust(HEADER) + pack(bars))
    assert pack(again) == pack(bars)


def _read_revocation(record: bytes) -> None:
    key, _, value = record.partition(b"=")
    found = read_revocation(key, value)
    assert read_revocation(found.key.encode(), found.text.encode()) == found
    found.is_over(0.0)


def _read_status(record: bytes) -> None:
    status = read_status(record)
    assert read_status(status.to_json()) == status


_RECORDS: Final[Mapping[bytes, Callable[[bytes], None]]] = {
    b"contract": _read_contract,
    b"state": _read_state,
    b"bars": _read_bars,
    b"revocation": _read_revocation,
    b"status": _read_status,
}


class _Connection:
    """A connection to Redis that sends what it is given and ends."""

    def __init__(self, data: bytes) -> None:
        self._reader = asyncio.StreamReader()
        self._reader.feed_data(data)
        self._reader.feed_eof()
        self._writer = self
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def connect(self) -> None: ...

    async def disconnect(self, *, nowait: bool) -> None: ...


class _Store:
    """A store whose only connection is given."""

    keys = Keys("ime:")
    timeout = 5.0
    one_clock = True

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.connections = self

    def make(self) -> _Connection:
        return self._connection

    async def view(self, connection: object) -> None: ...

    async def changed(self, connection: object, view: object) -> str:
        await asyncio.Event().wait()
        return ""

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # as the store's connections, which convert all of them
            raise StoreError(str(error)) from error


# hiredis makes room for all elements at once, so a server that announces two billions takes the
# memory for them. No client of Redis can make it do so, and what Redis itself says is trusted.
_MANY_ELEMENTS: Final = re.compile(rb"[*~%>|]\+?\d{5,}")


async def _listen(data: bytes) -> None:
    data = _MANY_ELEMENTS.sub(b"*3", data)
    connection = _Connection(data)
    store: Any = _Store(connection)
    lost = asyncio.Event()
    messages: list[tuple[str, bytes]] = []
    pubsub = PubSub(
        store,
        on_message=lambda contract_id, raw: messages.append((contract_id, raw)),
        on_contracts=lambda ids: None,
        on_connected=lambda: None,
        on_disconnected=lambda error: lost.set(),
    )
    confirmed = pubsub.subscribe(["1"])
    assert not confirmed.result()
    listening = asyncio.create_task(pubsub.run())
    ended = asyncio.create_task(lost.wait())
    await asyncio.wait([listening, ended], return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, ended):
        task.cancel()
    outcomes = await asyncio.gather(listening, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError), outcomes
    assert not pubsub.connected
    assert pubsub.failures == 0
    assert all(contract_id == "1" and raw in data for contract_id, raw in messages)


_LEVEL: Final = b'{"buy_quantity":1,"buy_price":2.5,"sell_quantity":0,"sell_price":0}'

TARGETS: Final = (
    Target(
        "publications",
        "messages on contracts' channels in Redis (`gateway/upstream`, `gateway/hub`)",
        read_publications,
        (PayloadError,),
        (
            b'{"version":1780000000000000,"data":',
            b'{"data":',
            b"}",
            A.to_json(),
            B.to_json(),
            b'{"data":%b}\n' % A.to_json(),
            b'"skipped":1,',
            b'"BestLimit":',
            _LEVEL,
            b"\n",
            b",",
        ),
    ),
    Target(
        "store-replies",
        "what Redis sends to a listening connection (`store/pubsub`)",
        in_loop(_listen),
        (),
        (
            b"*3\r\n",
            b"$9\r\nsubscribe\r\n",
            b"$7\r\nmessage\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"$13\r\nime:contracts\r\n",
            b"$12\r\nime:live:{1}\r\n",
            b"$11\r\nime:revoked\r\n",
            b"-NOPERM no\r\n",
            b"-LOADING\r\n",
            b"+PONG\r\n",
            b"$2\r\n{}\r\n",
            b"%1\r\n",
            b">3\r\n",
            b"$2147483647\r\n",
            b'$5\r\n["1"]\r\n',
            b"*1\r\n" * 20,
        ),
    ),
    Target(
        "store-records",
        "records of contracts, last states, bars, revocations and the feed's status in Redis",
        read_record,
        (ContractError, PayloadError, FeedError),
        (
            b"contract\n",
            b"state\n",
            b"bars\n",
            b"revocation\n",
            b"status\n",
            b"1780000000000000 ",
            b'{"contractId":"1","contractName":"KASH"}',
            b'"market":"IMEOption",',
            b"jti:a=1 2",
            b'"aliases":["a"],',
            b'"ExpirationDate":"2026-12-01",',
            b'"delisted":true,',
            A.to_json(),
            b'{"state":"live","since":1}',
            b'"markets":{"IMEFutures":{"state":"live"}},',
            bytes(98),
        ),
    ),
)
