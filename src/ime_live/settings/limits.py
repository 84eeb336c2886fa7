"""Settings of the limits on streams: their number, their origins and their memory."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ime_live.settings.option import Checked, flag, option

LOOPBACK: Final = "loopback"
"""Value for the origins of all pages on this machine."""

UNIX: Final = "unix"
"""Value for a proxy that connects over a Unix socket."""

NO_PROXY: Final = "none"
"""Value for clients that connect without a proxy."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# As browsers send it: RFC 6454, 6.2.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")


@dataclass(frozen=True, kw_only=True)
class LimitSettings(Checked):
    """Limits on streams, WebSockets and events alike."""

    max_connections: int = option(
        50_000,
        "Maximum number of open streams per worker; 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    max_subject_connections: int = option(
        1_000,
        "Maximum number of open streams per token subject and worker; 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    max_address_connections: int = option(
        500,
        "Maximum number of open streams per address and worker, if --trusted-proxies is set; IPv6 "
        "addresses are counted by their first 64 bits. 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    handshake_rate: float = option(
        20.0,
        "Streams that an address may open per worker [1/second], if --trusted-proxies is set; "
        "bursts of five times as many are allowed. 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    max_waiting: int = option(
        268_435_456,
        "Maximum memory for unsent data of slow clients, and for incomplete requests, per worker "
        "[bytes]; above it, new streams and large requests are refused, and the clients that have "
        "been slow for longest are disconnected. 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    trusted_proxies: str = option(
        "",
        "Addresses or networks of proxies, separated by commas, whose X-Forwarded-For header is "
        "trusted; unix for a proxy on a Unix socket, none if clients connect directly. If empty, "
        "no limit per address applies.",
        metavar="LIST",
        reloadable=True,
    )
    stream_origins: str = option(
        "*",
        "Origins of web pages that may open streams, such as https://example.org, separated by "
        "commas; loopback for pages of this machine, * for all. Clients without an Origin header "
        "are always allowed.",
        metavar="LIST",
        reloadable=True,
    )

    def faults(self) -> Iterator[str]:
        """Yield an error message for each invalid value."""
        yield from super().faults()
        for proxy in split_list(self.trusted_proxies):
            if proxy not in {UNIX, NO_PROXY} and _network_of(proxy) is None:
                yield (
                    f"{flag('trusted_proxies')} must have an address or a network per proxy, as "
                    f"10.0.0.0/8, or {UNIX} or {NO_PROXY}, got {proxy!r}"
                )
        if not split_list(self.stream_origins):
            yield f"{flag('stream_origins')} must have an origin, or * for all, got none"
        yield from origin_faults("stream_origins", self.stream_origins)

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        networks = (_network_of(proxy) for proxy in split_list(self.trusted_proxies))
        return tuple(network for network in networks if network is not None)


def split_list(text: str) -> tuple[str, ...]:
    """Return the elements of a text with commas between them, without blanks.

    >>> split_list("a, b,")
    ('a', 'b')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def origin_faults(name: str, text: str) -> Iterator[str]:
    """Yield an error message for each invalid origin in an option's list."""
    for origin in split_list(text):
        if origin not in {"*", LOOPBACK} and not _ORIGIN.fullmatch(origin):
            yield (
                f"{flag(name)} must have a scheme, a host and at most a port per origin, as "
                f"https://example.org, got {origin!r}"
            )


def _network_of(text: str) -> Network | None:
    try:
        # An address with host bits, such as 10.0.0.1/8, stands for its network.
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
