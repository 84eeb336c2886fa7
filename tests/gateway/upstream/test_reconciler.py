"""The comparison with the store: what is current, what is taken, and what is lifted.

The hub's states are real; the store is played by the test, with a script that decides as the real
one does (`tests/test_lift.py`). Clocks stand still unless a test moves them, and the gateway's and
the store's differ by a year.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import pytest
from structlog.testing import capture_logs

from ime_live.errors import IncompleteError, PayloadError, StoreError
from ime_live.gateway.upstream.reconciler import MAX_AGE, Reconciler
from ime_live.market import Payload, Update
from ime_live.store.records import LastState, Lift, Lifted
from tests.support.clock import GivenClock
from tests.support.hub_world import NOW, A, B, C, World, Writer

YEAR = 365 * 86_400 * 1_000_000


class Store:
    """Last states, and the clock of Redis."""

    def __init__(self) -> None:
        self.now = NOW - YEAR
        self.kept: dict[str, tuple[int, bytes, int]] = {}
        self.bad: dict[str, PayloadError] = {}
        self.published: list[tuple[str, Update]] = []
        self.reads: list[list[str]] = []
        self.lifts: list[str] = []
        self.error: StoreError | None = None
        self.refusal: StoreError | None = None
        self.past: set[str] = set()
        """Contracts whose states nobody has confirmed in the present history."""
        self.silent: StoreError | None = None
        """Why it does not tell that."""
        self.requested: list[list[str]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens after the states were read, and before clients are notified."""
        self.before_lift: Callable[[], object] = lambda: None
        self.on_their_way: list[Callable[[], None]] = []
        """Messages that arrive when the gateway waits for them."""

    def publish(self, contract_id: str, payload: Payload) -> int:
        """Our publisher's script; the version of what is stored then."""
        data = payload.to_json()
        last, kept, _ = self.kept.get(contract_id, (0, b"", 0))
        if kept != data:
            last = max(self.now, last + 1)
        self.kept[contract_id] = last, data, self.now
        return last

    async def caught_up(self) -> None:
        arrived, self.on_their_way = self.on_their_way, []
        for arrive in arrived:
            arrive()

    def put(self, contract_id: str, version: int, payload: Payload, seen: int) -> None:
        """Store a state as another program does."""
        self.kept[contract_id] = version, payload.to_json(), seen

    async def states(self, ids: Iterable[str], /) -> Mapping[str, LastState | PayloadError]:
        ids = list(ids)
        self.reads.append(ids)
        found: dict[str, LastState | PayloadError] = {
            i: LastState(version, data, b"%d" % seen)
            for i, (version, data, seen) in self.kept.items()
            if i in ids
        }
        found |= {i: error for i, error in self.bad.items() if i in ids}
        self.meanwhile()
        await asyncio.sleep(0)
        if isinstance(self.error, IncompleteError):
            left = self.error.left
            found = {i: state for i, state in found.items() if i not in left}
            raise IncompleteError(str(self.error), found=found, left=left)
        if self.error is not None:
            raise self.error
        return found

    async def in_present_history(self, histories: Mapping[str, bytes], /) -> set[str]:
        self.requested.append(sorted(histories))
        await asyncio.sleep(0)
        if self.silent is not None:
            raise self.silent
        return {i for i in histories if i not in self.past}

    async def lift(self, lifts: Sequence[Lift], /) -> Sequence[Lifted | StoreError]:
        await asyncio.sleep(0)
        return [self._lift(each) for each in lifts]

    def _lift(self, lift: Lift) -> Lifted | StoreError:
        self.lifts.append(lift.contract_id)
        self.before_lift()
        if self.refusal is not None:
            return self.refusal
        version, data, seen = self.kept[lift.contract_id]
        if version != lift.version:
            return Lifted()
        age = self.now - seen
        if age < 0 or age >= lift.age:
            return Lifted(confirmed=age)
        version = max(self.now, lift.above + 1)
        self.kept[lift.contract_id] = version, data, seen
        update = LastState(version, data).read()
        self.published.append((lift.contract_id, update))
        return Lifted(version)


class Gateway:
    """A hub's states, a client of each contract, and comparisons with the store."""

    def __init__(self, store: Store, *ids: str) -> None:
        self.store = store
        self.world = World()
        self.reconciler = Reconciler(
            self.world.states,
            store,
            caught_up=store.caught_up,
            clock=GivenClock(monotonic=self.world.timers.monotonic),
        )
        self.ids = ids
        for contract_id in ids:
            self.world.states.open(contract_id)
        self.writers: dict[str, Writer] = {}

    async def start(self) -> Gateway:
        await self.reconciler.compare(self.ids)
        self.writers = {i: self.world.join(i)[1] for i in self.ids}
        return self

    def message(self, contract_id: str, payload: Payload, version: int | None = None) -> None:
        self.world.states.publish(contract_id, version, payload)
        self.world.tick()

    async def current(self, *ids: str) -> list[str]:
        """Which contracts are current, by a new comparison."""
        for contract_id in ids or self.ids:
            self.reconciler.doubt(contract_id)
        current = await self.reconciler.current(ids or self.ids)
        self.world.tick()
        return sorted(current)

    def pass_time(self, seconds: float) -> None:
        self.world.timers.pass_time(seconds)
        self.store.now += int(seconds * 1e6)

    def prices(self, contract_id: str = "1") -> list[float]:
        return self.writers[contract_id].prices


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def gateway(store: Store) -> Gateway:
    return await Gateway(store, "1", "2").start()


async def publish(gateway: Gateway, payload: Payload, *, lost: bool = False) -> int:
    gateway.pass_time(1)
    version = gateway.store.publish("1", payload)
    if not lost:
        gateway.message("1", payload, version)
    gateway.pass_time(1)
    return version


async def goes_back(gateway: Gateway) -> tuple[int, int]:
    """A is saved, B published, and the store comes back with A; the versions of both."""
    first = await publish(gateway, A)
    saved = dict(gateway.store.kept)
    second = await publish(gateway, B)
    gateway.store.kept = saved
    gateway.pass_time(1)
    return first, second


class TestComparison:
    async def test_equal_state_is_current(self, gateway: Gateway) -> None:
        assert await gateway.current() == ["1", "2"]  # none of them has a state
        await publish(gateway, A)
        assert await gateway.current() == ["1", "2"]
        assert gateway.store.lifts == []

    async def test_newer_stored_state_is_taken(self, gateway: Gateway) -> None:
        version = await publish(gateway, A, lost=True)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1]
        assert gateway.writers["1"].messages[0].version == version

    async def test_newer_stored_state_waits_for_its_message(self, gateway: Gateway) -> None:
        for payload in (A, B, C):
            version = await publish(gateway, payload, lost=True)
            gateway.store.on_their_way.append(
                partial(gateway.message, "1", payload, version),
            )
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2, 3]

    async def test_newer_stored_state_is_taken_when_only_an_older_message_arrives(
        self, gateway: Gateway
    ) -> None:
        first = await publish(gateway, A, lost=True)
        await publish(gateway, B, lost=True)
        gateway.store.on_their_way.append(partial(gateway.message, "1", A, first))
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2]

    async def test_newer_equal_state_sends_nothing(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        await publish(gateway, B, lost=True)
        await publish(gateway, A, lost=True)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1]

    async def test_older_unconfirmed_state_is_not_current(self, gateway: Gateway) -> None:
        await goes_back(gateway)
        for _ in range(3):
            assert await gateway.current() == ["2"]
            gateway.pass_time(10)
        assert gateway.prices() == [1, 2]
        # One request is enough: without a confirmation the reply stays the same.
        assert gateway.store.lifts == ["1"]

    async def test_older_confirmed_state_is_lifted_and_sent(self, gateway: Gateway) -> None:
        _, second = await goes_back(gateway)
        assert await gateway.current() == ["2"]
        gateway.store.publish("1", A)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2, 1]
        [(_, lifted)] = gateway.store.published
        assert gateway.writers["1"].messages[-1].version == lifted.version > second
        gateway.message("1", lifted.payload, lifted.version)
        assert gateway.prices() == [1, 2, 1]
        assert await gateway.current() == ["1", "2"]

    async def test_older_version_of_an_equal_state_is_lifted(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        saved = dict(gateway.store.kept)
        await publish(gateway, B)
        await publish(gateway, A)
        gateway.store.kept = saved
        assert await gateway.current() == ["2"]
        gateway.store.publish("1", A)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2, 1]

    async def test_other_state_of_the_same_version_is_not_current(self, gateway: Gateway) -> None:
        version = await publish(gateway, A)
        gateway.store.put("1", version, B, seen=0)
        assert await gateway.current() == ["2"]
        gateway.store.put("1", version, B, seen=gateway.store.now)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2]

    async def test_emptied_store_is_not_current_and_replaces_nothing(
        self, gateway: Gateway
    ) -> None:
        await publish(gateway, A)
        gateway.store.kept.clear()
        assert await gateway.current() == ["2"]
        assert gateway.prices() == [1]
        assert gateway.store.lifts == []
        await publish(gateway, A)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1]

    async def test_data_that_cannot_be_read_is_not_current(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        gateway.store.bad["1"] = PayloadError("WRONGTYPE Operation against …")
        with capture_logs() as logs:
            for _ in range(3):
                assert await gateway.current() == ["2"]
        assert [(line["event"], line["contract_id"]) for line in logs] == [
            ("last state cannot be read", "1")
        ]
        del gateway.store.bad["1"]
        gateway.store.kept["1"] = gateway.store.now, b"{}", gateway.store.now
        assert await gateway.current() == ["2"]
        assert gateway.store.lifts == []

    async def test_contract_with_unreadable_stored_state_streams_new_updates(
        self, store: Store
    ) -> None:
        store.bad["1"] = PayloadError("WRONGTYPE Operation against …")
        gateway = await Gateway(store, "1").start()
        assert await gateway.current() == []
        gateway.message("1", A, NOW)
        assert gateway.prices() == [1]
        assert await gateway.current() == []

    async def test_contract_that_nobody_wants_any_more_is_left_out(self, gateway: Gateway) -> None:
        assert await gateway.current("1", "7") == ["1"]


class TestForeignMessages:
    async def test_unversioned_message_that_is_not_stored_is_not_current(
        self, gateway: Gateway
    ) -> None:
        await publish(gateway, A)
        assert await gateway.current() == ["1", "2"]
        gateway.message("1", B)
        gateway.pass_time(1)
        for _ in range(2):
            assert await gateway.current() == ["2"]
        assert gateway.prices() == [1, 2]

    async def test_publisher_that_stores_nothing_is_never_replaced(self, store: Store) -> None:
        store.put("1", 5, C, seen=5)  # as yesterday's publisher left it
        gateway = await Gateway(store, "1").start()
        for payload in (A, B):
            gateway.message("1", payload)
            gateway.pass_time(10)
            assert await gateway.current() == []
        assert gateway.prices() == [1, 2]

    async def test_unversioned_message_that_is_stored_afterwards_is_current(
        self, gateway: Gateway
    ) -> None:
        gateway.message("1", A)
        assert await gateway.current() == ["2"]
        gateway.store.put("1", NOW - 5, A, seen=0)
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1]

    async def test_version_far_ahead_gives_way_to_a_confirmed_state(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        far = gateway.store.now + 3_600_000_000
        gateway.message("1", C, far)
        gateway.pass_time(1)
        assert await gateway.current() == ["2"]
        gateway.message("1", B, gateway.store.publish("1", B))
        assert gateway.prices() == [1, 3]
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 3, 2]
        version = gateway.store.publish("1", A)
        assert version == far + 2
        gateway.message("1", A, version)
        assert gateway.prices() == [1, 3, 2, 1]


class TestConfirmations:
    async def test_confirmation_before_the_gateways_state_does_not_count(
        self, gateway: Gateway
    ) -> None:
        version = await publish(gateway, A)
        gateway.store.put("1", version, A, seen=gateway.store.now)
        gateway.pass_time(0.001)
        gateway.message("1", B, version + 1)
        gateway.pass_time(10)
        assert await gateway.current() == ["2"]

    async def test_confirmation_after_a_delayed_message_counts(self, store: Store) -> None:
        store.publish("1", A)
        gateway = Gateway(store, "1")
        gateway.message("1", B, NOW + 5)  # the last state is not read yet
        gateway.pass_time(1)
        store.publish("1", A)
        gateway.pass_time(1)
        assert await gateway.current() == ["1"]
        assert gateway.world.states.equals("1", LastState(*store.kept["1"][:2]).read())

    async def test_confirmation_from_the_future_never_counts(self, gateway: Gateway) -> None:
        # As after a failover to a server whose clock is behind that of the old one.
        await goes_back(gateway)
        version, data, _ = gateway.store.kept["1"]
        gateway.store.kept["1"] = version, data, gateway.store.now + 5_000_000
        for _ in range(3):
            assert await gateway.current() == ["2"]
            gateway.pass_time(5)
        gateway.store.publish("1", A)
        assert await gateway.current() == ["1", "2"]

    async def test_uncertain_comparison_is_repeated(self, gateway: Gateway) -> None:
        # The request takes a second, so a confirmation seems to be older than our state.
        await goes_back(gateway)
        gateway.store.publish("1", A)
        gateway.pass_time(0.5)
        gateway.store.before_lift = lambda: gateway.pass_time(30)
        assert await gateway.current() == ["2"]
        gateway.store.before_lift = lambda: None
        assert await gateway.current() == ["1", "2"]

    async def test_refused_lift_is_not_current_and_logged_once(self, gateway: Gateway) -> None:
        await goes_back(gateway)
        gateway.store.publish("1", A)
        gateway.store.refusal = StoreError("Redis refused a command: NOPERM")
        with capture_logs() as logs:
            for _ in range(3):
                assert await gateway.current() == ["2"]
        assert [line["error"] for line in logs] == ["Redis refused a command: NOPERM"]
        gateway.store.refusal = None
        assert await gateway.current() == ["1", "2"]

    async def test_state_changed_during_the_comparison_is_not_lifted(
        self, gateway: Gateway
    ) -> None:
        await goes_back(gateway)
        gateway.store.publish("1", A)
        gateway.store.before_lift = partial(gateway.store.publish, "1", C)
        assert await gateway.current() == ["2"]
        assert gateway.store.published == []
        assert await gateway.current() == ["1", "2"]
        assert gateway.prices() == [1, 2, 3]


class TestLostStates:
    """A client may come with a state that the store has lost."""

    def come(self, gateway: Gateway, since: int) -> Writer:
        gateway.pass_time(1)
        gateway.world.now += 1_000_000
        client, writer = gateway.world.join("1")
        gateway.world.hub.send_states(client, since)
        gateway.pass_time(1)
        return writer

    async def test_history_is_read_only_for_contracts_with_new_clients(
        self, gateway: Gateway
    ) -> None:
        version = await publish(gateway, A)
        await gateway.current()
        assert gateway.store.requested == []
        self.come(gateway, version)  # has just this state
        await gateway.current()
        assert gateway.store.requested == []
        self.come(gateway, version + 1)
        await gateway.current()
        assert gateway.store.requested == [["1"]]
        # It has been answered for this client.
        await gateway.current()
        assert gateway.store.requested == [["1"]]
        self.come(gateway, version + 1)
        await gateway.current()
        assert gateway.store.requested == [["1"], ["1"]]

    async def test_resume_within_the_present_history_is_current(self, gateway: Gateway) -> None:
        version = await publish(gateway, A)
        writer = self.come(gateway, version + 1)
        await gateway.current()
        gateway.message("1", A, version + 2)
        assert writer.prices == []

    @pytest.mark.parametrize("why", ["past", "silent", "future"])
    async def test_resume_in_another_history_is_not_current(
        self, gateway: Gateway, why: str
    ) -> None:
        version = await publish(gateway, A)
        ahead = 1
        if why == "past":
            gateway.store.past.add("1")
        elif why == "silent":
            gateway.store.silent = StoreError("NOPERM")
        else:
            ahead = 2 * YEAR
        writer = self.come(gateway, version + ahead)
        with capture_logs() as lines:
            # It equals the store nevertheless.
            for _ in range(3):
                assert await gateway.current() == ["1", "2"]
        said = [line["error"] for line in lines if "lost writes" in line["event"]]
        assert said == (["NOPERM"] if why == "silent" else [])
        gateway.message("1", A, version + ahead + 1)
        assert writer.prices == [1]

    async def test_new_client_needs_no_second_comparison(self, gateway: Gateway) -> None:
        version = await publish(gateway, A)
        await gateway.current()
        for _ in range(2):
            gateway.world.states.expect(["1", "unknown"], version + 1)
            await gateway.reconciler.current(["1", "2"])
        # A result of less than a second ago holds for the next client.
        assert gateway.store.requested == [["1"]]


class TestSeveralGateways:
    async def test_concurrent_lifts_of_gateways_agree(self, store: Store) -> None:
        gateways = [await Gateway(store, "1").start() for _ in range(3)]
        store.now += 5
        first = store.publish("1", A)
        saved = dict(store.kept)
        # Each has got another one of the states that are lost now, or a version far ahead.
        for n, gateway in enumerate(gateways):
            gateway.message("1", A, first)
            gateway.message("1", B if n else C, first + 10 ** (3 * n))
            gateway.world.timers.pass_time(1)
        store.kept = saved
        store.now += 1_000_000
        store.publish("1", A)
        for _ in range(2):
            await asyncio.gather(*(gateway.current() for gateway in gateways))
            for gateway in gateways:
                for _, update in store.published:
                    gateway.message("1", update.payload, update.version)
        for gateway in gateways:
            assert await gateway.current() == ["1"]
            assert gateway.prices()[-1] == 1
            assert gateway.world.states.equals("1", LastState(*store.kept["1"][:2]).read())
        versions = {gateway.writers["1"].messages[-1].version for gateway in gateways}
        assert len(versions) <= len(gateways)
        lifts = len(store.published)
        assert lifts <= len(gateways)


class TestMovingContracts:
    async def test_message_during_the_comparison_repeats_it(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        gateway.store.reads.clear()

        def meanwhile() -> None:
            if len(gateway.store.reads) == 1:
                gateway.message("1", B, gateway.store.publish("1", B))

        gateway.store.meanwhile = meanwhile
        assert await gateway.current() == ["1", "2"]
        assert gateway.store.reads == [["1", "2"], ["1"]]
        assert gateway.store.lifts == []

    async def test_constantly_changing_contract_is_not_current(self, gateway: Gateway) -> None:
        await publish(gateway, A)
        version = NOW

        def flood() -> None:
            nonlocal version
            version += 1
            gateway.message("1", B if version % 2 else C, version)

        gateway.store.meanwhile = flood
        assert await gateway.current() == ["2"]
        assert gateway.store.lifts == []


class TestSharing:
    async def test_comparison_is_cached_for_a_second(self, gateway: Gateway) -> None:
        gateway.store.reads.clear()
        assert await gateway.reconciler.current(["1", "2"]) == {"1", "2"}
        await gateway.reconciler.current(["1"])
        gateway.pass_time(MAX_AGE)
        answers = await asyncio.gather(*(gateway.reconciler.current(["1", "2"]) for _ in range(9)))
        assert answers == [{"1", "2"}] * 9
        assert gateway.store.reads == [["1", "2"]]

    async def test_doubted_contract_is_compared_before_any_status(self, gateway: Gateway) -> None:
        assert await gateway.reconciler.current(["1", "2"]) == {"1", "2"}
        gateway.store.put("1", NOW, A, seen=0)
        assert await gateway.reconciler.current(["1", "2"]) == {"1", "2"}
        gateway.store.reads.clear()
        gateway.reconciler.doubt("1")
        assert await gateway.reconciler.current(["1", "2"]) == {"1", "2"}
        gateway.world.tick()
        assert gateway.prices() == [1]
        assert gateway.store.reads == [["1"]]

    async def test_unversioned_update_is_compared_before_any_status(self, gateway: Gateway) -> None:
        gateway.message("1", A, NOW)
        gateway.store.put("1", NOW, A, seen=0)
        assert await gateway.current() == ["1", "2"]
        gateway.pass_time(0.1)
        gateway.store.reads.clear()
        gateway.message("1", B)
        gateway.pass_time(0.1)
        for _ in range(3):
            assert await gateway.reconciler.current(["1", "2"]) == {"2"}
        assert gateway.store.reads == [["1"]]

    async def test_failed_comparison_is_cached_for_a_second(self, gateway: Gateway) -> None:
        gateway.pass_time(MAX_AGE)
        gateway.store.reads.clear()
        gateway.store.error = StoreError("away")
        errors = await asyncio.gather(
            *(gateway.reconciler.current(["1"]) for _ in range(9)), return_exceptions=True
        )
        assert [str(error) for error in errors] == ["away"] * 9
        gateway.store.error = None
        with pytest.raises(StoreError, match="away"):
            await gateway.reconciler.current(["2"])
        assert len(gateway.store.reads) == 1
        gateway.pass_time(MAX_AGE)
        assert await gateway.reconciler.current(["1"]) == {"1"}

    async def test_outage_of_one_shard_affects_its_contracts_only(self, gateway: Gateway) -> None:
        assert await gateway.current() == ["1", "2"]
        gateway.store.error = IncompleteError("BUSY", found={}, left={"1"})
        gateway.pass_time(MAX_AGE)
        assert await gateway.reconciler.current(["1", "2"]) == {
            "2"
        }  # the earlier result no longer counts
        with pytest.raises(IncompleteError):
            await gateway.reconciler.compare(["1", "2"])
