"""Settings of the gateway: its address, its limits and its timeouts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ime_live.errors import SettingsError
from ime_live.settings.auth import AuthMode, AuthSettings
from ime_live.settings.limits import LimitSettings, origin_faults, split_list
from ime_live.settings.log import LogSettings
from ime_live.settings.option import Checked, flag, option
from ime_live.settings.rule import shown_url
from ime_live.settings.store import StoreSettings
from ime_live.timezones import zone_of


@dataclass(frozen=True, kw_only=True)
class DrainSettings(Checked):
    """How `drain` finds a running gateway."""

    pid_file: str = option(
        "",
        "File for the process id of the gateway, with which `drain` finds it; empty for none.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(LimitSettings, DrainSettings, StoreSettings, AuthSettings, LogSettings):
    """The gateway: its address, its limits and its timeouts."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65_535)
    workers: int = option(1, "Processes that share the port; each uses one core.", above=0)
    root_path: str = option(
        "",
        "Path prefix of a reverse proxy, such as /data-engine/ime, whether the proxy strips it or "
        "not; empty for no prefix.",
    )
    docs: bool = option(
        True, "Serve the API documents without a token: /docs, /openapi.json and /asyncapi.json."
    )
    public_url: str = option(
        "",
        "Address at which clients reach the gateway, such as https://example.com/data-engine/ime, "
        "for /asyncapi.json; empty takes the host of the request.",
        metavar="URL",
    )
    timezone: str = option(
        "Asia/Tehran",
        "Time zone of the messages' timestamps. A zone with daylight saving repeats an hour each "
        "year, in which timestamps do not grow.",
    )
    max_contracts: int = option(
        1000,
        "Maximum number of contracts per connection or HTTP request.",
        above=0,
        reloadable=True,
    )
    request_rate: float = option(
        100.0,
        "Requests for data per worker and token subject, or per address if there is none "
        "[1/second]; bursts of five times as many are allowed. 0 sets no limit.",
        minimum=0,
        reloadable=True,
    )
    cors_origins: str = option(
        "",
        "Origins of web pages that may use the HTTP calls (CORS), such as https://example.org, "
        "separated by commas; loopback for pages of this machine, * for all, empty for none.",
        metavar="LIST",
        reloadable=True,
    )
    strict_query: bool = option(
        False,
        "Refuse requests with unknown query parameters; otherwise they are ignored and logged.",
    )
    compression: bool = option(
        True, "Compress WebSocket messages (permessage-deflate) for clients that offer it."
    )
    ping_interval: float = option(20.0, "Time between two pings to a client [seconds].", above=0)
    ping_timeout: float = option(
        20.0, "Timeout for a client's answer to a ping [seconds].", above=0
    )
    slow_client_timeout: float = option(
        60.0,
        "Time without any progress after which a slow client is disconnected [seconds].",
        above=0,
        former="unwritable_timeout",
    )
    send_buffer: int = option(
        65_536,
        "Size of the kernel's send buffer per client [bytes] (SO_SNDBUF); 0 leaves the default.",
        minimum=0,
    )
    unsent_limit: int = option(
        16_384,
        "Maximum of unsent data in a client's send buffer [bytes] (TCP_NOTSENT_LOWAT); 0 leaves "
        "the default.",
        minimum=0,
    )
    max_client_message: int = option(
        4096, "Maximum size of a client's message [bytes].", above=0, reloadable=True
    )
    client_rate: float = option(
        10.0,
        "Frames that a client may send [1/second]; bursts of five times as many are allowed.",
        above=0,
        reloadable=True,
    )
    max_request: int = option(
        131_072,
        "Maximum size of the request line with headers, and of a body [bytes].",
        above=0,
        reloadable=True,
    )
    handshake_timeout: float = option(
        10.0,
        "Timeout for receiving a client's complete request [seconds].",
        above=0,
        reloadable=True,
    )
    contracts_interval: float = option(
        25.0,
        "Time between two readings of all contracts from Redis [seconds].",
        above=0,
    )
    status_interval: float = option(
        15.0,
        "Maximum time between two status messages to a client that asked for them [seconds].",
        above=0,
    )
    shutdown_grace: float = option(
        3.0,
        "Time at shutdown and `drain` for load balancers to notice that /ready fails [seconds]; "
        "new streams are accepted until it is over. `up` has 0 by default.",
        minimum=0,
    )
    shutdown_spread: float = option(
        20.0,
        "Time over which streams are closed in even steps afterwards [seconds]; 0 closes all of "
        "them at once. `up` has 3 by default.",
        minimum=0,
        former="drain",
    )

    def faults(self) -> Iterator[str]:
        """Yield an error message for each invalid value."""
        yield from super().faults()
        if self.auth is AuthMode.NONE and not is_loopback(self.host):
            yield f"--host must be a loopback address with --auth none, got {self.host!r}"
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            yield f"--root-path must start with '/' and not end with one, got {self.root_path!r}"
        if self.public_url and not _is_public_url(self.public_url):
            yield (
                "--public-url must be an http:// or https:// URL with a host and a path only, "
                f"without a user, a query or a fragment, got {shown_url(self.public_url)}"
            )
        try:
            self.zone  # noqa: B018 - raises if there is no such zone
        except SettingsError as error:
            yield str(error)
        yield from origin_faults("cors_origins", self.cors_origins)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return split_list(self.cors_origins)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of `timezone`.

        Raises:
            SettingsError: there is no such zone, or the tz database is older than 2022b.
        """
        try:
            return zone_of(self.timezone)
        except SettingsError as error:
            raise SettingsError(f"{flag('timezone')}: {error}") from error


def _is_public_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        has_place = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    has_more = url.query or url.fragment or "@" in url.netloc
    return url.scheme in {"http", "https"} and has_place and not has_more


def bare_host(host: str) -> str:
    """Strip the brackets that an IPv6 address has in a URL.

    >>> bare_host("[::1]")
    '::1'
    """
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def url_host(host: str) -> str:
    """Put an IPv6 address in brackets, as it is written in a URL.

    >>> url_host("::1")
    '[::1]'
    """
    return f"[{host}]" if ":" in host else host


def local_address(host: str) -> str:
    """Return the address at which this machine reaches a program that listens on ``host``.

    >>> local_address("0.0.0.0")
    '127.0.0.1'
    """
    host = bare_host(host)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any of ours


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``, an address or ``localhost``."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"
