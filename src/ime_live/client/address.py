"""Addresses: where a service's stream and REST calls are.

The address that a program gives and what it asks for come in, URLs go out. Nothing is connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal
from urllib.parse import SplitResult, quote, urlsplit

from msgspec import Struct

from ime_live.client.message import Key
from ime_live.errors import SettingsError

_STREAM: Final = "/live/data/websocket/contract/"
_SCHEMES: Final = {"ws": False, "http": False, "wss": True, "https": True}
_PARAMETERS: Final = {"name": "contract_names", "id": "contract_id"}

# Proxies take 8 KiB of a request's first line as a rule; there is more in it than contracts.
_MOST_CHARACTERS: Final = 6000


class Service(Struct, frozen=True):
    """Where a service is.

    Attributes:
        secure: whether it is reached by TLS.
        place: host and port, as in a URL.
        prefix: the path of a proxy before the service's own paths; empty if there is none.
    """

    secure: bool
    place: str
    prefix: str

    @property
    def host(self) -> str:
        """The host, without the brackets of an IPv6 address."""
        return urlsplit(f"//{self.place}").hostname or ""

    @property
    def port(self) -> int:
        """The port; that of the scheme if the program has named none."""
        return urlsplit(f"//{self.place}").port or (443 if self.secure else 80)

    def named(self, scheme: Literal["ws", "http"], path: str = "") -> str:
        """A URL for people: host, port and path, and no query.

        Args:
            scheme: without the ``s`` of TLS.
            path: after the prefix.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        secure = "s" if self.secure else ""
        return f"{scheme}{secure}://{host}:{self.port}{self.prefix}{path}"

    def stream(self, keys: Sequence[Key], parameters: Iterable[tuple[str, str]]) -> str:
        """The address of a stream.

        Args:
            keys: contracts, all of them named in one way.
            parameters: what else is asked for.
        """
        by = keys[0][0]
        pairs = [(_PARAMETERS[by], contract) for _, contract in keys]
        return self._url("ws", stream_path(by), [*pairs, *parameters])

    def call(self, path: str, parameters: Iterable[tuple[str, str]]) -> str:
        """The address of a REST call."""
        return self._url("http", path, parameters)

    def _url(self, scheme: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters)
        start = f"{scheme}{'s' if self.secure else ''}://{self.place}{self.prefix}{path}"
        return f"{start}?{query}" if query else start


def stream_path(by: str) -> str:
    """The path of the stream of contracts that are named in one way."""
    return f"{_STREAM}{by}"


def read_service(url: str) -> Service:
    """Read the address that a program gives: of the service, or of one of its streams.

    ``ws`` and ``http`` mean the same here, and so do ``wss`` and ``https``.

    Raises:
        SettingsError: it is not such an address; the text does not quote it, as there may be a
            token in it.
    """
    if not isinstance(url, str):
        raise SettingsError(
            f"the service's address must be a text, not {type(url).__name__}; name contracts "
            "after it, or as contract_names=[…]"
        )
    try:
        parts = urlsplit(url)
        check_host(parts)
    except ValueError:
        raise SettingsError("the service's address must be a URL: check host and port") from None
    if parts.scheme not in _SCHEMES:
        raise SettingsError("the service's address must begin with ws, wss, http or https and ://")
    if not parts.hostname:
        raise SettingsError("the service's address must name a host, as in wss://example.org")
    if parts.query or parts.fragment:
        raise SettingsError(
            "the service's address must end before the question mark; give contracts, options and "
            "the token as arguments"
        )
    if "@" in parts.netloc:
        raise SettingsError("the service's address must be without user and password; give a token")
    path = parts.path.rstrip("/")
    for by in _PARAMETERS:
        path = path.removesuffix(stream_path(by))
    return Service(_SCHEMES[parts.scheme], parts.netloc, path)


def check_host(parts: SplitResult) -> None:
    """Look at what a URL is connected by.

    Raises:
        ValueError: the port is no number, or the host cannot be one; the text may quote it.
    """
    parts.port  # noqa: B018 - raises if it is no number
    (parts.hostname or "").encode("idna")  # as whoever looks the host up does


def first_fitting(keys: Sequence[Key]) -> list[Key]:
    """Those of ``keys`` that fit into one address: of one kind, and not too long together."""
    by = "name" if any(key[0] == "name" for key in keys) else "id"
    fitting: list[Key] = []
    length = 0
    for key in keys:
        if key[0] == by:
            length += len(_PARAMETERS[by]) + 2 + len(quote(key[1], safe=""))
            if fitting and length > _MOST_CHARACTERS:
                break
            fitting.append(key)
    return fitting
