"""What goes over the wire: message texts, WebSocket frames and their compression.

A state of a contract comes in, the bytes of a complete frame go out, ready for any number of
sockets. Nothing here knows a client, a hub or a connection.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

CHANNEL: Final = "IME Stream"
STATUS_CHANNEL: Final = "IME Status"

# Messages are about 740 bytes, so a window of 1 KiB compresses them as well as the largest one
# (51 % either way), and a client that limits the window to save memory is served all the same.
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


def envelope_by_name(name: str) -> bytes:
    """The beginning of every message of a contract that was asked for by ``name``."""
    return _envelope("contractName", name)


def envelope_by_id(contract_id: str) -> bytes:
    """The beginning of every message of a contract that was asked for by its id."""
    return _envelope("ContractId", contract_id)


_ENVELOPE_END: Final = b',"timestamp":"'


def _envelope(key: str, value: str) -> bytes:
    return _encode({"channel": CHANNEL, key: value})[:-1] + _ENVELOPE_END


def key_in(envelope: bytes) -> bytes:
    """The JSON string, in its quotes, by which messages under ``envelope`` name their contract."""
    _, _, member = envelope.removesuffix(_ENVELOPE_END).partition(b",")
    _, _, key = member.partition(b":")
    return key


def message(envelope: bytes, timestamp: bytes, data: bytes) -> bytes:
    """The documented message, as compact JSON in UTF-8.

    Args:
        envelope: from `envelope_by_name` or `envelope_by_id`.
        timestamp: ISO 8601 with six digits.
        data: the payload's JSON.
    """
    return b'%b%b","data":%b}' % (envelope, timestamp, data)


def status_message(
    timestamp: bytes, feed: bytes, contracts: Iterable[tuple[bytes, bytes | None]]
) -> bytes:
    """The message that tells a client the state of the feed and what it should hold.

    Args:
        timestamp: of now, ISO 8601 with six digits.
        feed: JSON object of what is said of the feed; not empty.
        contracts: the `key_in` of each contract's envelope, and the time stamp of the state
            that the client should hold, None if there is none.
    """
    held = b",".join(
        b"%b:null" % key if stamp is None else b'%b:"%b"' % (key, stamp) for key, stamp in contracts
    )
    return b'%b%b","data":%b,"contracts":{%b}}}' % (_STATUS_START, timestamp, feed[:-1], held)


_STATUS_START: Final = _encode({"channel": STATUS_CHANNEL})[:-1] + _ENVELOPE_END


def text_frame(text: bytes) -> bytes:
    """One unmasked WebSocket frame with a whole text message (RFC 6455, 5.2)."""
    return _header(_FIN_TEXT, len(text)) + text


def compressed_frame(text: bytes) -> bytes:
    """The same, compressed by permessage-deflate without context takeover (RFC 7692, 7.2.3)."""
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
