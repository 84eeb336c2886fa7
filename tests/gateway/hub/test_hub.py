"""The hub step by step: sharing, counting, failures, and the order of things that rarely happen.

Rules that hold in any order are in `test_hub_properties`.
"""

from __future__ import annotations

from ime_live.market import Update
from tests.support.hub_world import NOW, A, B, World
from tests.support.payloads import payload


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
        """The newest timestamp that a client has seen can be sent as `since` at any moment."""
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
