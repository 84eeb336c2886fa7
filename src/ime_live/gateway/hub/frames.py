"""Encode messages as WebSocket frames, plain or compressed, and as server-sent events.

The bytes are complete frames, and the same frame can be written to any number of sockets.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Final

import msgspec

CHANNEL: Final = "IME Stream"
STATUS_CHANNEL: Final = "IME Status"
CONTROL_CHANNEL: Final = "IME Control"

# Messages are about 740 bytes, so a window of 1 KiB compresses them as well as the largest one
# (51 % either way), and also suits a client that limits the window to save memory.
WINDOW_BITS: Final = 10
_COMPRESSION_LEVEL: Final = 6
_MEMORY_LEVEL: Final = 7

# RFC 7692, 7.2.1: the tail of a flushed block, which the receiver appends itself.
_FLUSH_TAIL: Final = b"\x00\x00\xff\xff"

_FIN_TEXT: Final = 0x81
_RSV1: Final = 0x40

PING: Final = b"\x89\x00"
"""A ping without a payload; RFC 6455, 5.5.2."""

_encode = msgspec.json.Encoder().encode


_BY_NAME: Final = _encode({"channel": CHANNEL, "contractName": ""})[:-3]
_BY_ID: Final = _encode({"channel": CHANNEL, "ContractId": ""})[:-3]
_ENVELOPE_END: Final = b',"timestamp":"'


def envelope_by_name(name: str) -> bytes:
    """Return the beginning of the messages of a contract that was requested by name."""
    return _BY_NAME + _encode(name) + _ENVELOPE_END


def envelope_by_id(contract_id: str) -> bytes:
    """Return the beginning of the messages of a contract that was requested by id."""
    return _BY_ID + _encode(contract_id) + _ENVELOPE_END


def message(envelope: bytes, timestamp: bytes, data: bytes, skipped: int | None = None) -> bytes:
    """Return an update in the documented form, as compact JSON in UTF-8.

    Args:
        envelope: from `envelope_by_name` or `envelope_by_id`.
        timestamp: ISO 8601 with six digits.
        data: the payload's JSON.
        skipped: number of states that were left out before this one; None for a message without
            this number.
    """
    if skipped is None:
        return b'%b%b","data":%b}' % (envelope, timestamp, data)
    return b'%b%b","skipped":%d,"data":%b}' % (envelope, timestamp, skipped, data)


def status_message(
    timestamp: bytes, feed: bytes, contracts: Iterable[tuple[str, bytes | None]]
) -> bytes:
    """Return a status message: the state of the feed, and the timestamps of the client's states.

    Args:
        timestamp: the present time, ISO 8601 with six digits.
        feed: JSON object about the feed; not empty.
        contracts: for each contract, its name or id in the client's spelling, and the timestamp
            of the state that the client should have, None if there is no state.
    """
    entries = b",".join(
        b"%b:null" % _encode(name)
        if state_timestamp is None
        else b'%b:"%b"' % (_encode(name), state_timestamp)
        for name, state_timestamp in contracts
    )
    return b'%b%b","data":%b,"contracts":{%b}}}' % (_STATUS_START, timestamp, feed[:-1], entries)


_STATUS_START: Final = _encode({"channel": STATUS_CHANNEL})[:-1] + _ENVELOPE_END


def control_message(timestamp: bytes, answer: bytes) -> bytes:
    """Return the message that answers a client's command.

    Args:
        timestamp: the present time, ISO 8601 with six digits.
        answer: JSON object of `ime_live.messages.ControlData`.
    """
    return b'%b%b","data":%b}' % (_CONTROL_START, timestamp, answer)


_CONTROL_START: Final = _encode({"channel": CONTROL_CHANNEL})[:-1] + _ENVELOPE_END


class Format(IntEnum):
    """Framing of a message for a client."""

    TEXT = 0
    """A WebSocket frame."""
    DEFLATE = 1
    """A compressed WebSocket frame."""
    EVENT = 2
    """A server-sent event."""


def framed(text: bytes, format_: Format, event_id: bytes = b"") -> bytes:
    """Return a complete message in a frame or an event.

    Args:
        text: JSON; without a line break.
        format_: the format.
        event_id: id of a server-sent event, which a client returns as `Last-Event-ID` when it
            reconnects; an empty one is left out.
    """
    if format_ is Format.EVENT:
        return event(text, event_id)
    return _FRAMES[format_](text)


def event(text: bytes, event_id: bytes = b"", name: bytes = b"") -> bytes:
    """Return a server-sent event (HTML Standard, 9.2.5). No argument may contain a line break."""
    head = (b"event: %b\n" % name if name else b"") + (b"id: %b\n" % event_id if event_id else b"")
    return b"%bdata: %b\n\n" % (head, text)


COMMENT: Final = b":\n"
"""A comment, which keeps a stream of events alive. A blank line would end an event."""


def text_frame(text: bytes) -> bytes:
    """Return an unmasked WebSocket frame with a complete text message (RFC 6455, 5.2)."""
    return _header(_FIN_TEXT, len(text)) + text


def compressed_frame(text: bytes) -> bytes:
    """Return a compressed frame (permessage-deflate without context takeover; RFC 7692, 7.2.3)."""
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)
    body = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
    body = body.removesuffix(_FLUSH_TAIL)
    return _header(_FIN_TEXT | _RSV1, len(body)) + body


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)


_FRAMES: Final[Mapping[Format, Callable[[bytes], bytes]]] = {
    Format.TEXT: text_frame,
    Format.DEFLATE: compressed_frame,
}
