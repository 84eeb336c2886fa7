"""Addresses: the URLs of a service's streams and REST calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal
from urllib.parse import SplitResult, quote, urlsplit

from msgspec import Struct

from ime_live.client.protocol.message import Selector
from ime_live.errors import SettingsError
from ime_live.messages import ContractFilter
from ime_live.settings.rule import shown_url

_STREAM: Final = "/live/data/websocket/contract/"
_SCHEMES: Final = {"ws": False, "http": False, "wss": True, "https": True}
_PARAMETERS: Final = {"name": "contract_names", "id": "contract_id"}

# Proxies usually accept 8 KiB in a request's first line, which holds more than the contracts.
_MAX_CHARACTERS: Final = 6000


class Service(Struct, frozen=True):
    """The address of a service.

    Attributes:
        secure: whether it is reached over TLS.
        place: host and port, as in a URL.
        prefix: path of a proxy in front of the service's own paths; empty if there is none.
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
        """The port; by default that of the scheme."""
        return urlsplit(f"//{self.place}").port or (443 if self.secure else 80)

    def named(self, scheme: Literal["ws", "http"], path: str = "") -> str:
        """Return a URL for messages and logs: host, port and path, without a query.

        Args:
            scheme: the scheme without the ``s`` of TLS.
            path: the path after the prefix.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        secure = "s" if self.secure else ""
        return f"{scheme}{secure}://{host}:{self.port}{self.prefix}{path}"

    def stream(self, keys: Sequence[Selector], parameters: Iterable[tuple[str, str]]) -> str:
        """Return the URL of a stream.

        Args:
            keys: from `first_fitting`.
            parameters: the other query parameters.
        """
        by = kind_of(keys)
        pairs: list[tuple[str, str]] = []
        for key in keys:
            if isinstance(key, ContractFilter):
                pairs += filter_pairs(key, _PARAMETERS[by])
            else:
                pairs.append((_PARAMETERS[by], key[1]))
        return self._url("ws", stream_path(by), [*pairs, *parameters])

    def call(self, path: str, parameters: Iterable[tuple[str, str]]) -> str:
        """Return the URL of a REST call."""
        return self._url("http", path, parameters)

    def _url(self, scheme: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters)
        start = f"{scheme}{'s' if self.secure else ''}://{self.place}{self.prefix}{path}"
        return f"{start}?{query}" if query else start


def stream_path(by: str) -> str:
    """Return the path of a stream of contracts by ``name`` or by ``id``."""
    return f"{_STREAM}{by}"


def read_service(url: str) -> Service:
    """Parse the address of the service, or of one of its streams.

    ``ws`` and ``http`` mean the same here, and so do ``wss`` and ``https``.

    Raises:
        SettingsError: it is not such an address. The text quotes no part that may be secret.
    """
    if not isinstance(url, str):
        raise SettingsError(
            f"the service's address must be a text, got {type(url).__name__}; pass contracts "
            "after it, or as contract_names=[…]"
        )
    try:
        parts = urlsplit(url)
        check_host(parts)
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise SettingsError(
            "the service's address must have a valid host, and a port from 1 to 65535 or none, "
            f"got {shown_url(url)}"
        )
    if parts.scheme not in _SCHEMES:
        raise SettingsError(
            "the service's address must begin with ws://, wss://, http:// or https://, "
            f"got {shown_url(url)}"
        )
    if not parts.hostname:
        raise SettingsError(
            f"the service's address must name a host, as in wss://example.org, got {shown_url(url)}"
        )
    if parts.query or parts.fragment:
        raise SettingsError(
            f"the service's address must not have a query, got {shown_url(url)}; pass contracts, "
            "options and the token as arguments"
        )
    if "@" in parts.netloc:
        raise SettingsError(
            f"the service's address must not have a user and password, got {shown_url(url)}; pass "
            "token="
        )
    path = parts.path.rstrip("/")
    for by in _PARAMETERS:
        path = path.removesuffix(stream_path(by))
    return Service(_SCHEMES[parts.scheme], parts.netloc, path)


def check_host(parts: SplitResult) -> None:
    """Check the host and port of a URL.

    Raises:
        ValueError: the port is not a number, or the host cannot be one; the text may quote it.
    """
    parts.port  # noqa: B018 - raises if it is not a number from 0 to 65535
    host = parts.hostname or ""
    host.encode("idna")  # as the name lookup does
    if any(character.isspace() for character in host):
        raise ValueError(f"a host must not have blanks, got {host!r}")


def kind_of(keys: Sequence[Selector]) -> Literal["name", "id"]:
    """Return whether keys that fit into one URL are by name or by id."""
    first = keys[0]
    return first.by if isinstance(first, ContractFilter) else first[0]


def filter_pairs(contract_filter: ContractFilter, parameter: str) -> list[tuple[str, str]]:
    """Return the query parameters of a filter.

    Args:
        contract_filter: the filter.
        parameter: name of the parameter that takes its patterns.
    """
    return [
        *(("market", market) for market in contract_filter.markets),
        *(("underlying", underlying) for underlying in contract_filter.underlyings),
        *((parameter, pattern) for pattern in contract_filter.patterns),
    ]


def first_fitting(keys: Sequence[Selector]) -> list[Selector]:
    """Return those of ``keys`` that fit into one URL: of one kind, and not too long together.

    A URL has one filter at most.
    """
    filters = [key for key in keys if isinstance(key, ContractFilter)]
    named = [key for key in keys if not isinstance(key, ContractFilter)]
    fitting: list[Selector] = []
    if filters:
        fitting.append(
            next((candidate for candidate in filters if candidate.by == "name"), filters[0])
        )
        by = kind_of(fitting)
    else:
        by = "name" if any(key[0] == "name" for key in named) else "id"
    length = 0
    for key in named:
        if key[0] == by:
            length += len(_PARAMETERS[by]) + 2 + len(quote(key[1], safe=""))
            if fitting and length > _MAX_CHARACTERS:
                break
            fitting.append(key)
    return fitting
