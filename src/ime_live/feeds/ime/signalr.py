"""SignalR: the protocol of the exchange's SignalR hub (ASP.NET SignalR 2.x, protocol 2.1).

It parses answers and frames without decoding the boards in them, and has no I/O. The URLs of its
calls are in `ime_live.feeds.ime.addresses`.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from ime_live.errors import FeedError, SettingsError
from ime_live.feeds.ime.pages import describe, printable

CLIENT_PROTOCOL: Final = "2.1"

MAX_SECONDS: Final = 600.0
"""Maximum wait that a SignalR hub may ask for, so that a wrong value cannot stop the feed."""

TRANSPORT_CONNECT_TIMEOUT: Final = 5.0
"""Seconds; the default of a SignalR 2 server."""

CONNECTION_TIMEOUT: Final = 110.0
"""Seconds; the default of a SignalR 2 server."""

_BLANKS: Final = b" \t\r\n"
_NO_MESSAGES: Final = (b"", b"null", b"[]", b"{}")
_JSON_TYPES: Final = re.compile(r"json|javascript|^text/plain|^$", re.IGNORECASE)


class TransportName(StrEnum):
    """The transports, in order of preference."""

    WEB_SOCKETS = "webSockets"
    SERVER_SENT_EVENTS = "serverSentEvents"
    LONG_POLLING = "longPolling"


def read_transports(names: str) -> tuple[TransportName, ...]:
    """Parse the list of transports in the settings.

    Raises:
        SettingsError: one is not known or named twice, or there is none.
    """
    transports: list[TransportName] = []
    by_name = {transport.lower(): transport for transport in TransportName}
    for name in filter(None, (part.strip() for part in names.split(","))):
        transport = by_name.get(name.lower())
        if transport is None:
            raise SettingsError(
                f"--transports must be some of {', '.join(TransportName)}, got {name!r}"
            )
        if transport in transports:
            raise SettingsError(f"--transports must have each name once, got {name} twice")
        transports.append(transport)
    if not transports:
        raise SettingsError(f"--transports must be some of {', '.join(TransportName)}, got none")
    return tuple(transports)


class Negotiation(Struct, frozen=True, rename="pascal"):
    """The SignalR hub's answer to negotiate. Times are in seconds.

    Attributes:
        connection_token: sent with every further call.
        connection_id: name of the connection.
        keep_alive_timeout: silence after which the SignalR hub counts as lost; None if it sends no
            keep-alives.
        disconnect_timeout: time within which a lost connection can be resumed.
        transport_connect_timeout: time within which a transport must connect.
        connection_timeout: longest time until a poll is answered, possibly without messages.
        long_poll_delay: wait between two polls.
        try_web_sockets: whether the SignalR hub accepts WebSockets.
        protocol_version: protocol version of the hub.
        url: path of the SignalR hub as it states it. SignalR's clients use it; the feed uses the
            path of its settings.
        redirect_url: address for another negotiation (SignalR 2.4); empty if there is none.
        access_token: bearer token for all further calls (SignalR 2.4); empty if there is none.
    """

    connection_token: str = ""
    connection_id: str = ""
    keep_alive_timeout: float | None = 20.0
    disconnect_timeout: float = 30.0
    transport_connect_timeout: float = TRANSPORT_CONNECT_TIMEOUT
    connection_timeout: float = CONNECTION_TIMEOUT
    long_poll_delay: float = 0.0
    try_web_sockets: bool = True
    protocol_version: str = CLIENT_PROTOCOL
    url: str = ""
    redirect_url: str = ""
    access_token: str = ""


class Envelope(Struct, frozen=True):
    """The fields of a frame besides its messages.

    Attributes:
        cursor: position after the frame; None if it has none.
        groups: token that is sent back with the cursor; None if it has none.
        delay: seconds to wait before the next poll; None if it does not say.
        initialised: whether it opens a connection.
        messages: whether it has messages.
        ended: whether the SignalR hub ends the connection permanently.
        moved: whether the SignalR hub asks the client to reconnect.
    """

    cursor: str | None = None
    groups: str | None = None
    delay: float | None = None
    initialised: bool = False
    messages: bool = False
    ended: bool = False
    moved: bool = False


class _EnvelopeFrame(Struct, frozen=True):
    cursor: str | int | float | None = field(name="C", default=None)
    groups: str | int | float | None = field(name="G", default=None)
    delay: float | None = field(name="L", default=None)
    initialised: Any = field(name="S", default=None)
    messages: msgspec.Raw = field(name="M", default=msgspec.Raw())
    ended: Any = field(name="D", default=None)
    moved: Any = field(name="T", default=None)


class _Start(Struct, frozen=True):
    response: str = field(name="Response", default="")


# Not strictly: a number may be a text.
_decode_frame = msgspec.json.Decoder(_EnvelopeFrame, strict=False).decode
_decode_start = msgspec.json.Decoder(_Start).decode


def read_negotiation(answer: bytes, content_type: str) -> Negotiation:
    """Read the answer to negotiate; times are limited to `MAX_SECONDS`.

    Raises:
        FeedError: it is something else, or a refusal (``Error``); the text says what.
    """
    _check(answer, content_type)
    try:
        members = msgspec.json.decode(answer, type=dict[str, Any])
        if error := members.get("Error"):
            raise FeedError(f"the SignalR hub refuses: {printable(str(error))}")
        # A member that is null counts as missing; KeepAliveTimeout is then none.
        values = {k: v for k, v in members.items() if v is not None or k == "KeepAliveTimeout"}
        negotiation = msgspec.convert(values, Negotiation, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(_not_json(answer, content_type, error)) from None
    if not negotiation.connection_token and not negotiation.redirect_url:
        raise FeedError("ConnectionToken is empty")
    times = {
        name: _seconds(getattr(negotiation, name))
        for name in Negotiation.__struct_fields__
        if isinstance(getattr(negotiation, name), int | float) and name != "try_web_sockets"
    }
    negotiation = msgspec.structs.replace(negotiation, **times)
    # A timeout of 0 means the default, as in SignalR's own clients.
    return msgspec.structs.replace(
        negotiation,
        keep_alive_timeout=negotiation.keep_alive_timeout or None,
        transport_connect_timeout=negotiation.transport_connect_timeout
        or TRANSPORT_CONNECT_TIMEOUT,
        connection_timeout=negotiation.connection_timeout or CONNECTION_TIMEOUT,
    )


def read_start(answer: bytes, content_type: str) -> None:
    """Read the answer to start.

    Raises:
        FeedError: the answer does not confirm the start; the text describes it.
    """
    _check(answer, content_type)
    try:
        response = _decode_start(answer).response
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(_not_json(answer, content_type, error)) from None
    if response != "started":
        raise FeedError(f"the answer to start is {printable(response)!r}, not 'started'")


def read_envelope(frame: bytes, content_type: str = "") -> Envelope:
    """Read a frame's envelope. A keep-alive has an empty one.

    Raises:
        FeedError: it is not a frame; the text says what it is.
    """
    _check(frame, content_type)
    try:
        fields = _decode_frame(frame)
    except msgspec.ValidationError as error:
        raise FeedError(_not_json(frame, content_type, error)) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        fields = _decode_leniently(frame, content_type, error)
    return Envelope(
        cursor=None if fields.cursor is None else str(fields.cursor),
        groups=None if fields.groups is None else str(fields.groups),
        delay=None if fields.delay is None else _seconds(fields.delay / 1000),
        initialised=bool(fields.initialised),
        # Anything else counts as messages: a fault in them is not a fault of the connection.
        messages=bytes(fields.messages).translate(None, _BLANKS) not in _NO_MESSAGES,
        ended=bool(fields.ended),
        moved=bool(fields.moved),
    )


def _decode_leniently(frame: bytes, content_type: str, error: Exception) -> _EnvelopeFrame:
    # Python's own reader accepts NaN and 1e400, for which only their row should be lost.
    try:
        decoded = json.loads(frame)
    except (ValueError, RecursionError):
        raise FeedError(_not_json(frame, content_type, error)) from None
    if not isinstance(decoded, dict):
        raise FeedError("a frame is not a JSON object")
    # Only the fields of the envelope; of the messages, only whether there are any.
    parts = {name: value for name, value in decoded.items() if name in "CGLSDTM"}
    parts["M"] = msgspec.Raw(b"[0]" if parts.get("M") else b"")
    try:
        return msgspec.convert(parts, _EnvelopeFrame, strict=False)
    except (msgspec.MsgspecError, ValueError) as wrong:
        raise FeedError(f"a frame cannot be read: {printable(str(wrong))}") from None


def _seconds(value: float) -> float:
    return min(value, MAX_SECONDS) if value > 0 else 0.0  # NaN as well


def _check(answer: bytes, content_type: str) -> None:
    """Refuse a body that is clearly not JSON, before it is decoded."""
    head = answer[:256].lstrip()
    if not head:
        raise FeedError("the answer is empty")
    if head.startswith(b"<") or not _JSON_TYPES.search(content_type.partition(";")[0].strip()):
        raise FeedError(describe(answer, content_type))


def _not_json(answer: bytes, content_type: str, error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"the JSON is not what was expected: {printable(str(error))}"
    if answer.lstrip()[:1] not in (b"{", b"["):
        return describe(answer, content_type)
    cut = "" if answer.rstrip().endswith((b"}", b"]")) else "truncated "
    return f"{cut or 'broken '}JSON ({len(answer)} bytes): {printable(str(error))}"
