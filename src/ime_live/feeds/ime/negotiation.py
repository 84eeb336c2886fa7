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
    within,
)
from ime_live.feeds.ime.signalr import Negotiation, read_negotiation

MAX_REDIRECTS: Final = 10
"""Number of redirects in a row after which negotiation fails, as they may be a circle."""

GREET_INTERVAL: Final = 60.0
"""Seconds within which the front page is loaded once at most: each try is one request else."""


async def negotiate(context: ConnectionContext) -> SignalRConnection:
    """Ask for a connection, and follow redirects.

    Where a page or a 403 comes, the front page is loaded for cookies and it is asked once more; at
    most once in `GREET_INTERVAL`, and not if the server asks to be left alone.

    Raises:
        FeedError: there is none; the text says why.
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
            pass  # only its head, with the cookies, is of use
    return await _negotiate(context)


async def _negotiate(context: ConnectionContext) -> SignalRConnection:
    address = context.address
    authorise(context.client, "")
    for _ in range(MAX_REDIRECTS + 1):
        try:
            said = await _ask(context, address)
            if said.access_token or said.redirect_url:
                authorise(context.client, said.access_token)
            if not said.redirect_url:
                return SignalRConnection(context, address, said)
            address = address.redirected(said.redirect_url)
        except FeedError as error:
            authorise(context.client, "")
            if address is context.address:
                raise
            raise within(f"redirected to {address.host}", error) from error
    raise FeedError(f"redirected more than {MAX_REDIRECTS} times")


async def _ask(context: ConnectionContext, address: Address) -> Negotiation:
    url = address.negotiate(context.now)
    sent = context.clock.time()
    body, headers = await get(context.client, url, context.access.timeout)
    if (date := date_of(headers)) is not None:
        context.on_date(date, sent, context.clock.time())
    kind = headers.get("Content-Type", "")
    if body.lstrip()[:1] == b"<":  # a page, whatever its head says
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
