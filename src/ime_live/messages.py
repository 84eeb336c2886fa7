"""Messages between the gateway and its clients, as types.

These structs are the only definition of the text messages: the schemas in `/asyncapi.json` and the
client library use them. The gateway writes its messages as prepared bytes
(`ime_live.gateway.hub.frames`); tests compare the two.

The key ``channel`` distinguishes the kinds of messages. Without opt-ins there is only
`StreamMessage`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from ime_live.errors import ControlError
from ime_live.market import PayloadSections
from ime_live.status import FeedState

STREAM: Final = "IME Stream"
STATUS: Final = "IME Status"
CONTROL: Final = "IME Control"


class StreamMessage(Struct, frozen=True, kw_only=True, tag_field="channel", tag=STREAM):
    """The state of a contract.

    Attributes:
        contract_name: name of the contract as the client gave it; absent if it gave the id.
        contract_id: id of the contract as the client gave it; absent if it gave the name.
        timestamp: time of the state: ISO 8601 with six digits, Tehran's wall clock, no offset.
        skipped: only with ``skipped=true``: number of states of the contract left out since its
            last message, because the client was slow or asked for a `max_rate`.
        data: the complete state, or with ``sections=`` those sections of it.
    """

    contract_name: str | UnsetType = field(default=UNSET, name="contractName")
    contract_id: str | UnsetType = field(default=UNSET, name="ContractId")
    timestamp: str
    skipped: int | UnsetType = UNSET
    data: PayloadSections


class StatusData(Struct, frozen=True, rename="camel"):
    """Data of a status message; see `docs/protocol.md`.

    Attributes:
        feed: state of the feed; None if there never was a feed.
        since: when the feed entered that state.
        last_board: when the last of the exchange's boards arrived.
        current: whether the gateway has just compared the contracts with the store.
        markets: state of each market. A newer gateway may have markets that are unknown here.
        contracts: by name or id, the timestamp of the newest state, which the client should have.
    """

    feed: FeedState | None
    since: str | None
    last_board: str | None
    current: bool
    markets: dict[str, FeedState]
    contracts: dict[str, str | None]


class StatusMessage(Struct, frozen=True, tag_field="channel", tag=STATUS):
    """The state of the feed, for clients that asked for ``status=true``.

    Attributes:
        timestamp: when the gateway sent it, in the form of a state's timestamp.
        data: the state.
    """

    timestamp: str
    data: StatusData


class ContractFilter(Struct, frozen=True, omit_defaults=True):
    """A filter of contracts by market, underlying, name or id; it includes those listed later.

    A contract matches if it is listed, and if it has one of the values of each part that is not
    empty.

    >>> ContractFilter.of("name", markets=["IMEOption"], underlyings=["KA"])
    ContractFilter(by='name', markets=('IMEOption',), patterns=(), underlyings=('KA',))

    Attributes:
        by: whether messages name the contracts by their present ``name`` or by their ``id``.
        markets: markets of the exchange.
        patterns: patterns with the wildcard ``*``, of names or of ids as `by` says. The prefix
            ``name:`` or ``id:`` gives a pattern of the other kind: ``id:10*``.
        underlyings: names or ids of underlyings.
    """

    by: Literal["name", "id"]
    markets: tuple[str, ...] = field(default=(), name="market")
    patterns: tuple[str, ...] = ()
    underlyings: tuple[str, ...] = field(default=(), name="underlying")

    @classmethod
    def of(
        cls,
        by: Literal["name", "id"],
        *,
        markets: Iterable[str] = (),
        patterns: Iterable[str] = (),
        underlyings: Iterable[str] = (),
    ) -> Self:
        """Return a filter with each value once and in order, so that equal choices are equal."""
        parts = (markets, patterns, underlyings)
        return cls(by, *(tuple(sorted(set(map(str, values)))) for values in parts))


class Action(StrEnum):
    """Actions of the commands that a client may send on its stream."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class ControlRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A command by which a client changes the contracts of its stream.

    Attributes:
        action: whether to add or to remove contracts.
        contract_names: contracts by name; a name with a ``*`` is a pattern, unless a contract has
            that name.
        contract_ids: contracts by id, as texts or numbers; or patterns of ids.
        market: markets, or one, whose contracts are chosen; see `ContractFilter`.
        underlying: names or ids of underlyings, or one, whose contracts are chosen.
        by: whether messages name contracts that are chosen without a pattern by ``name`` or by
            ``id``; None follows the stream's endpoint.
        snapshot: whether to send the present states of the added contracts at once; None follows
            the stream's own ``snapshot=``.
        id: any text or number; the answer repeats it.
    """

    action: Action
    contract_names: tuple[str, ...] = ()
    contract_ids: tuple[str | int, ...] = ()
    market: str | tuple[str, ...] = ()
    underlying: str | tuple[str, ...] = ()
    by: Literal["name", "id"] | None = None
    snapshot: bool | None = None
    id: str | int | None = None

    def to_json(self) -> bytes:
        """Encode as JSON."""
        return _encode(self)


class ControlFault(Struct, frozen=True):
    """Why a command, or a part of it, was refused.

    Attributes:
        contract: the contract as the command named it; None if the whole command was refused.
        error: the reason, for people.
    """

    contract: str | None
    error: str


class NamedContracts(Struct, frozen=True):
    """Contracts as messages name them.

    Attributes:
        contract_names: contracts by name.
        contract_ids: contracts by id.
    """

    contract_names: list[str] = []
    contract_ids: list[str] = []


LISTING: Final = "listing"
"""`ControlData.action` of a message without a command: contracts have joined the stream or left it,
because a filter now matches them, or no longer does."""


class ControlData(Struct, frozen=True):
    """The answer to a `ControlRequest`, or what has changed in a stream with filters.

    Attributes:
        id: id of the command.
        action: action of the command; None if it could not be read; `LISTING` without a command.
        contract_names: all contracts that the client has requested by name, in its spelling.
        contract_ids: all contracts that the client has requested by id.
        errors: the parts of the command that were refused; the rest was done. Without a command,
            the contracts that were not added.
        filters: all filters of the stream; absent if it has none.
        matching: the contracts that its filters match now; absent if it has none.
        added: contracts that have just joined; only in a message without a command.
        removed: contracts that have just left.
    """

    id: str | int | None
    action: str | None
    contract_names: list[str]
    contract_ids: list[str]
    errors: list[ControlFault]
    filters: list[ContractFilter] | UnsetType = UNSET
    matching: NamedContracts | UnsetType = UNSET
    added: NamedContracts | UnsetType = UNSET
    removed: NamedContracts | UnsetType = UNSET


class ControlMessage(Struct, frozen=True, tag_field="channel", tag=CONTROL):
    """The gateway's answer to a command, or a change of what a stream's filters match.

    Attributes:
        timestamp: when the gateway sent it, in the form of a state's timestamp.
        data: the answer, or the change.
    """

    timestamp: str
    data: ControlData


GatewayMessage = StreamMessage | StatusMessage | ControlMessage

_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(GatewayMessage).decode
_decode_request = msgspec.json.Decoder(ControlRequest).decode


class _CommandHead(Struct):
    action: object
    id: object = None


_decode_head = msgspec.json.Decoder(_CommandHead).decode


def read_message(text: bytes | str) -> GatewayMessage:
    """Decode a message of the gateway.

    Raises:
        msgspec.MsgspecError: ``text`` is not one of these messages.
    """
    message: GatewayMessage = _decode_message(text)
    return message


def read_request(message: bytes | str, *, binary: bool = False) -> ControlRequest | None:
    """Decode a command of a client.

    Args:
        message: a complete WebSocket message.
        binary: whether it is a binary message.

    Returns:
        The command; None for everything but a JSON object with an ``action``. Some programs send
        texts of their own to keep a connection alive.

    Raises:
        ControlError: it has an ``action``, but is not a valid command.
    """
    data = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else message
    text = data.removeprefix(codecs.BOM_UTF8)
    try:
        head = _decode_head(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if _has_action(text):
            raise ControlError(f"a control message must be valid JSON: {error}") from error
        return None
    request_id = head.id if isinstance(head.id, str | int) else None
    if binary:
        raise ControlError("a control message must be text, got binary", id=request_id)
    if text != data:
        raise ControlError(
            "a control message must begin with its JSON, got a byte-order mark", id=request_id
        )
    if head.action not in list(Action):
        raise ControlError(
            f"action is neither {' nor '.join(Action)}: {head.action}", id=request_id
        )
    try:
        return _decode_request(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ControlError(str(error), id=request_id) from error


# Tokens: blanks, strings in either kind of quotes, punctuation, everything else.
_PIECES: Final = re.compile(
    rb"""\s+|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[{}\[\]:,]|[^\s"'{}\[\]:,]+""", re.DOTALL
)


def _has_action(text: bytes) -> bool:
    """Return whether a text that cannot be decoded was meant as an object with an ``action``."""
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
