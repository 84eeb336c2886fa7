"""Admit streams by the head of their request, before its parameters are checked.

A refused client must cost as little as possible. It gets an HTTP response, because the stream has
not begun.
"""

from __future__ import annotations

import asyncio

from ime_live.errors import RefusedError
from ime_live.gateway.auth.cors import FOREIGN_ORIGIN
from ime_live.gateway.http.peer import peer_of
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.limits.client_address import ClientAddresses
from ime_live.gateway.limits.stream_limits import Permit
from ime_live.gateway.stream.context import GatewayContext


def admit_stream(
    head: RequestHead, transport: asyncio.Transport, context: GatewayContext
) -> Permit:
    """Return a permit for a requested stream; log and count a refusal.

    Args:
        head: head of the request.
        transport: transport of the request.
        context: the gateway context.

    Raises:
        RefusedError: the page may not open streams, a limit is reached, or the process drains.
    """
    try:
        return _admit(head, transport, context)
    except RefusedError as refusal:
        reason = "origin" if refusal.kind == FOREIGN_ORIGIN else refusal.kind
        context.metrics.refused(reason)
        event = "stream refused"
        context.limited.info(
            event, key=(event, reason), reason=refusal.reason, peer=peer_of(transport)
        )
        raise


def _admit(head: RequestHead, transport: asyncio.Transport, context: GatewayContext) -> Permit:
    context.drain.check()
    origins = context.stream_origins
    origin = None if origins.all else head.fields.get(b"origin")
    if origin is not None and origin not in origins:
        raise RefusedError(FOREIGN_ORIGIN)
    return context.limits.admit(client_address(head, transport, context.addresses))


def client_address(
    head: RequestHead, transport: asyncio.Transport, addresses: ClientAddresses
) -> str | None:
    """Return the address of the client that has sent a request; None if it is not known."""
    peer = transport.get_extra_info("peername")
    return addresses.find(peer, head.fields.get(b"x-forwarded-for"))
