"""Replies of Redis to a connection that listens to channels, and the encoding of its commands."""

from __future__ import annotations

from typing import Any, Final

import hiredis
import msgspec

NO_REPLY: Final = object()

CONFIRMATIONS: Final = (b"subscribe", b"unsubscribe")

# Answers to a PING: of a server to a subscriber, and of a proxy that does not know it is one.
PONGS: Final = ([b"pong", b""], b"PONG")

# Errors to a PING of a server that still delivers messages: its disk fails (then PING counts as a
# write), its user may not use PING, or a script runs.
_REFUSED_PING: Final = ("MISCONF ", "NOPERM ", "BUSY ")

_read_ids = msgspec.json.Decoder(list[str]).decode


def command(*words: Any) -> bytes:  # noqa: ANN401 - hiredis types a tuple of one word
    """Encode a command."""
    packed: bytes = hiredis.pack_command(words)
    return packed


def is_refused_ping(reply: object) -> bool:
    """Return whether it is an error to a PING of a server that still delivers messages."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_REFUSED_PING)


def is_not_permitted(reply: object) -> bool:
    """Return whether it is the error to a command or channel that the user may not use."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM ")


def unexpected(reply: object) -> Exception:
    """Return the error for a reply that is not one for a subscriber."""
    if isinstance(reply, Exception):
        return reply
    return hiredis.ProtocolError(f"a reply that no subscriber is given: {reply!r:.100}")


def ids_of(raw: bytes) -> list[str] | None:
    """Read the ids of contracts in a message; None if they cannot be read."""
    try:
        return _read_ids(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
