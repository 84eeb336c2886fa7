"""Timer wheel: subscribers are woken when they are due, and forgotten when they leave."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ime_live.gateway.hub.channel import Channel
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.subscriber_group import SubscriberGroup
from ime_live.gateway.hub.timer_wheel import TimerWheel
from tests.support.clock import GivenClock
from tests.support.hub_world import Writer
from tests.support.timers import Timers


class World:
    def __init__(self) -> None:
        self.timers = Timers()
        self.woken: list[Subscriber] = []
        self.wheel = TimerWheel(
            clock=GivenClock(monotonic=self.timers.monotonic),
            call_later=self.timers.call_later,
            wake=self.woken.append,
        )

    def client(self, interval: float, *missed: Channel) -> Subscriber:
        group = SubscriberGroup("", {}, DeliveryOptions(interval=interval))
        client = Subscriber(group, Writer(), 0)
        for channel in missed:
            client.miss(channel)
        return client

    def sent(self, client: Subscriber, *channels: Channel) -> None:
        assert client.throttle is not None
        client.throttle.open_due(self.timers.now)
        for channel in channels:
            client.throttle.close(channel, self.timers.now, b"")

    def wait(self, client: Subscriber, among: Iterable[Channel] | None = None) -> None:
        if (due := client.due(among)) is not None:
            self.wheel.add(client, due)


@pytest.fixture
def world() -> World:
    return World()


ONE, TWO = Channel("1", 0), Channel("2", 0)


def test_subscriber_is_woken_when_its_first_missed_contract_is_due(world: World) -> None:
    client = world.client(1.0, TWO)
    world.sent(client, ONE)
    world.timers.pass_time(0.5)
    world.sent(client, TWO)
    world.wait(client)
    world.timers.pass_time(0.99)
    assert world.woken == []
    world.timers.pass_time(0.02)
    assert world.woken == [client]
    world.timers.pass_time(5)
    assert world.woken == [client]
    assert len(world.wheel) == 0


def test_earlier_due_time_replaces_a_later_one(world: World) -> None:
    client = world.client(1.0, ONE, TWO)
    world.sent(client, ONE)
    world.timers.pass_time(0.5)
    world.sent(client, TWO)
    world.wait(client, [TWO])
    world.wait(client, [ONE])
    world.wait(client, [TWO])
    world.timers.pass_time(0.51)
    assert world.woken == [client]


def test_subscriber_that_misses_nothing_is_not_woken(world: World) -> None:
    client = world.client(1.0)
    world.sent(client, ONE)
    world.wait(client)
    world.wait(client, [ONE])
    assert len(world.wheel) == 0
    assert len(world.timers) == 0


def test_removed_subscriber_is_not_woken(world: World) -> None:
    leaver, stayer = world.client(1.0, ONE), world.client(3.0, ONE)
    for client in (leaver, stayer):
        world.sent(client, ONE)
        world.wait(client)
    world.wheel.remove(leaver)
    assert len(world.wheel) == 1
    world.timers.pass_time(4)
    assert world.woken == [stayer]
    assert len(world.timers) == 0


def test_subscribers_due_together_share_one_timer(world: World) -> None:
    clients = [world.client(1.0, ONE) for _ in range(100)]
    for client in clients:
        world.sent(client, ONE)
        world.wait(client)
    assert len(world.timers) == 1
    world.timers.pass_time(1.01)
    assert world.woken == clients


@pytest.mark.parametrize("interval", [0.1, 0.3, 0.5, 0.7, 1 / 3, 1 / 7, 2.0])
def test_woken_subscriber_is_due_at_any_time_of_the_clock(world: World, interval: float) -> None:
    """Floating-point seconds do not add up exactly, which must not delay it."""
    client = world.client(interval, ONE)
    assert client.throttle is not None
    for _ in range(300):
        world.sent(client, ONE)
        world.wait(client)
        assert len(world.timers) == 1
        # Exactly one call, at the exact time.
        world.timers.pass_to_next()
        assert world.woken.pop() is client
        world.sent(client)
        assert ONE not in client.throttle.closed


def test_woken_subscriber_may_wait_again(world: World) -> None:
    client = world.client(0.1, ONE)
    world.sent(client, ONE)
    world.wait(client)
    for count in range(1, 4):
        world.timers.pass_time(0.11)
        assert world.woken == [client] * count
        world.sent(client, ONE)
        world.wait(client)
