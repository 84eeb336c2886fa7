"""Verdict: what the end of a connection means for a client.

Close codes, reasons and HTTP statuses come in; the error to raise goes out, or None: reconnect.
It does not wait, and does not know what has been tried before.
"""

from __future__ import annotations

from typing import Final

from ime_live.errors import (
    AuthenticationError,
    CloseCode,
    ImeLiveError,
    RefusedError,
    ServiceError,
    UnknownContractError,
    printable_reason,
)

UNKNOWN_CONTRACT: Final = "unknown contract: "
"""How the gateway's reason begins if no contract has the name or id that follows."""

_AUTHENTICATION: Final = frozenset(
    {
        "authentication required",
        "token too long",
        "invalid token",
        "invalid claims",
        "token expired",
        "token not yet valid",
        "wrong audience",
        "wrong issuer",
    }
)

_PASSING: Final = ("token expired", "token not yet valid")

_FINAL: Final = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.UNSUPPORTED_DATA,
        CloseCode.INVALID_DATA,
        CloseCode.POLICY_VIOLATION,
        CloseCode.MESSAGE_TOO_BIG,
    }
)

# Too many at once, and a request that a slow proxy has given up.
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})


def of_close(code: int, reason: str) -> ImeLiveError | None:
    """The error that a close code of the service means; None if reconnecting may help.

    1001, 1006, 1011, 1012 and 1013 say so; every other code that must not be repeated is in
    RFC 6455 or in `docs/protocol.md`.
    """
    if code not in _FINAL:
        return None
    if code == CloseCode.POLICY_VIOLATION:
        if reason in _AUTHENTICATION:
            return AuthenticationError(reason)
        if reason.startswith(UNKNOWN_CONTRACT):
            return UnknownContractError(reason)
    kind = CloseCode(code)
    return RefusedError(reason or f"closed with {code} and no reason", code=kind)


def of_status(status: int, address: str = "", location: str | None = None) -> ImeLiveError | None:
    """The error that a refused handshake means; None if trying again may help.

    Args:
        status: of the HTTP answer.
        address: what was asked for, for people.
        location: where the answer redirects to, if it does.
    """
    if status in {401, 403}:
        return AuthenticationError(f"the handshake was refused with HTTP {status}")
    if status >= 500 or status in _TRANSIENT_STATUSES:
        return None
    text = f"{address} must be a stream, but it answered HTTP {status}".lstrip()
    return ServiceError(text + advice(status, location), status=status)


def advice(status: int, location: str | None) -> str:
    """What to do about an address that leads elsewhere, as the end of a sentence; else empty."""
    if status == 404:
        return "; is the prefix of a proxy's path missing from the address, or wrong?"
    if location is None:
        return ""
    return f" and redirects to {location.partition('?')[0]}; write the address that it means"


def is_of_address(status: int) -> bool:
    """Whether a refusal says that the address is wrong, rather than what was asked for there.

    While a service is moved or set up anew, its address may lead elsewhere for a while.
    """
    return status < 400 or status in {404, 421}


def of_proxy(status: int) -> ImeLiveError | None:
    """The error that a proxy's refusal means; None if trying again may help.

    A proxy answers for a service that is away, as with 502, and for itself.
    """
    if status == 407:
        text = (
            "the proxy must be given a user and password that it accepts, but it answered "
            "HTTP 407; write them as in http://user:password@host:3128"
        )
        return ServiceError(text, status=status)
    return None


def passes(reason: str) -> bool:
    """Whether a token that was refused for ``reason`` may be good in a moment, or the next one.

    Clocks differ, and a cache of tokens may be behind.
    """
    return reason.startswith(_PASSING)


def names(reason: str, contract: str) -> bool:
    """Whether an unknown contract's ``reason`` is about ``contract``.

    A reason may have been cut, and has a question mark for what is not printable.
    """
    return reason == printable_reason(UNKNOWN_CONTRACT + contract)
