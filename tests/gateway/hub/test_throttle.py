"""Throttle: who is woken when, and that nothing is kept for those who are not to be woken."""

from __future__ import annotations

from datetime import UTC

import pytest

from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.hub.subscribers import Channel, Client, State, SubscriberGroup
from ime_live.gateway.hub.throttle import Throttle
from tests.support.payloads import payload
from tests.support.timers import Timers

STATE = State(1, payload(1), 1, UTC)


class World:
    def __init__(self) -> None:
        self.timers = Timers()
        self.woken: list[Client] = []
        self.pace = Throttle(
            monotonic=self.timers.monotonic,
            call_later=self.timers.call_later,
            wake=self.woken.append,
        )

    def client(self, interval: float, *missed: Channel) -> Client:
        group = SubscriberGroup("", {}, DeliveryOptions(interval=interval))
        client = Client(group, lambda _: 0, lambda _: None, 0)
        client.missed.update(dict.fromkeys(missed))
        return client

    def sent(self, client: Client, *channels: Channel) -> None:
        until = self.pace.open(client)
        assert client.closed is not None
        client.closed.update((channel, (until, STATE.timestamp)) for channel in channels)


@pytest.fixture
def world() -> World:
    return World()


ONE, TWO = Channel("1", 0), Channel("2", 0)


def test_it_is_woken_when_the_first_of_what_it_misses_may_be_sent(world: World) -> None:
    client = world.client(1.0, TWO)
    world.sent(client, ONE)
    world.timers.pass_time(0.5)
    world.sent(client, TWO)
    world.pace.wait(client)
    world.timers.pass_time(0.99)
    assert world.woken == []
    world.timers.pass_time(0.02)
    assert world.woken == [client]
    world.timers.pass_time(5)
    assert world.woken == [client]
    assert len(world.pace) == 0


def test_what_may_be_sent_is_let_go_of(world: World) -> None:
    client = world.client(1.0)
    world.sent(client, ONE)
    world.timers.pass_time(0.4)
    world.sent(client, TWO)
    world.timers.pass_time(0.7)
    world.pace.open(client)
    assert client.closed is not None
    assert list(client.closed) == [TWO]


def test_an_earlier_time_counts_and_a_later_one_does_not(world: World) -> None:
    client = world.client(1.0, ONE, TWO)
    world.sent(client, ONE)
    world.timers.pass_time(0.5)
    world.sent(client, TWO)
    world.pace.wait(client, [TWO])
    world.pace.wait(client, [ONE])
    world.pace.wait(client, [TWO])
    world.timers.pass_time(0.51)
    assert world.woken == [client]


def test_who_misses_nothing_is_not_woken(world: World) -> None:
    client = world.client(1.0)
    world.sent(client, ONE)
    world.pace.wait(client)
    world.pace.wait(client, [ONE])
    assert len(world.pace) == 0
    assert len(world.timers) == 0


def test_who_has_left_is_not_woken_and_wakes_nobody(world: World) -> None:
    leaver, stayer = world.client(1.0, ONE), world.client(3.0, ONE)
    for client in (leaver, stayer):
        world.sent(client, ONE)
        world.pace.wait(client)
    world.pace.forget(leaver)
    assert len(world.pace) == 1
    world.timers.pass_time(4)
    assert world.woken == [stayer]
    assert len(world.timers) == 0


def test_many_that_are_due_together_take_one_call(world: World) -> None:
    clients = [world.client(1.0, ONE) for _ in range(100)]
    for client in clients:
        world.sent(client, ONE)
        world.pace.wait(client)
    assert len(world.timers) == 1
    world.timers.pass_time(1.01)
    assert world.woken == clients


@pytest.mark.parametrize("interval", [0.1, 0.3, 0.5, 0.7, 1 / 3, 1 / 7, 2.0])
def test_whoever_is_woken_may_be_sent_something(world: World, interval: float) -> None:
    """At any time of the clock, although seconds do not add up exactly."""
    client = world.client(interval, ONE)
    assert client.closed is not None
    for _ in range(300):
        world.sent(client, ONE)
        world.pace.wait(client)
        assert len(world.timers) == 1
        # Just that call, at the very time that it was asked for.
        world.timers.pass_to_next()
        assert world.woken.pop() is client
        world.pace.open(client)
        assert ONE not in client.closed


def test_one_that_is_woken_may_wait_again(world: World) -> None:
    client = world.client(0.1, ONE)
    world.sent(client, ONE)
    world.pace.wait(client)
    for count in range(1, 4):
        world.timers.pass_time(0.11)
        assert world.woken == [client] * count
        world.sent(client, ONE)
        world.pace.wait(client)
