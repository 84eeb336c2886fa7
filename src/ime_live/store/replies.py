"""Replies of Redis to a Pub/Sub connection, and the encoding of its commands."""

from __future__ import annotations

from typing import Any, Final

import hiredis
import msgspec

NO_REPLY: Final = object()

CONFIRMATIONS: Final = (b"subscribe", b"unsubscribe")

# Answers to a PING: of a server to a subscriber, and of a proxy that treats it as another client.
PONGS: Final = ([b"pong", b""], b"PONG")

# Errors for a PING from a server that still delivers messages: its disk has failed (then PING
# counts as a write), the user may not use PING, or a script is running.
_REFUSED_PING: Final = ("MISCONF ", "NOPERM ", "BUSY ")

_read_ids = msgspec.json.Decoder(list[str]).decode


def command(*words: Any) -> bytes:  # noqa: ANN401 - hiredis types a tuple of one word
    """Return the encoding of a command."""
    packed: bytes = hiredis.pack_command(words)
    return packed


def is_refused_ping(reply: object) -> bool:
    """Return whether a reply is an error for a PING from a server that still delivers messages."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_REFUSED_PING)


def is_not_permitted(reply: object) -> bool:
    """Return whether a reply is the error for a command or channel that the user may not use."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM ")


def unexpected(reply: object) -> Exception:
    """Return the error to raise for a reply that a subscriber must not get."""
    if isinstance(reply, Exception):
        return reply
    return hiredis.ProtocolError(f"a reply that no subscriber is given: {reply!r:.100}")


def ids_of(message: bytes) -> list[str] | None:
    """Return the contract ids in a message; None if they cannot be read."""
    try:
        return _read_ids(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
