"""Map exceptions of sockets, TLS and the name lookup to a `CloseReason`."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from ime_live.client.protocol.close_reason import CloseReason


def reason_of_os_error(error: OSError, address: str) -> CloseReason:
    """Explain an error of a socket, of TLS or of the name lookup.

    Args:
        error: the exception.
        address: address of the service, for messages.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return CloseReason.of_address(
            f"the certificate of {address} must be valid and from a trusted issuer, "
            f"but: {error.verify_message}; {_trust_advice()}"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return CloseReason.of_address(
            f"{address} must agree with this client on TLS, but the handshake failed: {reason}; "
            "look at the port, the TLS versions and, if it asks for one, the client's certificate",
            unclear=True,
        )
    listens = isinstance(error, TimeoutError | ssl.SSLError | ConnectionError)
    refused = isinstance(error, ConnectionRefusedError)
    return CloseReason(_describe(error), unclear=listens and not refused)


def wrong_scheme(address: str, *, secure: bool) -> CloseReason:
    """Create the reason for a port that speaks plain HTTP in place of TLS, or the reverse.

    Args:
        address: address of the service, for messages.
        secure: whether the client spoke TLS.
    """
    if secure:
        return CloseReason.of_address(
            f"{address} must speak TLS, but that port speaks plain HTTP; "
            "write ws:// or http://, or give the port for TLS"
        )
    return CloseReason.of_address(
        f"{address} must speak plain HTTP, but that port speaks TLS; "
        "write wss:// or https://, or give the port without TLS"
    )


def _trust_advice() -> str:
    file = os.environ.get("SSL_CERT_FILE")
    if file and not Path(file).is_file():
        return f"SSL_CERT_FILE must name a file of certificates, got {file}"
    return "to trust another issuer, name its certificate in SSL_CERT_FILE or pass ssl="


def _describe(error: OSError) -> str:
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
