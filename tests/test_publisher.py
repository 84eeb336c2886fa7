"""`Publisher` on a real Valkey: forms of payloads, changes only, patches, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ime_live.contracts import Contract
from ime_live.errors import PayloadError, SettingsError, StoreError, UnknownContractError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import read_payload
from ime_live.publisher import Publisher, PublishResult
from ime_live.store.store import Store
from tests.support.rows import each_row

MakePayload = Callable[..., dict[str, Any]]
Client = Any  # redis-py's own, whose commands are loosely typed


@pytest.fixture
async def publisher(valkey: EmbeddedValkey) -> AsyncIterator[Publisher]:
    async with Publisher(valkey.url) as made:
        yield made


async def test_publisher_sends_changes_only(publisher: Publisher, payload: MakePayload) -> None:
    first = await publisher.publish("12345", payload())
    same = await publisher.publish("12345", payload())
    changed = await publisher.publish("12345", payload(Aggregate={"last_price": 5}))
    assert first.published
    assert same == PublishResult("12345", first.version, published=False)
    assert changed.published
    assert changed.version > first.version


async def test_publisher_takes_structs_mappings_and_json(
    publisher: Publisher, payload: MakePayload
) -> None:
    struct = read_payload(payload())
    assert (await publisher.publish("1", struct)).published
    assert not (await publisher.publish("1", payload())).published
    assert not (await publisher.publish("1", struct.to_json())).published


async def test_publisher_takes_ids_as_numbers(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    outcome = await publisher.publish(12345, payload())
    assert outcome.contract_id == "12345"
    assert (await store.last(["12345"]))["12345"].version == outcome.version
    assert not (await publisher.publish("12345", payload())).published
    assert (await publisher.patch(12345, ContractInfo={"open_interest": 1})).published


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, "contract id must be a text or a whole number, got NoneType"),
        (True, "contract id must be a text or a whole number, got bool"),
        (b"12345", "contract id must be a text or a whole number, got bytes"),
        (12345.0, "contract id must be a text or a whole number, got float"),
        (["12345"], "contract id must be a text or a whole number, got list"),
        ("", "contract id must not be empty"),
        (" \t", "contract id must not be empty"),
        ("12345 ", "contract id must have no blanks around it, got '12345 '"),
        ("\u00a012345", "contract id must have no blanks around it"),
        ("123\udc8045", r"contract id must be a text that UTF-8 can carry, got '123\udc8045'"),
        (
            "ContractA",
            "unknown contract: ContractA is the name of contract 12345; publish by the id",
        ),
        ("OldA", "unknown contract: OldA is the name of contract 12345; publish by the id"),
        ("سكه0312پ01", "unknown contract: سكه0312پ01 is the name of contract 7"),
        ("99", "unknown contract: 99 (register it with `ime-live contracts import`)"),
        ("۱۲۳۴۵", "unknown contract: ۱۲۳۴۵ (register it"),
        (-12345, "unknown contract: -12345 (register it"),
    ],
)
async def test_malformed_contract_id_is_refused(
    publisher: Publisher,
    store: Store,
    redis: Client,
    payload: MakePayload,
    given: Any,  # noqa: ANN401 - wrong types are what is tested
    error: str,
) -> None:
    await store.import_contracts(
        [
            Contract(contract_id="12345", contract_name="ContractA", aliases=("OldA",)),
            Contract(contract_id="7", contract_name="سکه0312پ01"),
        ]
    )
    with pytest.raises((PayloadError, UnknownContractError)) as caught:
        await publisher.publish(given, payload())
    assert str(caught.value).startswith(error)
    with pytest.raises((PayloadError, UnknownContractError)):
        await publisher.patch(given, ContractInfo={"open_interest": 1})
    refused, published = await publisher.publish_many([(given, payload()), (12345, payload())])
    assert (refused.published, published.published) == (False, True)
    assert str(refused.error) == str(caught.value)
    assert await redis.keys("ime:last:*") == [b"ime:last:{12345}"]


async def test_contract_registered_meanwhile_is_published(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    await store.import_contracts([Contract(contract_id="1", contract_name="A")])
    with pytest.raises(UnknownContractError):
        await publisher.publish("2", payload())
    await store.import_contracts([Contract(contract_id="2", contract_name="B")])
    assert (await publisher.publish("2", payload())).published


async def test_store_that_has_lost_its_contracts_is_published_to(
    publisher: Publisher, redis: Client, payload: MakePayload
) -> None:
    await redis.flushall()
    assert (await publisher.publish("1", payload())).published


async def test_incomplete_payload_is_refused_by_the_publisher(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    with pytest.raises(PayloadError, match="last_price"):
        await publisher.publish("1", payload(Aggregate={"last_price": "5"}))
    with pytest.raises(PayloadError, match="contract id must not be empty"):
        await publisher.publish(" ", payload())
    assert await store.last(["1"]) == {}


async def test_bad_payload_among_many_is_its_own_outcome(
    publisher: Publisher, payload: MakePayload
) -> None:
    bad = payload()
    del bad["ContractInfo"]
    good, refused, number = await publisher.publish_many(
        [("1", payload()), ("2", bad), (3, payload())]
    )
    assert good.published
    assert number.published
    assert number.contract_id == "3"
    assert isinstance(refused.error, PayloadError)
    assert "ContractInfo" in str(refused.error)
    assert (refused.contract_id, refused.version, refused.published) == ("2", 0, False)


async def test_state_refused_by_redis_is_its_own_outcome(
    publisher: Publisher, store: Store, redis: Client, payload: MakePayload
) -> None:
    await redis.set(store.keys.last("2"), "not a hash")
    outcomes = await publisher.publish_many((i, payload()) for i in ("1", "2", "3"))
    assert [o.published for o in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, StoreError)
    assert "WRONGTYPE" in str(outcomes[1].error)
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await publisher.publish("2", payload())


async def test_empty_publish_sends_nothing(publisher: Publisher) -> None:
    assert await publisher.publish_many([]) == []


async def test_more_payloads_than_a_round_trip_holds_are_published(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    outcomes = await publisher.publish_many((i, payload()) for i in range(2500))
    assert [o.contract_id for o in outcomes] == [str(i) for i in range(2500)]
    assert all(o.published for o in outcomes)
    last = await store.last(str(i) for i in range(2500))
    assert [last[o.contract_id].version for o in outcomes] == [o.version for o in outcomes]


async def test_patch_changes_one_value(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    first = await publisher.publish("1", payload())
    patched = await publisher.patch("1", BestLimit={"1": {"buy_price": 5}})
    assert patched.published
    assert patched.version > first.version
    last = (await store.last(["1"]))["1"]
    assert last.version == patched.version
    assert last.payload == read_payload(payload(BestLimit={"1": {"buy_price": 5}}))
    again = await publisher.patch("1", BestLimit={"1": {"buy_price": 5}})
    assert again == PublishResult("1", patched.version, published=False)


async def test_patch_needs_a_last_state(publisher: Publisher) -> None:
    with pytest.raises(PayloadError, match="contract 1 has no last state to merge into"):
        await publisher.patch("1", ContractInfo={"open_interest": 1})


@pytest.mark.parametrize(
    "sections",
    [{"Nonsense": {}}, {"ContractInfo": {"interest": 1}}, {"ContractInfo": {"open_interest": "1"}}],
)
async def test_patch_is_checked(
    publisher: Publisher, store: Store, payload: MakePayload, sections: dict[str, Any]
) -> None:
    first = await publisher.publish("1", payload())
    with pytest.raises(PayloadError):
        await publisher.patch("1", **sections)
    assert (await store.last(["1"]))["1"].version == first.version


async def test_patches_at_the_same_time_are_all_kept(
    publisher: Publisher, store: Store, payload: MakePayload
) -> None:
    await publisher.publish("1", payload())
    fields = ["trade_count", "total_volume", "closing_price", "low_price", "high_price"]
    outcomes = await asyncio.gather(
        *(publisher.patch("1", Aggregate={field: 777}) for field in fields)
    )
    assert len({o.version for o in outcomes}) == len(fields)
    last = (await store.last(["1"]))["1"]
    assert last.payload == read_payload(payload(Aggregate=dict.fromkeys(fields, 777)))


async def test_unreachable_store_is_a_store_error(payload: MakePayload) -> None:
    async with Publisher("redis://127.0.0.1:1") as publisher:
        for call in (
            publisher.publish("1", payload()),
            publisher.publish_many([("1", payload())]),
            publisher.patch("1", ContractInfo={"open_interest": 1}),
        ):
            with pytest.raises(StoreError, match=r"^Redis at 127.0.0.1:1 refused the connection$"):
                await call


def test_malformed_redis_url_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^redis_url must begin with .*, got 'http://\*\*\*'$"):
        Publisher("http://localhost")


@each_row(
    ("arguments", "text"),
    [
        ({"redis_url": "redis://h:99999"}, "redis_url must have a port from 1 to 65535 .*, got r"),
        ({"redis_url": "redis://h/1"}, "key_prefix must be different for database 1 of redis_url,"),
        ({"redis_url": ""}, "redis_url must begin with one of .*, got ''"),
        ({"redis_url": "foo"}, "redis_url must begin with one of .*, got a text without ://"),
        ({"redis_timeout": 0}, "redis_timeout must be above 0, got 0"),
        ({"redis_timeout": "x"}, "redis_timeout must be a number, got 'x'"),
        ({"key_prefix": ""}, "key_prefix must not be empty, got ''"),
        ({"connections": "x"}, "connections must be .* or None, got 'x'"),
    ],
)
def test_error_names_the_argument(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{text}"):
        Publisher(**arguments)


@pytest.mark.parametrize(
    ("one", "other"), [(10**16, 1e16), (-0.0, 0), (5.0, 5), (2**64, float(2**64)), (1e300, 1e300)]
)
async def test_equal_numbers_are_no_change_however_they_are_written(
    publisher: Publisher, store: Store, payload: MakePayload, one: float, other: float
) -> None:
    first = await publisher.publish("1", payload(Aggregate={"last_price": one}))
    for value in (other, one, other):
        whole = payload(Aggregate={"last_price": value})
        for form in (whole, read_payload(whole), read_payload(whole).to_json()):
            assert not (await publisher.publish("1", form)).published
        patched = await publisher.patch("1", Aggregate={"last_price": value})
        assert patched == PublishResult("1", first.version, published=False)
    assert (await store.last(["1"]))["1"].payload.aggregate.last_price == one


async def test_contract_with_an_unreadable_record_is_published(
    publisher: Publisher, store: Store, redis: Client, payload: MakePayload
) -> None:
    await store.import_contracts([Contract(contract_id="2", contract_name="B")])
    await redis.hset("ime:contracts", "1", "{")
    assert (await publisher.publish("1", payload())).published
    assert (await publisher.patch("1", Aggregate={"last_price": 5})).published


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": "5", "data": "{}"}, "missing required field"),
        ({"version": "x", "data": "{}"}, "is not microseconds"),
        ({"version": "5", "data": b"[" * 70_000}, "at most 65536 bytes"),
        (None, "WRONGTYPE"),
    ],
)
async def test_patch_of_a_state_that_cannot_be_read_says_so(
    publisher: Publisher,
    redis: Client,
    fields: dict[str, Any] | None,
    reason: str,
) -> None:
    if fields is None:
        await redis.set("ime:last:{1}", "not a hash")
    else:
        await redis.hset("ime:last:{1}", mapping=fields)
    said = f"the last state of contract 1 cannot be merged into: .*{reason}"
    with pytest.raises(PayloadError, match=said):
        await publisher.patch("1", Aggregate={"last_price": 5})


async def test_patch_while_the_store_refuses_is_an_error_of_the_store(
    publisher: Publisher, redis: Client, payload: MakePayload
) -> None:
    await publisher.publish("1", payload())
    await redis.execute_command("ACL", "SETUSER", "default", "-hmget")
    try:
        with pytest.raises(StoreError, match="no permissions"):
            await publisher.patch("1", Aggregate={"last_price": 5})
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+hmget")
