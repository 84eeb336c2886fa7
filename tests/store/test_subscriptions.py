"""Wanted, subscribed and confirmed channels, without a connection."""

from __future__ import annotations

import asyncio

from ime_live.store.subscriptions import Subscriptions

ALWAYS = b"contracts"


def begun(*channels: bytes) -> Subscriptions:
    """A connection that has asked for these channels, and got no answer yet."""
    subscriptions = Subscriptions(ALWAYS)
    for channel in channels:
        subscriptions.add(channel, channel.decode())
    subscriptions.begin()
    assert subscriptions.commands() == [("SUBSCRIBE", {ALWAYS, *channels})]
    return subscriptions


async def waiting(subscriptions: Subscriptions) -> asyncio.Future[bool]:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    subscriptions.wait(future)
    return future


def test_subscribe_sends_only_changes() -> None:
    subscriptions = begun(b"1", b"2")
    assert subscriptions.commands() == []
    subscriptions.add(b"1", "1")
    subscriptions.add(b"3", "3")
    subscriptions.remove(b"2")
    subscriptions.remove(b"none")
    assert subscriptions.commands() == [("SUBSCRIBE", {b"3"}), ("UNSUBSCRIBE", {b"2"})]
    subscriptions.add(b"4", "4")
    subscriptions.remove(b"4")
    assert subscriptions.commands() == []


async def test_confirmation_of_a_later_command_is_not_taken_for_an_earlier_one() -> None:
    subscriptions = begun(b"1")
    subscriptions.remove(b"1")
    subscriptions.commands()
    subscriptions.add(b"1", "1")
    confirmed = await waiting(subscriptions)
    subscriptions.commands()
    for _ in range(3):  # of both channels, and of the UNSUBSCRIBE
        subscriptions.confirm(b"1")
        assert not confirmed.done()
    subscriptions.confirm(b"1")
    assert confirmed.result()


async def test_channel_that_is_confirmed_already_is_so_at_once() -> None:
    subscriptions = begun()
    subscriptions.confirm(ALWAYS)
    confirmed = await waiting(subscriptions)
    assert subscriptions.commands() == []
    assert confirmed.result()


async def test_repeated_subscribe_is_confirmed_after_earlier_commands() -> None:
    subscriptions = begun(b"1")
    caught_up = await waiting(subscriptions)
    subscriptions.resubscribe()
    assert subscriptions.commands() == [("SUBSCRIBE", {ALWAYS})]
    for _ in range(2):
        subscriptions.confirm(ALWAYS)
        assert not caught_up.done()
    subscriptions.confirm(ALWAYS)
    assert caught_up.result()
    assert subscriptions.commands() == []


async def test_reconnect_subscribes_to_all_channels_again() -> None:
    subscriptions = begun(b"1")
    sent = await waiting(subscriptions)
    subscriptions.commands()
    unsent, cancelled = await waiting(subscriptions), await waiting(subscriptions)
    cancelled.cancel()
    subscriptions.end()
    assert (sent.result(), unsent.result()) == (False, False)
    subscriptions.begin()
    assert (subscriptions.expected, subscriptions.confirmed) == (0, 0)
    assert subscriptions.commands() == [("SUBSCRIBE", {ALWAYS, b"1"})]


async def test_refused_command_is_repeated_channel_by_channel() -> None:
    subscriptions = begun(b"1", b"2")
    settled = await waiting(subscriptions)
    assert subscriptions.commands() == []
    assert subscriptions.refuse("NOPERM") == ""
    assert subscriptions.refused == {}
    commands = subscriptions.commands()
    assert sorted(commands, key=str) == sorted(
        [("SUBSCRIBE", {each}) for each in (b"1", b"2", ALWAYS)], key=str
    )
    for _, [channel] in commands:
        assert not settled.done()
        if channel == b"1":
            assert subscriptions.refuse("NOPERM") == "1"
        else:
            assert not subscriptions.confirm(channel)
    assert settled.result()
    assert subscriptions.refused == {b"1": "NOPERM"}
    assert subscriptions.commands() == []


async def test_later_answers_do_not_settle_a_refused_command() -> None:
    subscriptions = begun()
    subscriptions.confirm(ALWAYS)
    for channel in (b"1", b"2"):
        subscriptions.add(channel, channel.decode())
    settled = await waiting(subscriptions)
    subscriptions.commands()
    subscriptions.add(b"3", "3")
    subscriptions.commands()
    assert subscriptions.refuse("NOPERM") == ""
    subscriptions.confirm(b"3")
    subscriptions.commands()
    assert not settled.done()
    for channel in (b"1", b"2"):
        subscriptions.confirm(channel)
    assert settled.result()


def refused_channel() -> Subscriptions:
    subscriptions = begun()
    subscriptions.confirm(ALWAYS)
    subscriptions.add(b"1", "1")
    subscriptions.commands()
    assert subscriptions.refuse("NOPERM") == "1"
    return subscriptions


def test_refused_channel_is_asked_for_again_while_it_is_wanted() -> None:
    subscriptions = refused_channel()
    assert subscriptions.commands() == []
    subscriptions.retry()
    assert subscriptions.commands() == [("SUBSCRIBE", {b"1"})]
    assert subscriptions.refused  # until there is an answer
    assert subscriptions.confirm(b"1")  # it is allowed now
    assert not subscriptions.refused
    subscriptions.retry()
    assert subscriptions.commands() == []


def test_refused_channel_is_forgotten_when_it_is_no_longer_wanted() -> None:
    subscriptions = refused_channel()
    subscriptions.remove(b"1")
    assert not subscriptions.refused
    subscriptions.retry()
    assert subscriptions.commands() == []
    subscriptions.add(b"2", "2")
    subscriptions.commands()
    subscriptions.remove(b"2")
    assert subscriptions.refuse("NOPERM") == ""  # its error comes too late
    assert not subscriptions.refused


def test_error_that_no_single_channel_causes_is_not_taken() -> None:
    subscriptions = begun(b"1")
    subscriptions.refuse("NOPERM")
    order = [channel for _, [channel] in subscriptions.commands()]
    for channel in order[: order.index(ALWAYS)]:
        subscriptions.confirm(channel)
    assert subscriptions.refuse("NOPERM") is None  # of the channel that is always wanted
    subscriptions = begun(b"1")
    for channel in (ALWAYS, b"1"):
        subscriptions.confirm(channel)
    assert subscriptions.refuse("NOPERM") is None  # no command waits for an answer
    subscriptions.remove(b"1")
    subscriptions.commands()
    assert subscriptions.refuse("NOPERM") is None  # of an UNSUBSCRIBE


def test_error_to_a_ping_is_not_taken_for_that_of_a_channel() -> None:
    subscriptions = begun()
    subscriptions.confirm(ALWAYS)
    subscriptions.ping()
    subscriptions.add(b"1", "1")
    subscriptions.commands()
    assert subscriptions.pong()
    assert not subscriptions.pong()
    assert subscriptions.refuse("NOPERM") == "1"
    # A server that does not answer a PING at all.
    subscriptions.ping()
    subscriptions.add(b"2", "2")
    subscriptions.commands()
    subscriptions.confirm(b"2")
    assert not subscriptions.pong()
