"""Options of a stream: the arguments of `connect`, checked before anything is connected."""

from __future__ import annotations

import inspect
import os
import ssl as tls
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, Literal, TypeAlias

from ime_live.client.network.credentials import Credentials, Token
from ime_live.client.network.proxy import Proxy
from ime_live.client.protocol.address import Service, read_service
from ime_live.client.protocol.message import ConnectionEvent, Selector
from ime_live.client.protocol.queue import QueuePolicy
from ime_live.client.protocol.resume_point import Resumption
from ime_live.client.selectors import is_list
from ime_live.errors import SettingsError
from ime_live.market import (
    SECTIONS,
    Aggregate,
    AllowedPriceRange,
    BestLimit,
    ContractInfo,
    timestamp_of,
    version_of,
)
from ime_live.settings.rule import COUNT, POSITIVE, SWITCH, Rule
from ime_live.timezones import TEHRAN, zone_of, zone_of_tehran

SectionName: TypeAlias = Literal["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"]
"""Names of the sections of a contract's state, as on the wire."""

SectionType: TypeAlias = (
    type[BestLimit] | type[Aggregate] | type[AllowedPriceRange] | type[ContractInfo]
)
"""Classes of the sections; each may be given in place of its name."""

_SECTION_TYPES: Final = (BestLimit, Aggregate, AllowedPriceRange, ContractInfo)

OnConnection: TypeAlias = Callable[[ConnectionEvent], object]
"""A function that is called when a connection is made or lost, or cannot be made."""

# Bytes of a message. A state has at most 64 KiB. A status of 1,000 contracts has 40 kB, or 1.3 MB
# if each name has 200 letters that JSON has to escape; --max-contracts allows more.
_MAX_SIZE: Final = 16 * 1024 * 1024
_MAX_QUEUE: Final = 256  # frames received and not read yet; more than a burst
_CLOSE_TIMEOUT: Final = 1.0  # seconds; closing a stream should not delay the program

RULES: Final[Mapping[str, Rule]] = {
    "queue_size": COUNT,
    "snapshot": SWITCH,
    "max_rate": POSITIVE.or_none(),
    "skipped": SWITCH,
    "status": SWITCH,
    "compression": SWITCH,
    "open_timeout": POSITIVE,
    "ping_interval": POSITIVE,
    "ping_timeout": POSITIVE,
    "stale_after": POSITIVE.or_none(),
    "max_reconnect_delay": POSITIVE,
    "first_timeout": POSITIVE.or_none(),
}
"""Rules of those options that are used as they are given."""

NO_CONTRACT: Final = (
    "at least one contract must be given, got none; pass contract_names=[…] or contract_ids=[…]"
)
"""Text of the error for an empty selection."""


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The arguments of `ime_live.connect`."""

    service: Service
    keys: Sequence[Selector]
    credentials: Credentials = field(repr=False)
    queue: QueuePolicy
    queue_size: int
    snapshot: bool
    since: str | None
    max_rate: float | None
    sections: Sequence[str] | None
    skipped: bool
    status: bool
    zone: tzinfo
    compression: bool
    ssl: tls.SSLContext | None
    proxy: Proxy = field(repr=False)  # may hold a password
    open_timeout: float
    ping_interval: float
    ping_timeout: float
    stale_after: float | None
    max_reconnect_delay: float
    first_timeout: float | None
    on_connection: OnConnection | None

    def __post_init__(self) -> None:
        """Check the options in `RULES`, and that there is a contract.

        Raises:
            SettingsError: the text names the option.
        """
        if not self.keys:
            raise SettingsError(NO_CONTRACT)
        for name, rule in RULES.items():
            rule.check(name, getattr(self, name))

    def parameters(self, resumption: Resumption) -> list[tuple[str, str]]:
        """Return the query parameters of a connection, without its contracts."""
        pairs: list[tuple[str, str]] = []
        if resumption.since is not None:
            pairs.append(("since", resumption.since))
        elif resumption.snapshot:
            pairs.append(("snapshot", "true"))
        if self.max_rate is not None:
            pairs.append(("max_rate", f"{self.max_rate:.10g}"))
        if self.sections is not None:
            pairs.append(("sections", ",".join(self.sections)))
        if self.skipped:
            pairs.append(("skipped", "true"))
        if self.status:
            pairs.append(("status", "true"))
        return pairs

    def transport(self, proxy: str | None) -> dict[str, Any]:
        """Return the arguments of the WebSocket library, besides address and headers.

        Args:
            proxy: URL of the proxy to use.
        """
        # Without it the library trusts the system; None would mean no TLS, even for wss://.
        secure = {} if self.ssl is None else {"ssl": self.ssl}
        return {
            **secure,
            "compression": "deflate" if self.compression else None,
            "proxy": proxy,
            "open_timeout": self.open_timeout,
            "ping_interval": self.ping_interval,
            "ping_timeout": self.ping_timeout,
            "close_timeout": _CLOSE_TIMEOUT,
            "max_size": _MAX_SIZE,
            "max_queue": _MAX_QUEUE,
        }


def service_of(url: str | None) -> Service:
    """Return the address of the service, from the argument or else from ``IME_LIVE_URL``.

    Raises:
        SettingsError: there is neither, or it is not the address of a service.
    """
    if url is not None:
        return read_service(url)
    url = os.environ.get("IME_LIVE_URL", "").strip()
    if not url:
        raise SettingsError(
            "the service's address must be given, got none; pass it, as wss://example.org, or set "
            "IME_LIVE_URL"
        )
    try:
        return read_service(url)
    except SettingsError as error:
        raise SettingsError(f"IME_LIVE_URL: {error}") from None


def credentials_of(token: Token) -> Credentials:
    """Return the credentials, from the argument or else from ``IME_LIVE_TOKEN``.

    Raises:
        SettingsError: the value cannot be a token.
    """
    if token is None:
        token = os.environ.get("IME_LIVE_TOKEN", "").strip() or None
    return Credentials(token)


def check_ssl(ssl: tls.SSLContext | None, service: Service) -> tls.SSLContext | None:
    """Check the argument ``ssl``.

    Raises:
        SettingsError: it is not a context, or the service's address is without TLS.
    """
    if ssl is None:
        return None
    if not isinstance(ssl, tls.SSLContext):
        raise SettingsError(f"ssl must be an ssl.SSLContext or None, got {type(ssl).__name__}")
    if not service.secure:
        raise SettingsError(
            "ssl must be None for ws:// and http://, got an SSLContext; leave it out, or write "
            "wss:// or https://"
        )
    return ssl


def check_callback(on_connection: OnConnection | None) -> OnConnection | None:
    """Check the argument ``on_connection``.

    Raises:
        SettingsError: it is not a plain function.
    """
    if on_connection is None:
        return None
    is_async = inspect.iscoroutinefunction(on_connection)
    if not callable(on_connection) or is_async:
        got = "an async function" if is_async else repr(on_connection)
        raise SettingsError(
            f"on_connection must be a plain function that takes a ConnectionEvent, got {got}"
        )
    return on_connection


def read_zone(zone: str | tzinfo) -> tzinfo:
    """Return the time zone of the gateway's timestamps.

    Raises:
        SettingsError: there is no such zone, or no tz database of 2022b or later.
    """
    if isinstance(zone, tzinfo):
        return zone
    if not isinstance(zone, str):
        raise SettingsError(f"zone must be the name of a time zone or a tzinfo, got {zone!r}")
    return zone_of_tehran() if zone == TEHRAN else zone_of(zone)


def read_since(since: datetime | str | None, zone: tzinfo) -> str | None:
    """Return the argument ``since`` as a timestamp of the gateway, whose zone is ``zone``.

    Raises:
        SettingsError: it is not a date and time.
    """
    if since is None:
        return None
    text = f"since must be a date and time in ISO 8601, got {since!r}"
    if not isinstance(since, str | datetime):
        raise SettingsError(text)
    try:
        version = version_of(since.isoformat() if isinstance(since, datetime) else since, zone)
        return timestamp_of(version, zone)
    except (ValueError, OverflowError) as error:
        raise SettingsError(text) from error


def read_sections(
    sections: Iterable[SectionName | SectionType] | None,
) -> tuple[str, ...] | None:
    """Return the names in the argument ``sections`` without duplicates; None stays None.

    Raises:
        SettingsError: it is not a list of sections, or it is empty.
    """
    if sections is None:
        return None
    if not is_list(sections):
        raise SettingsError(f"sections must be a list of names, got {sections!r}")
    names: list[Any] = [
        section.__name__ if isinstance(section, type) and section in _SECTION_TYPES else section
        for section in sections
    ]
    if not names:
        raise SettingsError(
            "sections must have at least one name, got none; leave it out for all sections"
        )
    for section in names:
        if not isinstance(section, str) or section not in SECTIONS:
            raise SettingsError(f"a section must be one of {', '.join(SECTIONS)}, got {section!r}")
    return tuple(dict.fromkeys(names))


def read_queue(queue: str) -> QueuePolicy:
    """Return the policy that the argument ``queue`` names.

    Raises:
        SettingsError: there is no such policy.
    """
    if queue not in QueuePolicy.__members__.values():
        raise SettingsError(f"queue must be one of {', '.join(QueuePolicy)}, got {queue!r}")
    return QueuePolicy(queue)
