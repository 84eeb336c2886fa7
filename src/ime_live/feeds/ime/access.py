"""Access: choose the proxy, TLS, User-Agent and timeouts of connections to the exchange.

All transports use the same. No error text contains a proxy's password.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from msgspec import Struct

from ime_live.errors import SettingsError
from ime_live.feeds.ime.pages import printable
from ime_live.settings import SignalRHubSettings
from ime_live.settings.rule import shown_url

PROXY_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
"""Schemes of proxies that both httpx and websockets support."""

_SOCKS_LIBRARIES: Final = ("socksio", "python_socks")  # httpx's and websockets'

# A SignalR hub holds one of its transports and gets short calls beside it; no more is polite.
_LIMITS: Final = httpx.Limits(max_connections=8, max_keepalive_connections=2)

_USER_AGENT: Final = f"ime-live/{version('ime-live')}"


class Access(Struct, frozen=True):
    """How to reach one address of the exchange.

    Attributes:
        user_agent: User-Agent header.
        proxy: URL of the proxy with its password; None for a direct connection.
        tls: context for https and wss, which verifies certificates.
        timeout: seconds to connect, and to wait for an answer.
    """

    user_agent: str
    proxy: str | None
    tls: ssl.SSLContext
    timeout: float

    def client(self) -> httpx.AsyncClient:
        """Create an HTTP client that keeps cookies and does not follow redirects."""
        return httpx.AsyncClient(
            headers={"User-Agent": self.user_agent},
            timeout=self.timeout,
            # With a custom transport httpx does not look for proxies itself: it reads the
            # environment in another way than websockets.
            transport=httpx.AsyncHTTPTransport(
                verify=self.tls, proxy=self.proxy, limits=_LIMITS, trust_env=False
            ),
        )


def read_access(settings: SignalRHubSettings, url: str) -> Access:
    """Return how to reach ``url``, by the settings and the environment.

    Raises:
        SettingsError: ``url`` or the proxy cannot be used; the text does not have its password.
    """
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{printable(url)} is not a URL: {error}") from None
    if settings.proxy:
        proxy: str | None = settings.proxy
        name = "--proxy"
    else:
        proxy = environment_proxy(url, getproxies())
        name = "the environment's proxy"
    if proxy is not None:
        _check_proxy(proxy, name)
    return Access(
        user_agent=settings.user_agent or _USER_AGENT,
        proxy=proxy,
        tls=httpx.create_ssl_context(),
        timeout=settings.connect_timeout,
    )


def environment_proxy(url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the environment's proxy for an http or https URL; None if there is none.

    Args:
        url: URL to connect to.
        proxies: proxies by scheme, or ``all``, as from `urllib.request.getproxies`.
    """
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _check_proxy(proxy: str, name: str) -> None:
    # Later errors of httpx and websockets would quote the password.
    try:
        parts = urlsplit(proxy)
        _ = parts.port  # raises for what is not a port
        unquote(f"{parts.username}{parts.password}", errors="strict")
        host = parts.hostname if proxy.isascii() else None
    except ValueError:
        host = None
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise SettingsError(
            f"{name} must be a URL like http://[user:password@]host:port, got {shown_url(proxy)}"
        )
    if parts.scheme not in PROXY_SCHEMES:
        raise SettingsError(
            f"{name} must begin with {'://, '.join(sorted(PROXY_SCHEMES))}://, "
            f"got {shown_url(proxy)}"
        )
    if parts.username is not None and parts.password is None:
        raise SettingsError(
            f"{name} must have a password if it has a user, got {shown_url(proxy)}; write "
            "user:@host for an empty one"
        )
    missing_libraries = [library for library in _SOCKS_LIBRARIES if find_spec(library) is None]
    if parts.scheme.startswith("socks") and missing_libraries:
        raise SettingsError(
            f"{name} needs more packages to be a SOCKS proxy ({missing_libraries[0]} is missing): "
            'pip install "ime-live[socks]"'
        )
