"""Messages that the client library delivers: typed, and decoded on first access.

The envelope is decoded on arrival, `data` on first access. A message that is replaced before the
program reads it costs half as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, field

from ime_live.contracts import MARKETS, Market
from ime_live.errors import PayloadError, ServiceError
from ime_live.market import Payload, PayloadSections
from ime_live.messages import (
    CONTROL,
    STATUS,
    STREAM,
    ContractFilter,
    ControlData,
    ControlMessage,
    StatusMessage,
)
from ime_live.status import FeedState

DataT = TypeVar("DataT", bound=Payload | PayloadSections)
"""Type of a message's data: `Payload`, or `PayloadSections` with the chosen sections."""

Key: TypeAlias = tuple[Literal["name", "id"], str]
"""A contract as the program named it: by name or by id, and the name or id."""

Selector: TypeAlias = Key | ContractFilter
"""A part of a selection: a contract, or a filter that matches contracts."""


class _StreamEnvelope(Struct, gc=False, tag_field="channel", tag=STREAM):
    timestamp: str
    data: Raw
    contract_name: str | None = field(default=None, name="contractName")
    contract_id: str | None = field(default=None, name="ContractId")
    skipped: int = 0


class _Other(Struct):
    channel: str


_CHANNELS: Final = frozenset({STREAM, STATUS, CONTROL})

_decode = msgspec.json.Decoder(_StreamEnvelope | StatusMessage | ControlMessage).decode
_decode_envelope = msgspec.json.Decoder(_StreamEnvelope).decode
_decode_other = msgspec.json.Decoder(_Other).decode
_decode_any = msgspec.json.Decoder().decode


class Message(Generic[DataT]):
    """One state of a contract.

    `str` gives a line with the contract, the timestamp and the best prices. Messages can be copied
    and pickled, and are equal if `raw`, `skipped`, the time zone and the type of `data` are.

    Attributes:
        key: the contract as the program named it: ``("name", "ContractA")`` or ``("id", "12345")``;
            for a contract that a filter matches, its present name, or its id.
        timestamp_text: the timestamp as the gateway sent it: ISO 8601 with microseconds, without
            an offset. It strictly grows per contract. Use it for `connect`'s ``since``.
        raw: the message as the gateway sent it: bytes of JSON in UTF-8.
        skipped: number of states of this contract that were left out since its last message: by
            the queue, and with ``skipped=True`` by the gateway as well.
    """

    __slots__ = ("_data", "_envelope", "_reader", "key", "raw", "skipped", "timestamp_text")

    def __init__(self, raw: bytes, envelope: _StreamEnvelope, reader: Reader[DataT]) -> None:
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
        """Name of the contract as the program gave it; None if it gave the id.

        For a contract that a filter matches, its present name; None if the filter is by id.
        """
        return self._envelope.contract_name

    @property
    def contract_id(self) -> str | None:
        """Id of the contract as the program gave it; None if it gave the name.

        For a contract that a filter by id matches, its id; None if the filter is by name.
        """
        return self._envelope.contract_id

    @property
    def timestamp(self) -> datetime:
        """Time of the state, in the time zone that `connect` was given as ``zone``.

        It is parsed from `timestamp_text`. `Publisher` sets it by Redis's clock, in microseconds;
        other publishers may use their own clocks.

        Raises:
            ServiceError: the timestamp cannot be read.
        """
        return self._reader.moment(self.timestamp_text)

    @property
    def data(self) -> DataT:
        """The state: a `Payload`, or a `PayloadSections` if the stream has ``sections``.

        Raises:
            PayloadError: it is incomplete or has wrong types; the text names the field.
        """
        if self._data is None:
            self._data = self._reader.data(self._envelope.data)
        return self._data

    def to_dict(self) -> dict[str, Any]:
        """Decode the whole message as a dict, with the keys and numbers as sent.

        Raises:
            PayloadError: a part of it cannot be read.
        """
        try:
            values: dict[str, Any] = _decode_any(self.raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PayloadError(f"a message cannot be read as a whole: {error}") from error
        return values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.raw, self.skipped, self._reader) == (other.raw, other.skipped, other._reader)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_again, (self._reader, self.raw, self.skipped)

    def __repr__(self) -> str:
        return f"<Message {self.key[1]} {self.timestamp_text}>"

    def __str__(self) -> str:
        """Format the timestamp, the contract, and the best bid, best ask and last price if sent."""
        return f"{self.timestamp_text} {self.key[1]} {self._format_prices()}".rstrip()

    def _format_prices(self) -> str:
        try:
            best, day = self.data.best_limit, self.data.aggregate
        except PayloadError as error:
            return f"(no prices: {error})"  # printing helps to find the fault
        words: list[str] = []
        if best is not UNSET:
            first = best["1"]
            words.append(f"bid {first.buy_price or '-'} ask {first.sell_price or '-'}")
        if day is not UNSET:
            words.append(f"last {day.last_price or '-'}")
        return " ".join(words)


class Status(Struct, frozen=True):
    """The state of the feed, with ``status=True``; see `docs/protocol.md`.

    Attributes:
        timestamp: when the gateway sent it.
        feed: state of the feed; None if there never was a feed.
        since: when the feed entered that state; None if there never was a feed.
        last_board: when the last of the exchange's boards arrived; None before the first one.
        current: whether the gateway has just compared the contracts with the store.
        markets: state of each market that this version of the library knows.
        contracts: by name or id, the timestamp of the contract's newest state, which the client
            should have received; None without a state.
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
        reason: why there is no connection, for people; empty if there is one.
        final: whether the stream has ended, so that no other connection follows.
    """

    connected: bool
    reason: str = ""
    final: bool = False


class Reader(Generic[DataT]):
    """Decodes the messages of the gateway.

    Attributes:
        zone: time zone of the gateway's timestamps, which have no offset.
    """

    def __init__(self, zone: tzinfo, data: type[DataT]) -> None:
        """Create a reader of messages whose data has this type."""
        self.zone: Final = zone
        self._type = data
        self._decode_data = msgspec.json.Decoder(data).decode

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reader):
            return NotImplemented
        return (self.zone, self._type) == (other.zone, other._type)

    def __hash__(self) -> int:
        return hash((self.zone, self._type))

    def __reduce__(self) -> tuple[Any, ...]:
        return Reader, (self.zone, self._type)

    def read(self, raw: bytes) -> Message[DataT] | Status | ControlData | None:
        """Decode one text message; return None for one of an unknown channel.

        Raises:
            ServiceError: the message cannot be read; the text says why.
        """
        try:
            message = _decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if _is_of_another_kind(raw):
                return None
            raise ServiceError(
                f"the service sent a message that cannot be read: {error}"
            ) from error
        if type(message) is _StreamEnvelope:
            if message.contract_name is None and message.contract_id is None:
                raise ServiceError(
                    "the service sent a message that cannot be read: it must have contractName or "
                    "ContractId, got neither"
                )
            return Message(raw, message, self)
        if isinstance(message, ControlMessage):
            return message.data
        return self._status(message)

    def data(self, raw: Raw) -> DataT:
        """Decode a message's data.

        Raises:
            PayloadError: it is incomplete or has wrong types.
        """
        try:
            return self._decode_data(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PayloadError(f"the data of a message cannot be read: {error}") from error

    def moment(self, timestamp: str) -> datetime:
        """Parse a timestamp.

        Raises:
            ServiceError: it is not ISO 8601.
        """
        try:
            moment = datetime.fromisoformat(timestamp)
        except ValueError as error:
            raise ServiceError(
                f"the service must send ISO 8601 timestamps, got {timestamp}"
            ) from error
        return moment.replace(tzinfo=self.zone) if moment.tzinfo is None else moment

    def _status(self, message: StatusMessage) -> Status:
        data = message.data
        return Status(
            timestamp=self.moment(message.timestamp),
            feed=data.feed,
            since=self._optional_moment(data.since),
            last_board=self._optional_moment(data.last_board),
            current=data.current,
            markets={
                Market(name): state for name, state in data.markets.items() if name in MARKETS
            },
            contracts={
                name: self._optional_moment(timestamp) for name, timestamp in data.contracts.items()
            },
        )

    def _optional_moment(self, timestamp: str | None) -> datetime | None:
        return None if timestamp is None else self.moment(timestamp)


def _read_again(reader: Reader[DataT], raw: bytes, skipped: int) -> Message[DataT]:
    """Return the message that was copied or pickled.

    Raises:
        ServiceError: it is nested so deeply that it can be read only where fewer calls are active.
    """
    try:
        message = Message(raw, _decode_envelope(raw), reader)
    except RecursionError as error:
        raise ServiceError(f"a message cannot be copied: {error}") from error
    message.skipped = skipped
    return message


def _is_of_another_kind(raw: bytes) -> bool:
    # A newer gateway may have channels that this library does not know.
    try:
        return _decode_other(raw).channel not in _CHANNELS
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
