"""Negotiation: ask the exchange's SignalR hub for a connection, and follow its redirects."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import httpx

from ime_live.errors import FeedError
from ime_live.feeds.ime.addresses import Address
from ime_live.feeds.ime.connection import ConnectionContext, SignalRConnection
from ime_live.feeds.ime.responses import (
    UnexpectedResponseError,
    date_of,
    get,
    is_busy,
    network_errors,
    response_error,
    retry_after,
    with_prefix,
)
from ime_live.feeds.ime.signalr import Negotiation, read_negotiation

MAX_REDIRECTS: Final = 10
"""Number of redirects in a row after which negotiation fails, as they may be a circle."""

GREET_INTERVAL: Final = 60.0
"""Minimum seconds between two loads of the front page; otherwise each attempt would load it."""


async def negotiate(context: ConnectionContext) -> SignalRConnection:
    """Ask for a connection, and follow redirects.

    If the answer is a web page or 403, it loads the front page for cookies and asks once more: at
    most once in `GREET_INTERVAL`, and not if the server asks to wait.

    Raises:
        FeedError: there is no connection; the text says why.
    """
    try:
        return await _negotiate(context)
    except UnexpectedResponseError as error:
        if is_busy(error):
            raise
        if error.status != HTTPStatus.FORBIDDEN and not error.page:
            raise
        if abs(context.clock.time() - context.greeted_at) < GREET_INTERVAL:
            raise
    context.greeted_at = context.clock.time()
    with suppress(FeedError), network_errors():
        async with (
            asyncio.timeout(context.access.timeout),
            context.client.stream("GET", context.address.root),
        ):
            pass  # only the headers with the cookies are needed
    return await _negotiate(context)


async def _negotiate(context: ConnectionContext) -> SignalRConnection:
    address = context.address
    authorise(context.client, "")
    for _ in range(MAX_REDIRECTS + 1):
        try:
            negotiation = await _ask(context, address)
            if negotiation.access_token or negotiation.redirect_url:
                authorise(context.client, negotiation.access_token)
            if not negotiation.redirect_url:
                return SignalRConnection(context, address, negotiation)
            address = address.redirected(negotiation.redirect_url)
        except FeedError as error:
            authorise(context.client, "")
            if address is context.address:
                raise
            raise with_prefix(f"redirected to {address.host}", error) from error
    raise FeedError(f"redirected more than {MAX_REDIRECTS} times")


async def _ask(context: ConnectionContext, address: Address) -> Negotiation:
    url = address.negotiate(context.now)
    sent = context.clock.time()
    body, headers = await get(context.client, url, context.access.timeout)
    if (date := date_of(headers)) is not None:
        context.on_date(date, sent, context.clock.time())
    kind = headers.get("Content-Type", "")
    if body.lstrip()[:1] == b"<":  # a web page, whatever its Content-Type
        wait = retry_after(headers, context.clock.time())
        raise response_error(HTTPStatus.OK, kind, body, retry_after=wait)
    return read_negotiation(body, kind)


def authorise(client: httpx.AsyncClient, token: str) -> None:
    """Send a bearer token with all later requests; an empty one removes it.

    Raises:
        FeedError: it cannot be sent.
    """
    client.headers.pop("Authorization", None)
    if token:
        if not token.isascii() or not token.isprintable():
            raise FeedError("AccessToken has characters that a header cannot have")
        client.headers["Authorization"] = f"Bearer {token}"
