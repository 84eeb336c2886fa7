"""Options: what a program asks of a stream, checked before anything is connected.

A program's arguments come in; what they mean goes out: a service, contracts, parameters of the
query, limits. Nothing is connected here.
"""

from __future__ import annotations

import inspect
import math
import os
import ssl as tls
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, TypeAlias

from ime_live.client.address import Service, read_service
from ime_live.client.credentials import Credentials, Token
from ime_live.client.inbox import Queue
from ime_live.client.message import ConnectionEvent, Key
from ime_live.client.position import Resumption
from ime_live.client.proxy import Proxy, check_proxy
from ime_live.errors import SettingsError
from ime_live.market import SECTIONS, version_of
from ime_live.market import timestamp_of as stamp_of
from ime_live.timezones import TEHRAN, zone_of, zone_of_tehran

Ids = Iterable[str | int]

OnConnection: TypeAlias = Callable[[ConnectionEvent], object]
"""A program's function that is called when a connection was made or lost, or could not be made."""

# Bytes of a message. A state has 64 KiB at the most. A status of 1,000 contracts has 40 kB, or
# 1.3 MB if each name has 200 letters that JSON has to escape; --max-contracts allows more.
_MAX_SIZE: Final = 16 * 1024 * 1024
_MAX_QUEUE: Final = 256  # frames that were received and not read yet; more than a burst
_CLOSE_TIMEOUT: Final = 1.0  # seconds: whoever leaves does not want to wait


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What `ime_live.connect` was called with; see there."""

    service: Service
    keys: Sequence[Key]
    credentials: Credentials = field(repr=False)
    queue: Queue
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

    def parameters(self, resumption: Resumption) -> list[tuple[str, str]]:
        """The query of a connection, without its contracts."""
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
        """What the WebSocket library is told of a connection, besides its address and headers.

        Args:
            proxy: the URL of the proxy to use.
        """
        # Left out, it is the default trust; None would be no TLS, whatever the address says.
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


def read_options(
    url: str | None,
    contract_names: Iterable[str],
    contract_ids: Ids,
    *,
    token: Token,
    queue: str,
    queue_size: int,
    snapshot: bool,
    since: datetime | str | None,
    max_rate: float | None,
    sections: Iterable[str] | None,
    skipped: bool,
    status: bool,
    zone: str | tzinfo,
    compression: bool,
    ssl: tls.SSLContext | None,
    proxy: Proxy,
    open_timeout: float,
    ping_interval: float,
    ping_timeout: float,
    stale_after: float | None,
    max_reconnect_delay: float,
    first_timeout: float | None,
    on_connection: OnConnection | None,
) -> StreamOptions:
    """Check what a program has asked for.

    Raises:
        SettingsError: something cannot be; the text names it.
    """
    if queue not in Queue.__members__.values():
        raise SettingsError(f"queue is {', '.join(Queue)}, not {queue}")
    if queue_size < 1:
        raise SettingsError("queue_size is at least 1")
    check_positive(
        {
            "max_rate": max_rate,
            "open_timeout": open_timeout,
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "stale_after": stale_after,
            "max_reconnect_delay": max_reconnect_delay,
            "first_timeout": first_timeout,
        }
    )
    keys = keys_of(contract_names, contract_ids)
    if not keys:
        raise SettingsError("name at least one contract: contract_names=[…] or contract_ids=[…]")
    service, found = service_of(url), read_zone(zone)
    return StreamOptions(
        service=service,
        keys=keys,
        credentials=credentials_of(token),
        queue=Queue(queue),
        queue_size=queue_size,
        snapshot=snapshot,
        since=_read_since(since, found),
        max_rate=max_rate,
        sections=None if sections is None else _read_sections(sections),
        skipped=skipped,
        status=status,
        zone=found,
        compression=compression,
        ssl=check_ssl(ssl, service),
        proxy=check_proxy(proxy),
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        stale_after=stale_after,
        max_reconnect_delay=max_reconnect_delay,
        first_timeout=first_timeout,
        on_connection=_checked_callback(on_connection),
    )


def service_of(url: str | None) -> Service:
    """Where the service is, by the argument or else by ``IME_LIVE_URL``.

    Raises:
        SettingsError: there is neither, or it is no such address.
    """
    if url is not None:
        return read_service(url)
    url = os.environ.get("IME_LIVE_URL", "").strip()
    if not url:
        raise SettingsError(
            "the service's address must be given, as in wss://example.org, or be in IME_LIVE_URL"
        )
    try:
        return read_service(url)
    except SettingsError as error:
        raise SettingsError(f"IME_LIVE_URL: {error}") from None


def credentials_of(token: Token) -> Credentials:
    """The token to show, by the argument or else by ``IME_LIVE_TOKEN``; none without either.

    Raises:
        SettingsError: it cannot be a token.
    """
    if token is None:
        token = os.environ.get("IME_LIVE_TOKEN", "").strip() or None
    return Credentials(token)


def check_ssl(ssl: tls.SSLContext | None, service: Service) -> tls.SSLContext | None:
    """Check a program's argument.

    Raises:
        SettingsError: it is no context, or nothing that it could be used for.
    """
    if ssl is None:
        return None
    if not isinstance(ssl, tls.SSLContext):
        raise SettingsError(f"ssl must be an ssl.SSLContext or None, not {type(ssl).__name__}")
    if not service.secure:
        raise SettingsError("ssl is for wss:// and https://; leave it out, or write one of these")
    return ssl


def _checked_callback(on_connection: OnConnection | None) -> OnConnection | None:
    if on_connection is None:
        return None
    if not callable(on_connection) or inspect.iscoroutinefunction(on_connection):
        raise SettingsError("on_connection must be a plain function that takes a ConnectionEvent")
    return on_connection


def check_positive(values: Mapping[str, float | None]) -> None:
    """Refuse what is no number above 0; None is fine.

    Raises:
        SettingsError: the text names the first such value.
    """
    for name, value in values.items():
        if value is not None and not (0 < value < math.inf):
            raise SettingsError(f"{name} is a number above 0, not {value}")


def keys_of(contract_names: Iterable[str], contract_ids: Ids) -> list[Key]:
    """The contracts that a program names, each once, in its order.

    Raises:
        SettingsError: one of them cannot be a name or an id.
    """
    if isinstance(contract_names, str) or isinstance(contract_ids, str | int):
        raise SettingsError("contracts are given as a list, also if it is only one")
    keys: list[Key] = []
    for name in contract_names:
        if not isinstance(name, str) or not name.strip():
            raise SettingsError(f"a contract's name is a text that is not empty, not {name!r}")
        keys.append(("name", name.strip()))
    for each in contract_ids:
        if not isinstance(each, str | int) or isinstance(each, bool) or not str(each).strip():
            raise SettingsError(f"a contract's id is a number or a text, not {each!r}")
        keys.append(("id", str(each).strip()))
    for _, text in keys:
        try:
            text.encode()
        except UnicodeEncodeError:  # a half of a pair, as of bytes that were decoded in a wrong way
            raise SettingsError(
                f"contracts must be given as text that UTF-8 can carry, got {text!r}"
            ) from None
    return list(dict.fromkeys(keys))


def read_zone(zone: str | tzinfo) -> tzinfo:
    """The zone of the gateway's time stamps.

    Raises:
        SettingsError: there is no such zone, or no tz database of 2022b or later to find it in.
    """
    if isinstance(zone, tzinfo):
        return zone
    return zone_of_tehran() if zone == TEHRAN else zone_of(zone)


def _read_since(since: datetime | str | None, zone: tzinfo) -> str | None:
    if since is None:
        return None
    try:
        version = version_of(since.isoformat() if isinstance(since, datetime) else since, zone)
        return stamp_of(version, zone)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"since is not an ISO 8601 time: {since}") from error


def _read_sections(sections: Iterable[str]) -> tuple[str, ...]:
    if isinstance(sections, str):
        raise SettingsError("sections are given as a list, also if it is only one")
    chosen = tuple(dict.fromkeys(sections))
    if not chosen:
        raise SettingsError("name at least one section, or leave sections out for all of them")
    for section in chosen:
        if section not in SECTIONS:
            raise SettingsError(f"a section is one of {', '.join(SECTIONS)}, not {section}")
    return chosen
