"""Find the address of a client, behind proxies that are trusted to name it. No I/O.

Anybody can send the header ``X-Forwarded-For``. A trusted proxy adds the address of its own peer at
the end, so the client is the last address that is not one of a trusted proxy. What stands before it
was written by the client.
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

_LONGEST: Final = 64
"""Characters of the longest element: an IPv6 address with brackets, a zone and a port."""

# Some proxies add a port: RFC 7239, 6, and Azure's gateways.
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5}")

_PREFIX: Final = 64
"""Bits of an IPv6 address that a provider gives one customer (RFC 6177)."""


class ClientAddresses:
    """Finds the addresses of clients; always None if no proxies are configured."""

    def __init__(
        self,
        proxies: Sequence[IPv4Network | IPv6Network],
        *,
        unix: bool = False,
        known: bool = True,
    ) -> None:
        """Make a finder.

        Args:
            proxies: networks of the trusted proxies.
            unix: whether a peer on a Unix socket is one.
            known: whether it is known which proxies there are; if not, all clients may come from
                one address, and none is found.
        """
        self._proxies = tuple(proxies)
        self._unix = unix
        self._known = known
        # The addresses of proxies, and of clients that reconnect.
        self._is_trusted = lru_cache(maxsize=1024)(self._trusts)

    @classmethod
    def from_settings(cls, settings: LimitSettings) -> ClientAddresses:
        """Return the finder for ``settings.trusted_proxies``."""
        words = split_list(settings.trusted_proxies)
        unix = UNIX in words
        known = bool(settings.proxies) or unix or NO_PROXY in words
        return cls(settings.proxies, unix=unix, known=known)

    def find(self, peer: object, forwarded: bytes | None) -> str | None:
        """Return the address of a client.

        Args:
            peer: the address of the transport's other end, as asyncio has it: a tuple that begins
                with the address, or something else for a Unix socket.
            forwarded: the header ``X-Forwarded-For``, its lines joined by commas; None if there is
                none.

        Returns:
            The address, that of the last proxy if it names none that can be read; None if it is
            not known.
        """
        if not self._known:
            return None
        found: str | None = None
        if isinstance(peer, tuple):
            found = str(peer[0])
            if not self._is_trusted(found):
                return found
        elif not self._unix:
            return None
        if not forwarded:
            return found
        # From the end, and not all of it: the client may have written thousands.
        for element in reversed(forwarded.rsplit(b",", _MAX_PROXIES)[-_MAX_PROXIES:]):
            text = element.strip().decode("latin-1")
            address = _address_in(text) if len(text) <= _LONGEST else None
            if address is None:
                return found
            found = str(address)
            if not self._is_trusted(found):
                break
        return found

    def _trusts(self, text: str) -> bool:
        address = _address_in(text)
        return address is not None and any(
            address.version == each.version and address in each for each in self._proxies
        )


@lru_cache(maxsize=4096)
def group_of(address: str) -> str:
    """Return the group that counts as one client: an IPv4 address, or 64 bits of an IPv6 address.

    >>> group_of("2001:db8:1:2:3:4:5:6")
    '2001:db8:1:2::/64'
    >>> group_of("::ffff:192.0.2.1")
    '192.0.2.1'
    """
    found = _address_in(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), _PREFIX), strict=False))
    return address if found is None else str(found)


@lru_cache(maxsize=4096)
def _address_in(text: str) -> Address | None:
    """Return the address in an element of the header; None if it has none."""
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
