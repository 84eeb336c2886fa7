"""Network faults: what an exception of a socket or of TLS means for a client.

A service that is away comes back, so most faults are worth another try. Some say that the program
was started with a wrong address or with a wrong idea of whom to trust. As long as the service has
never been reached, those are final: trying again for ever would only hide them. Once it has been
reached they are somebody's slip that will be mended, such as a certificate that was renewed late.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from msgspec import Struct

from ime_live.errors import ImeLiveError, ServiceError


class Ending(Struct, frozen=True):
    """How a connection, or the try to make one, has ended.

    Attributes:
        reason: for people; it quotes no address of a proxy.
        error: the error to raise; None if another try may help.
        early: whether `error` holds only until the service has been reached for the first time.
        unclear: whether somebody listens who does not answer: maybe the scheme is wrong.
    """

    reason: str
    error: ImeLiveError | None = None
    early: bool = False
    unclear: bool = False

    def fatal(self, *, reached: bool) -> ImeLiveError | None:
        """The error to raise now; None if another try may help.

        Args:
            reached: whether the service has been reached before.
        """
        return None if self.early and reached else self.error


def final(text: str) -> Ending:
    """An ending after which no other try can help."""
    return Ending(text, ServiceError(text))


def early(text: str, *, unclear: bool = False) -> Ending:
    """An ending that is final until the service has been reached."""
    return Ending(text, ServiceError(text), early=True, unclear=unclear)


def of_network(error: OSError, address: str) -> Ending:
    """What an error of a socket, of TLS or of the name service means.

    Args:
        error: what was raised.
        address: where the connection was to go, for people.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return early(
            f"the certificate of {address} must be valid and of an issuer that is trusted here, "
            f"but: {error.verify_message}; {_trust()}"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return early(
            f"{address} must agree with this client on TLS, but the handshake failed: {reason}; "
            "look at the port, the TLS versions and, if it asks for one, the client's certificate",
            unclear=True,
        )
    listens = isinstance(error, TimeoutError | ssl.SSLError | ConnectionError)
    refused = isinstance(error, ConnectionRefusedError)
    return Ending(_words(error), unclear=listens and not refused)


def wrong_scheme(address: str, *, secure: bool) -> Ending:
    """The place speaks the other of TLS and plain HTTP.

    Args:
        address: where the connection was to go, for people.
        secure: whether it was to be by TLS.
    """
    if secure:
        return early(
            f"{address} must speak TLS, but that port speaks plain HTTP; "
            "write ws:// or http://, or give the port for TLS"
        )
    return early(
        f"{address} must speak plain HTTP, but that port speaks TLS; "
        "write wss:// or https://, or give the port without TLS"
    )


def _trust() -> str:
    file = os.environ.get("SSL_CERT_FILE")
    if file and not Path(file).is_file():
        return f"SSL_CERT_FILE must name a file of certificates, and {file} is none"
    return "to trust another issuer, name its certificate in SSL_CERT_FILE or pass ssl="


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return "the connection ended in the TLS handshake"
    if isinstance(error, socket.gaierror):
        return f"the host's name cannot be looked up: {error.strerror}"
    # asyncio repeats the address; what it makes of several addresses has no error number.
    if error.errno:
        return os.strerror(error.errno)
    return str(error) or "the connection was reset"
