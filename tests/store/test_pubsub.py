"""Pub/Sub on a real Valkey: subscriptions, breaks, refusals and half-open links."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar
from unittest.mock import patch

import hiredis
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ime_live.contracts import Contract
from ime_live.errors import StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.pubsub import IDLE, PubSub
from ime_live.store.store import Store
from tests.support.proxy import Proxy
from tests.support.serving import serving

Client = Any  # redis-py's own, whose commands are loosely typed
Eventually = Callable[..., Awaitable[None]]
_T = TypeVar("_T")


class Gateway:
    """Takes down what a `PubSub` says."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.contracts: list[list[str] | None] = []
        self.connections = 0
        self.errors: list[str] = []
        self.listening: asyncio.Task[None] | None = None

    def on_message(self, contract_id: str, raw: bytes) -> None:
        self.messages.append((contract_id, raw))

    def on_contracts(self, ids: list[str] | None) -> None:
        self.contracts.append(ids)

    def on_connected(self) -> None:
        self.connections += 1

    def on_disconnected(self, error: StoreError) -> None:
        self.errors.append(str(error))


@asynccontextmanager
async def listening(
    store: Store, gateway: Gateway, *ids: str, idle: float = 10.0
) -> AsyncIterator[PubSub]:
    """A `PubSub` that runs; connected, if there is something to connect to."""
    pubsub = PubSub(
        store,
        on_message=gateway.on_message,
        on_contracts=gateway.on_contracts,
        on_connected=gateway.on_connected,
        on_disconnected=gateway.on_disconnected,
        idle=idle,
    )
    pubsub.subscribe(ids)
    task = asyncio.create_task(pubsub.run())
    try:
        async with asyncio.timeout(5):
            while not (gateway.connections or gateway.errors):  # noqa: ASYNC110 - as in `until`
                await asyncio.sleep(0.001)
        yield pubsub
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@asynccontextmanager
async def client_of(server: EmbeddedValkey) -> AsyncIterator[Client]:
    async with Redis.from_url(server.url, protocol=2) as client:
        yield client


async def subscribed(client: Client) -> set[str]:
    """The contracts that anybody listens to."""
    channels = await client.pubsub_channels("ime:live:*")
    return {channel.decode().removeprefix("ime:live:{").removesuffix("}") for channel in channels}


async def calls(client: Client, command: str) -> int:
    """How often the server was given a command."""
    stats = await client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def refused_calls(client: Client, command: str) -> int:
    """How often the server refused a command."""
    stats = await client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("rejected_calls", 0))


async def until(ask: Callable[[], Awaitable[_T]], good: Callable[[_T], bool]) -> None:
    """Ask the server until its answer is good."""
    async with asyncio.timeout(5):
        while not good(await ask()):  # noqa: ASYNC110 - the server sets no event of ours
            await asyncio.sleep(0.002)


async def test_pubsub_delivers_messages_of_its_contracts(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    async with listening(store, gateway, "1", "سکه") as pubsub:
        assert gateway.connections == 1
        for contract_id in ("1", "2", "سکه", "1"):
            await redis.publish(store.keys.live(contract_id), f"for {contract_id}")
        await eventually(lambda: len(gateway.messages) == 3)
        assert gateway.messages == [
            ("1", b"for 1"),
            ("سکه", "for سکه".encode()),
            ("1", b"for 1"),
        ]
    assert not pubsub.connected
    assert gateway.errors == []


async def test_confirmed_subscription_misses_no_message(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    async with listening(store, gateway) as pubsub:
        for n in range(50):
            assert await pubsub.subscribe([str(n)])
            assert await redis.publish(store.keys.live(str(n)), "x") == 1
        await eventually(lambda: len(gateway.messages) == 50)
        assert await pubsub.subscribe(["0", "1"])  # again
        assert await pubsub.subscribe([])


async def test_caught_up_waits_for_messages_published_before(
    store: Store, redis: Client, gateway: Gateway
) -> None:
    async with listening(store, gateway, "1") as pubsub:
        for round_ in range(1, 21):
            pipe = redis.pipeline(transaction=False)
            for _ in range(500):
                pipe.publish(store.keys.live("1"), "x")
            await pipe.execute()
            await pubsub.caught_up()
            assert len(gateway.messages) == round_ * 500
        # The answers are counted: what is asked afterwards is confirmed in its turn.
        assert await pubsub.subscribe(["2"])
        assert await subscribed(redis) == {"1", "2"}
        assert gateway.errors == []


async def test_caught_up_returns_without_a_store(
    own_valkey: EmbeddedValkey, gateway: Gateway
) -> None:
    own_valkey.stop()
    async with (
        Store(StoreSettings(redis_url=own_valkey.url)) as store,
        listening(store, gateway, "1") as pubsub,
    ):
        await pubsub.caught_up()


async def test_caught_up_returns_when_the_link_hangs(
    own_valkey: EmbeddedValkey, gateway: Gateway
) -> None:
    async with (
        Proxy(int(own_valkey.url.rpartition(":")[2])) as proxy,
        Store(StoreSettings(redis_url=proxy.url)) as store,
        listening(store, gateway, "1") as pubsub,
    ):
        proxy.freeze()
        await pubsub.caught_up()
        assert gateway.errors == []


async def test_pubsub_delivers_nothing_after_unsubscribe(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    async with listening(store, gateway, "1", "2") as pubsub:
        pubsub.unsubscribe(["1", "unknown"])
        await redis.publish(store.keys.live("1"), "x")
        await redis.publish(store.keys.live("2"), "x")
        await eventually(lambda: gateway.messages)
        assert gateway.messages == [("2", b"x")]
        assert await pubsub.subscribe([])  # earlier commands are done
        assert await subscribed(redis) == {"2"}


async def test_requests_of_one_tick_are_one_command(
    store: Store, redis: Client, gateway: Gateway
) -> None:
    async with listening(store, gateway) as pubsub:
        await redis.config_resetstat()
        futures = [pubsub.subscribe([str(n)]) for n in range(500)]
        assert all(await asyncio.gather(*futures))
        assert await calls(redis, "subscribe") == 1
        for n in range(500):
            pubsub.unsubscribe([str(n)])
        assert await pubsub.subscribe(["x"])
        assert await calls(redis, "unsubscribe") == 1
        assert await subscribed(redis) == {"x"}


async def test_subscribe_and_unsubscribe_within_a_tick_send_nothing(
    store: Store, redis: Client, gateway: Gateway
) -> None:
    async with listening(store, gateway, "1") as pubsub:
        await redis.config_resetstat()
        pubsub.unsubscribe(["1"])
        confirmed = pubsub.subscribe(["1", "2"])
        pubsub.unsubscribe(["2"])
        assert await confirmed
        assert await subscribed(redis) == {"1"}
        assert await calls(redis, "unsubscribe") == 0
        assert await calls(redis, "subscribe") == 0


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["subscribe", "unsubscribe"]), st.sets(st.sampled_from("ABC"))
            ),
            st.just(("tick", frozenset())),
            st.just(("settle", frozenset())),
        )
    )
)
async def test_subscriptions_end_in_the_wanted_state_with_any_timing(
    valkey: EmbeddedValkey, steps: list[tuple[str, set[str]]]
) -> None:
    wanted: set[str] = set()
    gateway = Gateway()
    async with (
        Store(StoreSettings(redis_url=valkey.url)) as store,
        client_of(valkey) as client,
        listening(store, gateway) as pubsub,
    ):
        for step, ids in steps:
            if step == "subscribe":
                pubsub.subscribe(ids)
                wanted |= ids
            elif step == "unsubscribe":
                pubsub.unsubscribe(ids)
                wanted -= ids
            elif step == "tick":
                await asyncio.sleep(0)
            else:
                assert await pubsub.subscribe([])
        assert await pubsub.subscribe([])
        assert await subscribed(client) == wanted


async def test_pubsub_delivers_changes_of_contracts(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    async with listening(store, gateway):
        contracts = [Contract(contract_id=i, contract_name=f"N{i}") for i in ("1", "2")]
        await store.import_contracts(contracts)
        await store.remove_contracts(["2"])
        await redis.publish("ime:contracts", "not a list")
        await redis.publish("ime:contracts", json.dumps([1]))
        await redis.publish("ime:contracts", b'["\xff"]')
        await redis.publish("ime:contracts", "[" * 100_000)
        await eventually(lambda: len(gateway.contracts) == 6)
        assert gateway.contracts == [["1", "2"], ["2"], None, None, None, None]


async def test_exception_of_the_gateway_does_not_end_the_pubsub(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("of the gateway")

    async with listening(store, gateway, "1") as pubsub:
        pubsub._on_message = fail
        with capture_logs() as logs:
            for _ in range(3):
                await redis.publish(store.keys.live("1"), "x")
            await eventually(lambda: pubsub.failures == 3)
        assert [(line["event"], line["failures"]) for line in logs] == [
            ("a callback of the subscription to Redis failed", 1)
        ]
        assert isinstance(logs[0]["exc_info"], LookupError)
        pubsub._on_message = gateway.on_message
        await redis.publish(store.keys.live("1"), "x")
        await eventually(lambda: gateway.messages)

        pubsub._on_connected = pubsub._on_disconnected = fail
        await redis.client_kill_filter(_type="pubsub")
        await eventually(lambda: pubsub.failures == 5)
        assert pubsub.connected


# -- breaks --------------------------------------------------------------------------------


async def test_pubsub_reconnects_to_a_restarted_store(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    with capture_logs() as logs:
        async with (
            Store(StoreSettings(redis_url=own_valkey.url)) as store,
            listening(store, gateway, "1", "2") as pubsub,
        ):
            async with client_of(own_valkey) as client:
                os.kill((await client.info("server"))["process_id"], signal.SIGKILL)
            await eventually(lambda: not pubsub.connected and gateway.errors)
            # The wanted channels may change meanwhile.
            assert not await pubsub.subscribe(["3"])
            pubsub.unsubscribe(["2"])
            own_valkey.stop()
            own_valkey.start()
            await eventually(lambda: pubsub.connected)
            async with client_of(own_valkey) as client:
                assert await subscribed(client) == {"1", "3"}
                for contract_id in ("1", "2", "3"):
                    await client.publish(store.keys.live(contract_id), "x")
            await eventually(lambda: len(gateway.messages) == 2)
    place = own_valkey.url.removeprefix("redis://")
    reason = (
        "connection reset by peer" if "reset" in gateway.errors[0] else "it closed the connection"
    )
    assert gateway.errors == [f"Redis at {place} cannot be reached: {reason}"]
    assert gateway.connections == 2
    assert [line["event"] for line in logs] == ["connection to Redis lost", "Redis is back"]


async def test_ping_that_is_refused_is_an_answer(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    async with (
        Store(StoreSettings(redis_url=own_valkey.url)) as store,
        client_of(own_valkey) as client,
    ):
        await client.execute_command("ACL", "SETUSER", "default", "-ping")
        async with listening(store, gateway, "1", idle=0.05):
            await until(lambda: refused_calls(client, "ping"), lambda calls: calls >= 3)
            await client.publish(store.keys.live("1"), "x")
            await eventually(lambda: gateway.messages)
    assert gateway.connections == 1
    assert gateway.errors == []


async def test_pubsub_may_start_before_the_store(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    own_valkey.stop()
    with capture_logs() as logs:
        async with (
            Store(StoreSettings(redis_url=own_valkey.url)) as store,
            listening(store, gateway, "1") as pubsub,
        ):
            assert not pubsub.connected
            own_valkey.start()
            await eventually(lambda: pubsub.connected)
    assert gateway.connections == 1
    assert len(gateway.errors) == 1
    assert gateway.errors[0].endswith("refused the connection")
    assert [line["event"] for line in logs] == ["connection to Redis lost", "Redis is back"]


async def test_dead_connection_causes_a_reconnect(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    async with (
        Store(StoreSettings(redis_url=own_valkey.url, redis_timeout=0.1)) as store,
        client_of(own_valkey) as client,
        listening(store, gateway, "1", idle=0.05) as pubsub,
    ):
        pid = (await client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)  # the kernel keeps the connection
        try:
            confirmed = pubsub.subscribe(["2"])
            await eventually(lambda: gateway.errors)
            assert not await confirmed
            assert not pubsub.connected
            assert gateway.errors[0].endswith("did not answer within 0.1 s")
        finally:
            os.kill(pid, signal.SIGCONT)
        await eventually(lambda: pubsub.connected)
        assert await subscribed(client) == {"1", "2"}


async def test_silence_causes_no_reconnect(
    valkey: EmbeddedValkey, redis: Client, gateway: Gateway
) -> None:
    async with (
        Store(StoreSettings(redis_url=valkey.url, redis_timeout=0.2)) as store,
        listening(store, gateway, "1", idle=0.01) as pubsub,
    ):
        await redis.config_resetstat()
        await until(lambda: calls(redis, "ping"), lambda count: count >= 3)
        assert pubsub.connected
    assert gateway.connections == 1
    assert gateway.errors == []


async def test_refused_login_is_reported(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    place = own_valkey.url.removeprefix("redis://")
    async with client_of(own_valkey) as client:
        await client.config_set("requirepass", "right")
        url = f"redis://:wrong-secret@{place}"
        with capture_logs() as logs:
            async with (
                Store(StoreSettings(redis_url=url)) as store,
                listening(store, gateway, "1") as pubsub,
            ):
                assert gateway.errors[0].startswith(f"Redis at {place} refused the login")
                await client.config_set("requirepass", "wrong-secret")
                await eventually(lambda: pubsub.connected)
        assert "wrong-secret" not in str((gateway.errors, logs))


async def test_forbidden_channels_are_a_refusal_until_they_are_allowed(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    place = own_valkey.url.removeprefix("redis://")
    async with client_of(own_valkey) as client:
        await client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&other")
        with capture_logs() as logs:
            async with (
                Store(StoreSettings(redis_url=f"redis://u:pw@{place}")) as store,
                listening(store, gateway, "1") as pubsub,
            ):
                assert gateway.errors[0].startswith(f"Redis at {place}: NOPERM")
                assert str(pubsub.refusal).startswith("NOPERM")
                assert not await pubsub.subscribe(["2"])
                await client.execute_command("ACL", "SETUSER", "u", "&ime:*")
                await eventually(lambda: pubsub.connected)
                assert pubsub.refusal is None
                assert await subscribed(client) == {"1", "2"}
        refusals = [line for line in logs if line["event"] == "Redis refuses to subscribe"]
        assert [line["log_level"] for line in refusals] == ["error"]
        assert "NOPERM" in refusals[0]["error"]


async def test_refused_channel_does_not_affect_others(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    place = own_valkey.url.removeprefix("redis://")
    channels = ("&ime:contracts", "&ime:revoked", "&ime:live:{1}", "&ime:live:{2}")
    async with client_of(own_valkey) as client:
        await client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", *channels)
        with capture_logs() as logs:
            async with (
                Store(StoreSettings(redis_url=f"redis://u:pw@{place}")) as store,
                listening(store, gateway, "1") as pubsub,
            ):
                assert await pubsub.subscribe(["2", "3", "4"])
                assert {*pubsub.refused} == {"3", "4"}
                assert pubsub.refused["3"].startswith("NOPERM")
                assert (pubsub.connected, pubsub.refusal, gateway.connections) == (True, None, 1)
                assert await subscribed(client) == {"1", "2"}
                pubsub.unsubscribe(["4"])
                assert {*pubsub.refused} == {"3"}
                await client.publish(store.keys.live("2"), "x")
                await eventually(lambda: gateway.messages)
                assert await pubsub.subscribe(["5", "6"])
                assert {*pubsub.refused} == {"3", "5", "6"}
                # They are asked for again, and what they missed can be read then, at once.
                await client.execute_command("ACL", "SETUSER", "u", "&ime:*")
                await eventually(lambda: not pubsub.refused)
                assert gateway.connections == 2
                assert await subscribed(client) == {"1", "2", "3", "5", "6"}
                pubsub.unsubscribe(["5", "6"])
                # Redis closes connections whose channels are no longer allowed.
                await client.execute_command("ACL", "SETUSER", "u", "resetchannels", *channels)
                await eventually(lambda: {*pubsub.refused} == {"3"})
                await eventually(lambda: pubsub.connected)
                assert gateway.connections == 3
                assert await subscribed(client) == {"1", "2"}
    refusals = [line for line in logs if line["log_level"] == "error"]
    assert len(refusals) == 1  # a minute
    assert refusals[0]["contract_id"] in {"3", "4"}
    assert "NOPERM" in refusals[0]["error"]


async def test_outage_clears_the_refusal_of_channels(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    place = own_valkey.url.removeprefix("redis://")
    async with client_of(own_valkey) as client:
        await client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "+@all", "&other")
        async with (
            Store(StoreSettings(redis_url=f"redis://u:pw@{place}")) as store,
            listening(store, gateway, "1") as pubsub,
        ):
            await eventually(lambda: pubsub.refusal)
            own_valkey.stop()
            await eventually(lambda: pubsub.refusal is None)
            assert not pubsub.connected


class FakeRedis:
    """Answers the first connections' SUBSCRIBE with given bytes, and all others as it should."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self._serving = serving(self._serve)
        self.url = ""

    async def __aenter__(self) -> Self:
        self.url = f"redis://127.0.0.1:{await self._serving.__aenter__()}"
        return self

    async def __aexit__(self, *exc: Any) -> None:  # noqa: ANN401
        await self._serving.__aexit__(*exc)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65_536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(self._answer(command))

    def _answer(self, command: list[bytes]) -> bytes:
        if command[0] != b"SUBSCRIBE":
            return b"+OK\r\n"
        if self._answers:
            return self._answers.pop(0)
        return b"".join(
            b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(channel), channel)
            for channel in command[1:]
        )


ODD_REPLIES = [
    b":1\r\n",
    b"+OK\r\n",
    b"$3\r\nabc\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"*1\r\n$7\r\nmessage\r\n",
    b"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
    b"*3\r\n$7\r\nmessage\r\n$-1\r\n$-1\r\n",
    b"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
    b"*3\r\n$7\r\nmessage\r\n$11\r\nime:live:{1}\r\n$-1\r\n",
    b"*3\r\n$7\r\nmessage\r\n*1\r\n:1\r\n$1\r\nx\r\n",
    b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n*0\r\n",
    b"*3\r\n*-1\r\n*-1\r\n*-1\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n-ERR no\r\n:1\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$-1\r\n",
    b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nx\r\n",
    b"*3\r\n:1\r\n:2\r\n:3\r\n",
    b"*1\r\n-ERR no\r\n",
    b"-ERR no\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"%1\r\n*0\r\n*0\r\n",
    b"_\r\n",
    b"#t\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"*1000000000000\r\n",
]


@pytest.mark.parametrize("odd", ODD_REPLIES)
async def test_malformed_reply_causes_a_reconnect(
    odd: bytes, gateway: Gateway, eventually: Eventually
) -> None:
    async with (
        FakeRedis(odd) as server,
        Store(StoreSettings(redis_url=server.url)) as store,
        listening(store, gateway, "1") as pubsub,
    ):
        await eventually(lambda: pubsub.connected)
        assert len(gateway.errors) == 1
        assert gateway.errors[0].startswith("Redis at 127.0.0.1:")
        assert pubsub.failures == 0
        assert pubsub.refusal is None


def test_resets_cause_a_reconnect(own_valkey: EmbeddedValkey, eventually: Eventually) -> None:
    async def main() -> None:
        gateway = Gateway()
        port = int(own_valkey.url.rpartition(":")[2])
        async with (
            Proxy(port) as proxy,
            Store(StoreSettings(redis_url=proxy.url)) as store,
            listening(store, gateway, "1") as pubsub,
        ):
            for n in range(4):
                await eventually(lambda: pubsub.connected)
                await proxy.reset()
                # With something to write to a transport that is closed.
                assert not await pubsub.subscribe([f"new{n}"])
            await eventually(lambda: pubsub.connected)
            assert await pubsub.subscribe(["last"])
            async with client_of(own_valkey) as client:
                assert await subscribed(client) == {"1", "last", *(f"new{n}" for n in range(4))}

    asyncio.run(main())
    uvloop.run(main())


async def test_write_to_a_transport_that_has_just_closed_is_a_break(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    """uvloop raises RuntimeError then, and nobody would look at it in a callback of the loop."""

    def write(_: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async with (
        Store(StoreSettings(redis_url=own_valkey.url)) as store,
        listening(store, gateway, "1") as pubsub,
    ):
        await eventually(lambda: pubsub.connected)
        writer = pubsub._writer
        assert writer is not None
        with patch.object(writer, "write", write):
            assert not await pubsub.subscribe(["2"])
        await eventually(lambda: pubsub.connected)
        assert len(gateway.errors) == 1
        assert await pubsub.subscribe(["3"])
        async with client_of(own_valkey) as client:
            assert await subscribed(client) == {"1", "2", "3"}


async def test_consecutive_breaks_are_reported_once(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    port = int(own_valkey.url.rpartition(":")[2])
    with capture_logs() as logs:
        async with (
            Proxy(port) as proxy,
            Store(StoreSettings(redis_url=proxy.url)) as store,
            listening(store, gateway, "1") as pubsub,
        ):
            for n in range(5):
                await eventually(lambda: pubsub.connected)
                await proxy.reset()
                await eventually(lambda n=n: len(gateway.errors) > n)
            await eventually(lambda: pubsub.connected)
    assert [line["event"] for line in logs] == ["connection to Redis lost", "Redis is back"]


def test_idle_and_timeout_together_notice_a_half_open_link_within_seven_seconds() -> None:
    assert IDLE + StoreSettings().redis_timeout < 7


async def test_half_open_link_is_noticed_however_soon_after_an_answer(
    own_valkey: EmbeddedValkey, gateway: Gateway, eventually: Eventually
) -> None:
    port = int(own_valkey.url.rpartition(":")[2])
    clock = asyncio.get_running_loop().time
    async with (
        Proxy(port) as proxy,
        Store(StoreSettings(redis_url=proxy.url, redis_timeout=2.0)) as store,
        client_of(own_valkey) as client,
        listening(store, gateway, "1", idle=0.2) as pubsub,
    ):
        await until(lambda: calls(client, "ping"), lambda count: count > 0)
        proxy.half_open()
        began = clock()
        await eventually(lambda: gateway.errors)
        # 2.2 s at most, and not the 4 that it takes if the answer begins another timeout.
        assert clock() - began < 3.5
        assert gateway.errors[0].endswith("did not answer within 2 s")
        await eventually(lambda: pubsub.connected)


async def test_closing_pubsub_leaves_no_task_or_connection(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    async with listening(store, gateway, "1") as pubsub:
        pending = pubsub.subscribe(["2"])
    assert not await pending
    assert not await pubsub.subscribe(["3"])
    await until(lambda: subscribed(redis), lambda ids: not ids)


async def test_flood_of_one_channel_does_not_starve_the_others(
    store: Store, redis: Client, gateway: Gateway, eventually: Eventually
) -> None:
    batches: list[int] = []

    def tick() -> None:
        batches.append(len(gateway.messages))
        if len(gateway.messages) < 20_000:
            loop.call_soon(tick)

    loop = asyncio.get_running_loop()
    async with listening(store, gateway, "1"):
        tick()
        pipe = redis.pipeline(transaction=False)
        for _ in range(20_000):
            pipe.publish(store.keys.live("1"), "x")
        await pipe.execute()
        await eventually(lambda: len(gateway.messages) == 20_000)
    largest = max(b - a for a, b in itertools.pairwise(batches))
    # A batch, and what the last read chunk of 64 KiB held (some 1,200 such short messages).
    assert largest < 500 + 65_536 / 50
