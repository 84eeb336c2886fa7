"""Messages as a client's program gets them: typed, decoded when they are looked at.

Text of the wire comes in; messages, states of the feed and answers go out. The envelope is decoded
on arrival, `data` when it is read first: what is replaced before anybody reads it costs half. No
connection is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, field

from ime_live.contracts import Market
from ime_live.errors import PayloadError, ServiceError
from ime_live.market import Part, Payload
from ime_live.messages import CONTROL, STATUS, STREAM, ControlData, ControlMessage, StatusMessage
from ime_live.status import FeedState

DataT = TypeVar("DataT", bound=Payload | Part)
"""What messages carry: the complete state, or the sections that were asked for."""

Key: TypeAlias = tuple[Literal["name", "id"], str]
"""A contract as a program has named it: how, and the name or id."""


class _Envelope(Struct, gc=False, tag_field="channel", tag=STREAM):
    timestamp: str
    data: Raw
    contract_name: str | None = field(default=None, name="contractName")
    contract_id: str | None = field(default=None, name="ContractId")
    skipped: int = 0


class _Other(Struct):
    channel: str


_CHANNELS: Final = frozenset({STREAM, STATUS, CONTROL})

_decode = msgspec.json.Decoder(_Envelope | StatusMessage | ControlMessage).decode
_decode_other = msgspec.json.Decoder(_Other).decode
_decode_any = msgspec.json.Decoder().decode


class Message(Generic[DataT]):
    """The state of a contract at one moment.

    Attributes:
        key: the contract, whichever way it was asked for.
        timestamp_text: the timestamp as it came; for one contract it strictly grows.
        raw: the message as it came, JSON in UTF-8.
        skipped: how many newer messages of this contract were left out since the one before: by
            the queue, and with ``skipped=True`` by the gateway as well.
    """

    __slots__ = ("_data", "_envelope", "_reader", "key", "raw", "skipped", "timestamp_text")

    def __init__(self, raw: bytes, envelope: _Envelope, reader: Reader[DataT]) -> None:
        name = envelope.contract_name
        self.key: Key = ("name", name) if name is not None else ("id", envelope.contract_id or "")
        self.timestamp_text = envelope.timestamp
        self.raw = raw
        self.skipped = envelope.skipped
        self._envelope = envelope
        self._reader = reader
        self._data: DataT | None = None

    @property
    def contract_name(self) -> str | None:
        """The contract as it was asked for by name; None if that was by id."""
        return self._envelope.contract_name

    @property
    def contract_id(self) -> str | None:
        """The contract as it was asked for by id; None if that was by name."""
        return self._envelope.contract_id

    @property
    def timestamp(self) -> datetime:
        """When the contract came into this state, with its zone.

        Raises:
            ServiceError: the time stamp is none.
        """
        return self._reader.moment(self.timestamp_text)

    @property
    def data(self) -> DataT:
        """The contract's state.

        Raises:
            PayloadError: it is not whole or of the wrong types; the text names the field.
        """
        if self._data is None:
            self._data = self._reader.data(self._envelope.data)
        return self._data

    def to_dict(self) -> dict[str, Any]:
        """Decode the message as it was on the wire, with its keys and numbers."""
        whole: dict[str, Any] = _decode_any(self.raw)
        return whole

    def __repr__(self) -> str:
        return f"<Message {self.key[1]} {self.timestamp_text}>"

    def __str__(self) -> str:
        """The contract, when, and the best bid, the best ask and the last price, if they came."""
        return f"{self.timestamp_text} {self.key[1]} {self._prices()}".rstrip()

    def _prices(self) -> str:
        try:
            best, day = self.data.best_limit, self.data.aggregate
        except PayloadError as error:
            return f"(no prices: {error})"  # somebody prints it to find out what is wrong
        words: list[str] = []
        if best is not UNSET:
            first = best["1"]
            words.append(f"bid {first.buy_price or '-'} ask {first.sell_price or '-'}")
        if day is not UNSET:
            words.append(f"last {day.last_price or '-'}")
        return " ".join(words)


class Status(Struct, frozen=True):
    """The state of the feed, and what a client should hold; see `docs/protocol.md`.

    Attributes:
        timestamp: when the gateway said so.
        feed: the feed's state; None if there never was a feed.
        since: when it came into that state.
        last_board: when one of the exchange's boards came last.
        current: whether the gateway has just compared the contracts with the store.
        markets: the state of each market.
        contracts: by name or id, the time stamp of the newest message; None without a state.
    """

    timestamp: datetime
    feed: FeedState | None
    since: datetime | None
    last_board: datetime | None
    current: bool
    markets: Mapping[Market, FeedState]
    contracts: Mapping[str, datetime | None]


class ConnectionEvent(Struct, frozen=True):
    """A connection was made or lost, or could not be made.

    Attributes:
        connected: whether there is a connection now.
        reason: why there is none, for people; empty if there is one.
        final: whether there will not be another one: the stream has ended.
    """

    connected: bool
    reason: str = ""
    final: bool = False


class Reader(Generic[DataT]):
    """Reads what the gateway sends.

    Attributes:
        zone: the zone of the gateway's time stamps, which carry no offset.
    """

    def __init__(self, zone: tzinfo, data: type[DataT]) -> None:
        """Make one whose messages carry ``data``."""
        self.zone: Final = zone
        self._decode_data = msgspec.json.Decoder(data).decode

    def read(self, raw: bytes) -> Message[DataT] | Status | ControlData | None:
        """Read one text message; None for one of a kind that is not known here.

        Raises:
            ServiceError: it cannot be read; the text names what is wrong.
        """
        try:
            found = _decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if _is_of_another_kind(raw):
                return None
            raise ServiceError(f"the service sent what is no message: {error}") from error
        if type(found) is _Envelope:
            if found.contract_name is None and found.contract_id is None:
                raise ServiceError("the service sent a message that names no contract")
            return Message(raw, found, self)
        if isinstance(found, ControlMessage):
            return found.data
        return self._status(found)

    def data(self, raw: Raw) -> DataT:
        """Decode a message's data.

        Raises:
            PayloadError: it is not whole or of the wrong types.
        """
        try:
            return self._decode_data(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PayloadError(str(error)) from error

    def moment(self, stamp: str) -> datetime:
        """The moment that a time stamp means.

        Raises:
            ServiceError: it is none.
        """
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError as error:
            raise ServiceError(f"the service sent a time stamp that is none: {stamp}") from error
        return moment.replace(tzinfo=self.zone) if moment.tzinfo is None else moment

    def _status(self, message: StatusMessage) -> Status:
        data = message.data
        return Status(
            timestamp=self.moment(message.timestamp),
            feed=data.feed,
            since=self._perhaps(data.since),
            last_board=self._perhaps(data.last_board),
            current=data.current,
            markets=data.markets,
            contracts={name: self._perhaps(stamp) for name, stamp in data.contracts.items()},
        )

    def _perhaps(self, stamp: str | None) -> datetime | None:
        return None if stamp is None else self.moment(stamp)


def _is_of_another_kind(raw: bytes) -> bool:
    # A newer gateway may have channels that this library has never heard of.
    try:
        return _decode_other(raw).channel not in _CHANNELS
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
