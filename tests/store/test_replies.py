"""Replies of another type than asked for: errors of the store, at each use of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest

from ime_live.contracts import Contract
from ime_live.errors import StoreError, UnknownContractError
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease
from ime_live.store.records import Lift
from ime_live.store.store import Store
from tests.support.serving import serving

MakePayload = Callable[..., dict[str, Any]]
Use = Callable[[Store, Lease, dict[str, Any]], Awaitable[object]]

ODD: Final = [
    b":1\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"$2\r\n{}\r\n",
    b"*1\r\n*1\r\n:1\r\n",
    b"*2\r\n:0\r\n:1\r\n",  # a whole number in place of a timestamp
    b"*2\r\n:0\r\n*0\r\n",
    b"*2\r\n:0\r\n$-1\r\n",
    b"*2\r\n:5\r\n:-2\r\n",  # fenced, although there was no token
    b"*2\r\n$1\r\n0\r\n:1\r\n",
    b"*3\r\n:1\r\n$1\r\n5\r\n:1\r\n",
    b"*4\r\n$1\r\n5\r\n:1\r\n$-1\r\n$-1\r\n",
    b"*4\r\n$1\r\n5\r\n*0\r\n$-1\r\n$-1\r\n",
    b"*4\r\n$1\r\n5\r\n$2\r\n{}\r\n:1\r\n:1\r\n",
]

CONTRACT: Final = Contract(contract_id="1", contract_name="A")

USES: Final[dict[str, Use]] = {
    "publish": lambda store, _, data: _publisher(store).publish("1", data),
    "publish_many": lambda store, _, data: _publisher(store).publish_many([("1", data)], token=1),
    "patch": lambda store, _, data: _publisher(store).patch("1", **data),
    "states": lambda store, *_: store.states(["1"]),
    "last": lambda store, *_: store.last(["1"]),
    "versions": lambda store, *_: store.versions(["1"]),
    "claim": lambda store, *_: store.claim(["1"], 1),
    "lift": lambda store, *_: store.lift([Lift("1", 1, 2, 3)]),
    "in_present_history": lambda store, *_: store.in_present_history({"1": b"x"}),
    "contracts": lambda store, *_: store.contracts(),
    "contracts_of": lambda store, *_: store.contracts_of(["1"]),
    "import_contracts": lambda store, *_: store.import_contracts([CONTRACT], token=1),
    "remove_contracts": lambda store, *_: store.remove_contracts(["1"]),
    "take": lambda _, lease, __: lease.take(),
    "write": lambda _, lease, __: lease.write(FeedStatus(FeedState.LIVE, 1, token=1)),
    "read": lambda _, lease, __: lease.read(),
    "release": lambda _, lease, __: lease.release(),
}


def _publisher(store: Store) -> Publisher:
    return Publisher(connections=store.connections)


class OddRedis:
    """Answers every command but those of the greeting with the same reply.

    Attributes:
        reply: that one.
        connections: made to it so far.
    """

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.connections = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                size = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(size):
                    length = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(b"+OK\r\n" if words[0] == b"CLIENT" else self.reply)
        writer.close()


@asynccontextmanager
async def odd_redis(reply: bytes) -> AsyncIterator[tuple[OddRedis, Store, Lease]]:
    redis = OddRedis(reply)
    async with serving(redis.talk) as port:
        settings = StoreSettings(redis_url=f"redis://127.0.0.1:{port}", redis_timeout=1.0)
        async with Store(settings) as store:
            yield redis, store, Lease(settings, "us", connections=store.connections)


@pytest.mark.parametrize("use", USES)
async def test_odd_reply_is_an_error_of_the_store(use: str, payload: MakePayload) -> None:
    for reply in ODD:
        async with odd_redis(reply) as (_, store, lease):
            # Some of them are right for some uses. No other error may be raised.
            with suppress(StoreError, UnknownContractError):
                await USES[use](store, lease, payload())


@pytest.mark.parametrize(
    "use", ["states", "claim", "take", "write", "contracts", "import_contracts"]
)
async def test_connection_is_renewed_after_an_odd_reply(use: str, payload: MakePayload) -> None:
    """A reply too many would else be the answer to each next command, for good."""
    async with odd_redis(b"+QUEUED\r\n") as (redis, store, lease):
        for made in (1, 2, 3):
            with suppress(StoreError):
                await USES[use](store, lease, payload())
            assert redis.connections == made
