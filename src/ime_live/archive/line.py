"""Lines of an archive: messages as the service sent them, and events of the recorder.

A line is a JSON object with a ``channel``, as every message of the service. Messages have
``IME Stream``; lines of the recorder have ``IME Recording`` and an ``event``:

- ``header``: the first line of a file, with the ``format`` and the ``day``
- ``contract``: the static data of a contract, before its first state and whenever they change
- ``opening``: the state that a contract had when the day began, as a message
- ``gap``: a time in which states may have been missed, ``from`` and until its ``timestamp``
- ``end``: the recorder was stopped
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from ime_live.contracts import Contract, contract_of
from ime_live.errors import FeedError
from ime_live.messages import STREAM

RECORDING: Final = "IME Recording"
"""Channel of the lines that the recorder adds."""

FORMAT: Final = 1
"""Number of this format, in the header of each file."""


class ArchiveLine(Struct, omit_defaults=True, kw_only=True):
    """One line; which fields it has depends on its channel and event.

    Attributes:
        channel: ``IME Stream`` for a message, else ``IME Recording``.
        event: kind of a line of the recorder; empty in a message.
        format: of a header: number of the format.
        day: of a header: the day, as ``YYYY-MM-DD``.
        contract_id: of a message: id of the contract.
        since: of a gap: when it began.
        timestamp: of a message or an event: its time, ISO 8601, Tehran's wall clock.
        reason: of a gap: why states may be missing.
        data: of a message: the state.
        contract: static data of a contract.
        state: of an opening: the message.
    """

    channel: str
    event: str = ""
    format: int = 0
    day: str = ""
    contract_id: str = field(default="", name="ContractId")
    since: str = field(default="", name="from")
    timestamp: str = ""
    reason: str = ""
    data: Raw = field(default_factory=Raw)
    contract: Contract | None = None
    state: Raw = field(default_factory=Raw)

    @property
    def is_state(self) -> bool:
        """Whether it is a message with a state of the day."""
        return self.channel == STREAM and bool(self.contract_id and self.timestamp)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ArchiveLine).decode


class _ContractLine(Struct):
    channel: str
    event: str
    contract: dict[str, Any]


_decode_contract = msgspec.json.Decoder(_ContractLine).decode


def read_line(text: bytes) -> ArchiveLine:
    """Decode a line; the state of an opening is decoded by another call with its ``state``.

    Raises:
        FeedError: it is not such a line.
    """
    try:
        try:
            line = _decode(text)
        except msgspec.ValidationError:
            # A newer recorder may know a market that is unknown here.
            record = _decode_contract(text)
            line = ArchiveLine(
                channel=record.channel, event=record.event, contract=contract_of(record.contract)
            )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FeedError(f"not a line of an archive: {error}") from error
    if line.channel not in {STREAM, RECORDING}:
        raise FeedError(f"not a line of an archive: channel {line.channel!r}")
    return line


def event(name: str, **fields: object) -> bytes:
    """Encode an event of the recorder, without the line feed."""
    return _encode({"channel": RECORDING, "event": name, **fields})


def opening(message: bytes) -> bytes:
    """Encode the state that a contract had when the day began."""
    return _encode({"channel": RECORDING, "event": "opening", "state": Raw(message)})
