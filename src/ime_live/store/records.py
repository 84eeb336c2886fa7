"""Records of the store: last states, and results of writing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from redis.exceptions import ResponseError

from ime_live.errors import PayloadError
from ime_live.market import Update
from ime_live.market_json import read_stored
from ime_live.store import scripts


class LastState(Struct, frozen=True):
    """A last state in the store.

    Attributes:
        version: microseconds since the epoch.
        data: the stored payload, not checked.
        seen: when a publisher last confirmed the state, as stored; empty if never.
        history: replication id of the server at that time; empty if unknown. See
            `Store.in_present_history`.
    """

    version: int
    data: bytes
    seen: bytes = b""
    history: bytes = b""

    def read(self) -> Update:
        """Check and decode the payload.

        Raises:
            PayloadError: the payload is incomplete or too long, or has wrong types.
        """
        return Update(self.version, read_stored(self.data))


class Lift(Struct, frozen=True):
    """A request to raise the version of a stored state above that of a gateway's state.

    Attributes:
        contract_id: id of the contract.
        version: version of the stored state.
        above: version of the gateway's state, which the new version must exceed.
        age: microseconds since the gateway received its state.
    """

    contract_id: str
    version: int
    above: int
    age: int


class Lifted(Struct, frozen=True):
    """Result of a `Lift`.

    Attributes:
        version: new version of the stored state, which was published; 0 if it was not raised.
        confirmed: time since a publisher confirmed the stored state [microseconds], if that was
            before the gateway received its own; below 0 for a time in the future; else None.
    """

    version: int = 0
    confirmed: int | None = None


class Stored(Struct, frozen=True):
    """Result of storing a state.

    Attributes:
        version: version of the last state from now on [microseconds since the epoch].
        published: True if the state was a change, False if it equals the last state.
    """

    version: int
    published: bool


def is_bad_data(reply: object) -> bool:
    """Return whether a reply is an error because a key has a wrong type."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE ")


def state_in(
    version: bytes | None, data: bytes | None, confirmed: Sequence[bytes | None], latest: int
) -> LastState | PayloadError:
    """Return the last state in the fields of its hash; an error if they are invalid.

    Args:
        version: field ``version``.
        data: field ``data``.
        confirmed: fields ``seen`` and ``history``.
        latest: largest valid version.
    """
    if version is None or data is None:
        missing = "version" if data is not None else "data" if version is not None else "both"
        return PayloadError(f"a last state must have version and data, missing: {missing}")
    number = version_in(version, latest)
    if number is None:
        return PayloadError(
            f"version {version!r} is not microseconds since the epoch", kind="not a version"
        )
    return LastState(number, data, *(field or b"" for field in confirmed))


def lifted(code: int, value: int) -> Lifted:
    """Return the result in a reply of the script `LIFT`."""
    match code:
        case 1:
            return Lifted(value)
        case 0:
            return Lifted(confirmed=value)
        case _:
            return Lifted()


def version_in(reply: object, latest: int) -> int | None:
    """Return the version in a reply; None if it is no valid version."""
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= scripts.MAX_DIGITS:
        version = int(reply)
        if 0 < version <= latest:
            return version
    return None


def timestamp_in(text: bytes) -> datetime | None:
    """Return the board's timestamp that is stored with a state; None if it is invalid."""
    try:
        timestamp = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return timestamp if timestamp.tzinfo is None else None
