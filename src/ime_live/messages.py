"""Messages: what goes over the wire between the gateway and its clients, as types.

The one definition of every text message: schemas (`/asyncapi.json`) and the client library come
from these structs. The gateway writes its messages as ready bytes (`ime_live.gateway.hub.frames`);
tests hold the two together. Pure: JSON comes in and goes out, no connection is known.

A message says on which ``channel`` it is. Without opt-ins there is only `StreamMessage`.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from ime_live.contracts import Market
from ime_live.errors import ControlError
from ime_live.market import Part
from ime_live.status import FeedState

STREAM: Final = "IME Stream"
STATUS: Final = "IME Status"
CONTROL: Final = "IME Control"


class StreamMessage(Struct, frozen=True, kw_only=True, tag_field="channel", tag=STREAM):
    """The state of a contract.

    Attributes:
        contract_name: the contract as it was asked for, if that was by name.
        contract_id: the same, if it was asked for by id. One of the two is there.
        timestamp: of the state: ISO 8601 with six digits, Tehran's wall clock, no offset.
        skipped: with ``skipped=true``: how many states of the contract were left out since its last
            message, because the client was slow or asked for a `max_rate`.
        data: the complete state; with ``sections=``, those sections of it.
    """

    contract_name: str | UnsetType = field(default=UNSET, name="contractName")
    contract_id: str | UnsetType = field(default=UNSET, name="ContractId")
    timestamp: str
    skipped: int | UnsetType = UNSET
    data: Part


class StatusData(Struct, frozen=True, rename="camel"):
    """What a status message says; see `docs/protocol.md`.

    Attributes:
        feed: the feed's state; None if there never was a feed.
        since: when it came into that state.
        last_board: when one of the exchange's boards came last.
        current: whether the gateway has just compared the contracts with the store.
        markets: the state of each market.
        contracts: by name or id, the time stamp of the message that the client should hold.
    """

    feed: FeedState | None
    since: str | None
    last_board: str | None
    current: bool
    markets: dict[Market, FeedState]
    contracts: dict[str, str | None]


class StatusMessage(Struct, frozen=True, tag_field="channel", tag=STATUS):
    """The state of the feed, for clients that asked for ``status=true``."""

    timestamp: str
    data: StatusData


class Action(StrEnum):
    """What a client may ask for while its stream runs."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class ControlRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a client sends to change its selection.

    Attributes:
        action: whether to add or to remove.
        contract_names: contracts by name.
        contract_ids: contracts by id, as texts or numbers.
        snapshot: of those that are added, send the present state at once; None for what the
            connection's own ``snapshot=`` said.
        id: comes back in the answer.
    """

    action: Action
    contract_names: tuple[str, ...] = ()
    contract_ids: tuple[str | int, ...] = ()
    snapshot: bool | None = None
    id: str | int | None = None

    def to_json(self) -> bytes:
        """Encode as a client sends it."""
        return _encode(self)


class ControlFault(Struct, frozen=True):
    """Why a part of a request was not done.

    Attributes:
        contract: as it was named; None if it is about the whole request.
        error: what is wrong, for people.
    """

    contract: str | None
    error: str


class ControlData(Struct, frozen=True):
    """The answer to a `ControlRequest`.

    Attributes:
        id: the request's own.
        action: the request's own; None if it could not be read.
        contract_names: the whole selection, as far as it was asked for by name, in those words.
        contract_ids: the rest of it, which was asked for by id.
        errors: what was not done; all else was.
    """

    id: str | int | None
    action: str | None
    contract_names: list[str]
    contract_ids: list[str]
    errors: list[ControlFault]


class ControlMessage(Struct, frozen=True, tag_field="channel", tag=CONTROL):
    """The gateway's answer to what a client has sent."""

    timestamp: str
    data: ControlData


Message = StreamMessage | StatusMessage | ControlMessage

_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(Message).decode
_decode_request = msgspec.json.Decoder(ControlRequest).decode


class _Asks(Struct):
    action: object
    id: object = None


_decode_asks = msgspec.json.Decoder(_Asks).decode


def read_message(text: bytes | str) -> Message:
    """Decode what the gateway has sent.

    Raises:
        msgspec.MsgspecError: it is no message of these.
    """
    message: Message = _decode_message(text)
    return message


def read_request(message: bytes | str, *, binary: bool = False) -> ControlRequest | None:
    """Decode what a client has sent; None for what is not meant for us.

    That is everything but a JSON object with an ``action``: some programs send texts of their own
    to keep a connection alive.

    Args:
        message: a whole one.
        binary: whether it has come as a binary WebSocket message.

    Raises:
        ControlError: it has an ``action`` and something in it is wrong.
    """
    data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    text = data.removeprefix(codecs.BOM_UTF8)
    try:
        asks = _decode_asks(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if _has_action(text):
            raise ControlError(f"a control message must be valid JSON: {error}") from error
        return None
    request_id = asks.id if isinstance(asks.id, str | int) else None
    if binary:
        raise ControlError("a control message must be text, got binary", id=request_id)
    if text != data:
        raise ControlError(
            "a control message must begin with its JSON, got a byte-order mark", id=request_id
        )
    if asks.action not in list(Action):
        raise ControlError(
            f"action is neither {' nor '.join(Action)}: {asks.action}", id=request_id
        )
    try:
        return _decode_request(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ControlError(str(error), id=request_id) from error


# Blanks, strings in either kind of quotes, what tells how deep something lies, and all the rest.
_PIECES: Final = re.compile(
    rb"""\s+|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[{}\[\]:,]|[^\s"'{}\[\]:,]+""", re.DOTALL
)


def _has_action(text: bytes) -> bool:
    """Whether what cannot be decoded is meant to be a JSON object with an ``action``."""
    depth, before = 0, b""
    for match in _PIECES.finditer(text):
        piece = match[0]
        if piece.isspace():
            continue
        if not before and piece != b"{":
            return False
        if depth == 1 and before in b"{," and piece.strip(b"\"'") == b"action":
            return True
        if piece in b"{[":
            depth += 1
        elif piece in b"}]":
            depth -= 1
        before = piece
    return False
