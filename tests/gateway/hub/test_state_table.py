"""The state table: versions of states, and loading after an outage."""

from __future__ import annotations

import pytest

from ime_live.market import Update
from tests.support.frames import Reader
from tests.support.hub_world import NOW, A, B, C, World


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

    def test_load_after_an_outage_sends_the_newer_state(self, world: World) -> None:
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
