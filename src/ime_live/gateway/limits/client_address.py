"""Find the address of a client behind trusted proxies. No I/O.

Any client can send the header ``X-Forwarded-For``. A trusted proxy appends the address of its peer,
so the client has the last address that does not belong to a trusted proxy. All addresses before it
were sent by the client.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from ime_live.settings.limits import NO_PROXY, UNIX, LimitSettings, split_list

Address = IPv4Address | IPv6Address

_MAX_PROXIES: Final = 16
"""Maximum number of elements of the header that are read; no set-up has as many proxies."""

_MAX_ELEMENT: Final = 64
"""Maximum length of an element: an IPv6 address with brackets, a zone and a port is shorter."""

# Some proxies, such as those of Azure, add a port (RFC 7239, 6).
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5}")

_PREFIX: Final = 64
"""Length of the prefix of an IPv6 address that a provider assigns to one customer (RFC 6177)."""


class ClientAddresses:
    """Finds the addresses of clients, with the trusted proxies of the settings."""

    def __init__(
        self,
        proxies: Sequence[IPv4Network | IPv6Network],
        *,
        unix: bool = False,
        proxies_known: bool = True,
    ) -> None:
        """Make a finder.

        Args:
            proxies: networks of the trusted proxies.
            unix: whether a peer on a Unix socket is a trusted proxy.
            proxies_known: whether the settings name the proxies, or say that there is none. If
                not, all clients may have the address of one proxy, so no address is found.
        """
        self._proxies = tuple(proxies)
        self._unix = unix
        self._proxies_known = proxies_known
        # The cache helps for addresses of proxies, and of clients that reconnect.
        self._is_trusted = lru_cache(maxsize=1024)(self._trusts)

    @classmethod
    def from_settings(cls, settings: LimitSettings) -> ClientAddresses:
        """Return the finder for ``settings.trusted_proxies``."""
        words = split_list(settings.trusted_proxies)
        unix = UNIX in words
        proxies_known = bool(settings.proxies) or unix or NO_PROXY in words
        return cls(settings.proxies, unix=unix, proxies_known=proxies_known)

    def find(self, peer: object, forwarded: bytes | None) -> str | None:
        """Return the address of a client.

        Args:
            peer: ``peername`` of the transport, as asyncio returns it: a tuple that begins with
                the address; any other object for a Unix socket.
            forwarded: the header ``X-Forwarded-For``, its lines joined by commas; None without one.

        Returns:
            The address of the client, or of the last trusted proxy if the header has no valid
            address before it. None if the address is not known.
        """
        if not self._proxies_known:
            return None
        client: str | None = None
        if isinstance(peer, tuple):
            client = str(peer[0])
            if not self._is_trusted(client):
                return client
        elif not self._unix:
            return None
        if not forwarded:
            return client
        # Only the last elements: a client may send thousands.
        for element in reversed(forwarded.rsplit(b",", _MAX_PROXIES)[-_MAX_PROXIES:]):
            text = element.strip().decode("latin-1")
            address = _parse_address(text) if len(text) <= _MAX_ELEMENT else None
            if address is None:
                return client
            client = str(address)
            if not self._is_trusted(client):
                break
        return client

    def _trusts(self, text: str) -> bool:
        address = _parse_address(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self._proxies
        )


@lru_cache(maxsize=4096)
def group_of(address: str) -> str:
    """Return the addresses that count as one client: an IPv4 address, or a /64 of IPv6.

    >>> group_of("2001:db8:1:2:3:4:5:6")
    '2001:db8:1:2::/64'
    >>> group_of("::ffff:192.0.2.1")
    '192.0.2.1'
    """
    parsed = _parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed), _PREFIX), strict=False))
    return address if parsed is None else str(parsed)


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> Address | None:
    """Return the address in an element of the header; None if it is invalid."""
    if match := _WITH_PORT.fullmatch(text.strip('"')):
        text = match[1] or match[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address
