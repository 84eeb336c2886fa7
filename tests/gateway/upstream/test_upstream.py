"""The upstream: subscribed to what is wanted and to nothing else, loaded, and whole after faults.

The channels and the store are played by the test, which answers each call when it wants; hub,
comparisons and event loop are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ime_live.errors import IncompleteError, PayloadError, RefusedError, StoreError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.hub import Hub
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.upstream import upstream as upstream_module
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.upstream import Upstream
from ime_live.market import Payload, Update
from ime_live.store.records import LastState, Lift, Lifted
from tests.support.clock import GivenClock
from tests.support.fake_sockets import FakeSocket, send
from tests.support.frames import Reader
from tests.support.payloads import payload

NOW = 1_780_000_000_000_000
A, B, C = payload(1), payload(2), payload(3)


class Events:
    """Events of the hub, which these tests do not count."""

    def delivered(self, messages: int, oldest_version: int) -> None:
        pass

    def conflated(self, messages: int) -> None:
        pass

    def throttled(self, messages: int) -> None:
        pass

    def dropped(self, reason: str) -> None:
        pass

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        raise error


class Writer(FakeSocket):
    def __init__(self) -> None:
        self.reader = Reader()
        self.prices: list[float] = []
        self.versions: list[int] = []

    def write(self, data: bytes, /) -> int:
        for message in self.reader.messages(data):
            self.prices.append(message.price)
            self.versions.append(message.version)
        return len(data)

    def keep(self, rest: bytes, /) -> None:
        raise AssertionError(f"all was taken, and {len(rest)} bytes are left")


class Reading:
    """A reading of last states that waits for its answer."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = list(ids)
        self.answer: asyncio.Future[Mapping[str, LastState | PayloadError]] = asyncio.Future()


class World:
    """An upstream, and everything around it.

    Calls are answered at once, unless `slow` is set: then by the test.
    """

    def __init__(self) -> None:
        self.connected = True
        self.refusal: str | None = None
        self.refused: dict[str, str] = {}
        self.slow_channels = self.slow_states = False
        self.stored: dict[str, Update] = {}
        self.subscribed: set[str] = set()
        self.calls: list[tuple[str, list[str]]] = []
        self.confirmations: list[asyncio.Future[bool]] = []
        self.readings: list[Reading] = []
        self.seconds = 0.0
        self.received = self.malformed = 0
        clock = GivenClock(lambda: NOW, lambda: self.seconds)
        states = StateTable(zone=UTC, clock=clock, events=Events())
        self.hub = Hub(
            states,
            send=send,
            clock=clock,
            call_soon=asyncio.get_running_loop().call_soon,
            call_later=asyncio.get_running_loop().call_later,
            events=Events(),
        )
        self.upstream = Upstream(
            states,
            self,
            Reconciler(
                states,
                self,
                caught_up=lambda: asyncio.sleep(0),
                clock=clock,
            ),
            clock=clock,
            on_malformed=self.count_malformed,
            on_received=self.count_received,
        )

    def count_malformed(self) -> None:
        self.malformed += 1

    def count_received(self) -> None:
        self.received += 1

    # Channels

    def subscribe(self, ids: Sequence[str], /) -> Awaitable[bool]:
        self.calls.append(("subscribe", list(ids)))
        self.subscribed.update(ids)
        confirmed: asyncio.Future[bool] = asyncio.Future()
        if not self.connected:
            confirmed.set_result(False)
        elif self.slow_channels:
            self.confirmations.append(confirmed)
        else:
            confirmed.set_result(True)
        return confirmed

    def unsubscribe(self, ids: Sequence[str], /) -> None:
        self.calls.append(("unsubscribe", list(ids)))
        self.subscribed.difference_update(ids)

    # Last states

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        reading = Reading(ids)
        self.readings.append(reading)
        if not self.slow_states:
            self.answer(reading)
        return await reading.answer

    async def in_present_history(self, histories: Mapping[str, bytes], /) -> set[str]:
        self.calls.append(("history", sorted(histories)))
        return set(histories)

    async def lift(self, lifts: Sequence[Lift], /) -> Sequence[Lifted | StoreError]:
        self.calls.append(("lift", [each.contract_id for each in lifts]))
        return [Lifted(confirmed=10**12)] * len(lifts)

    def answer(self, reading: Reading) -> None:
        """Answer with what is stored now."""
        # By the clock, a message that came before this came before it was read.
        self.seconds += 0.001
        found = {i: state_of(self.stored[i]) for i in reading.ids if i in self.stored}
        reading.answer.set_result(found)

    # Actions of tests

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def join(self, *ids: str, states: bool = False) -> Writer:
        """Acquire contracts and join the hub, as a stream does."""
        await self.upstream.acquire(ids)
        writer = Writer()
        client = self.hub.join({i: ContractRef.of(By.ID, i) for i in ids}, writer)
        if states:
            self.hub.send_states(client)
        return writer

    def message(self, contract_id: str, new: Payload, version: int | None = None) -> None:
        fields: dict[str, Any] = {"data": new}
        if version is not None:
            fields["version"] = version
        self.upstream.on_message(contract_id, msgspec.json.encode(fields))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the upstream compare something in each turn of the loop."""
    monkeypatch.setattr(upstream_module, "_TICK", 0)
    monkeypatch.setattr(upstream_module, "_SWEEP", 0.001)


def state_of(update: Update) -> LastState:
    return LastState(update.version, update.payload.to_json())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    running = asyncio.create_task(made.upstream.run())
    yield made
    running.cancel()
    await asyncio.wait([running])
    await made.upstream.aclose()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in left if "Upstream" in str(task.get_coro())]


class TestSubscriptions:
    async def test_first_client_subscribes_and_last_client_unsubscribes(self, world: World) -> None:
        await world.upstream.acquire(["1", "2"])
        await world.upstream.acquire(["2", "3"])
        assert world.calls == [("subscribe", ["1", "2"]), ("subscribe", ["3"])]
        assert world.upstream.contracts == 3
        world.upstream.release(["1", "2"])
        assert world.calls[2:] == [("unsubscribe", ["1"])]
        world.upstream.release(["2", "3"])
        assert world.calls[3:] == [("unsubscribe", ["2", "3"])]
        assert world.upstream.contracts == 0

    async def test_contracts_are_refused_only_if_all_of_their_channels_are(
        self, world: World
    ) -> None:
        world.upstream.check_channels(["1", "2"])
        world.refused = {"1": "NOPERM", "2": "NOPERM"}
        world.upstream.check_channels(["2", "3"])
        world.upstream.check_channels([])
        with pytest.raises(RefusedError, match="cannot be streamed now") as refused:
            world.upstream.check_channels(["1", "2"])
        assert refused.value.code == 1013
        world.refused, world.refusal = {}, "NOPERM"
        with pytest.raises(RefusedError, match="cannot be streamed now"):
            world.upstream.check_channels(["3"])

    async def test_acquired_contract_misses_no_update(self, world: World) -> None:
        world.slow_channels = world.slow_states = True
        world.stored["1"] = Update(NOW - 1, A)
        joining = asyncio.create_task(world.join("1", states=True))
        await world.settle()
        assert not joining.done()
        assert world.readings == []
        world.confirmations[0].set_result(True)
        await world.settle()
        assert not joining.done()
        world.message("1", B, NOW)
        world.answer(world.readings[0])
        writer = await joining
        await world.settle()
        assert writer.prices == [2]

    async def test_concurrent_acquires_share_one_subscription(self, world: World) -> None:
        world.slow_channels = True
        first, second = (asyncio.create_task(world.upstream.acquire(["1"])) for _ in range(2))
        await world.settle()
        assert not first.done()
        assert not second.done()
        world.confirmations[0].set_result(True)
        await asyncio.gather(first, second)
        assert world.calls == [("subscribe", ["1"])]
        assert [reading.ids for reading in world.readings] == [["1"]]

    async def test_cancelled_acquire_unsubscribes(self, world: World) -> None:
        world.slow_channels = True
        acquiring = asyncio.create_task(world.upstream.acquire(["1"]))
        await world.settle()
        acquiring.cancel()
        await asyncio.wait([acquiring])
        world.upstream.release(["1"])
        assert world.subscribed == set()
        assert world.upstream.contracts == 0
        with pytest.raises(KeyError):  # it is not kept in the hub either
            world.hub.join({"1": ContractRef.of(By.ID, "1")}, Writer())
        world.confirmations[0].set_result(True)
        await world.settle()

    async def test_cancelled_acquire_does_not_affect_another(self, world: World) -> None:
        world.slow_channels = True
        first, second = (asyncio.create_task(world.join("1")) for _ in range(2))
        await world.settle()
        first.cancel()
        await asyncio.wait([first])
        world.upstream.release(["1"])
        world.confirmations[0].set_result(True)
        writer = await second
        world.message("1", A, NOW)
        await world.settle()
        assert writer.prices == [1]

    async def test_contract_released_on_arrival_can_be_acquired_again(self, world: World) -> None:
        world.slow_channels = True
        world.stored["1"] = Update(NOW - 2, A)
        first = asyncio.create_task(world.upstream.acquire(["1"]))
        await world.settle()
        first.cancel()
        world.upstream.release(["1"])
        second = asyncio.create_task(world.join("1", states=True))
        await world.settle()
        # The first subscription is confirmed, then the second; between them a message is lost.
        world.confirmations[0].set_result(True)
        await world.settle()
        assert not second.done()
        world.stored["1"] = Update(NOW - 1, B)
        world.confirmations[1].set_result(True)
        writer = await second
        assert writer.prices == [2]
        world.message("1", C, NOW)
        await world.settle()
        assert writer.prices == [2, 3]
        assert world.subscribed == {"1"}

    async def test_hanging_store_does_not_block_clients(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(upstream_module, "_ARRIVAL_TIMEOUT", 0.001)
        world.slow_channels = True
        world.stored["1"] = Update(NOW - 1, A)
        writer = await world.join("1", states=True)
        assert writer.prices == []
        world.confirmations[0].set_result(True)
        await world.settle()
        assert writer.prices == [1]


class TestFaults:
    async def test_clients_are_accepted_during_an_outage_of_the_store(self, world: World) -> None:
        world.connected = False
        writer = await world.join("1", states=True)
        assert world.readings == []
        world.stored["1"] = Update(NOW - 1, A)
        world.connected = True
        world.upstream.on_connected()
        await world.settle()
        assert writer.prices == [1]

    async def test_reconnect_sends_updates_lost_in_the_break(self, world: World) -> None:
        writer = await world.join("1", "2")
        world.stored["1"] = Update(NOW + 1, A)
        world.upstream.on_connected()
        await world.settle()
        assert writer.prices == [1]
        world.upstream.on_connected()
        await world.settle()
        assert writer.prices == [1]

    async def test_reconnect_sends_lost_updates_in_their_order(self, world: World) -> None:
        writer = await world.join("1", "2")
        world.stored |= {"1": Update(NOW + 2, B), "2": Update(NOW + 1, A)}
        world.upstream.on_connected()
        await world.settle()
        assert writer.prices == [1, 2]

    async def test_break_during_a_read_reads_the_states_again(self, world: World) -> None:
        writer = await world.join("1")
        world.slow_states = True
        world.upstream.on_connected()
        await world.settle()
        world.answer(world.readings[-1])  # the read from before the second break
        world.stored["1"] = Update(NOW + 1, A)
        world.upstream.on_connected()
        await world.settle()
        world.answer(world.readings[-1])
        await world.settle()
        assert writer.prices == [1]

    @pytest.mark.usefixtures("quick")
    async def test_failed_read_of_states_is_retried(self, world: World) -> None:
        world.slow_states = True
        joining = asyncio.create_task(world.join("1", states=True))
        await world.settle()
        with capture_logs() as logs:
            for _ in range(3):
                world.readings[-1].answer.set_exception(StoreError("Redis is loading"))
                await world.settle()
        writer = await joining
        # Once per outage, not with each attempt.
        assert [line["event"] for line in logs] == ["last states cannot be read"]
        world.stored["1"] = Update(NOW + 1, B)
        world.answer(world.readings[-1])
        await world.settle()
        assert writer.prices == [2]

    @pytest.mark.usefixtures("quick")
    async def test_failed_read_of_a_new_client_during_another_is_retried(
        self, world: World
    ) -> None:
        await world.join("1")
        world.slow_states = True
        world.upstream.on_connected()
        await world.settle()
        joining = asyncio.create_task(world.join("2", states=True))
        await world.settle()
        of_all, of_the_new = world.readings[-2:]
        assert (of_all.ids, of_the_new.ids) == (["1"], ["2"])
        of_the_new.answer.set_exception(StoreError("a time-out"))
        writer = await joining
        world.answer(of_all)
        await world.settle()
        world.stored["2"] = Update(NOW - 1, A)
        world.answer(world.readings[-1])
        await world.settle()
        assert writer.prices == [1]

    @pytest.mark.usefixtures("quick")
    async def test_updates_continue_while_states_cannot_be_read(self, world: World) -> None:
        writer = await world.join("1")
        world.slow_states = True
        world.upstream.on_connected()
        await world.settle()
        world.readings[-1].answer.set_exception(StoreError("too many connections"))
        world.message("1", A, NOW)
        await world.settle()
        assert writer.prices == [1]

    @pytest.mark.usefixtures("quick")
    async def test_states_of_reachable_cluster_nodes_do_not_wait_for_others(
        self, world: World
    ) -> None:
        writer = await world.join("1", "2")
        world.slow_states = True
        world.upstream.on_connected()
        await world.settle()
        found = {"1": state_of(Update(NOW + 1, A))}
        error = IncompleteError("a node hangs", found=found, left={"2"})
        world.readings[-1].answer.set_exception(error)
        await world.settle()
        assert writer.prices == [1]
        # The rest is asked for again.
        world.stored["2"] = Update(NOW + 2, B)
        world.answer(world.readings[-1])
        await world.settle()
        assert writer.prices == [1, 2]

    @pytest.mark.usefixtures("quick")
    async def test_start_waits_for_the_connection_and_not_for_the_states(
        self, world: World
    ) -> None:
        writer = await world.join("1")
        world.slow_states = True
        world.upstream.on_connected()
        await world.settle()
        world.connected = False
        world.readings[-1].answer.set_exception(StoreError("connection to Redis lost"))
        await world.settle()
        requested = len(world.readings)
        await world.settle()
        assert len(world.readings) == requested
        world.stored["1"] = Update(NOW + 1, A)
        world.connected, world.slow_states = True, False
        world.upstream.on_connected()
        await world.settle()
        assert writer.prices == [1]

    async def test_closing_is_bounded_while_the_store_hangs(self, world: World) -> None:
        world.slow_channels = world.slow_states = True
        tasks = [asyncio.create_task(world.upstream.acquire([i])) for i in ("1", "2")]
        await world.settle()
        world.upstream.release(["1"])
        world.confirmations[1].set_result(True)
        world.upstream.on_connected()
        await world.settle()
        await world.upstream.aclose()
        await asyncio.gather(*tasks)


class TestMessages:
    async def test_message_is_passed_on_as_published(self, world: World) -> None:
        writer = await world.join("1", "2")
        world.message("1", A, NOW - 5)
        world.message("1", A, NOW - 4)
        world.message("2", B, NOW - 3)
        world.message("1", C, NOW - 9)
        await world.settle()
        assert (writer.prices, writer.versions) == ([1, 2], [NOW - 5, NOW - 3])
        assert (world.received, world.malformed) == (4, 0)

    async def test_message_without_a_version_is_stamped(self, world: World) -> None:
        writer = await world.join("1")
        world.message("1", A)
        world.message("1", B)
        await world.settle()
        assert writer.versions == [NOW, NOW + 1]

    @pytest.mark.parametrize(
        "raw", [b"", b"{", b"null", b'{"data":{}}', b'{"data":{"BestLimit":1}}', b"\xff"]
    )
    async def test_malformed_messages_are_dropped_and_counted(
        self, world: World, raw: bytes
    ) -> None:
        writer = await world.join("1")
        with capture_logs() as logs:
            world.upstream.on_message("1", raw)
        assert (world.received, world.malformed) == (1, 1)
        assert [(line["event"], line["contract_id"]) for line in logs] == [
            ("malformed message dropped", "1")
        ]
        world.message("1", A, NOW)
        await world.settle()
        assert writer.prices == [1]

    async def test_malformed_messages_are_logged_once_per_reason_and_minute(
        self, world: World
    ) -> None:
        await world.join("1", "2")
        lines = []
        for seconds in (0, 1, 59.9, 60, 61, 120):
            world.seconds = seconds
            with capture_logs() as logs:
                world.upstream.on_message("1", b"{")
                world.upstream.on_message("2", b"{")
            lines += [(seconds, line["contract_id"], line.get("repeated")) for line in logs]
        assert lines == [(0, "1", None), (60, "1", 5), (120, "1", 3)]
        assert world.malformed == 12

    async def test_malformed_message_of_another_reason_is_logged_at_once(
        self, world: World
    ) -> None:
        await world.join("1")
        with capture_logs() as logs:
            for raw in (b"{", b"null", b'{"data":{}}', b"[]", b"?", b"null"):
                world.upstream.on_message("1", raw)
            for version in range(1, 5):  # where and what was read is no other reason
                world.message("1", A, NOW * 1000 * version)
                world.upstream.on_message("1", b" " * version + b"?")
            world.upstream.on_message("1", b'{"data":"' + b"x" * 70_000 + b'"}')
            world.upstream.on_message("1", b'{"data":"' + b"x" * 80_000 + b'"}')
        assert [line["reason"] for line in logs] == [
            "Input data was truncated",
            "Expected `object`, got `null`",
            "Object missing required field `BestLimit` - at `$.data`",
            "Expected `object`, got `array`",
            "JSON is malformed: invalid character (byte 0)",
            f"version {NOW * 1000} is not microseconds since the epoch up to now",
            "market data must be at most 65536 bytes of JSON, got 70011",
        ]

    async def test_version_in_nanoseconds_does_not_silence_the_contract(self, world: World) -> None:
        writer = await world.join("1")
        world.message("1", A, NOW * 1000)
        world.message("1", B, NOW)
        await world.settle()
        assert writer.prices == [2]
        assert world.malformed == 1


class TestStaleMessages:
    async def test_first_stale_message_of_a_contract_is_logged_with_both_versions(
        self, world: World
    ) -> None:
        await world.join("1", "2")
        world.message("1", A, NOW)
        world.message("2", A, NOW)
        world.seconds += 60
        with capture_logs() as logs:
            for _ in range(3):
                world.message("1", B, 1_795_700_000)
            world.message("2", B, NOW - 1)
        assert [(line["contract_id"], line["version"], line["newest"]) for line in logs] == [
            ("1", 1_795_700_000, NOW),
            ("2", NOW - 1, NOW),
        ]
        assert logs[0]["hint"] == "is 1795700000 not microseconds?"
        assert "hint" not in logs[1]

    async def test_stale_message_of_the_same_second_is_said_to_use_another_unit(
        self, world: World
    ) -> None:
        await world.join("1")
        world.message("1", A, 1_795_700_000)
        with capture_logs() as logs:
            world.message("1", B, 1_795_700_000)
        assert [line["hint"] for line in logs] == ["is 1795700000 not microseconds?"]

    async def test_version_far_ahead_is_logged_as_the_cause(self, world: World) -> None:
        writer = await world.join("1")
        world.message("1", A, NOW + 3_600_000_000)
        with capture_logs() as logs:
            world.message("1", B, NOW)
        await world.settle()
        assert writer.prices == [1]
        assert [line["hint"] for line in logs] == ["the newest is 3600 s ahead of this clock"]

    async def test_stale_message_causes_a_comparison_with_the_store(self, world: World) -> None:
        await world.join("1", "2")
        world.message("1", A, NOW + 1)
        world.seconds += 1
        readings = len(world.readings)
        world.message("1", B, NOW)
        world.upstream._wake.set()  # as at the next tick
        await world.settle()
        assert [reading.ids for reading in world.readings[readings:]] == [["1"]]

    async def test_message_already_read_from_the_store_is_not_stale(self, world: World) -> None:
        world.stored["1"] = Update(NOW, B)
        await world.join("1")
        with capture_logs() as logs:
            world.message("1", A, NOW - 1)  # both were on their way while the store was read
            world.message("1", B, NOW)
        assert logs == []
        world.seconds += 60
        with capture_logs() as logs:
            world.message("1", B, NOW)
            world.message("1", A, NOW)  # another state of the same version
        assert len(logs) == 1

    async def test_stale_messages_of_many_contracts_do_not_flood_the_log(
        self, world: World
    ) -> None:
        ids = [str(n) for n in range(500)]
        await world.join(*ids)
        for contract_id in ids:
            world.message(contract_id, A, NOW)
        world.seconds += 60
        with capture_logs() as logs:
            for contract_id in ids:
                world.message(contract_id, B, NOW - 1)
        assert len(logs) == 101


class TestSweep:
    @pytest.mark.usefixtures("quick")
    async def test_each_contract_is_compared_within_a_sweep(self, world: World) -> None:
        writer = await world.join(*map(str, range(30)))
        world.readings.clear()
        world.stored["29"] = Update(NOW, A)  # its message is lost
        for _ in range(30):
            await world.settle()
        assert writer.prices == [1]
        read = [i for reading in world.readings for i in reading.ids]
        assert sorted(read[:30]) == sorted(map(str, range(30)))

    @pytest.mark.usefixtures("quick")
    async def test_sweep_reads_nothing_during_an_outage_of_the_store(self, world: World) -> None:
        await world.join("1")
        world.connected = False
        await world.settle()
        readings = len(world.readings)
        await world.settle()
        assert len(world.readings) == readings
