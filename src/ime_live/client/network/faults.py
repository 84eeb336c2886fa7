"""Map exceptions of sockets and TLS to an `Ending`.

A service that is away comes back, so after most faults the client tries again. Some faults mean a
wrong address or an untrusted certificate. Until the service has been reached once they are final,
because trying forever would hide them. Later they are temporary, as a certificate that was renewed
late.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from msgspec import Struct

from ime_live.errors import ImeLiveError, ServiceError


class Ending(Struct, frozen=True):
    """The end of a connection, or of the attempt to make one.

    Attributes:
        reason: the reason, for people; it quotes no address of a proxy.
        error: the error to raise; None if another attempt may help.
        early: whether `error` applies only until the service has been reached once.
        unclear: whether the port accepts connections but does not answer, so that the scheme may be
            wrong.
    """

    reason: str
    error: ImeLiveError | None = None
    early: bool = False
    unclear: bool = False

    def fatal(self, *, reached: bool) -> ImeLiveError | None:
        """Return the error to raise; None if another attempt may help.

        Args:
            reached: whether the service has been reached before.
        """
        return None if self.early and reached else self.error


def final(text: str) -> Ending:
    """Create an ending after which no other attempt can help."""
    return Ending(text, ServiceError(text))


def early(text: str, *, unclear: bool = False) -> Ending:
    """Create an ending that is final until the service has been reached."""
    return Ending(text, ServiceError(text), early=True, unclear=unclear)


def of_network(error: OSError, address: str) -> Ending:
    """Explain an error of a socket, of TLS or of the name lookup.

    Args:
        error: the exception.
        address: address of the service, for messages.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return early(
            f"the certificate of {address} must be valid and from a trusted issuer, "
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
    """Create the ending for a port that speaks plain HTTP in place of TLS, or the reverse.

    Args:
        address: address of the service, for messages.
        secure: whether the client spoke TLS.
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
    # asyncio's own text repeats the address, and has no error number for several addresses.
    if error.errno:
        return os.strerror(error.errno)
    return str(error) or "the connection was reset"
