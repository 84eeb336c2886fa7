"""Delivery: one write per client and tick, shared buffers, fan-out, and failures of clients."""

from __future__ import annotations

import errno

import pytest

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.transport import Batch, Shortfall
from ime_live.gateway.stream import fanout
from ime_live.market import Update
from tests.support.fake_sockets import send
from tests.support.frames import Reader
from tests.support.hub_world import DEFLATE, NOW, A, B, C, World, selection


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
        """A transport without a descriptor, such as one with TLS, gets nothing by `fanout.send`."""
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
