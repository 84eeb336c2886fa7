"""The users of docs/redis.md: each can do all of its work, and needs each of its permissions.

The rules are taken from the document, and applied to a real server. The server's ACL LOG has what
it refuses, also where the program continues without.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import date

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from ime_live.bars.aggregator import check_bars
from ime_live.contracts import Contract
from ime_live.errors import StoreError
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.bar import Bar, pack
from ime_live.store.bar_store import BarStore, BarWrite
from ime_live.store.lease import BARS, Lease
from ime_live.store.pubsub import PubSub
from ime_live.store.records import Lift
from ime_live.store.revocation_store import RevocationStore
from ime_live.store.store import Store, check_settings
from tests.support.paths import ROOT
from tests.support.payloads import payload
from tests.support.servers import Server

DAY = date(2026, 5, 19)
DOCUMENT = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
USERS = dict(re.findall(r"^ACL SETUSER (\w+) (.+)$", DOCUMENT, re.MULTILINE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("valkey"), "--save", "") as made:
        yield made


async def listen(settings: StoreSettings) -> None:
    """Subscribe to a contract, be silent for a while, and unsubscribe."""
    connected = asyncio.Event()
    async with Store(settings) as store:
        pubsub = PubSub(
            store,
            on_message=lambda _, __: None,
            on_contracts=lambda _: None,
            on_connected=connected.set,
            on_disconnected=lambda _: connected.set(),
            idle=0.01,
        )
        running = asyncio.create_task(pubsub.run())
        try:
            await connected.wait()
            assert await pubsub.subscribe(["1"])
            assert not pubsub.refused
            pubsub.unsubscribe(["1"])
            await pubsub.caught_up()
            await asyncio.sleep(0.05)
            assert pubsub.connected
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def publish(settings: StoreSettings, price: int) -> None:
    async with Publisher(settings.redis_url) as publisher:
        await publisher.publish("1", payload(price))
        await publisher.publish("1", payload(price))  # equal: it is confirmed


async def work_of_gateway(settings: StoreSettings) -> None:
    await check_settings(settings, writes=False)
    await listen(settings)
    async with Store(settings) as store:
        assert await store.contracts()
        assert await store.contracts_of(["1"])
        state = (await store.states(["1"]))["1"]
        await store.versions(["1"])
        assert not isinstance(state, Exception)
        assert state.history  # also of what the publisher has written
        assert await store.in_present_history({"1": state.history}) == {"1"}
        [lifted] = await store.lift([Lift("1", state.version, state.version + 1000, 10**12)])
        if isinstance(lifted, StoreError):
            raise lifted
        assert lifted.version > state.version
    for program in ("feed", BARS):
        async with Lease(settings, program=program) as lease:
            await lease.read()
    async with RevocationStore(settings) as revocations:
        await revocations.read()
    async with BarStore(settings) as bars:
        await bars.read([("1", DAY)])


async def lead(settings: StoreSettings, program: str) -> None:
    async with Lease(settings, "us", program=program) as lease:
        state = await lease.take()
        assert state.leads
        now = time.time_ns() // 1000
        await lease.write(FeedStatus(FeedState.LIVE, now, written=now, token=state.token))
        await lease.read()
        await lease.release()


async def work_of_bars(settings: StoreSettings) -> None:
    await check_bars(settings)
    await listen(settings)
    await lead(settings, BARS)
    async with Store(settings) as store:
        assert await store.contracts()
        assert await store.states(["1"])
    token = time.time_ns() // 1000
    async with BarStore(settings) as bars:
        for minute, stored in enumerate((None, 1)):  # at the end, and with another token
            bar = pack([Bar(minute, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)])
            write = BarWrite("1", DAY, stored, stored or 0, bar)
            [written] = await bars.write([write], token + (stored or 0), 60)
            if isinstance(written, StoreError):
                raise written
            assert written
        assert len((await bars.read([("1", DAY)]))[0]) == 2


async def work_of_feed(settings: StoreSettings) -> None:
    await check_settings(settings, writes=True)
    await lead(settings, "feed")
    token = time.time_ns() // 1000
    contracts = [Contract(contract_id=each, contract_name=each) for each in ("1", "2")]
    async with Store(settings) as store:
        await store.import_contracts(contracts, token=token)
        await store.remove_contracts(["2"])
        await store.claim(["1"], token)
    await publish(settings, token % 1000 + 1)


async def work_of_publisher(settings: StoreSettings) -> None:
    await check_settings(settings, writes=True)
    await publish(settings, time.time_ns() % 1000 + 1)


WORK: dict[str, Callable[[StoreSettings], Awaitable[None]]] = {
    "gateway": work_of_gateway,
    "bars": work_of_bars,
    "feed": work_of_feed,
    "publisher": work_of_publisher,
}


async def prepare(server: Server) -> None:
    """Register a contract with a state."""
    server.client.flushall()
    await work_of_feed(StoreSettings(redis_url=server.url))


def as_user(server: Server, user: str, rules: str) -> StoreSettings:
    """Make the user, on a server that has no script and has refused nothing."""
    pipe = server.client.pipeline(transaction=False)
    pipe.execute_command("SCRIPT", "FLUSH")
    pipe.execute_command("ACL", "SETUSER", user, *re.findall(r"\([^)]*\)|\S+", rules))
    pipe.execute_command("ACL", "LOG", "RESET")
    pipe.execute()
    return StoreSettings(redis_url=server.url.replace("//", f"//{user}:PASSWORD@"))


def refusals(server: Server) -> set[tuple[str, str]]:
    """The refusals of the server, from its ACL LOG."""
    entries = server.client.execute_command("ACL", "LOG")
    found = [dict(zip(each[::2], each[1::2], strict=True)) for each in entries]
    return {(each["reason"], each["object"]) for each in found}


@pytest.mark.parametrize("user", WORK)
async def test_documented_user_does_all_of_its_work(server: Server, user: str) -> None:
    await prepare(server)
    await WORK[user](as_user(server, user, USERS[user]))
    assert not refusals(server)


@pytest.mark.parametrize("user", WORK)
async def test_documented_user_needs_each_of_its_permissions(server: Server, user: str) -> None:
    await prepare(server)
    permissions = [*re.finditer(r"[%+&][^\s()]+", USERS[user])]
    assert len(permissions) > 8
    for each in permissions:
        settings = as_user(server, user, USERS[user][: each.start()] + USERS[user][each.end() :])
        # A program may log what it is not allowed, and go on.
        with suppress(StoreError, AssertionError):
            await WORK[user](settings)
        assert refusals(server), f"{user} does not need {each[0]}"


WRITES = {
    "a contract": ("HSET", "ime:contracts", "1", "{}"),
    "the news of contracts": ("PUBLISH", "ime:contracts", "[]"),
    "a state": ("HSET", "ime:last:{1}", "version", "1"),
    "a message": ("PUBLISH", "ime:live:{1}", "{}"),
    "the feed's lease": ("SET", "ime:feed", "1 other"),
    "the feed's status": ("SET", "ime:status", "{}"),
    "the lease of bars": ("SET", "ime:bars", "1 other"),
    "bars": ("SET", "ime:bars:{1}:2026-05-19", ""),
    "a revocation": ("HSET", "ime:revoked", "sub:alice", "1 0"),
    "the news of revocations": ("PUBLISH", "ime:revoked", ""),
    "anything else": ("SET", "other", ""),
    "everything": ("FLUSHALL",),
    "settings of the server": ("CONFIG", "SET", "appendonly", "no"),
    "users": ("ACL", "SETUSER", "other"),
    "a list of keys": ("KEYS", "*"),
}
ALLOWED = {
    "gateway": {"a state", "a message"},
    "reader": set(),
    "bars": {"the lease of bars", "bars"},
    "feed": {
        "a contract", "the news of contracts", "a state", "a message", "the feed's lease",
        "the feed's status",
    },
    "publisher": {"a state", "a message"},
}  # fmt: skip


@pytest.mark.parametrize("user", ALLOWED)
def test_documented_user_may_do_no_work_of_others(server: Server, user: str) -> None:
    # The gateway that is not to write has no rules in parentheses.
    rules = USERS.get(user) or re.sub(r"\([^)]*\)", "", USERS["gateway"])
    url = as_user(server, user, rules).redis_url
    allowed = set()
    with Redis.from_url(url, protocol=2) as connection:
        for what, command in WRITES.items():
            with suppress(NoPermissionError):
                connection.execute_command(*command)
                allowed.add(what)
    assert allowed == ALLOWED[user]
