"""Permanent faults, where the settings do not match the servers.

A server that cannot be reached may return, but one that refuses the password will refuse it again.
This module distinguishes the two, and probes whether a port speaks TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

_PROBE_TIMEOUT: Final = 1.0  # seconds

NO_REDIS: Final = "does not speak Redis's protocol; --redis-url must name its host and port"
NO_TLS: Final = "speaks no TLS there; begin --redis-url with redis instead of rediss"
ONLY_TLS: Final = "speaks TLS there; begin --redis-url with rediss instead of redis"

# OpenSSL's reasons for bytes that are not TLS.
_NO_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNKNOWN_PROTOCOL",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "BAD_RECORD_TYPE",
        "UNEXPECTED_MESSAGE",
    }
)

_NAME_A_CLUSTER: Final = "begin --redis-url with redis+cluster:// and name no database"

# Beginnings of errors of Redis and Valkey, in lower case and without ERR, with our messages.
_MESSAGES: Final = (
    (
        ("db index is out of range", "invalid db index"),
        "refused the database of --redis-url: {}; name one that it has",
    ),
    (
        ("this instance has cluster support disabled",),
        "is no cluster: {}; begin --redis-url with redis:// or rediss://",
    ),
    (
        ("select is not allowed in cluster mode",),
        f"is a node of a cluster: {{}}; {_NAME_A_CLUSTER}",
    ),
    (("denied ",), "refused the connection: {}; its protected mode or bind must let us in"),
    (
        ("unknown command", "unknown subcommand"),
        "refused a command that is needed: {}; is it Redis 7 or Valkey?",
    ),
    (
        (
            "noperm ",
            "acl failure in script",
            "the user executing the script can't",
            "this user has no permissions",
        ),
        "refused a command that is needed: {}; its user must be allowed what docs/redis.md says",
    ),
)


class WrongServersError(RedisError):
    """The servers do not match the settings; the text describes the servers."""


def final_fault(error: BaseException) -> str | None:
    """Return the text of a permanent fault, to follow "Redis at …"; None for other faults."""
    if isinstance(error, AuthenticationError):
        return (
            f"refused the login: {first_words(error)}; --redis-url must hold its user and password"
        )
    if isinstance(error, MovedError):
        return f"is a node of a cluster (MOVED {error}); {_NAME_A_CLUSTER}"
    if isinstance(error, ResponseError):
        # redis-py removes the first word of an error for which it has a class.
        text = f"noperm {error}" if isinstance(error, NoPermissionError) else str(error)
        for beginnings, message in _MESSAGES:
            if text.lower().removeprefix("err ").startswith(beginnings):
                return message.format(first_words(error))
        return None
    for cause in chain(error):
        if isinstance(cause, WrongServersError):
            return str(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = (cause.verify_message or str(cause)).removesuffix(".")
            return (
                f"has a certificate that is not trusted: {why}; see ssl_ca_certs and "
                "ssl_check_hostname in docs/redis.md"
            )
        # A handshake that is cut off is a broken connection, and no permanent fault.
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
        ):
            return NO_TLS if _is_no_tls(cause) else f"refused TLS: {cause.reason or cause}"
    return None


async def fault_of_port(host: str, port: int, tls: ssl.SSLContext | None) -> str | None:
    """Probe a port that closes the connection or does not answer; return the fault, if permanent.

    Args:
        host: host of the server.
        port: port of the server.
        tls: TLS context of the connection; None without TLS.
    """
    if tls is not None:
        return NO_TLS if await first_reply(host, port) else await _alert_of(host, port, tls)
    if await speaks_tls(host, port):
        return ONLY_TLS
    return final_fault(ResponseError((await first_reply(host, port)).removeprefix("-")))


async def speaks_tls(host: str, port: int) -> bool:
    """Return whether a port completes a TLS handshake, with any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        return not (_is_no_tls(error) or isinstance(error, ssl.SSLEOFError))
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _alert_of(host: str, port: int, tls: ssl.SSLContext) -> str | None:
    """Return the fault in a TLS alert of a port, such as that for a missing client certificate.

    In TLS 1.3 the alert arrives after the handshake, and is lost if the client has sent data.
    """
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            with contextlib.closing(writer.transport):
                await reader.read(1)
    except (OSError, TimeoutError) as error:
        return final_fault(error)
    return None


async def first_reply(host: str, port: int) -> str:
    """Return the first line that a port sends without TLS; empty without an answer.

    In protected mode, Redis sends an error before any command, which redis-py does not read.
    """
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer.transport):
                writer.write(b"PING\r\n")
                line = (await reader.readline()).decode("utf-8", "replace").strip()
    except (OSError, ValueError, TimeoutError):
        return ""
    return line if line.startswith(("+", "-")) else ""


def _is_no_tls(error: ssl.SSLError) -> bool:
    return (error.reason or "") in _NO_TLS


def first_words(error: Exception) -> str:
    """Return the first sentence of an error of Redis.

    It leaves out the quotation of the command, which may contain a password.
    """
    text = str(error).partition(", with args beginning with")[0]
    return text.partition(". ")[0].removesuffix(".")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
