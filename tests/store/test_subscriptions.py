"""Wanted, subscribed and confirmed channels, without a connection."""

from __future__ import annotations

import asyncio

from ime_live.store.subscriptions import Subscriptions

ALWAYS = b"contracts"


def begun(*channels: bytes) -> Subscriptions:
    """A connection that has asked for these channels, and got no answer yet."""
    subscriptions = Subscriptions(ALWAYS)
    for channel in channels:
        subscriptions.want(channel, channel.decode())
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
    subscriptions.want(b"1", "1")
    subscriptions.want(b"3", "3")
    subscriptions.drop(b"2")
    subscriptions.drop(b"none")
    assert subscriptions.commands() == [("SUBSCRIBE", {b"3"}), ("UNSUBSCRIBE", {b"2"})]
    subscriptions.want(b"4", "4")
    subscriptions.drop(b"4")
    assert subscriptions.commands() == []


async def test_confirmation_of_a_later_command_is_not_taken_for_an_earlier_one() -> None:
    subscriptions = begun(b"1")
    subscriptions.drop(b"1")
    subscriptions.commands()
    subscriptions.want(b"1", "1")
    confirmed = await waiting(subscriptions)
    subscriptions.commands()
    for _ in range(3):  # of both channels, and of the UNSUBSCRIBE
        subscriptions.confirm()
        assert not confirmed.done()
    subscriptions.confirm()
    assert confirmed.result()


async def test_channel_that_is_confirmed_already_is_so_at_once() -> None:
    subscriptions = begun()
    subscriptions.confirm()
    confirmed = await waiting(subscriptions)
    assert subscriptions.commands() == []
    assert confirmed.result()


async def test_repeated_subscribe_is_confirmed_after_earlier_commands() -> None:
    subscriptions = begun(b"1")
    caught_up = await waiting(subscriptions)
    subscriptions.again()
    assert subscriptions.commands() == [("SUBSCRIBE", {ALWAYS})]
    for _ in range(2):
        subscriptions.confirm()
        assert not caught_up.done()
    subscriptions.confirm()
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


def test_refused_channel_is_subscribed_until_it_is_accepted() -> None:
    subscriptions = begun(b"1")
    subscriptions.refuse()
    subscriptions.drop(b"1")
    subscriptions.begin()
    assert subscriptions.commands() == [("SUBSCRIBE", {ALWAYS, b"1"})]
    assert subscriptions.accept()
    assert subscriptions.commands() == [("UNSUBSCRIBE", {b"1"})]
    assert not subscriptions.accept()
