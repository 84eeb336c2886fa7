"""Responses: read responses of the SignalR hub, and convert network errors to `FeedError`.

The texts contain no URL, which may have a token, and no address of a proxy.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import FeedError
from ime_live.feeds.ime.pages import describe, printable
from ime_live.feeds.ime.signalr import MAX_SECONDS

MAX_RESPONSE: Final = 1024 * 1024
"""Maximum size in bytes of a response that is not a frame; usual ones have 400."""

_BUSY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_MAX_PAGE: Final = 16 * 1024  # bytes of a refusal that are read, to describe it


class UnexpectedResponseError(FeedError):
    """The server sent a response that the SignalR hub would not send.

    Attributes:
        status: HTTP status.
        page: whether the response is a web page.
        retry_after: seconds to wait by the server's Retry-After, at most `MAX_SECONDS`; None
            without that header.
    """

    def __init__(
        self, text: str, *, status: int, page: bool, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.page = page
        self.retry_after = retry_after


def with_prefix(call: str, error: FeedError) -> FeedError:
    """Return the same error, with the name of the call before its text."""
    text = f"{call}: {error}"
    if isinstance(error, UnexpectedResponseError):
        return UnexpectedResponseError(
            text, status=error.status, page=error.page, retry_after=error.retry_after
        )
    return FeedError(text)


def is_busy(error: FeedError) -> bool:
    """Return whether the server responds that it is overloaded."""
    return isinstance(error, UnexpectedResponseError) and (
        error.retry_after is not None or error.status in _BUSY
    )


def asked_to_wait(error: FeedError) -> float | None:
    """Return the seconds for which a response asks to wait; None if it does not."""
    return error.retry_after if isinstance(error, UnexpectedResponseError) else None


@contextmanager
def network_errors() -> Iterator[None]:
    """Convert errors of httpx, websockets and the operating system to FeedErrors.

    Raises:
        UnexpectedResponseError: a WebSocket was refused by a response.
        FeedError: any other error.
    """
    try:
        yield
    except InvalidStatus as error:
        response = error.response
        headers = httpx.Headers(list(response.headers.raw_items()))
        raise response_error(
            response.status_code,
            headers.get("Content-Type", ""),
            bytes(response.body or b""),
            headers.get("Location", ""),
            expected="a WebSocket",
            retry_after=retry_after(headers, SYSTEM_CLOCK.time()),
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise FeedError(_describe(error)) from error
    except (WebSocketException, OSError) as error:
        raise FeedError(_describe(error)) from error


def _describe(error: Exception) -> str:
    text = printable(" ".join(str(error).split()))
    match error:
        case InvalidProxyStatus():
            return f"the proxy answered {error.response.status_code}"
        case httpx.ProxyError() | ProxyError():
            return f"the proxy refuses: {text}"
        case httpx.ConnectTimeout():
            return "connecting took too long"
        case httpx.TimeoutException():
            return "no answer in time"
        case httpx.ConnectError():
            return f"cannot connect: {text}"
        case ConnectionClosed():
            return f"the WebSocket was closed: {text}"
        case ssl.SSLError():
            return f"TLS failed: {text}"
        case httpx.HTTPError() | WebSocketException():
            return f"the connection broke off: {text or type(error).__name__}"
        case _:
            return f"the network failed: {text or type(error).__name__}"


def response_error(
    status: int,
    content_type: str,
    body: bytes,
    location: str = "",
    expected: str = "JSON",
    retry_after: float | None = None,
) -> UnexpectedResponseError:
    """Return the error for an unexpected response."""
    parts = []
    if status != HTTPStatus.OK:
        parts.append(f"HTTP {status}")
    if location:
        # Only the host: the rest may have a secret.
        host = urlsplit(location).hostname if "//" in location else "the same host"
        parts.append(f"a redirect to {printable(host or 'nowhere')}")
    elif body or status == HTTPStatus.OK:
        parts.append(describe(body, content_type, expected))
    page = "html" in content_type.lower() or body.lstrip()[:1] == b"<"
    return UnexpectedResponseError(
        ", ".join(parts), status=status, page=page, retry_after=retry_after
    )


async def check_response(response: httpx.Response, kind: str) -> None:
    """Check the head of a response; its body is read only if the head is wrong.

    Args:
        response: a streamed response.
        kind: text that its content type must contain, such as ``text/event-stream``; "json" also
            accepts plain text, and a response without a content type.

    Raises:
        UnexpectedResponseError: another status than 200, or another content type.
    """
    content_type = response.headers.get("Content-Type", "")
    if response.status_code == HTTPStatus.OK:
        if kind in content_type.lower():
            return
        if kind == "json" and (not content_type or content_type.startswith("text/plain")):
            return
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) >= _MAX_PAGE:
            break
    expected = "JSON" if kind == "json" else "an event stream"
    location = response.headers.get("Location", "") if response.is_redirect else ""
    raise response_error(
        response.status_code,
        content_type,
        body,
        location,
        expected,
        retry_after(response.headers, SYSTEM_CLOCK.time()),
    )


async def read_body(response: httpx.Response, limit: int = MAX_RESPONSE) -> bytes:
    """Read the body of a streamed response.

    Raises:
        FeedError: it is larger than ``limit`` bytes.
    """
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            raise FeedError(f"an answer is larger than {limit} bytes")
    return bytes(body)


async def get(
    client: httpx.AsyncClient,
    url: str,
    timeout: float,  # noqa: ASYNC109 - of the whole call
) -> tuple[bytes, httpx.Headers]:
    """Make a call whose response is JSON; return its body and headers.

    Args:
        client: a client of `Access`.
        url: URL of the call.
        timeout: seconds for the whole call; httpx's own timeouts are for each read.

    Raises:
        UnexpectedResponseError: the response is not JSON with status 200.
        FeedError: there is no response.
    """
    try:
        async with asyncio.timeout(timeout):
            with network_errors():
                async with client.stream("GET", url) as response:
                    await check_response(response, "json")
                    return await read_body(response), response.headers
    except TimeoutError:
        raise FeedError(f"no answer within {timeout:g} s") from None


def date_of(headers: httpx.Headers) -> float | None:
    """Return the ``Date`` of a response, seconds since the Unix epoch; None if it has none."""
    return _read_date(headers.get("Date", ""))


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Return the seconds of ``Retry-After``, up to `MAX_SECONDS`; None without it.

    Args:
        headers: with ``Retry-After`` as RFC 9110 has it, in seconds or as a date. A date counts
            from the response's own ``Date``, so that clocks need not agree.
        now: seconds since the Unix epoch, for a response without ``Date``.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        until = _read_date(text)
        if until is None:
            return None
        date = date_of(headers)
        seconds = until - (now if date is None else date)
    return min(max(0.0, seconds), MAX_SECONDS)


_SECONDS: Final = re.compile(r"\d+(\.\d*)?", re.ASCII)


def _read_date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
