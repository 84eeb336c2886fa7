"""The hub's opt-ins step by step: sections, `max_rate`, counts of skipped states, other contracts.

Rules that hold in any order are in `test_hub_properties`.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.market import PayloadSections, Update, timestamp_of
from tests.support.hub_world import NOW, A, B, C, World, selection, sizes_of
from tests.support.payloads import payload

INTEREST = DeliveryOptions(sections=("ContractInfo",))
SLOW = DeliveryOptions(interval=0.5)
COUNTING = DeliveryOptions(skips=True)
MORE = payload(1, open_interest=5)


@pytest.mark.parametrize(
    "options",
    [INTEREST, SLOW, COUNTING, DeliveryOptions(interval=0.5, skips=True, sections=("Aggregate",))],
)
def test_message_is_encoded_once_for_subscribers_with_equal_options(
    world: World, options: DeliveryOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    make = wire.message

    def message(*parts: Any) -> bytes:  # noqa: ANN401 - passed on
        made.append(make(*parts))
        return made[-1]

    monkeypatch.setattr(wire, "message", message)
    world.open("1")
    writers = [world.join("1", options=options)[1] for _ in range(10)]
    for version, new in enumerate([A, B, MORE], NOW):
        world.states.publish("1", version, new)
        world.tick()
        world.timers.pass_time(1)
    assert len(made) == len(writers[0].messages)
    assert all(writer.messages == writers[0].messages for writer in writers)


class TestSections:
    def test_subscriber_gets_its_sections_only_when_they_change(self, world: World) -> None:
        world.open("1", last=Update(NOW - 9, A))
        _, writer = world.join("1", options=INTEREST)
        _, whole = world.join("1")
        for version, new in enumerate([B, MORE, C], NOW):
            world.states.publish("1", version, new)
            world.tick()
        assert [message.version for message in writer.messages] == [NOW + 1, NOW + 2]
        interest = [m.payload.contract_info for m in writer.messages]
        assert [i.open_interest for i in interest] == [5, 0]  # type: ignore[union-attr]
        assert all(isinstance(message.payload, PayloadSections) for message in writer.messages)
        assert [message.version for message in whole.messages] == [NOW, NOW + 1, NOW + 2]

    def test_subscribers_with_equal_sections_share_one_buffer(self, world: World) -> None:
        world.open("1")
        writers = [world.join("1", options=INTEREST)[1] for _ in range(3)]
        world.states.publish("1", NOW, A)
        world.tick()
        assert len({id(writer.writes[0]) for writer in writers}) == 1

    def test_snapshot_has_the_version_of_the_last_change_of_its_sections(
        self, world: World
    ) -> None:
        world.open("1", last=Update(NOW - 9, A))
        world.join("1", options=INTEREST)
        world.states.publish("1", NOW, B)
        client, writer = world.join("1", options=INTEREST)
        world.hub.send_states(client)
        assert [message.version for message in writer.messages] == [NOW - 9]

    def test_conflation_drops_sections_that_returned_to_their_last_sent_values(
        self, world: World
    ) -> None:
        world.open("1", last=Update(NOW - 9, A))
        client, writer = world.join("1", options=INTEREST)
        world.hub.send_states(client)
        world.hub.pause(client)
        for version, new in enumerate([MORE, B], NOW):
            world.states.publish("1", version, new)
        world.hub.resume(client)
        assert len(writer.messages) == 1

    def test_leaving_frees_everything_kept_for_a_subscriber(self, world: World) -> None:
        world.open("1")
        client, _ = world.join("1", options=INTEREST)
        world.states.close("1")
        assert world.states.present("1") is not None, "closed under a client"
        world.hub.leave(client)
        world.states.close("1")
        assert world.states.present("1") is None

    def test_snapshot_of_sections_follows_when_the_last_state_is_loaded(self, world: World) -> None:
        world.states.open("1")
        client, writer = world.join("1", options=INTEREST)
        world.hub.send_states(client)
        world.states.load("1", Update(NOW - 9, MORE))
        world.tick()
        [message] = writer.messages
        assert message.payload.contract_info.open_interest == 5  # type: ignore[union-attr]


class TestThrottling:
    def test_throttling_sends_the_newest_state_and_always_the_last_one(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1", options=SLOW)
        for version in range(10):
            world.states.publish("1", NOW + version, payload(version))
            world.tick()
            world.timers.pass_time(0.1)
        assert writer.prices == [0, 4, 9]
        assert world.thin == 7
        assert world.replaced == 0

    def test_throttling_limits_each_contract_on_its_own(self, world: World) -> None:
        world.open("1", "2")
        _, writer = world.join("1", "2", options=SLOW)
        world.states.publish("1", NOW, A)
        world.tick()
        world.states.publish("2", NOW + 1, B)
        world.tick()
        assert writer.prices == [1, 2]

    def test_throttled_states_due_together_are_one_write(self, world: World) -> None:
        world.open("1", "2")
        _, writer = world.join("1", "2", options=SLOW)
        for version, (contract_id, new) in enumerate([("1", A), ("2", A), ("1", B), ("2", C)], NOW):
            world.states.publish(contract_id, version, new)
            world.tick()
        assert writer.prices == [1, 1]
        world.timers.pass_time(1)
        assert writer.prices == [1, 1, 2, 3]
        assert len(writer.writes) == 3

    def test_snapshot_counts_towards_max_rate(self, world: World) -> None:
        world.open("1", last=Update(NOW - 9, A))
        client, writer = world.join("1", options=SLOW)
        world.hub.send_states(client)
        world.states.publish("1", NOW, B)
        world.tick()
        assert writer.prices == [1]
        world.timers.pass_time(0.6)
        assert writer.prices == [1, 2]

    def test_throttled_subscriber_has_the_timestamp_of_its_last_message(self, world: World) -> None:
        world.open("1")
        client, _ = world.join("1", options=SLOW)
        for version, new in enumerate([A, B], NOW):
            world.states.publish("1", version, new)
            world.tick()
        assert list(client.other_timestamps().values()) == [timestamp_of(NOW, UTC).encode()]
        world.timers.pass_time(1)
        assert client.other_timestamps() == {}

    def test_slow_throttled_subscriber_gets_the_newest_state_on_resume(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1", options=SLOW)
        world.states.publish("1", NOW, A)
        world.tick()
        world.hub.pause(client)
        world.states.publish("1", NOW + 1, B)
        world.tick()
        world.timers.pass_time(5)
        assert writer.prices == [1]
        world.hub.resume(client)
        assert writer.prices == [1, 2]

    def test_leaving_frees_everything_kept_for_a_subscriber(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1", options=SLOW)
        for version, new in enumerate([A, B], NOW):
            world.states.publish("1", version, new)
            world.tick()
        assert len(world.hub._delivery.timers) == 1
        world.hub.leave(client)
        assert len(world.hub._delivery.timers) == 0
        world.timers.pass_time(5)
        assert writer.prices == [1]
        assert not len(world.timers)


class TestSkippedCount:
    def test_subscriber_that_keeps_up_skips_nothing(self, world: World) -> None:
        world.open("1")
        writers = [world.join("1", options=COUNTING)[1] for _ in range(2)]
        for version, new in enumerate([A, B], NOW):
            world.states.publish("1", version, new)
        world.tick()
        assert [(m.version - NOW, m.skipped) for m in writers[0].messages] == [(0, 0), (1, 0)]
        assert writers[0].writes[0] is writers[1].writes[0]
        assert world.deliveries == [(4, NOW)]

    def test_conflation_counts_skipped_states_of_a_slow_subscriber(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1", options=COUNTING)
        world.hub.pause(client)
        for version in range(4):
            world.states.publish("1", NOW + version, payload(version))
            world.tick()
        world.hub.resume(client)
        assert [(m.version - NOW, m.skipped) for m in writer.messages] == [(3, 3)]

    def test_states_conflated_to_no_change_count_as_skipped_in_the_next_message(
        self, world: World
    ) -> None:
        world.open("1", last=Update(NOW - 9, A))
        client, writer = world.join("1", options=COUNTING)
        _, other = world.join("1", options=COUNTING)
        world.hub.send_states(client)
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW):
            world.states.publish("1", version, new)
        world.hub.resume(client)
        world.states.publish("1", NOW + 2, C)
        world.tick()
        assert [m.skipped for m in writer.messages] == [0, 2]
        assert [m.skipped for m in other.messages] == [0, 0, 0]

    def test_throttling_counts_skipped_states(self, world: World) -> None:
        world.open("1")
        _, writer = world.join("1", options=DeliveryOptions(interval=1.0, skips=True))
        for version in range(5):
            world.states.publish("1", NOW + version, payload(version))
            world.tick()
        world.timers.pass_time(2)
        assert [(m.version - NOW, m.skipped) for m in writer.messages] == [(0, 0), (4, 3)]


class TestEvents:
    def test_event_has_no_id_while_an_older_event_is_outstanding(self, world: World) -> None:
        world.open("1", "2", "3")
        client, writer = world.join(
            "1", "2", "3", options=DeliveryOptions(format=wire.Format.EVENT)
        )
        world.hub.pause(client)
        # They began to be missed in this order; the states that are sent are of another one.
        for version, contract_id in enumerate("1232", NOW):
            world.states.publish(contract_id, version, payload(version))
            world.tick()
        world.hub.resume(client)
        events = b"".join(writer.writes).decode().split("\n\n")[:-1]
        ids_and_contracts = [
            (event.startswith("id: "), event.partition('"ContractId":"')[2][0]) for event in events
        ]
        assert ids_and_contracts == [(True, "1"), (False, "2"), (True, "3")]

    def test_subscriber_that_keeps_up_gets_an_id_with_every_event(self, world: World) -> None:
        world.open("1", "2")
        _, writer = world.join("1", "2", options=DeliveryOptions(format=wire.Format.EVENT))
        for version, contract_id in enumerate("1212", NOW):
            world.states.publish(contract_id, version, payload(version))
        world.tick()
        assert b"".join(writer.writes).count(b"id: ") == 4


class TestSelectionChange:
    def test_added_contracts_stream_and_removed_contracts_do_not(self, world: World) -> None:
        world.open("1", "2", "3")
        client, writer = world.join("1", "2")
        world.hub.select(client, selection("2", "3"))
        for version, contract_id in enumerate("123", NOW):
            world.states.publish(contract_id, version, A)
        world.tick()
        assert [message.contract for message in writer.messages] == ["2", "3"]

    def test_buffered_messages_are_sent_before_a_selection_change(self, world: World) -> None:
        world.open("1", "2")
        client, writer = world.join("1")
        world.states.publish("1", NOW, A)
        world.hub.select(client, selection("2"))
        assert writer.prices == [1]

    def test_slow_subscriber_gets_no_state_of_a_removed_contract(self, world: World) -> None:
        world.open("1", "2")
        client, writer = world.join("1", "2")
        world.hub.pause(client)
        world.states.publish("1", NOW, A)
        world.states.publish("2", NOW + 1, B)
        world.hub.select(client, selection("2"))
        world.hub.resume(client)
        assert writer.prices == [2]

    def test_snapshot_of_a_selection_change_has_added_contracts_only(self, world: World) -> None:
        world.open("1", "2", last=Update(NOW - 9, A))
        client, writer = world.join("1")
        world.hub.select(client, selection("1", "2"))
        world.hub.send_states(client, 0, ["2"])
        assert [message.contract for message in writer.messages] == ["2"]

    def test_added_contract_conflates_against_nothing_sent_to_others_before(
        self, world: World
    ) -> None:
        world.open("1", "2")
        client, writer = world.join("1")
        world.join("2")
        world.states.publish("2", NOW, A)
        world.tick()
        world.hub.select(client, selection("1", "2"))
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW + 1):
            world.states.publish("2", version, new)
            world.tick()
        world.hub.resume(client)
        # It has never got that state, however often others did.
        assert writer.prices == [1]

    def test_added_contract_conflates_against_its_snapshot(self, world: World) -> None:
        world.open("1", "2", last=Update(NOW - 9, A))
        client, writer = world.join("1")
        world.hub.select(client, selection("1", "2"))
        world.hub.send_states(client, 0, ["2"])
        world.hub.pause(client)
        for version, new in enumerate([B, A], NOW):
            world.states.publish("2", version, new)
        world.hub.resume(client)
        assert writer.prices == [1]

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_added_contracts_get_changes_after_an_outage_of_the_store(
        self, world: World, snapshot: bool
    ) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.states.open("2")
        world.states.open("3")
        world.hub.select(client, selection("1", "2", "3"))
        if snapshot:
            world.hub.send_states(client, 0, ["2", "3"])
        world.states.load("2", Update(NOW + 1, A))
        world.states.load("3", Update(NOW - 1, A))
        world.tick()
        contracts = [message.contract for message in writer.messages]
        assert contracts == (["2", "3"] if snapshot else ["2"])

    def test_removed_contract_is_not_sent_after_an_outage_of_the_store(self, world: World) -> None:
        world.states.open("1")
        client, writer = world.join("1")
        world.join("1")
        world.hub.select(client, {})
        world.states.load("1", Update(NOW + 1, A))
        world.tick()
        assert writer.writes == []
        assert sizes_of(client)["_missed"] == 0

    def test_empty_selection_sends_nothing_until_a_contract_is_added(self, world: World) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.hub.select(client, {})
        world.states.publish("1", NOW, A)
        world.tick()
        assert writer.writes == []
        world.hub.select(client, selection("1"))
        world.states.publish("1", NOW + 1, B)
        world.tick()
        assert writer.prices == [2]

    def test_selection_change_after_leaving_is_ignored(self, world: World) -> None:
        world.open("1", "2")
        client, writer = world.join("1")
        world.hub.leave(client)
        world.hub.select(client, selection("2"))
        world.states.publish("2", NOW, A)
        world.tick()
        assert writer.writes == []

    def test_selection_change_keeps_throttling_and_skipped_count(self, world: World) -> None:
        world.open("1", "2")
        client, writer = world.join("1", options=DeliveryOptions(interval=1.0, skips=True))
        for version, new in enumerate([A, B, C], NOW):
            world.states.publish("1", version, new)
            world.tick()
        world.hub.select(client, selection("1", "2"))
        assert writer.prices == [1]
        world.timers.pass_time(2)
        assert [(m.version - NOW, m.skipped) for m in writer.messages] == [(0, 0), (2, 1)]


class TestFramesOutOfTurn:
    def test_paused_subscriber_gets_the_newest_frame_of_each_kind_in_order(
        self, world: World
    ) -> None:
        world.open("1")
        client, writer = world.join("1")
        world.hub.pause(client)
        world.states.publish("1", NOW, A)
        for text, about in ((b"one", 1), (b"two", 2), (b"one again", 1)):
            world.hub.send(client, lambda text=text: wire.text_frame(text), about)  # type: ignore[misc]
        world.hub.resume(client)
        assert writer.writes[1:] == [wire.text_frame(text) for text in (b"one again", b"two")]

    def test_catch_up_and_answer_are_sent_before_the_next_snapshot(self, world: World) -> None:
        world.open("2", last=Update(NOW - 9, B))
        world.states.open("1")
        client, writer = world.join("1")
        world.states.load("1", Update(NOW + 1, A))
        world.hub.send(client, lambda: wire.text_frame(b"answer"))
        world.hub.select(client, selection("1", "2"))
        world.hub.send_states(client, 0, ["2"])
        world.tick()
        state, reply, other = writer.writes
        assert (b'"1"' in state, reply, b'"2"' in other) == (True, wire.text_frame(b"answer"), True)
