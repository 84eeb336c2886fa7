"""The store on a real Valkey: states, versions, batches, and faults of its data."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ime_live.contracts import Contract, Market
from ime_live.errors import (
    IncompleteError,
    PayloadError,
    StoreError,
)
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import MICROSECONDS, Payload, Update
from ime_live.market_json import MAX_STATE_BYTES, read_payload, read_publication, stored_json
from ime_live.settings import StoreSettings
from ime_live.status import FeedState
from ime_live.store import scripts
from ime_live.store.keys import Keys
from ime_live.store.lease import Lease
from ime_live.store.records import LastState, Stored
from ime_live.store.store import Store

MakePayload = Callable[..., dict[str, Any]]
Client = Any  # redis-py's own, whose commands are loosely typed


def now() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def state(payload: MakePayload) -> Callable[..., bytes]:
    """Make an encoded state: ``state(last_price=5)``."""
    return lambda **changes: read_payload(payload(Aggregate=changes)).to_json()


MakeState = Callable[..., bytes]


async def publish(store: Store, contract_id: str, data: bytes) -> Stored:
    [stored] = await store.publish([(contract_id, data)])
    assert isinstance(stored, Stored)
    return stored


# -- keys ----------------------------------------------------------------------------------


def test_keys_and_channels_have_documented_names() -> None:
    keys = Keys("ime:")
    assert keys.contracts == "ime:contracts"
    assert keys.last("12345") == "ime:last:{12345}"
    assert keys.live("12345") == "ime:live:{12345}"


# -- publishing ----------------------------------------------------------------------------


async def test_changed_state_is_stored_and_published(
    store: Store, redis: Client, state: MakeState
) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe(store.keys.live("1"))
        before = now()
        stored = await publish(store, "1", state())
        assert stored.published
        assert before <= stored.version <= now()

        fields = await redis.hgetall("ime:last:{1}")
        version = str(stored.version).encode()
        history: str = (await redis.info("replication"))["master_replid"]
        assert fields == {
            b"version": version,
            b"data": state(),
            b"seen": version,
            b"history": history.encode(),
        }

        message = None
        while message is None:
            message = await channel.get_message(timeout=1)
        assert message["data"] == b'{"version":%b,"data":%b}' % (version, state())
        assert read_publication(message["data"], now())[0] == stored.version


async def test_equal_state_only_moves_seen(store: Store, redis: Client, state: MakeState) -> None:
    async with redis.pubsub() as channel:
        await channel.subscribe(store.keys.live("1"))
        first = await publish(store, "1", state())
        again = await publish(store, "1", state())
        assert again == Stored(first.version, published=False)
        assert int(await redis.hget("ime:last:{1}", "seen")) > first.version
        await redis.publish(store.keys.live("1"), "end")
        heard = [(await channel.get_message(timeout=1))["data"] for _ in range(3)]
    assert heard[0] == 1  # the subscription
    assert heard[2] == b"end"


async def test_integral_floats_are_integers(store: Store, state: MakeState) -> None:
    first = await publish(store, "1", state(last_price=1163100, low_price=-5, time="1.0"))
    assert await publish(
        store, "1", state(last_price=1163100.0, low_price=-5.0, time="1.0")
    ) == Stored(first.version, published=False)
    assert (await publish(store, "1", state(last_price=1163100.5, low_price=-5))).published


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"last_price": 10}, {"last_price": 10.05}),
        ({"last_price": 1.05}, {"last_price": 15}),
        ({"last_price": 1.0}, {"last_price": 10}),
        ({"time": "1.0"}, {"time": "1"}),
        ({"time": "12:00:00.0"}, {"time": "12:00:00"}),
        ({"time": 'a":1.0,'}, {"time": 'a":1,'}),
        ({"time": '\\a":1.0}'}, {"time": '\\a":1}'}),
        ({"last_price": 10**16}, {"last_price": 10**16 + 1}),
    ],
)
async def test_similar_states_are_changes(
    store: Store, state: MakeState, one: dict[str, Any], other: dict[str, Any]
) -> None:
    await publish(store, "1", state(**one))
    assert (await publish(store, "1", state(**other))).published
    assert (await publish(store, "1", state(**one))).published


LARGE = (10**16, 1e16, -(10**16), -1e16, 2**53 + 1, float(2**53), 2**64, float(2**64), 1e300)
numbers = st.sampled_from(
    (0, -0.0, 1, 1.0, 10, 10.0, 0.5, -3, -3.0, 10**15, 1e15, 1.05, 100000.0, *LARGE)
)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(one=st.tuples(numbers, numbers, numbers), other=st.tuples(numbers, numbers, numbers))
async def test_states_are_equal_if_python_finds_them_equal(
    valkey: EmbeddedValkey,
    payload: MakePayload,
    one: tuple[float, float, float],
    other: tuple[float, float, float],
) -> None:
    def made(values: tuple[float, float, float]) -> Payload:
        last, low, interest = values
        return read_payload(
            payload(
                Aggregate={"last_price": last, "low_price": low},
                ContractInfo={"open_interest_changes": interest},
            )
        )

    async with Store(StoreSettings(redis_url=valkey.url)) as store:
        await publish(store, "1", stored_json(made(one)))
        stored = await publish(store, "1", stored_json(made(other)))
    assert stored.published == (made(one) != made(other))


def _reversed(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return value


@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda data: json.dumps(data, indent=2),
        lambda data: json.dumps(_reversed(data), separators=(",", ":")),
        lambda data: json.dumps({"extra": {"BestLimit": None}} | data),
        lambda data: json.dumps(data, indent=1).replace("1163100", "1.1631E+6"),
    ],
    ids=["blanks", "indented", "another order", "unknown keys", "exponent"],
)
async def test_state_that_others_have_written_in_other_words_is_equal(
    store: Store, redis: Client, state: MakeState, write: Callable[[Any], str]
) -> None:
    version, data = now(), state(last_price=1163100)
    await redis.hset("ime:last:{1}", mapping={"version": version, "data": write(json.loads(data))})
    assert await publish(store, "1", data) == Stored(version, published=False)
    assert (await publish(store, "1", state(last_price=1163101))).published


@pytest.mark.parametrize(
    "written",
    [
        '{ "BestLimit": null }',
        "[1, 2]",
        " {}",
        " not JSON",
        "[" * 2_000,
        '"' + "x" * 50,
        "1",
        "null",
    ],
)
async def test_state_that_says_something_else_is_a_change(
    store: Store, redis: Client, state: MakeState, written: str
) -> None:
    version = now()
    await redis.hset("ime:last:{1}", mapping={"version": version, "data": written})
    assert (await publish(store, "1", state())).published


@pytest.mark.parametrize("key", ["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"])
async def test_state_of_others_without_a_section_is_a_change(
    store: Store, redis: Client, state: MakeState, key: str
) -> None:
    data = json.loads(state())
    for written in (data | {key: {}}, {k: v for k, v in data.items() if k != key}):
        await redis.hset("ime:last:{1}", mapping={"version": now(), "data": json.dumps(written)})
        assert (await publish(store, "1", state())).published


async def test_placed_state_keeps_its_version_if_it_is_newer(
    store: Store, redis: Client, state: MakeState
) -> None:
    first, second = state(last_price=1), state(last_price=2)
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(store.keys.live("1"))
        await pubsub.get_message(timeout=5)
        await store.place([("1", first, 1000), ("1", second, 1000), ("1", second, 999)])
        await store.place([("1", second, 1001)])
        messages = [
            await pubsub.get_message(ignore_subscribe_messages=True, timeout=5) for _ in range(2)
        ]
    assert [json.loads(each["data"])["version"] for each in messages] == [1000, 1001]
    assert await store.last(["1"]) == {"1": Update(1001, read_payload(second))}
    # Publishing goes on from there.
    assert (await publish(store, "1", first)).version > 1001


async def test_state_that_cannot_be_placed_is_an_error(
    store: Store, redis: Client, state: MakeState
) -> None:
    await redis.set("ime:last:{2}", "text")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await store.place([("1", state(), 5), ("2", state(), 5), ("3", state(), 5)])
    assert await store.versions(["1", "3"]) == {"1": 5, "3": 5}


async def test_versions_grow_when_the_clock_goes_back(
    store: Store, redis: Client, state: MakeState
) -> None:
    ahead = now() + 3600 * MICROSECONDS
    await redis.hset("ime:last:{1}", mapping={"version": ahead, "data": "{}"})
    assert await publish(store, "1", state()) == Stored(ahead + 1, published=True)
    assert await publish(store, "1", state(last_price=5)) == Stored(ahead + 2, published=True)
    assert await redis.hget("ime:last:{1}", "version") == str(ahead + 2).encode()


async def test_versions_grow_over_an_emptied_store(
    store: Store, redis: Client, state: MakeState
) -> None:
    before = await publish(store, "1", state())
    await redis.flushall()
    after = await publish(store, "1", state())
    assert after.published
    assert after.version > before.version


@pytest.mark.parametrize(
    "version",
    [
        *("", "abc", "nan", "inf", "-inf", "-5", "0", "1e400", "0x", "9" * 30, str(2**63)),
        # Lua reads these as numbers, other readers do not.
        *(
            "1700000000000000.0",
            "1.7e15",
            " 1700000000000000",
            "+1700000000000000",
            "0x60a24181e4000",
        ),
        "1700000000000000".zfill(20),
        # The ids must be the same in each worker of pytest-xdist.
        pytest.param(str(now() + 2 * 86_400 * MICROSECONDS), id="in two days"),
        pytest.param(str(now() * 1000), id="nanoseconds"),
    ],
)
async def test_corrupt_version_is_replaced(
    store: Store, redis: Client, state: MakeState, version: str
) -> None:
    await redis.hset("ime:last:{1}", mapping={"version": version, "data": state()})
    assert await store.last(["1"]) == {}
    before = now()
    stored = await publish(store, "1", state())
    assert stored.published
    assert before <= stored.version <= now()
    assert (await store.last(["1"]))["1"].version == stored.version
    assert not (await publish(store, "1", state())).published


async def test_two_publishers_of_one_contract_have_growing_versions(
    valkey: EmbeddedValkey, redis: Client, state: MakeState
) -> None:
    async with (
        redis.pubsub(ignore_subscribe_messages=True) as channel,
        Store(StoreSettings(redis_url=valkey.url)) as one,
        Store(StoreSettings(redis_url=valkey.url)) as other,
    ):
        await channel.subscribe(one.keys.live("1"))
        states = [state(last_price=n) for n in range(100)]

        async def feed(store: Store) -> list[Stored]:
            return [await publish(store, "1", data) for data in states]

        results = list(itertools.chain(*await asyncio.gather(feed(one), feed(other))))
        await redis.publish(one.keys.live("1"), "end")
        heard: list[bytes] = []
        while not heard or heard[-1] != b"end":
            message = await channel.get_message(timeout=1)
            heard += [message["data"]] if message else []
    versions = [json.loads(raw)["version"] for raw in heard[:-1]]
    assert versions == sorted(set(versions))
    assert set(versions) == {stored.version for stored in results if stored.published}
    assert len(versions) == sum(stored.published for stored in results)
    prices = [json.loads(raw)["data"]["Aggregate"]["last_price"] for raw in heard[:-1]]
    assert all(a != b for a, b in itertools.pairwise(prices))


async def test_missing_script_is_loaded_again(
    store: Store, redis: Client, state: MakeState
) -> None:
    first = await publish(store, "1", state())
    await redis.script_flush()
    results = await store.publish([("1", state()), ("2", state()), ("1", state(last_price=5))])
    assert [r.published for r in results if isinstance(r, Stored)] == [False, True, True]
    assert results[0] == Stored(first.version, published=False)


async def test_last_state_of_a_batch_is_last_if_the_script_is_loaded_in_its_middle(
    store: Store, redis: Client, state: MakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelined = store._pipelined
    commands = 0

    async def loaded_after_the_first(
        calls: Sequence[tuple[Any, ...]], *, fields: Sequence[Any] = ()
    ) -> list[Any]:
        nonlocal commands
        replies: list[Any] = []
        for call in calls:
            replies += await pipelined([call], fields=fields)
            if not commands:
                await redis.script_load(scripts.PUBLISH.text)
            commands += 1
        return replies

    monkeypatch.setattr(store, "_pipelined", loaded_after_the_first)
    await redis.script_flush()
    older, newer = state(last_price=1), state(last_price=2)
    outcomes = await store.publish([("1", older), ("2", older), ("1", newer)])
    assert commands == 5  # contract 2 is not published twice
    assert all(isinstance(each, Stored) and each.published for each in outcomes)
    assert await redis.hget("ime:last:{1}", "data") == newer


async def test_refused_state_does_not_affect_the_others(
    store: Store, redis: Client, state: MakeState
) -> None:
    await redis.set("ime:last:{2}", "not a hash")
    good, refused, other = await store.publish([(i, state()) for i in ("1", "2", "3")])
    assert isinstance(good, Stored)
    assert isinstance(other, Stored)
    assert isinstance(refused, StoreError)
    assert "WRONGTYPE" in str(refused)


async def test_compare_and_set_writes_only_unchanged_values(store: Store, state: MakeState) -> None:
    assert await store.publish_if("1", state(), expected=5) is None
    assert await store.last(["1"]) == {}
    first = await publish(store, "1", state())
    second = await store.publish_if("1", state(last_price=5), expected=first.version)
    assert second is not None
    assert second.published
    assert await store.publish_if("1", state(), expected=first.version) is None
    same = await store.publish_if("1", state(last_price=5), expected=second.version)
    assert same == Stored(second.version, published=False)


async def test_compare_and_set_reports_the_refusal_of_redis(
    store: Store, redis: Client, state: MakeState
) -> None:
    await redis.set("ime:last:{1}", "not a hash")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await store.publish_if("1", state(), expected=1)


# -- last states ---------------------------------------------------------------------------


async def test_last_states_are_read_by_id(store: Store, state: MakeState) -> None:
    stored = {i: await publish(store, i, state(last_price=int(i))) for i in ("1", "2")}
    last = await store.last(["1", "2", "3"])
    assert {i: update.version for i, update in last.items()} == {
        i: s.version for i, s in stored.items()
    }
    assert last["2"].payload.aggregate.last_price == 2
    assert await store.last([]) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "5", "data": "{}"},
        {"version": "5", "data": "no JSON"},
        {"version": "5"},
        {"data": "{}"},
        {"version": "5", "data": b"\xff"},
        None,
    ],
)
async def test_last_state_that_cannot_be_read_is_left_out(
    store: Store, redis: Client, state: MakeState, fields: dict[str, Any] | None
) -> None:
    await publish(store, "1", state())
    if fields is None:
        await redis.set("ime:last:{2}", "not a hash")
    else:
        await redis.hset("ime:last:{2}", mapping=fields)
    with capture_logs() as logs:
        assert list(await store.last(["2", "1"])) == ["1"]
    assert store.unreadable == 1
    assert [(line["event"], line["contract_id"]) for line in logs] == [
        ("last state cannot be read", "2")
    ]


async def test_states_are_returned_as_they_were_stored(
    store: Store, redis: Client, state: MakeState
) -> None:
    stored = await publish(store, "1", state(last_price=5))
    history: str = (await redis.info("replication"))["master_replid"]
    await redis.hset("ime:last:{2}", mapping={"version": "7", "data": b"\xff anything"})
    assert await store.states(["2", "1", "3", "4"]) == {
        "2": LastState(7, b"\xff anything"),
        "1": LastState(
            stored.version, state(last_price=5), b"%d" % stored.version, history.encode()
        ),
    }
    assert await store.states([]) == {}


@pytest.mark.parametrize("version", ["0", "-5", "x", "5.0", "9" * 18, "9" * 25, None])
async def test_malformed_state_is_reported_and_does_not_affect_others(
    store: Store, redis: Client, state: MakeState, version: str | None
) -> None:
    await publish(store, "1", state())
    if version is None:
        await redis.set("ime:last:{2}", "not a hash")
    else:
        await redis.hset("ime:last:{2}", mapping={"version": version, "data": "{}"})
    with capture_logs() as logs:
        found = await store.states(["2", "1"])
    assert isinstance(found["1"], LastState)
    error = found["2"]
    assert isinstance(error, PayloadError)
    assert ("WRONGTYPE" if version is None else version) in str(error)
    assert logs == []


def _read(found: LastState | PayloadError) -> Update:
    if isinstance(found, PayloadError):
        raise found
    return found.read()


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"version": "7"}, "data"),
        ({"version": "7", "seen": "7", "token": "5"}, "data"),
        ({"data": "{}"}, "version"),
        ({"data": "", "seen": "7"}, "version"),
        ({"seen": "7"}, "both"),
        ({"version": "", "data": "{}"}, None),
        ({"version": "7", "data": ""}, None),
        ({"version": "", "data": ""}, None),
    ],
)
async def test_truncated_state_is_bad_data_and_not_missing(
    store: Store, redis: Client, state: MakeState, fields: dict[str, str], missing: str | None
) -> None:
    await redis.hset("ime:last:{1}", mapping=fields)
    found = (await store.states(["1"]))["1"]
    if missing is None:
        with pytest.raises(PayloadError):
            _read(found)
    else:
        assert isinstance(found, PayloadError)
        assert str(found) == f"a last state must have version and data, missing: {missing}"
    assert await store.last(["1"]) == {}
    assert store.unreadable == 1
    # The next state replaces it.
    stored = await publish(store, "1", state())
    history: str = (await redis.info("replication"))["master_replid"]
    assert await store.states(["1"]) == {
        "1": LastState(stored.version, state(), b"%d" % stored.version, history.encode())
    }


@pytest.mark.parametrize("size", [MAX_STATE_BYTES + 1, 5_000_000])
async def test_stored_state_that_is_too_long_is_not_decoded(
    store: Store, redis: Client, size: int
) -> None:
    data = b'{"x":"' + b"x" * (size - 8) + b'"}'
    await redis.hset("ime:last:{1}", mapping={"version": "7", "data": data})
    found = (await store.states(["1"]))["1"]
    assert isinstance(found, LastState)
    with pytest.raises(PayloadError, match=f"at most 65536 bytes of JSON, got {size}"):
        found.read()
    assert await store.last(["1"]) == {}


async def test_error_of_redis_is_not_a_missing_state(
    store: Store, redis: Client, valkey: EmbeddedValkey, state: MakeState
) -> None:
    await publish(store, "1", state())
    await redis.set("ime:last:{2}", "not a hash")
    rights = ("on", "nopass", "+@all", "%R~ime:last:{1}", "%R~ime:last:{2}", "%R~ime:contracts")
    await redis.execute_command("ACL", "SETUSER", "limited", "reset", *rights)
    url = valkey.url.replace("://", "://limited:x@")
    try:
        async with Store(StoreSettings(redis_url=url)) as limited_store:
            with pytest.raises(IncompleteError, match=r"(?i)no permissions to access") as caught:
                await limited_store.states(["1", "2", "3"])
            assert caught.value.left == {"3"}
            assert isinstance(caught.value.found["1"], LastState)
            assert isinstance(caught.value.found["2"], PayloadError)
            with pytest.raises(IncompleteError) as caught:
                await limited_store.last(["1", "3"])
            assert list(caught.value.found) == ["1"]
            with pytest.raises(StoreError, match=r"(?i)no permissions") as failed:
                await limited_store.states(["3", "4"])
            assert not isinstance(failed.value, IncompleteError)
            with pytest.raises(StoreError, match=r"(?i)no permissions"):
                await limited_store.versions(["1", "3"])
    finally:
        await redis.execute_command("ACL", "DELUSER", "limited")


async def test_reading_states_during_an_outage_is_a_store_error() -> None:
    async with Store(StoreSettings(redis_url="redis://127.0.0.1:1")) as away:
        with pytest.raises(StoreError, match="refused the connection"):
            await away.states(["1"])


@pytest.mark.parametrize("reply", [b":1", b"*0", b"$-1", b"+OK", b"#t", b"*2\r\n+a\r\n+b"])
async def test_reply_of_another_type_is_an_error_of_the_store(
    reply: bytes, state: MakeState
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65_536):
            commands.feed(data)
            while command := commands.gets():
                ours = command[0] in (b"EVAL", b"EVALSHA", b"HMGET", b"GET", b"EXISTS")
                writer.write((reply if ours else b"+OK") + b"\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = StoreSettings(redis_url=f"redis://127.0.0.1:{port}")
    async with server, Store(settings) as store, Lease(settings, "a feed") as lease:
        [published] = await store.publish([("1", state())])
        assert isinstance(published, StoreError)
        with pytest.raises(StoreError):
            await store.claim(["1"], 5)
        with pytest.raises(StoreError):
            await store.states(["1"])
        with pytest.raises(StoreError):
            await lease.take()
        if reply == b"$-1":
            assert await lease.read() == (None, False)
        elif reply == b"+OK":
            status, _ = await lease.read()
            assert status is not None
            assert status.state is FeedState.DOWN
        else:
            with pytest.raises(StoreError):
                await lease.read()


# -- contracts -----------------------------------------------------------------------------

GOLD = Contract(contract_id="1", contract_name="سکه0312پ01", market=Market.FUTURES)


async def test_versions_continue_for_a_contract_that_is_registered_again(
    store: Store, state: MakeState
) -> None:
    await store.import_contracts([GOLD])
    before = await publish(store, "1", state())
    await store.remove_contracts(["1"])
    assert (await store.last(["1"]))["1"].version == before.version


# -- the way to Redis ----------------------------------------------------------------------


async def test_another_prefix_is_another_store(
    valkey: EmbeddedValkey, store: Store, state: MakeState
) -> None:
    await publish(store, "1", state())
    async with Store(StoreSettings(redis_url=valkey.url, key_prefix="test:")) as other:
        assert await other.last(["1"]) == {}
        assert (await publish(other, "1", state())).published


async def test_every_call_during_an_outage_is_a_store_error(state: MakeState) -> None:
    async with Store(StoreSettings(redis_url="redis://u:secret@127.0.0.1:1")) as store:
        for call in (
            store.ping(),
            store.publish([("1", state())]),
            store.publish_if("1", state(), 1),
            store.last(["1"]),
            store.contracts(),
            store.contracts_of(["1"]),
            store.import_contracts([GOLD]),
            store.import_contracts([GOLD]),
            store.remove_contracts(["1"]),
        ):
            with pytest.raises(StoreError) as caught:
                await call
            assert str(caught.value) == "Redis at 127.0.0.1:1 refused the connection"


async def test_restarted_redis_is_used_again(own_valkey: EmbeddedValkey, state: MakeState) -> None:
    async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
        before = await publish(store, "1", state())
        own_valkey.stop()
        with pytest.raises(StoreError, match="refused the connection"):
            await store.publish([("1", state())])
        own_valkey.start()
        after = await publish(store, "1", state())
        assert after.version > before.version
