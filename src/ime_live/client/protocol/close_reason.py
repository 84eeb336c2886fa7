"""Close reasons: map close codes, their texts and HTTP statuses to errors of the client."""

from __future__ import annotations

from typing import Final, Self

from msgspec import Struct

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
"""Start of the gateway's close reason for a name or id that no contract has."""

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

# Too many requests, or a request that timed out in a slow proxy.
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})


class CloseReason(Struct, frozen=True):
    """The reason why a connection or a call ended or failed, and whether to try again.

    An unreachable service usually returns, so the client mostly tries again. Some ends mean a
    wrong address or an untrusted certificate. They are final until the service has been reached
    once, because trying forever would hide them. Later they are temporary, as a certificate that
    was renewed late.

    Attributes:
        text: the reason, for people; it quotes no address of a proxy.
        error: the error to raise; None if another attempt may help.
        early: whether `error` applies only until the service has been reached once.
        unclear: whether the port accepts connections but does not answer, so that the scheme may be
            wrong.
    """

    text: str
    error: ImeLiveError | None = None
    early: bool = False
    unclear: bool = False

    @classmethod
    def final(cls, text: str) -> Self:
        """Create a reason after which no other attempt can help."""
        return cls(text, ServiceError(text))

    @classmethod
    def of_address(cls, text: str, *, unclear: bool = False) -> Self:
        """Create a reason for a wrong address: final until the service has been reached."""
        return cls(text, ServiceError(text), early=True, unclear=unclear)

    def fatal(self, *, reached: bool) -> ImeLiveError | None:
        """Return the error to raise; None if another attempt may help.

        Args:
            reached: whether the service has been reached before.
        """
        return None if self.early and reached else self.error


def error_of_close(code: int, reason: str) -> ImeLiveError | None:
    """Return the error for a close code of the service; None if reconnecting may help.

    It may help after 1001, 1006, 1011, 1012 and 1013. The final codes are in RFC 6455 and in
    `docs/protocol.md`.
    """
    if code not in _FINAL:
        return None
    if code == CloseCode.POLICY_VIOLATION:
        if reason in _AUTHENTICATION:
            return AuthenticationError(reason)
        if reason.startswith(UNKNOWN_CONTRACT):
            return UnknownContractError(reason)
    kind = CloseCode(code)
    text = reason or f"the service cannot serve this stream: it closed with {code} and no reason"
    return RefusedError(text, code=kind)


def error_of_status(
    status: int, address: str = "", location: str | None = None
) -> ImeLiveError | None:
    """Return the error for a refused handshake; None if another attempt may help.

    Args:
        status: HTTP status of the answer.
        address: address of the service, for messages.
        location: target of a redirect; None if the answer is not one.
    """
    if status in {401, 403}:
        return AuthenticationError(
            f"the token must be one that the service accepts, got HTTP {status}"
        )
    if status >= 500 or status in _TRANSIENT_STATUSES:
        return None
    text = f"{address} must be a stream, but it answered HTTP {status}".lstrip()
    return ServiceError(text + advice(status, location), status=status)


def advice(status: int, location: str | None) -> str:
    """Return the end of a sentence that says how to correct the address; may be empty."""
    if status == 404:
        return "; is the path of a proxy missing from the address, or wrong?"
    if location is None:
        return ""
    return f" and redirects to {location.partition('?')[0]}; write that address"


def is_of_address(status: int) -> bool:
    """Return whether a status means that the address is wrong.

    While a service is moved or reinstalled, its address may lead elsewhere for a while.
    """
    return status < 400 or status in {404, 421}


def error_of_proxy(status: int) -> ImeLiveError | None:
    """Return the error for a proxy's refusal; None if another attempt may help.

    A proxy answers for itself, or for an unreachable service, as with 502.
    """
    if status == 407:
        text = (
            "the proxy must be given a user and password that it accepts, got HTTP 407 from it; "
            "write them as in http://user:password@host:3128"
        )
        return ServiceError(text, status=status)
    return None


def is_temporary(reason: str) -> bool:
    """Return whether a token refused for ``reason``, or a new one, may be accepted soon.

    Clocks differ, and a cache of tokens may be behind.
    """
    return reason.startswith(_PASSING)


def is_about(reason: str, contract: str) -> bool:
    """Return whether an unknown contract's ``reason`` is about ``contract``.

    A reason may have been cut, and has question marks for unprintable characters.
    """
    return reason == printable_reason(UNKNOWN_CONTRACT + contract)
