"""Records of the store: last states, and the results of writing them."""

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
        data: the stored payload, unchecked.
        seen: when a publisher last confirmed it, as it is stored; empty if never.
        history: history of the server's data at that time; empty if unknown. See
            `Store.in_present_history`.
    """

    version: int
    data: bytes
    seen: bytes = b""
    history: bytes = b""

    def read(self) -> Update:
        """Check and decode the payload.

        Raises:
            PayloadError: it is incomplete, of the wrong types or too long.
        """
        return Update(self.version, read_stored(self.data))


class Lift(Struct, frozen=True):
    """A request to raise the version of a stored state above that of a gateway's state.

    Attributes:
        contract_id: id of the contract.
        version: version of the stored state.
        above: version of the gateway's state.
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
        confirmed: microseconds since a publisher confirmed the stored state, if that was before the
            gateway received its own; below 0 if it was in the future; else None.
    """

    version: int = 0
    confirmed: int | None = None


class Stored(Struct, frozen=True):
    """Result of storing a state.

    Attributes:
        version: version of the last state now, in microseconds since the epoch.
        published: True if the state was a change, False if it equals the last one.
    """

    version: int
    published: bool


def is_bad_data(reply: object) -> bool:
    """Return whether an error is about the stored data, and not about the store itself."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE ")


def state_in(
    version: bytes | None, data: bytes | None, confirmed: Sequence[bytes | None], latest: int
) -> LastState | PayloadError:
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
    match code:
        case 1:
            return Lifted(value)
        case 0:
            return Lifted(confirmed=value)
        case _:
            return Lifted()


def version_in(reply: object, latest: int) -> int | None:
    """Return the version in a reply; None if it cannot be one."""
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= scripts.MAX_DIGITS:
        version = int(reply)
        if 0 < version <= latest:
            return version
    return None


def timestamp_in(text: bytes) -> datetime | None:
    """Return the timestamp that is stored beside a state; None if it cannot be one."""
    try:
        timestamp = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return timestamp if timestamp.tzinfo is None else None
