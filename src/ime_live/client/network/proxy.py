"""Proxies: choose the proxy of a connection, by the program's argument or by the environment.

The stream and the REST calls both read the environment here. No message quotes the user and
password of a proxy.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from ime_live.client.protocol.address import Service, check_host
from ime_live.errors import ServiceError, SettingsError
from ime_live.settings.rule import shown_url

Proxy: TypeAlias = str | Literal[True] | None
"""URL of a proxy; True for the proxy of the environment, None for no proxy."""

_SCHEMES: Final = ("http", "https", "socks5h", "socks5", "socks4a", "socks4")
_PORTS: Final = {"http": 80, "https": 443}
_SOCKS_PORT: Final = 1080

# RFC 6455, 4.1 prefers the proxy for https to that for http, as both can CONNECT.
_VARIABLES: Final = {
    ("ws", True): ("wss", "socks", "https", "all"),
    ("ws", False): ("ws", "socks", "https", "http", "all"),
    ("http", True): ("https", "all"),
    ("http", False): ("http", "all"),
}


class ProxyServer(Struct, frozen=True):
    """The parts of a proxy's URL.

    Attributes:
        scheme: protocol of the proxy.
        host: host of the proxy.
        port: port of the proxy; by default that of the scheme.
        username: user; empty if there is none.
        password: password; empty if there is none.
    """

    scheme: str
    host: str
    port: int
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"<ProxyServer {self.host}:{self.port}>"

    @property
    def authorization(self) -> dict[str, str]:
        """The header with user and password (RFC 7617); empty without them."""
        if not self.username:
            return {}
        pair = b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {pair}"}


def check_proxy(proxy: Proxy) -> Proxy:
    """Check the argument ``proxy``.

    Raises:
        SettingsError: it is not the URL of a proxy; the text quotes no password.
    """
    if proxy is None or proxy is True:
        return proxy
    if not isinstance(proxy, str):
        raise SettingsError(f"proxy must be a URL, True or None, got {type(proxy).__name__}")
    if (fault := _fault_of(proxy)) is not None:
        raise SettingsError(f"the proxy's address {fault}, got {shown_url(proxy)}")
    return proxy


def proxy_for(proxy: Proxy, service: Service, spoken: Literal["ws", "http"]) -> str | None:
    """Return the URL of the proxy for a service; None for a direct connection.

    Args:
        proxy: the program's argument.
        service: address of the service.
        spoken: ``ws`` for the stream, ``http`` for the REST calls.

    Raises:
        ServiceError: the proxy of the environment cannot be used; the text quotes no password.
    """
    if proxy is None:
        return None
    if proxy is not True:
        return _with_port(proxy)
    proxies = getproxies()
    name = next((n for n in _VARIABLES[spoken, service.secure] if proxies.get(n)), None)
    if name is None or _is_exempt(service.host, service.port, proxies):
        return None
    url = proxies[name]
    if "://" not in url:
        url = f"http://{url}"
    if name == "socks" and url.startswith("http://"):  # as some systems' settings have it
        url = f"socks5h://{url.removeprefix('http://')}"
    if (fault := _fault_of(url)) is not None:
        raise ServiceError(
            f"the proxy's address in the environment ({name}_proxy) {fault}, got {shown_url(url)}"
        )
    return _with_port(url)


def read_proxy(url: str) -> ProxyServer:
    """Parse the URL of a proxy that `check_proxy` or `proxy_for` has checked."""
    parts = urlsplit(url)
    return ProxyServer(
        parts.scheme,
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def through(proxy: str | None) -> str:
    """Return a phrase that names the proxy, for messages; empty without one."""
    if proxy is None:
        return ""
    server = read_proxy(proxy)
    return f" through the proxy {server.host}:{server.port}"


def _with_port(proxy: str) -> str:
    # The WebSocket library would use port 80 for SOCKS.
    parts = urlsplit(proxy)
    if parts.port is not None or parts.scheme in _PORTS:
        return proxy
    return f"{proxy.rstrip('/')}:{_SOCKS_PORT}"


def _fault_of(proxy: str) -> str | None:
    try:
        parts = urlsplit(proxy)
        check_host(parts)
        unquote(f"{parts.username}{parts.password}", errors="strict")
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return "must be a URL with a valid host and port"
    if parts.scheme not in _SCHEMES:
        return f"must begin with {'://, '.join(_SCHEMES)}://"
    if not parts.hostname:
        return "must name a host, as in http://host:3128"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "must end with its host and port: quote user and password (/ is %2F, @ is %40)"
    if parts.username is not None and parts.password is None:
        return "must have a password after its user, as in http://user:password@host:3128"
    return None


def _is_exempt(host: str, port: int, proxies: Mapping[str, str]) -> bool:
    if proxy_bypass(f"{host}:{port}"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # The standard library compares texts: it knows neither networks nor addresses in brackets.
    for entry in proxies.get("no", "").split(","):
        try:
            network = ip_network(entry.strip().strip("[]"), strict=False)
        except ValueError:
            continue
        if address in network:
            return True
    return False
