"""Addresses: the exchange's URLs, and those of the calls to its SignalR hub. No I/O."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ime_live.errors import FeedError, SettingsError
from ime_live.feeds.ime.signalr import CLIENT_PROTOCOL, TransportName
from ime_live.settings.rule import shown_url

HUB: Final = "marketshub"
TIDS: Final = 11
"""A call to connect carries a random number below this (``tid``), as SignalR's own clients do."""

_CONNECTION_DATA: Final = json.dumps([{"name": HUB}], separators=(",", ":"))


def read_base(url: str, option: str) -> SplitResult:
    """Read a base URL; the path of the result ends in a slash.

    Args:
        url: the URL.
        option: name of its option, for messages.

    Raises:
        SettingsError: it is not an http or https URL, or holds a password or a query.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise SettingsError(f"{option} must have a valid host and port, got {shown_url(url)}")
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(
            f"{option} must be an http or https URL with a host, got {shown_url(url)}"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(
            f"{option} must not have a user, a query or a fragment, got {shown_url(url)}"
        )
    return parts._replace(path=parts.path.rstrip("/") + "/")


class Address:
    """The address of a SignalR hub, and the URLs of its calls."""

    def __init__(self, base_url: str) -> None:
        """Check ``base_url``.

        Raises:
            SettingsError: it is not an http or https URL, or holds a password or a query.
        """
        self._take(read_base(base_url, "--base-url"), "")

    def _take(self, parts: SplitResult, query: str) -> None:
        self.root = f"{parts.scheme}://{parts.netloc}/"
        """The host's front page, which sets cookies."""
        self.host = parts.hostname
        self._base = parts.geturl()
        self._query = query  # that goes with every call

    def redirected(self, url: str) -> Address:
        """Return the address in ``RedirectUrl``, a redirect by negotiate; calls repeat its query.

        Raises:
            FeedError: it is not an http or https URL, or leads from https to http. The text does
                not hold the URL, which may hold a token.
        """
        base, _, query = url.strip().partition("?")
        try:
            parts = read_base(urljoin(self._base, base), "RedirectUrl")
        except SettingsError as error:
            raise FeedError(str(error)) from None
        except ValueError:
            raise FeedError("RedirectUrl is not a URL") from None
        if self._base.startswith("https:") and parts.scheme != "https":
            raise FeedError("RedirectUrl leads from https to http")
        address = Address.__new__(Address)
        address._take(parts, query)
        return address

    def negotiate(self, now: int) -> str:
        """Return the URL for a token; ``now`` in milliseconds bypasses caches."""
        return self._call("negotiate", _=str(now))

    def connect(self, transport: TransportName, token: str, tid: int) -> str:
        """Return the URL that opens a transport."""
        return self._receiving("connect", transport, token, tid=str(tid))

    def start(self, transport: TransportName, token: str, now: int) -> str:
        """Return the URL that confirms that the transport works."""
        return self._call("start", transport=transport, connectionToken=token, _=str(now))

    def reconnect(
        self, transport: TransportName, token: str, tid: int, place: str | None = None
    ) -> str:
        """Return the URL that resumes after a cursor, which long polling sends in its body.

        Args:
            transport: the transport of the connection.
            token: token of the negotiation.
            tid: see `TIDS`.
            place: cursor from `cursor_query`; None if it is sent in the body.
        """
        url = self._receiving("reconnect", transport, token, tid=str(tid))
        return f"{url}&{place}" if place else url

    def poll(self, transport: TransportName, token: str, tid: int) -> str:
        """Return the URL for the next frame by long polling."""
        return self._receiving("poll", transport, token, tid=str(tid))

    def abort(self, transport: TransportName, token: str) -> str:
        """Return the URL that ends a connection."""
        return self._call("abort", transport=transport, connectionToken=token)

    def _receiving(self, verb: str, transport: TransportName, token: str, *, tid: str) -> str:
        url = self._call(verb, transport=transport, connectionToken=token, tid=tid)
        if transport is TransportName.WEB_SOCKETS:
            return "ws" + url.removeprefix("http")
        return url

    def _call(self, verb: str, **parts: str) -> str:
        query = {"clientProtocol": CLIENT_PROTOCOL, "connectionData": _CONNECTION_DATA} | parts
        return f"{self._base}{verb}?{_encode(query)}" + (f"&{self._query}" if self._query else "")


def cursor_query(cursor: str, groups: str | None) -> str:
    """Return the cursor, as a query or the body of a form.

    Args:
        cursor: `C` of the last frame.
        groups: `G` of the last frame that had one.
    """
    return _encode({"messageId": cursor} | ({"groupsToken": groups} if groups else {}))


def _encode(parts: dict[str, str]) -> str:
    # Not urlencode: SignalR's own clients write a space as %20.
    return "&".join(
        f"{name}={quote(value, safe='', errors='replace')}" for name, value in parts.items()
    )
