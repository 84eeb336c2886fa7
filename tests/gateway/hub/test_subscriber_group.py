"""Groups of subscribers: contracts that join and leave a live selection."""

from __future__ import annotations

from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.market import Update
from tests.support.hub_world import NOW, A, B, World, Writer, selection

LIVE = "a market"


def follow(world: World, *ids: str) -> tuple[Subscriber, Writer]:
    """Add a client of a live selection that has these contracts at present."""
    writer = Writer()
    return world.hub.join(selection(*ids), writer, live=LIVE), writer


def test_paused_subscriber_gets_first_state_of_added_contract_on_resume(world: World) -> None:
    world.open("1", "2")
    client, writer = follow(world, "1")
    world.hub.pause(client)
    world.hub.revise(LIVE, selection("2"))
    world.states.publish("2", NOW, A)
    world.tick()
    assert writer.prices == []
    world.hub.resume(client)
    assert writer.prices == [1]


def test_later_subscriber_gets_update_before_added_contract_is_loaded(world: World) -> None:
    world.open("1")
    follow(world, "1")
    world.states.open("2")
    world.hub.revise(LIVE, selection("2"))
    _, writer = follow(world, "1", "2")
    world.states.load("2", Update(world.now + 1, B))
    world.tick()
    assert writer.prices == [2]


def test_removed_contract_leaves_nothing_in_the_group(world: World) -> None:
    world.open("1", "2", last=Update(NOW - 1, A))
    client, writer = follow(world, "1")
    world.hub.revise(LIVE, selection("2"))
    assert writer.prices == [1]
    world.hub.revise(LIVE, {}, ["2"])
    assert client.group.announced == {}
    assert list(client.group.selection) == ["1"]
    world.states.publish("2", NOW, B)
    world.tick()
    assert writer.prices == [1]
