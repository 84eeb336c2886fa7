"""Negotiation: redirects are followed with their token, and refusals are reported."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.feeds.ime.reading import Reading, Waiting
from tests.support.boards import future
from tests.support.signalr.checks import TRANSPORTS
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


async def test_front_page_is_loaded_for_cookies_once_and_not_with_each_try(hub: Hub) -> None:
    hub.refuse("negotiate", Refusal.FORBIDDEN)
    async with Waiting(hub) as waiting:
        assert waiting.requested == [3, 4, 5]
        assert [each.path for each in hub.requests].count("/") == 1


@pytest.fixture
async def other() -> AsyncIterator[Hub]:
    """The hub to which the first one redirects."""
    async with Hub() as made:
        made.negotiation = {"KeepAliveTimeout": 1.0, "TransportConnectTimeout": 10.0}
        yield made
        assert made.violations == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_negotiation_redirect_is_followed_with_the_token(
    hub: Hub, other: Hub, transport: str
) -> None:
    # That each call carries the token, and none to the first hub does, is checked by the hubs.
    hub.negotiation = {"RedirectUrl": f"{other.base_url}?tenant=5", "AccessToken": "secret.token"}
    other.bearer = "secret.token"
    async with Reading(hub, transports=transport) as reading:
        await other.until(lambda: other.live == transport and other.reachable)
        other.push(future(1))
        await reading.reads(1)
        other.cut()
        other.push(future(2))
        await reading.reads(1, 2)
        other.abort()  # so that it negotiates again, and at the first hub
        await other.until(lambda: len(hub.calls("negotiate")) == 2)
    assert len(hub.requests) == len(hub.calls("negotiate"))
    assert {each.query.get("tenant") for each in other.requests} == {"5"}


async def test_circular_redirect_ends_with_an_error(hub: Hub) -> None:
    hub.negotiation = {"RedirectUrl": hub.base_url}
    async with Waiting(hub, limit=1) as waiting:
        assert waiting.client.connection_state.error == "negotiate: redirected more than 10 times"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"Error": "not today"}, "negotiate: the SignalR hub refuses: not today"),
        (
            {"RedirectUrl": "ftp://x/"},
            "negotiate: RedirectUrl must be an http or https URL with a host, got 'ftp://x/'",
        ),
        (
            {"RedirectUrl": "/", "AccessToken": "a\r\nb"},
            "negotiate: AccessToken has characters that a header cannot have",
        ),
    ],
)
async def test_refusal_of_negotiate_is_the_reason_of_the_connection_state(
    hub: Hub, answer: dict[str, str], reason: str
) -> None:
    hub.negotiation = answer
    async with Waiting(hub, limit=1) as waiting:
        assert waiting.client.connection_state.error == reason
        assert waiting.requested == [1]
