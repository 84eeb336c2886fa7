"""Errors that the package raises, and the WebSocket close codes.

All errors have one root, so that a program can catch all of them::

    ImeLiveError
    ├── PayloadError            a payload is incomplete or has wrong types
    ├── ContractError           a contract cannot be registered
    ├── UnknownContractError    no contract has that name or id
    ├── StoreError              Redis or Valkey cannot be reached, or refused a command
    │   ├── StoreSettingsError  the server does not match the settings; waiting does not help
    │   ├── IncompleteError     a part of a cluster could not be read
    │   └── FencedError         the writer no longer leads
    ├── SettingsError           a setting or an argument cannot be used
    ├── FeedError               input of a feed cannot be read
    ├── ControlError            a client's command on its stream cannot be read
    ├── ServiceError            the service cannot be reached, or its answer cannot be used
    └── RefusedError            a stream or request is refused, with its close code
        ├── AuthenticationError the token is missing or not accepted
        └── LimitError          too many requests or clients; raised and answered by a gateway
"""

from __future__ import annotations

import copyreg
from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any

# RFC 6455, 5.5: a control frame carries at most 125 bytes, two of them the close code.
MAX_REASON_BYTES = 123


class ImeLiveError(Exception):
    """Base of all errors of the package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call __init__ with the text alone; most errors need more.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined] # typeshed lacks it


class PayloadError(ImeLiveError):
    """Market data is incomplete, too long, or has a field of the wrong type.

    The text names the field, as in ``Expected `int | float`, got `str` - at
    `$.Aggregate.last_price```.

    Attributes:
        kind: the text without the values that were read, for logs.
    """

    def __init__(self, text: str, *, kind: str | None = None) -> None:
        self.kind = kind or text
        super().__init__(text)


class ContractError(ImeLiveError):
    """A contract cannot be registered, for example because its id is empty or its name is taken."""


class UnknownContractError(ImeLiveError):
    """No registered contract has that name or id; the text names it."""


class StoreError(ImeLiveError):
    """Redis or Valkey could not be reached, or refused a command.

    Attributes:
        kind: the text without the parts that differ from command to command, for logs.
    """

    def __init__(self, text: str, *, kind: str | None = None) -> None:
        self.kind = kind or text
        super().__init__(text)


class IncompleteError(StoreError):
    """A part of a cluster could not be read.

    Attributes:
        found: the results of the other parts, by contract id.
        left: ids of the contracts without a result.
    """

    def __init__(self, text: str, *, found: Mapping[str, Any], left: Collection[str]) -> None:
        self.found = found
        self.left = left
        super().__init__(text)


class FencedError(StoreError):
    """A write was refused, because a feed with a newer fencing token leads now.

    Attributes:
        token: the newer token. To take the lease again, a feed needs a greater one.
    """

    def __init__(self, text: str, *, token: int) -> None:
        self.token = token
        super().__init__(text)


class SettingsError(ImeLiveError):
    """A setting, or an argument of the client, cannot be used.

    The text says what must hold and what was given. It never quotes a secret.
    """


class StoreSettingsError(StoreError, SettingsError):
    """Redis or Valkey does not match the settings: its password, database, mode or TLS differs.

    Waiting does not help. A process that meets this at its start ends. A process that was
    connected before keeps trying: the server's settings changed while it ran.
    """


class FeedError(ImeLiveError):
    """Input of a feed cannot be read; the text names the place in the input."""


class ControlError(ImeLiveError):
    """A command that a client sent on its stream cannot be read; the text says why.

    Attributes:
        id: id of the command; None if it has none that can be read.
    """

    def __init__(self, text: str, *, id: str | int | None = None) -> None:  # noqa: A002 - as on the wire
        self.id = id
        super().__init__(text)


class ServiceError(ImeLiveError):
    """The client cannot reach the service, or cannot use its answer.

    Attributes:
        status: HTTP status of the answer; None if there was no answer.
    """

    def __init__(self, text: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


class CloseCode(IntEnum):
    """WebSocket close codes of this service and of proxies in front of it (RFC 6455, 7.4.1)."""

    NORMAL = 1000
    """The client closed the stream."""
    GOING_AWAY = 1001
    """The gateway is shutting down: reconnect to reach another one."""
    PROTOCOL_ERROR = 1002
    """The peer broke the WebSocket protocol."""
    UNSUPPORTED_DATA = 1003
    """The peer sent a kind of data that is not accepted."""
    INVALID_DATA = 1007
    """The peer sent a text that is not UTF-8."""
    POLICY_VIOLATION = 1008
    """The documented code for a bad token or contract: do not repeat the request unchanged."""
    MESSAGE_TOO_BIG = 1009
    """The peer sent a message that is too long."""
    INTERNAL_ERROR = 1011
    """The gateway failed, or the client did not answer a ping: reconnect."""
    SERVICE_RESTART = 1012
    """The service is restarting: reconnect."""
    TRY_AGAIN_LATER = 1013
    """The client was too slow, or a limit is reached: reconnect after a wait."""


class RefusedError(ImeLiveError):
    """The service refused a stream or a request, or ended a stream.

    Attributes:
        code: the WebSocket close code.
        reason: the reason in the close frame, at most 123 bytes of UTF-8.
        kind: the reason without the words of the client, for logs and metrics.
        detail: explanation beyond the reason, for the log and for plain HTTP; empty if there is
            none. It is not in the close frame, because clients compare that text.
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
    """The token is missing or not accepted. ``kind`` and ``reason`` never contain the token."""


class LimitError(RefusedError):
    """A limit of capacity or rate is reached; another request may be served later.

    Attributes:
        status: HTTP status: 429 if the client takes too much, 503 if all of them together do.
        retry_after: seconds after which another request may be served.
    """

    def __init__(
        self,
        reason: str = "too many requests",
        *,
        retry_after: float,
        status: int = 429,
        kind: str | None = None,
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(reason, code=CloseCode.TRY_AGAIN_LATER, kind=kind)


def system_reason(error: Exception) -> str:
    """Return a short description of an operating system error, in lower case.

    >>> system_reason(FileNotFoundError(2, "No such file or directory"))
    'no such file or directory'
    """
    return (getattr(error, "strerror", None) or str(error)).lower()


def printable_reason(text: str) -> str:
    """Cut ``text`` to the length of a close reason, and replace what is not printable by ``?``."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_REASON_BYTES:
        return encoded.decode()
    cut = encoded[: MAX_REASON_BYTES - len("…".encode())].decode("utf-8", "ignore")
    return cut + "…"
