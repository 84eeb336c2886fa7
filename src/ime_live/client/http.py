"""HTTP: one GET call with the standard library, within its time limits.

An address and headers come in, a decoded answer or an error goes out. It blocks, so it belongs in
a thread. It follows no redirect: a token goes where the program has sent it, and nowhere else.
"""

from __future__ import annotations

import http.client
import ssl as tls
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ime_live.errors import ServiceError

_MOST: Final = 64 * 1024 * 1024  # bytes of an answer: all contracts of the exchange have some 2 MB
_PIECE: Final = 65_536


class Answer(Struct, frozen=True):
    """An HTTP answer; what its status means is not told here."""

    status: int
    body: bytes

    @property
    def detail(self) -> str:
        """What it says is wrong, for people."""
        try:
            return _decode_refusal(self.body).detail
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"HTTP {self.status}"


class _Refusal(Struct):
    detail: str


_decode_refusal = msgspec.json.Decoder(_Refusal).decode


def get(
    url: str,
    headers: Mapping[str, str],
    *,
    ssl: tls.SSLContext | None,
    connect_timeout: float,
    read_timeout: float,
) -> Answer:
    """Get an answer.

    Args:
        url: ``http`` or ``https``.
        headers: to send.
        ssl: for ``https``; by default the system's certificates are trusted.
        connect_timeout: seconds for connecting, TLS included.
        read_timeout: seconds for the request and the whole of the answer.

    Raises:
        ServiceError: there was none, or it was too large.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=connect_timeout, context=ssl)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=connect_timeout)
    try:
        connection.connect()
    except TimeoutError as error:
        connection.close()
        raise ServiceError(f"{parts.netloc} cannot be reached in {connect_timeout:g} s") from error
    except OSError as error:
        connection.close()
        raise ServiceError(f"{parts.netloc} cannot be reached: {error}") from error
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return _talk(connection, target, headers, time.monotonic() + read_timeout)
    except TimeoutError as error:
        text = f"{parts.netloc} did not answer within {read_timeout:g} s"
        raise ServiceError(text) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"{parts.netloc} broke off: {error!r}") from error
    finally:
        connection.close()


def _talk(
    connection: http.client.HTTPConnection,
    target: str,
    headers: Mapping[str, str],
    deadline: float,
) -> Answer:
    _limit(connection, deadline)
    connection.request("GET", target, headers={"Accept": "application/json", **headers})
    _limit(connection, deadline)
    response = connection.getresponse()
    pieces: list[bytes] = []
    size = 0
    # A piece at a time: a time-out of the socket is for one read, and a server that drips would
    # never meet it.
    while True:
        _limit(connection, deadline)
        piece = response.read1(_PIECE)
        if not piece:
            return Answer(response.status, b"".join(pieces))
        pieces.append(piece)
        size += len(piece)
        if size > _MOST:
            raise ServiceError(f"the answer is larger than {_MOST} bytes")


def _limit(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    if connection.sock is not None:  # it is gone once the last byte was read
        connection.sock.settimeout(left)
