"""Subscribers: conflation for slow clients, and resuming with a newer state."""

from __future__ import annotations

from datetime import UTC

import pytest

from ime_live.gateway.hub import delivery
from ime_live.gateway.hub.delivery_options import DEFAULTS, DeliveryOptions
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.market import Update, timestamp_of
from tests.support.hub_world import NOW, A, B, C, World, Writer, selection, sizes_of
from tests.support.payloads import payload


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


class TestResumeWithNewerState:
    """A client has states of another gateway, or from before the store went back."""

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
        assert steady.writes == []  # the client has that state
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

    def test_client_resumes_during_an_outage_of_the_store(self, world: World) -> None:
        world.states.open("1")
        _, resumed = self.resume(world, NOW + 5)
        world.states.load("1", Update(NOW, A))
        world.tick()
        assert resumed.writes == []
        world.states.publish("1", NOW + 9, A)
        world.tick()
        assert [m.version for m in resumed.messages] == [NOW + 9]
