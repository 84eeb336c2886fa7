"""Every error the package raises, and every code it closes a connection with.

One root, so that a caller can catch all of them::

    ImeLiveError
    ├── PayloadError            a payload is not whole or of the wrong types
    ├── ContractError           a contract cannot be registered as given
    ├── UnknownContractError    no contract of that name or id
    ├── StoreError              Redis or Valkey did not do what was asked
    │   ├── StoreSettingsError  the settings do not fit it, which no waiting cures
    │   ├── IncompleteError     a part of a cluster did not, the others did
    │   └── FencedError         the writer no longer leads
    ├── SettingsError           settings that do not go together or cannot be read
    ├── FeedError               input of a feed that cannot be read
    ├── ControlError            a client's request in flight that cannot be read
    ├── ServiceError            the service cannot be reached, or its answer cannot be used
    └── RefusedError            a stream or request that is refused, with its close code
        ├── AuthenticationError the token is missing or not good
        └── RateError           asked too often
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any

# RFC 6455, 5.5: a control frame carries at most 125 bytes, two of them the close code.
MAX_REASON_BYTES = 123


class ImeLiveError(Exception):
    """Root of the package's errors. Its text names what is wrong."""


class PayloadError(ImeLiveError):
    """A market data payload is not whole, or a field has the wrong type.

    The text names the field, as in ``Expected `int | float`, got `str` - at
    `$.Aggregate.last_price```.

    Attributes:
        kind: the text without what was read, for logs.
    """

    def __init__(self, text: str, *, kind: str | None = None) -> None:
        self.kind = kind or text
        super().__init__(text)


class ContractError(ImeLiveError):
    """A contract cannot be registered as given: an empty id, a name taken by another."""


class UnknownContractError(ImeLiveError):
    """No contract of that name or id is registered."""


class StoreError(ImeLiveError):
    """Redis or Valkey could not be reached or refused a command.

    Attributes:
        kind: the text without what differs from command to command, for logs.
    """

    def __init__(self, text: str, *, kind: str | None = None) -> None:
        self.kind = kind or text
        super().__init__(text)


class IncompleteError(StoreError):
    """A part of a cluster could not be read.

    Attributes:
        found: what the others have told, by contract id.
        left: ids of contracts that nothing is known of.
    """

    def __init__(self, text: str, *, found: Mapping[str, Any], left: Collection[str]) -> None:
        self.found = found
        self.left = left
        super().__init__(text)


class FencedError(StoreError):
    """A write was refused, since a feed with a newer fencing token has come to lead.

    Attributes:
        token: the newer one. Whoever takes the lease again needs one that is greater.
    """

    def __init__(self, text: str, *, token: int) -> None:
        self.token = token
        super().__init__(text)


class SettingsError(ImeLiveError):
    """Settings that do not go together, or a file among them that cannot be read."""


class StoreSettingsError(StoreError, SettingsError):
    """Redis or Valkey is not what the settings say: another password, database, mode, or TLS.

    No waiting cures that. A process that finds it at its start ends; one that has been served
    before goes on trying, since it must be the server that has changed.
    """


class FeedError(ImeLiveError):
    """Input of a feed that cannot be read; names the place in the input."""


class ControlError(ImeLiveError):
    """A client asked, while its stream runs, for what cannot be read; names what is wrong.

    Attributes:
        id: the request's own, if it has one that can be read.
    """

    def __init__(self, text: str, *, id: str | int | None = None) -> None:  # noqa: A002 - as on the wire
        self.id = id
        super().__init__(text)


class ServiceError(ImeLiveError):
    """A client cannot reach the service, or cannot use what it answers.

    Attributes:
        status: of its HTTP answer; None if there was none.
    """

    def __init__(self, text: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


class CloseCode(IntEnum):
    """The WebSocket close codes of this service and of proxies before it (RFC 6455, 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    """The gateway is shutting down: reconnect, another one answers."""
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    """The documented code for a bad token or contract: do not repeat the same request."""
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class RefusedError(ImeLiveError):
    """A stream, or a request, that is refused or ended by the service.

    Attributes:
        code: the WebSocket close code.
        reason: what the client is told, at most 123 bytes of UTF-8.
        kind: the reason without what the client sent, for logs and metrics.
        detail: more than the reason, for the log and for plain HTTP; empty if there is no more to
            say. It is not in a close frame, whose texts clients compare.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: CloseCode = CloseCode.POLICY_VIOLATION,
        kind: str | None = None,
        detail: str = "",
    ) -> None:
        self.code = code
        self.reason = printable_reason(reason)
        self.kind = kind or reason
        self.detail = detail
        super().__init__(self.reason)


class AuthenticationError(RefusedError):
    """The token is missing or not good. ``kind`` and ``reason`` never hold the token."""


class RateError(RefusedError):
    """Somebody asks too often.

    Attributes:
        retry_after: seconds after which one more request is answered.
    """

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__("too many requests", code=CloseCode.TRY_AGAIN_LATER)


def printable_reason(text: str) -> str:
    """Cut ``text`` to what fits a close frame, whole characters only, nothing unprintable."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    cut = encoded[: MAX_REASON_BYTES - len("…".encode())].decode("utf-8", "ignore")
    return cut + "…"
