"""The hub step by step: sharing, counting, failures, and the order of things that rarely happen.

What holds whatever the order is in `test_hub_properties`.
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
    def test_one_write_for_all_that_came_in_a_tick(self, world: World) -> None:
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

    def test_the_same_selection_shares_one_buffer(self, world: World) -> None:
        world.open("1", "2")
        writers = [world.join(*ids)[1] for ids in (("1", "2"), ("2", "1"), ("1", "2"))]
        world.states.publish("1", NOW, A)
        world.states.publish("2", NOW, A)
        world.tick()
        assert len({id(writer.writes[0]) for writer in writers}) == 1

    def test_one_contract_shares_one_frame_over_selections(self, world: World) -> None:
        world.open("1", "2")
        _, one = world.join("1")
        _, two = world.join("1", "2")
        _, squeezed = world.join("1", options=DEFLATE)
        world.states.publish("1", NOW, A)
        world.tick()
        assert one.writes[0] is two.writes[0]
        assert len(squeezed.writes[0]) < len(one.writes[0])
        assert squeezed.prices == one.prices == [1]

    def test_nothing_is_encoded_when_nobody_is_ready(
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

    def test_nobody_gets_what_came_before(self, world: World) -> None:
        world.open("1")
        world.states.publish("1", NOW, A)
        _, writer = world.join("1")
        world.tick()
        assert writer.writes == []

    def test_who_has_left_gets_nothing(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.states.publish("1", NOW, A)
        world.hub.leave(client)
        world.tick()
        assert writer.writes == []

    def test_an_unknown_contract_is_nothing(self, world: World) -> None:
        world.states.publish("9", NOW, A)
        world.states.load("9", Update(NOW, A))
        world.states.close("9")
        assert world.callbacks == []

    def test_a_wanted_contract_cannot_be_closed(self, world: World) -> None:
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

    def test_without_a_version_it_is_stamped_now_but_grows(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        for version, new in [(None, A), (NOW + 10, B), (None, C)]:
            world.states.publish("1", version, new)
        world.tick()
        messages = Reader().messages(writer.writes[0])
        assert [message.version for message in messages] == [NOW, NOW + 10, NOW + 11]

    def test_one_that_follows_a_stamped_one_is_not_older(self, world: World) -> None:
        """Whatever its publisher's clock says: a channel keeps its order."""
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
    def test_it_gets_the_newest_of_each_contract_in_one_write(self, world: World) -> None:
        world.open("1", "2")
        client, writer = world.join("1", "2")
        world.hub.pause(client)
        for version, (contract_id, new) in enumerate([("1", A), ("2", A), ("1", B)], NOW):
            world.states.publish(contract_id, version, new)
            world.tick()
        world.hub.resume(client)
        assert len(writer.writes) == 1
        assert writer.prices == [2, 1]

    def test_it_gets_nothing_when_all_is_as_it_was(self, world: World) -> None:
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

    def test_what_is_on_its_way_is_not_sent_again_after_catching_up(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.hub.pause(client)
        world.states.publish("1", NOW, A)
        world.tick()
        world.states.publish("1", NOW + 1, B)
        world.hub.resume(client)
        world.tick()
        assert writer.prices == [2]

    def test_catching_up_stops_when_the_client_takes_no_more(
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

    def test_memory_is_one_slot_a_contract(self, world: World) -> None:
        world.open("1", "2")
        client, _ = world.join("1", "2")
        world.hub.pause(client)
        for version in range(NOW, NOW + 1000):
            world.states.publish("1", version, payload(version))
            world.tick()
        assert sizes_of(client)["_missed"] == 1
        assert world.replaced == 999


class TestPresentStates:
    def test_snapshot_and_since(self, world: World) -> None:
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

    def test_the_oldest_one_comes_first(self, world: World) -> None:
        """So the newest time stamp that a client has seen is good for `since` at any moment."""
        for contract_id, age in (("1", 5), ("2", 10), ("3", 1)):
            world.open(contract_id, last=Update(NOW - age, payload(age)))
        client, writer = world.join("1", "2", "3")
        world.hub.send_states(client, 0)
        assert writer.prices == [10, 5, 1]

    def test_a_state_that_was_named_by_since_is_not_repeated(self, world: World) -> None:
        world.open("1", last=Update(NOW - 10, A))
        client, writer = world.join("1")
        world.hub.send_states(client, NOW - 10)
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW):
            world.states.publish("1", version, new)
            world.tick()
        world.hub.resume(client)
        assert writer.writes == []

    def test_a_paused_client_gets_them_later(self, world: World) -> None:
        world.open("1", last=Update(NOW - 10, A))
        client, writer = world.join("1")
        world.hub.pause(client)
        world.hub.send_states(client, 0)
        assert writer.writes == []
        world.hub.resume(client)
        assert writer.prices == [1]


class TestLoading:
    """Clients that came while the store was away."""

    def test_who_wants_changes_gets_what_changed_since_then(self, world: World) -> None:
        for contract_id in ("1", "2", "3"):
            world.states.open(contract_id)
        _, writer = world.join("1", "2", "3")
        world.states.load("1", Update(NOW, A))
        world.states.load("2", Update(NOW + 1, B))
        world.states.load("3", None)
        world.tick()
        assert writer.prices == [2]

    def test_who_wants_states_gets_them_in_one_write(self, world: World) -> None:
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

    def test_since_counts_also_then(self, world: World) -> None:
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

    def test_a_state_nobody_was_sent_is_known_to_nobody(self, world: World) -> None:
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

    def test_updates_before_it_are_held_the_newest_only(self, world: World) -> None:
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

    def test_an_equal_one_that_was_held_is_no_news(self, world: World) -> None:
        world.states.open("1")
        _, writer = world.join("1")
        world.states.publish("1", None, A)
        world.states.load("1", Update(NOW - 1, A))
        world.tick()
        assert writer.writes == []
        assert world.drops == ["equal"]

    def test_a_held_one_replaces_the_loaded_one(self, world: World) -> None:
        world.states.open("1")
        client, writer = world.join("1")
        world.hub.send_states(client, 0)
        world.states.publish("1", NOW + 1, B)
        world.states.load("1", Update(NOW, A))
        world.tick()
        assert writer.prices == [2]
        assert world.replaced == 1

    def test_updates_are_not_held_up_by_another_load(self, world: World) -> None:
        world.open("1", last=Update(NOW - 1, A))
        _, writer = world.join("1")
        world.states.publish("1", NOW + 2, C)
        world.tick()
        world.states.load("1", Update(NOW + 1, B))
        world.states.load("1", None)
        world.tick()
        assert writer.prices == [3]

    def test_what_was_lost_comes_with_another_load(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1")
        world.states.load("1", Update(NOW - 1, A))
        world.tick()
        assert writer.prices == [1]

    @pytest.mark.parametrize("leaving", [True, False])
    def test_one_that_is_about_to_catch_up_leaves_or_stalls(
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
    def test_an_update_to_many_groups_is_sent_in_one_call(
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

    def test_a_subscriber_without_a_descriptor_is_written_to_by_its_transport(self) -> None:
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
    def test_one_client_that_fails_does_not_touch_others(self, world: World) -> None:
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

    def test_one_that_fails_while_it_catches_up(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        client, broken = world.join("1")
        broken.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        world.hub.send_states(client, 0)
        assert len(world.failures) == 1
        broken.error = None
        world.states.publish("1", NOW + 1, B)
        world.tick()
        assert broken.writes == []

    def test_its_connection_ends_later_and_harms_nobody(self, world: World) -> None:
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


class TestResumeWithSomethingNewer:
    """A client was told by another gateway, or before the store went back, what we do not know."""

    def resume(
        self, world: World, since: int, options: DeliveryOptions = DEFAULTS
    ) -> tuple[Subscriber, Writer]:
        client, writer = world.join("1", options=options)
        world.hub.send_states(client, since)
        return client, writer

    def test_gets_the_state_when_it_comes_again(self, world: World) -> None:
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

    def test_gets_the_state_that_has_come_again_before(self, world: World) -> None:
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

    def test_versions_go_on_above_that(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        _, resumed = self.resume(world, NOW + 5)
        world.states.publish("1", NOW + 9, A)
        world.tick()
        world.now = NOW + 1
        world.states.publish("1", None, B)
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9, NOW + 10]

    @pytest.mark.parametrize("since", [0, NOW - 1, NOW, NOW + 9, NOW + 50])
    def test_others_get_nothing_again(self, world: World, since: int) -> None:
        world.open("1", last=Update(NOW, A))
        _, resumed = self.resume(world, since)
        sent = len(resumed.messages)
        assert sent == (since < NOW)
        world.states.publish("1", NOW + 9, A)
        world.tick()
        assert len(resumed.messages) == sent

    def test_a_slow_client_gets_the_newest(self, world: World) -> None:
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

    def test_after_a_change_nothing_is_unknown_any_more(self, world: World) -> None:
        world.open("1", last=Update(NOW, A))
        client, resumed = self.resume(world, NOW + 5)
        world.states.publish("1", NOW + 6, B)
        world.states.publish("1", NOW + 7, B)
        world.tick()
        assert resumed.prices == [2]
        assert "_reissued" not in sizes_of(client)

    def test_sections_that_stay_the_same_come_again_with_the_next_state(self, world: World) -> None:
        options = DeliveryOptions(sections=("ContractInfo",))
        world.open("1", last=Update(NOW, A))
        _, steady = world.join("1", options=options)
        _, resumed = self.resume(world, NOW + 5, options)
        world.states.publish("1", NOW + 9, B)  # of the same open interest
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9]
        assert steady.writes == []

    def test_while_the_store_was_away(self, world: World) -> None:
        world.states.open("1")
        _, resumed = self.resume(world, NOW + 5)
        world.states.load("1", Update(NOW, A))
        world.tick()
        assert resumed.writes == []
        world.states.publish("1", NOW + 9, A)
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9]
