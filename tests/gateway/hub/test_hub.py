"""The hub step by step: sharing, counting, failures, and the order of things that rarely happen.

Rules that hold in any order are in `test_hub_properties`.
"""

from __future__ import annotations

import errno
from datetime import UTC

import pytest

from ime_live.gateway.hub import delivery
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.delivery_options import DEFAULTS, DeliveryOptions
from ime_live.gateway.hub.subscribers import Subscriber
from ime_live.gateway.hub.transport import Batch, Shortfall
from ime_live.gateway.stream import fanout
from ime_live.market import Update, timestamp_of
from tests.support.fake_sockets import send
from tests.support.frames import Reader
from tests.support.hub_world import DEFLATE, NOW, A, B, C, World, Writer, selection, sizes_of
from tests.support.payloads import payload


@pytest.fixture
def world() -> World:
    return World()


class TestDelivery:
    def test_updates_of_one_tick_are_one_write(self, world: World) -> None:
        world.open("1", "2")
        _, writer = world.join("1", "2")
        for version, (contract_id, new) in enumerate([("1", A), ("2", B), ("1", C)], NOW):
            world.states.publish(contract_id, version, new)
        assert writer.writes == []
        assert len(world.callbacks) == 1
        world.tick()
        assert len(writer.writes) == 1
        assert writer.prices == [1, 2, 3]
        assert world.deliveries == [(3, NOW)]
        world.tick()
        assert len(writer.writes) == 1

    def test_subscribers_with_equal_selections_share_one_buffer(self, world: World) -> None:
        world.open("1", "2")
        writers = [world.join(*ids)[1] for ids in (("1", "2"), ("2", "1"), ("1", "2"))]
        world.states.publish("1", NOW, A)
        world.states.publish("2", NOW, A)
        world.tick()
        assert len({id(writer.writes[0]) for writer in writers}) == 1

    def test_update_is_encoded_once_over_all_selections(self, world: World) -> None:
        world.open("1", "2")
        _, one = world.join("1")
        _, two = world.join("1", "2")
        _, squeezed = world.join("1", options=DEFLATE)
        world.states.publish("1", NOW, A)
        world.tick()
        assert one.writes[0] is two.writes[0]
        assert len(squeezed.writes[0]) < len(one.writes[0])
        assert squeezed.prices == one.prices == [1]

    def test_update_is_not_encoded_while_all_subscribers_are_paused(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.hub.pause(client)
        with monkeypatch.context() as patch:
            patch.delattr(wire, "message")
            world.states.publish("1", NOW, A)
            world.tick()
            world.states.publish("1", NOW + 1, B)
            world.tick()
        assert world.deliveries == []
        world.hub.resume(client)
        assert writer.prices == [2]
        assert world.replaced == 1

    def test_new_subscriber_gets_no_earlier_updates(self, world: World) -> None:
        world.open("1")
        world.states.publish("1", NOW, A)
        _, writer = world.join("1")
        world.tick()
        assert writer.writes == []

    def test_subscriber_that_left_gets_nothing(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.states.publish("1", NOW, A)
        world.hub.leave(client)
        world.tick()
        assert writer.writes == []

    def test_update_of_an_unknown_contract_is_ignored(self, world: World) -> None:
        world.states.publish("9", NOW, A)
        world.states.load("9", Update(NOW, A))
        world.states.close("9")
        assert world.callbacks == []

    def test_contract_with_subscribers_cannot_be_closed(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        world.states.close("1")
        world.states.publish("1", NOW, A)
        world.tick()
        assert writer.prices == [1]


class TestVersions:
    def test_equal_and_stale_updates_are_dropped_and_counted(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        for version, new in [(NOW, A), (NOW, B), (NOW - 1, B), (NOW + 5, A), (NOW + 3, B)]:
            world.states.publish("1", version, new)
        world.tick()
        assert writer.prices == [1]
        assert world.drops == ["stale", "stale", "equal", "stale"]

    def test_update_without_version_gets_the_present_time_or_more(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        for version, new in [(None, A), (NOW + 10, B), (None, C)]:
            world.states.publish("1", version, new)
        world.tick()
        messages = Reader().messages(writer.writes[0])
        assert [message.version for message in messages] == [NOW, NOW + 10, NOW + 11]

    def test_update_after_an_unversioned_one_is_not_stale(self, world: World) -> None:
        """A channel keeps its order, with any clock of the publisher."""
        world.open("1")
        _, writer = world.join("1")
        for version, new in [(None, A), (NOW - 10, B), (NOW - 10, C), (NOW - 9, C)]:
            world.states.publish("1", version, new)
        world.tick()
        messages = Reader().messages(writer.writes[0])
        assert [message.version for message in messages] == [NOW, NOW + 1, NOW + 2]
        assert writer.prices == [1, 2, 3]
        assert world.drops == ["stale"]


class TestSlowClients:
    def test_conflation_sends_the_newest_state_of_each_contract_in_one_write(
        self, world: World
    ) -> None:
        world.open("1", "2")
        client, writer = world.join("1", "2")
        world.hub.pause(client)
        for version, (contract_id, new) in enumerate([("1", A), ("2", A), ("1", B)], NOW):
            world.states.publish(contract_id, version, new)
            world.tick()
        world.hub.resume(client)
        assert len(writer.writes) == 1
        assert writer.prices == [2, 1]

    def test_conflation_sends_nothing_when_the_last_sent_state_returned(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.states.publish("1", NOW, A)
        world.tick()
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW + 1):
            world.states.publish("1", version, new)
            world.tick()
        world.hub.resume(client)
        assert writer.prices == [1]

    def test_slow_client_gets_no_message_twice_after_catching_up(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.hub.pause(client)
        world.states.publish("1", NOW, A)
        world.tick()
        world.states.publish("1", NOW + 1, B)
        world.hub.resume(client)
        world.tick()
        assert writer.prices == [2]

    def test_catching_up_stops_when_the_socket_is_full(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "CATCH_UP_BYTES", 1)
        world.open("1", "2", "3")
        full = True

        class AlmostFull(Writer):
            def write(self, data: bytes, /) -> int:
                return super().write(data) - full

            def keep(self, rest: bytes, /) -> None:
                assert len(rest) == 1
                world.hub.pause(client)

        writer = AlmostFull()
        client = world.hub.join(selection("1", "2", "3"), writer)
        world.hub.pause(client)
        for contract_id in ("1", "2", "3"):
            world.states.publish(contract_id, NOW, A)
        world.tick()
        world.hub.resume(client)
        assert len(writer.writes) == 1
        world.states.publish("2", NOW + 1, B)
        world.states.publish("3", NOW + 1, C)
        full = False
        world.hub.resume(client)
        assert writer.prices == [1, 2, 3]

    def test_conflation_keeps_one_slot_per_contract(self, world: World) -> None:
        world.open("1", "2")
        client, _ = world.join("1", "2")
        world.hub.pause(client)
        for version in range(NOW, NOW + 1000):
            world.states.publish("1", version, payload(version))
            world.tick()
        assert sizes_of(client)["_missed"] == 1
        assert world.replaced == 999


class TestSnapshots:
    def test_snapshot_and_since_choose_the_states_sent(self, world: World) -> None:
        world.open("1", last=Update(NOW - 10, A))
        world.open("2", last=Update(NOW - 5, B))
        world.open("3")
        snapshot, everything = world.join("1", "2", "3")
        since, newer = world.join("1", "2", "3")
        world.hub.send_states(snapshot, 0)
        world.hub.send_states(since, NOW - 10)
        assert everything.prices == [1, 2]
        assert newer.prices == [2]
        assert len(everything.writes) == 1

    def test_snapshot_begins_with_the_oldest_state(self, world: World) -> None:
        """So the newest timestamp that a client has seen is good for `since` at any moment."""
        for contract_id, age in (("1", 5), ("2", 10), ("3", 1)):
            world.open(contract_id, last=Update(NOW - age, payload(age)))
        client, writer = world.join("1", "2", "3")
        world.hub.send_states(client, 0)
        assert writer.prices == [10, 5, 1]

    def test_snapshot_leaves_out_states_named_by_since(self, world: World) -> None:
        world.open("1", last=Update(NOW - 10, A))
        client, writer = world.join("1")
        world.hub.send_states(client, NOW - 10)
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW):
            world.states.publish("1", version, new)
            world.tick()
        world.hub.resume(client)
        assert writer.writes == []

    def test_paused_client_gets_the_snapshot_on_resume(self, world: World) -> None:
        world.open("1", last=Update(NOW - 10, A))
        client, writer = world.join("1")
        world.hub.pause(client)
        world.hub.send_states(client, 0)
        assert writer.writes == []
        world.hub.resume(client)
        assert writer.prices == [1]


class TestLoadingAfterOutage:
    """Clients that came while the store was away."""

    def test_subscriber_without_snapshot_gets_changes_since_it_connected(
        self, world: World
    ) -> None:
        for contract_id in ("1", "2", "3"):
            world.states.open(contract_id)
        _, writer = world.join("1", "2", "3")
        world.states.load("1", Update(NOW, A))
        world.states.load("2", Update(NOW + 1, B))
        world.states.load("3", None)
        world.tick()
        assert writer.prices == [2]

    def test_subscriber_with_snapshot_gets_all_states_in_one_write(self, world: World) -> None:
        ids = [str(number) for number in range(50)]
        for contract_id in ids:
            world.states.open(contract_id)
        client, writer = world.join(*ids)
        world.hub.send_states(client, 0)
        for contract_id in ids:
            world.states.load(contract_id, Update(NOW - 1, A))
        world.tick()
        assert len(writer.writes) == 1
        assert writer.prices == [1] * 50

    def test_since_limits_loaded_states(self, world: World) -> None:
        world.states.open("1")
        client, writer = world.join("1")
        world.now += 100
        newcomer, late = world.join("1")
        world.hub.send_states(client, NOW + 49)
        world.hub.send_states(newcomer, NOW + 50)  # seen on another gateway
        world.states.load("1", Update(NOW + 50, A))
        world.tick()
        assert writer.prices == [1]
        assert late.prices == []

    def test_loaded_state_that_was_not_sent_is_no_last_sent_state(self, world: World) -> None:
        world.states.open("1")
        world.open("2")
        client, writer = world.join("1")
        world.states.publish("2", NOW, A)
        world.states.load("1", Update(NOW - 1, A))
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW):
            world.states.publish("1", version, new)
            world.tick()
        world.hub.resume(client)
        assert writer.prices == [1]

    def test_only_the_newest_update_before_loading_is_held(self, world: World) -> None:
        world.states.open("1")
        _, writer = world.join("1")
        world.states.publish("1", NOW + 2, C)
        world.states.publish("1", NOW + 1, B)
        world.tick()
        assert writer.writes == []
        assert world.drops == ["stale"]
        world.states.load("1", Update(NOW - 1, A))
        world.tick()
        assert writer.prices == [3]

    def test_held_update_equal_to_the_loaded_state_is_dropped(self, world: World) -> None:
        world.states.open("1")
        _, writer = world.join("1")
        world.states.publish("1", None, A)
        world.states.load("1", Update(NOW - 1, A))
        world.tick()
        assert writer.writes == []
        assert world.drops == ["equal"]

    def test_held_update_replaces_the_loaded_state(self, world: World) -> None:
        world.states.open("1")
        client, writer = world.join("1")
        world.hub.send_states(client, 0)
        world.states.publish("1", NOW + 1, B)
        world.states.load("1", Update(NOW, A))
        world.tick()
        assert writer.prices == [2]
        assert world.replaced == 1

    def test_updates_are_not_replaced_by_an_older_loaded_state(self, world: World) -> None:
        world.open("1", last=Update(NOW - 1, A))
        _, writer = world.join("1")
        world.states.publish("1", NOW + 2, C)
        world.tick()
        world.states.load("1", Update(NOW + 1, B))
        world.states.load("1", None)
        world.tick()
        assert writer.prices == [3]

    def test_lost_updates_arrive_with_another_loading(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        world.states.load("1", Update(NOW - 1, A))
        world.tick()
        assert writer.prices == [1]

    @pytest.mark.parametrize("leaving", [True, False])
    def test_subscriber_may_leave_or_stall_before_it_catches_up(
        self, world: World, leaving: bool
    ) -> None:
        world.states.open("1")
        client, writer = world.join("1")
        world.hub.send_states(client, 0)
        world.states.load("1", Update(NOW, A))
        (world.hub.leave if leaving else world.hub.pause)(client)
        world.tick()
        assert writer.writes == []
        world.hub.resume(client)
        assert writer.prices == ([] if leaving else [1])


class TestFanOut:
    def test_fan_out_to_many_groups_is_one_call(
        self,
    ) -> None:
        calls: list[int] = []

        def counted(batches: list[Batch]) -> tuple[Shortfall, ...]:
            calls.append(len(batches))
            return send(batches)

        world = World(send=counted)
        world.open("1", *map(str, range(2, 102)))
        writers = [world.join("1", str(n))[1] for n in range(2, 102)]
        world.states.publish("1", NOW, A)
        world.tick()
        assert calls == [100]
        for n in range(2, 102):
            world.states.publish(str(n), NOW + n, B)
        world.states.publish("1", NOW + 200, C)
        world.tick()
        assert calls == [100, 100]
        assert all(writer.prices == [1, 2, 3] for writer in writers)

    def test_fan_out_without_descriptor_uses_the_transport(self) -> None:
        """So is one with TLS, if there ever is one; `fanout.send` takes nothing for it."""
        world = World(send=fanout.send)
        world.open("1")
        kept: list[bytes] = []

        class Transport:
            descriptor = -1

            def keep(self, rest: bytes, /) -> None:
                kept.append(rest)

        world.hub.join(selection("1"), Transport())
        world.states.publish("1", NOW, A)
        world.tick()
        assert [message.price for data in kept for message in Reader().messages(data)] == [1]


class TestFailures:
    def test_failing_client_does_not_affect_others(self, world: World) -> None:
        world.open("1")
        (bad, broken), (_, good), (_, other) = (
            world.join("1"),
            world.join("1"),
            world.join("1", options=DEFLATE),
        )
        broken.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        for version, new in enumerate([A, B], NOW):
            world.states.publish("1", version, new)
            world.tick()
        assert good.prices == other.prices == [1, 2]
        [(failed, error)] = world.failures
        assert failed is bad
        assert str(error) == str(broken.error)

    def test_client_may_fail_while_it_catches_up(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        client, broken = world.join("1")
        broken.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        world.hub.send_states(client, 0)
        assert len(world.failures) == 1
        broken.error = None
        world.states.publish("1", NOW + 1, B)
        world.tick()
        assert broken.writes == []

    def test_connection_of_a_failed_client_may_end_later(self, world: World) -> None:
        """The protocol tells the hub again, when others may share a selection like its own."""
        world.open("1", "2")
        client, broken = world.join("1", "2")
        broken.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        world.states.publish("1", NOW, A)
        world.tick()
        _, second = world.join("1", "2")
        world.hub.pause(client)
        world.hub.resume(client)
        world.hub.leave(client)
        _, third = world.join("1", "2")
        world.states.publish("1", NOW + 1, B)
        world.states.publish("2", NOW + 1, B)
        world.tick()
        assert second.prices == [2, 2]
        assert third.writes[0] is second.writes[0]


class TestResumeWithNewerState:
    """A client was told by another gateway, or before the store went back, what we do not know."""

    def resume(
        self, world: World, since: int, options: DeliveryOptions = DEFAULTS
    ) -> tuple[Subscriber, Writer]:
        client, writer = world.join("1", options=options)
        world.hub.send_states(client, since)
        return client, writer

    def test_resumed_client_gets_the_state_when_it_is_published_again(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        _, steady = world.join("1")
        client, resumed = self.resume(world, NOW + 5)
        assert resumed.writes == []
        world.states.publish("1", NOW + 9, A)  # lifted, or the state between them was lost
        world.tick()
        assert [(m.price, m.version) for m in resumed.messages] == [(1, NOW + 9)]
        assert steady.writes == []  # it has it
        assert list(client.other_timestamps().values()) == [timestamp_of(NOW + 9, UTC).encode()]
        world.states.publish("1", NOW + 12, A)
        world.tick()
        assert len(resumed.messages) == 1

    def test_resumed_client_gets_a_state_that_was_published_again_before(
        self, world: World
    ) -> None:
        world.open("1", "2", last=Update(NOW, A))
        world.states.publish("1", NOW + 9, A)
        world.states.publish("2", NOW + 7, B)
        world.tick()
        writer = Writer()
        client = world.hub.join(selection("1", "2"), writer)
        world.hub.send_states(client, NOW + 5)
        assert [(m.contract, m.version) for m in writer.messages] == [
            ("2", NOW + 7),
            ("1", NOW + 9),
        ]

    def test_versions_continue_above_the_resumed_version(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        _, resumed = self.resume(world, NOW + 5)
        world.states.publish("1", NOW + 9, A)
        world.tick()
        world.now = NOW + 1
        world.states.publish("1", None, B)
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9, NOW + 10]

    @pytest.mark.parametrize("since", [0, NOW - 1, NOW, NOW + 9, NOW + 50])
    def test_other_clients_get_no_state_twice(self, world: World, since: int) -> None:
        world.open("1", last=Update(NOW, A))
        _, resumed = self.resume(world, since)
        sent = len(resumed.messages)
        assert sent == (since < NOW)
        world.states.publish("1", NOW + 9, A)
        world.tick()
        assert len(resumed.messages) == sent

    def test_slow_resumed_client_gets_the_newest_state(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        client, resumed = self.resume(world, NOW + 5)
        world.hub.pause(client)
        world.states.publish("1", NOW + 9, A)
        world.tick()
        world.states.publish("1", NOW + 10, B)
        world.states.publish("1", NOW + 11, A)
        world.tick()
        world.hub.resume(client)
        assert [(m.price, m.version) for m in resumed.messages] == [(1, NOW + 11)]

    def test_resumed_client_is_like_others_after_a_change(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        client, resumed = self.resume(world, NOW + 5)
        world.states.publish("1", NOW + 6, B)
        world.states.publish("1", NOW + 7, B)
        world.tick()
        assert resumed.prices == [2]
        assert "_reissued" not in sizes_of(client)

    def test_equal_sections_are_sent_again_with_the_next_state(self, world: World) -> None:
        options = DeliveryOptions(sections=("ContractInfo",))
        world.open("1", last=Update(NOW, A))
        _, steady = world.join("1", options=options)
        _, resumed = self.resume(world, NOW + 5, options)
        world.states.publish("1", NOW + 9, B)  # of the same open interest
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9]
        assert steady.writes == []

    def test_client_resumes_while_the_store_is_away(self, world: World) -> None:
        world.states.open("1")
        _, resumed = self.resume(world, NOW + 5)
        world.states.load("1", Update(NOW, A))
        world.tick()
        assert resumed.writes == []
        world.states.publish("1", NOW + 9, A)
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9]
