"""Records: last states as they are stored, and what becomes of writing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from redis.exceptions import ResponseError

from ime_live.errors import PayloadError
from ime_live.market import Update, read_stored
from ime_live.store import scripts


class State(Struct, frozen=True):
    """A last state as it is stored.

    Attributes:
        version: microseconds since the epoch.
        data: what was stored as its payload; nobody has checked it.
        seen: when it was confirmed last, as it is written there; empty if it never was.
        history: in which history of the store's data; empty if nobody has told. See
            `Store.in_present_history`.
    """

    version: int
    data: bytes
    seen: bytes = b""
    history: bytes = b""

    def read(self) -> Update:
        """Check and decode it.

        Raises:
            PayloadError: its data is not whole, of the wrong types or too long.
        """
        return Update(self.version, read_stored(self.data))


class Lift(Struct, frozen=True):
    """A stored state whose version is to be raised above that of a gateway's state.

    Attributes:
        contract_id: the contract.
        version: of the stored state.
        above: the gateway's version.
        age: microseconds for which the gateway has had its state.
    """

    contract_id: str
    version: int
    above: int
    age: int


class Lifted(Struct, frozen=True):
    """What became of a `Lift`.

    Attributes:
        version: the stored state's new one, which was published; 0 if it was not raised.
        confirmed: microseconds since a publisher confirmed the stored state, if that was too long
            ago: before the gateway took its own. Below 0 if it was in the future. Else None.
    """

    version: int = 0
    confirmed: int | None = None


class Stored(Struct, frozen=True):
    """What the store did with a state.

    Attributes:
        version: of what is now the last state, microseconds since the epoch.
        published: True if the state was a change, False if it was equal to the last one.
    """

    version: int
    published: bool


def is_bad_data(reply: object) -> bool:
    """Whether an error is about what is stored; every other one is about the store itself."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE ")


def state_in(
    version: bytes | None, data: bytes | None, confirmed: Sequence[bytes | None], latest: int
) -> State | PayloadError:
    if version is None or data is None:
        missing = "version" if data is not None else "data" if version is not None else "both"
        return PayloadError(f"a last state must have version and data, missing: {missing}")
    number = version_in(version, latest)
    if number is None:
        return PayloadError(
            f"version {version!r} is not microseconds since the epoch", kind="not a version"
        )
    return State(number, data, *(field or b"" for field in confirmed))


def lifted(code: int, value: int) -> Lifted:
    match code:
        case 1:
            return Lifted(value)
        case 0:
            return Lifted(confirmed=value)
        case _:
            return Lifted()


def version_in(reply: object, latest: int) -> int | None:
    """The version that Redis replies, None if it cannot be one."""
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= scripts.MAX_DIGITS:
        version = int(reply)
        if 0 < version <= latest:
            return version
    return None


def stamp_in(text: bytes) -> datetime | None:
    """The stamp that was written beside a state, None if it cannot be one."""
    try:
        stamp = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return stamp if stamp.tzinfo is None else None
