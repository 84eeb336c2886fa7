"""The state of the feed, as clients and operators see it: a quiet market differs from a dead feed.

The test is the feed: it holds the lease and writes what a feed says of itself. The contracts
and states are in a namespace of their own, and so is that feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from redis.asyncio import Redis

from ime_live.contracts import Contract, Market
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import timestamp_of
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus, MarketStatus, TradingSession
from ime_live.store.lease import LEASE, Lease
from ime_live.store.store import Store
from tests.stream.conftest import SECRET, Serve
from tests.stream.test_authentication import header, token
from tests.support.gateways import Gateway, RawClient, closed, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

PREFIX = "status:"
TEHRAN = ZoneInfo("Asia/Tehran")
INTERVAL = 0.3

CONTRACTS = [
    Contract(contract_id=str(n), contract_name=f"GOLD{n:03}", market=Market.FUTURES)
    for n in range(1, 300)
]
GONE = Contract(contract_id="900", contract_name="OLD900", expired=True, delisted=True)
_fresh = iter(CONTRACTS)


def _settings(valkey: EmbeddedValkey) -> StoreSettings:
    return StoreSettings(redis_url=valkey.url, key_prefix=PREFIX)


def _now() -> int:
    return time.time_ns() // 1000


def _status(state: FeedState, **fields: Any) -> FeedStatus:  # noqa: ANN401
    markets = {Market.FUTURES: MarketStatus(state, _now(), 3, _now() + 10**9)}
    known: dict[str, Any] = {
        "since": _now(),
        "last_board": _now(),
        "markets": markets,
        "written": _now(),
    }
    return FeedStatus(state, **known | fields)


class Feeding:
    """A feed that leads and says how it is."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def says(self, state: FeedState, **fields: Any) -> FeedStatus:  # noqa: ANN401
        """Lead from now on, or still, and be in this state."""
        assert (await self._lease.take()).leads
        status = _status(state, **fields)
        await self._lease.write(status)
        return status

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Renew the lease meanwhile."""

        async def renew() -> None:
            while True:
                await self._lease.take()
                await asyncio.sleep(LEASE / 4)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module", autouse=True)
def _registered(backend: EmbeddedValkey) -> None:
    async def register() -> None:
        async with Store(_settings(backend)) as store:
            await store.import_contracts([*CONTRACTS, GONE])

    asyncio.run(register())


@pytest.fixture(scope="module")
def watched(_serve_all: Serve) -> Gateway:
    """A gateway with tokens and short rounds."""
    return _serve_all(
        auth="jwt",
        key_prefix=PREFIX,
        status_interval=INTERVAL,
        variables={"IME_LIVE_JWT_SECRET": SECRET},
    )


@pytest.fixture
async def redis(backend: EmbeddedValkey) -> AsyncIterator[Any]:
    async with Redis.from_url(backend.url, protocol=2) as client:
        yield client


@pytest.fixture
async def feeding(
    watched: Gateway,
    backend: EmbeddedValkey,
    redis: Any,  # noqa: ANN401
    eventually: Eventually,
) -> AsyncIterator[Feeding]:
    """A feed that has not said anything yet, and that nobody knows of."""
    await redis.delete(f"{PREFIX}feed", f"{PREFIX}status")
    await eventually(lambda: watched.get("/ready").json()["feed"] is None)
    async with Lease(_settings(backend), "test") as lease:
        yield Feeding(lease)
        await lease.release()


@pytest.fixture
async def publisher(backend: EmbeddedValkey) -> AsyncIterator[Publisher]:
    async with Publisher(backend.url, key_prefix=PREFIX) as made:
        yield made


def _connect(gateway: Gateway, *contracts: Contract, **parameters: str) -> Any:  # noqa: ANN401
    names = [contract.contract_name for contract in contracts]
    return gateway.connect(gateway.stream("name", names, **parameters), **header(token()))


def _is(state: FeedState) -> Callable[[dict[str, Any]], bool]:
    """Whether the data of a status message says that the feed is in this state."""
    return lambda data: data["feed"] == state.value


async def _until(client: Any, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:  # noqa: ANN401
    """Read to the first status message whose data is as wanted; its data."""
    async with asyncio.timeout(15):
        while True:
            message = await receive(client)
            if message["channel"] == "IME Status" and wanted(message["data"]):
                data: dict[str, Any] = message["data"]
                return data


async def test_status_is_sent_at_once_on_change_and_every_interval(
    watched: Gateway, feeding: Feeding, publisher: Publisher, payload: Payload
) -> None:
    one, other = next(_fresh), next(_fresh)
    await publisher.publish(one.contract_id, payload())
    async with _connect(watched, one, other, status="true", snapshot="true") as client:
        state, status = await receive(client), await receive(client)
        assert state["channel"] == "IME Stream"
        assert list(status) == ["channel", "timestamp", "data"]
        assert status["channel"] == "IME Status"
        said = datetime.fromisoformat(status["timestamp"]).replace(tzinfo=TEHRAN)
        assert abs(said - datetime.now(TEHRAN)) < timedelta(minutes=1)
        assert status["data"] == {
            "feed": None,
            "since": None,
            "lastBoard": None,
            "current": True,
            "markets": {},
            "contracts": {one.contract_name: state["timestamp"], other.contract_name: None},
        }
        again = await receive(client)  # nothing has happened: the interval
        assert again["data"] == status["data"]
        assert again["timestamp"] > status["timestamp"]
        async with feeding.living():
            live = await feeding.says(FeedState.LIVE)
            data = await _until(client, lambda data: data["feed"] is not None)
            assert data["feed"] == "live"
            assert data["since"] == timestamp_of(live.since, TEHRAN)
            assert data["lastBoard"] == timestamp_of(live.last_board or 0, TEHRAN)
            assert data["markets"] == {"IMEFutures": "live"}
            await feeding.says(FeedState.STALE)
            assert (await _until(client, lambda data: data["feed"] != "live"))["feed"] == "stale"
            await publisher.publish(other.contract_id, payload())
            update = await receive(client)
            while update["channel"] == "IME Status":
                update = await receive(client)
            data = (await receive(client))["data"]
            assert data["contracts"] == {
                one.contract_name: state["timestamp"],
                other.contract_name: update["timestamp"],
            }


async def test_status_by_id_has_ids_as_keys_and_is_compressed(
    watched: Gateway, publisher: Publisher, payload: Payload
) -> None:
    contract = next(_fresh)
    await publisher.publish(contract.contract_id, payload())
    path = watched.stream("id", [contract.contract_id], status="1", snapshot="true")
    async with watched.connect(path, compression="deflate", **header(token())) as client:
        assert client.protocol.extensions
        state = await receive(client)
        for _ in range(2):
            status = await receive(client)
            assert status["data"]["contracts"] == {contract.contract_id: state["timestamp"]}


async def test_killed_feed_is_down_when_its_lease_expires(
    watched: Gateway, feeding: Feeding
) -> None:
    async with _connect(watched, next(_fresh), status="true") as client:
        status = await feeding.says(FeedState.LIVE)
        await _until(client, lambda data: data["feed"] == "live")
        data = await _until(client, lambda data: data["feed"] != "live")
        assert data["feed"] == "down"
        assert data["since"] == timestamp_of(status.written, TEHRAN)
        assert data["lastBoard"] == timestamp_of(status.last_board or 0, TEHRAN)
        assert data["markets"] == {"IMEFutures": "down"}
        assert data["current"] is True
    report = watched.request("GET", "/live/status", {"Authorization": token()}).json()
    assert (report["feed"], report["error"]) == ("down", "no feed is running")
    assert watched.get("/ready").status == 200


async def test_lost_message_is_sent_after_the_comparison(
    watched: Gateway,
    publisher: Publisher,
    payload: Payload,
    redis: Any,  # noqa: ANN401
) -> None:
    contract = next(_fresh)
    await publisher.publish(contract.contract_id, payload())
    async with _connect(watched, contract, status="true", snapshot="true") as client:
        first = await receive(client)
        version = _now()
        data = payload(Aggregate={"trade_count": 77})
        await redis.hset(
            f"{PREFIX}last:{{{contract.contract_id}}}",
            mapping={"version": version, "data": msgspec.json.encode(data)},
        )
        healed = await receive(client)
        while healed["channel"] == "IME Status":
            assert healed["data"]["contracts"] == {contract.contract_name: first["timestamp"]}
            healed = await receive(client)
        assert healed["data"]["Aggregate"]["trade_count"] == 77
        assert healed["timestamp"] == timestamp_of(version, TEHRAN)
        status = await receive(client)
        assert status["data"]["contracts"] == {contract.contract_name: healed["timestamp"]}
        assert status["data"]["current"] is True


async def test_unreadable_state_is_not_current(
    watched: Gateway,
    publisher: Publisher,
    payload: Payload,
    redis: Any,  # noqa: ANN401
) -> None:
    contract, other = next(_fresh), next(_fresh)
    await publisher.publish(contract.contract_id, payload())
    async with (
        _connect(watched, contract, status="true", snapshot="true") as client,
        _connect(watched, other, status="true", snapshot="true") as unconcerned,
    ):
        key = f"{PREFIX}last:{{{contract.contract_id}}}"
        await redis.hset(key, mapping={"version": _now(), "data": b"{}"})
        await _until(client, lambda data: data["current"] is False)
        await _until(client, lambda data: data["current"] is False)
        assert (await receive(unconcerned))["data"]["current"] is True
        lines = [
            line
            for line in watched.events("last state cannot be read")
            if line["contract_id"] == contract.contract_id
        ]
        assert len(lines) == 1
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 5}))
        await _until(client, lambda data: data["current"] is True)


async def test_slow_client_gets_its_status_after_catching_up(
    watched: Gateway, publisher: Publisher, payload: Payload
) -> None:
    contracts = [next(_fresh) for _ in range(200)]
    ids = [contract.contract_id for contract in contracts]
    path = watched.stream("id", ids, status="true", snapshot="true")
    authorization = f"Authorization: {token()}"
    conflated = watched.metric("conflated_total")
    async with await RawClient.stream(
        watched, path, [authorization], receive_buffer=4096
    ) as client:
        rounds = 0
        while watched.metric("conflated_total") == conflated:
            rounds += 1
            await publisher.publish_many(
                (i, payload(Aggregate={"trade_count": rounds})) for i in ids
            )
        # Some rounds of status messages are due meanwhile; it cannot take them.
        statuses = watched.metric("status_messages_total")
        async with _connect(watched, contracts[0], status="true") as quick:
            for _ in range(4):
                await receive(quick)
        assert watched.metric("status_messages_total") - statuses <= 6
        held: dict[str, str | None] = dict.fromkeys(ids)
        counts = dict.fromkeys(ids, 0)
        async with asyncio.timeout(30):
            while True:
                message = await client.message()
                if message["channel"] == "IME Status":
                    assert message["data"]["contracts"] == held
                    if set(counts.values()) == {rounds}:
                        break
                else:
                    held[message["ContractId"]] = message["timestamp"]
                    counts[message["ContractId"]] = message["data"]["Aggregate"]["trade_count"]


async def test_status_is_not_sent_without_the_parameter(
    watched: Gateway, feeding: Feeding, publisher: Publisher, payload: Payload
) -> None:
    contract = next(_fresh)
    authorization = f"Authorization: {token()}"
    path = watched.stream("id", [contract.contract_id])
    async with (
        await RawClient.stream(watched, path, [authorization]) as plain,
        await RawClient.stream(watched, path + "&status=false", [authorization]) as declined,
        _connect(watched, contract, status="true") as watcher,
    ):
        await feeding.says(FeedState.LIVE)
        await _until(watcher, lambda data: data["feed"] == "live")
        for _ in range(3):
            await _until(watcher, lambda _: True)
        await publisher.publish(contract.contract_id, payload())
        frames = [await plain.frame(), await declined.frame()]
        assert frames[0] == frames[1]
        assert frames[0].payload.startswith(b'{"channel":"IME Stream","ContractId":')


async def test_malformed_status_parameter_is_refused(watched: Gateway) -> None:
    async with _connect(watched, CONTRACTS[0], status="maybe") as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "status is neither true nor false: maybe")


# Over HTTP


def _report(gateway: Gateway, query: str = "", **claims: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = gateway.request("GET", f"/live/status{query}", {"Authorization": token(**claims)})
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    report: dict[str, Any] = answer.json()
    return report


async def test_status_report_has_feed_and_contracts(
    watched: Gateway,
    feeding: Feeding,
    publisher: Publisher,
    payload: Payload,
    eventually: Eventually,
) -> None:
    contract, empty = next(_fresh), next(_fresh)
    await publisher.publish(contract.contract_id, payload())
    assert _report(watched)["feed"] is None
    status = await feeding.says(FeedState.LIVE, source="webSockets", error="not the best one")
    await eventually(lambda: watched.get("/ready").json()["feed"] == "live")
    query = f"?contract_names={contract.contract_name}&contract_name={empty.contract_name}"
    report = _report(watched, query + f"&contract_id={GONE.contract_id}")
    market = status.markets[Market.FUTURES]
    about = report["contracts"].pop(contract.contract_name)
    age = about.pop("age")
    assert 0 <= age < 60
    timestamp = datetime.fromisoformat(about.pop("timestamp")).replace(tzinfo=TEHRAN)
    said = datetime.fromisoformat(report.pop("timestamp")).replace(tzinfo=TEHRAN)
    assert abs((said - timestamp).total_seconds() - age) < 1e-5
    assert about == {"id": contract.contract_id, "market": "IMEFutures"}
    assert report == {
        "redis": True,
        "feed": "live",
        "since": timestamp_of(status.since, TEHRAN),
        "lastBoard": timestamp_of(status.last_board or 0, TEHRAN),
        "source": "webSockets",
        "error": "not the best one",
        "markets": {
            "IMEFutures": {
                "state": "live",
                "lastBoard": timestamp_of(market.last_board or 0, TEHRAN),
                "contracts": 3,
                "until": timestamp_of(market.until or 0, TEHRAN),
            }
        },
        "contracts": {
            empty.contract_name: {
                "id": empty.contract_id,
                "market": "IMEFutures",
                "timestamp": None,
                "age": None,
            },
            GONE.contract_name: {
                "id": GONE.contract_id,
                "market": None,
                "timestamp": None,
                "age": None,
                "expired": True,
                "delisted": True,
            },
        },
    }
    assert set(_report(watched)["contracts"]) == {c.contract_name for c in (*CONTRACTS, GONE)}


def test_status_report_shows_contracts_of_the_token_only(watched: Gateway) -> None:
    report = _report(watched, contracts=["OLD*", "id:7"])
    assert set(report["contracts"]) == {"OLD900", "GOLD007"}
    authorization = {"Authorization": f"Bearer {token(contracts=['OLD*'])}"}
    answer = watched.request("GET", "/live/status?contract_ids=7", authorization)
    assert answer.status == 403
    assert answer.json() == {"detail": "contract not covered by the token: 7"}
    answer = watched.request("GET", "/live/status?contract_names=XYZ", authorization)
    assert (answer.status, answer.json()) == (404, {"detail": "unknown contract: XYZ"})


@pytest.mark.parametrize(
    ("query", "headers", "detail"),
    [
        ("", {}, "authentication required"),
        ("", {"Authorization": "garbage"}, "invalid token"),
        ("?token=garbage", {}, "invalid token"),
        ("", {"Authorization": f"Bearer {token(-5)}"}, "token expired"),
    ],
)
def test_status_report_needs_a_token(
    watched: Gateway, query: str, headers: dict[str, str], detail: str
) -> None:
    answer = watched.request("GET", f"/live/status{query}", headers)
    assert (answer.status, answer.json()) == (401, {"detail": detail})
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert watched.get(f"/live/status?token={token()}").status == 200


def test_status_report_answers_head_and_refuses_other_methods(watched: Gateway) -> None:
    head = watched.request("HEAD", "/live/status", {"Authorization": token()})
    assert (head.status, head.body) == (200, b"")
    assert watched.request("POST", "/live/status").status == 405


async def test_ready_and_metrics_show_the_feed(
    watched: Gateway, feeding: Feeding, eventually: Eventually
) -> None:
    assert watched.get("/ready").status == 200
    assert watched.metric("feed_state") == 0
    for state in (FeedState.STALE, FeedState.DOWN):
        status = await feeding.says(state)
        await eventually(lambda state=state: watched.get("/ready").json()["feed"] == state.value)
        assert watched.get("/ready").status == 200
        assert watched.metric("feed_state") == 1
        assert watched.metric("feed_state", state=state.value) == 1
        market = status.markets[Market.FUTURES]
        shown = watched.metric("feed_last_board_seconds", market="IMEFutures")
        assert shown == pytest.approx((market.last_board or 0) / 1e6)


# Faults, and several processes


async def test_contracts_are_not_current_during_an_outage_of_redis(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload, eventually: Eventually
) -> None:
    contract = CONTRACTS[0]
    async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
        await store.import_contracts([contract])
    async with Publisher(own_valkey.url) as publisher:
        await publisher.publish(contract.contract_id, payload())
    gateway = await asyncio.to_thread(serve, own_valkey.url, status_interval=INTERVAL)
    parameters = {"status": "true", "snapshot": "true"}
    async with gateway.by_id(contract.contract_id, **parameters) as client:
        state = await receive(client)
        assert (await receive(client))["data"]["current"] is True
        own_valkey.stop()
        data = await _until(client, lambda data: data["feed"] == "down")
        assert data["current"] is False
        assert data["contracts"] == {contract.contract_id: state["timestamp"]}
        report = gateway.get("/live/status").json()
        assert (report["feed"], report["redis"]) == ("down", False)
        assert report["error"] == "Redis cannot be reached"
        about = report["contracts"][contract.contract_name]
        assert (about["timestamp"], about["age"]) == (None, None)
        async with gateway.by_id(contract.contract_id, **parameters) as newcomer:
            assert (await receive(newcomer))["timestamp"] == state["timestamp"]
            assert (await receive(newcomer))["data"]["current"] is False
        own_valkey.start()
        # It is back without data, so that nobody can say whether this is the newest state.
        assert (await _until(client, lambda data: data["feed"] is None))["current"] is False
        async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
            await store.import_contracts([contract])
        async with Publisher(own_valkey.url) as publisher:
            await publisher.publish(contract.contract_id, payload())
        data = await _until(client, lambda data: data["current"])
        assert data["contracts"] == {contract.contract_id: state["timestamp"]}
    assert len(gateway.events("contracts cannot be compared with the store")) <= 1


async def _processes(gateway: Gateway, streams: int) -> set[str]:
    """The processes that serve so many streams."""
    opened = await gateway.logged("stream opened", streams)
    return {line["connection"].partition("-")[0] for line in opened}


@pytest.mark.thorough
async def test_workers_send_a_changed_status_without_waiting_for_the_round(
    serve: Serve, backend: EmbeddedValkey, eventually: Eventually
) -> None:
    gateway = serve(key_prefix=PREFIX, workers=2, status_interval=3600.0)
    await eventually(lambda: gateway.metric("workers_ready") == 2, timeout=20)
    contract = next(_fresh)
    async with Lease(_settings(backend), "of the workers") as lease, AsyncExitStack() as stack:
        feed = Feeding(lease)
        async with feed.living():
            clients: list[Any] = []
            # The kernel gives connections to whichever worker is there first.
            while len(await _processes(gateway, len(clients))) < 2:
                connecting = gateway.by_id(contract.contract_id, status="true")
                clients.append(await stack.enter_async_context(connecting))
                assert len(clients) < 200
            for state in (FeedState.LIVE, FeedState.STALE):
                status = await feed.says(state)
                for client in clients:
                    data = await _until(client, _is(state))
                    assert data["since"] == timestamp_of(status.since, TEHRAN)
            await eventually(lambda: gateway.metric("feed_state", state="stale") == 1, 15)
            await eventually(lambda: gateway.metric("feed_state", state="live") == 0, 15)
            assert gateway.metric("feed_last_board_seconds", market="IMEFutures") > 0
            assert gateway.metric("status_messages_total") > 0
        await lease.release()


async def test_trading_hours_are_those_that_the_feed_has_written(
    watched: Gateway,
    feeding: Feeding,
    redis: Any,  # noqa: ANN401
    eventually: Eventually,
) -> None:
    def hours() -> Any:  # noqa: ANN401 - any JSON
        answer = watched.get(f"/static/data/market?token={token()}")
        if answer.status != 200:
            return answer.status
        return {each["market"]: each["sessions"] for each in answer.json()["Data"]}

    assert hours() == dict.fromkeys(Market)
    week = {"sat": (TradingSession("11:45", "17:00"),)}
    closed_market = MarketStatus(FeedState.CLOSED, hours=week)
    await feeding.says(FeedState.CLOSED, markets={Market.FUTURES: closed_market})
    await eventually(lambda: hours()["IMEFutures"] is not None)
    expected = {"sat": [{"begins": "11:45", "ends": "17:00"}]}
    assert hours() == dict.fromkeys(Market) | {"IMEFutures": expected}
    # A status that cannot be read is not taken for one without hours.
    await redis.set(f"{PREFIX}status", "not a status")
    await eventually(lambda: hours() == 503)
    await redis.delete(f"{PREFIX}status")
    await eventually(lambda: hours() == dict.fromkeys(Market))
