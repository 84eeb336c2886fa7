"""Every option once: its name, default, unit and help.

The fields of these classes are the table. From it come the command line's flags, the
environment's names (`IME_LIVE_` and the field in capitals) and `docs/settings.md`; a program
that embeds the gateway fills in the classes itself. Nothing here reads the environment.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
import re
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ime_live.errors import SettingsError
from ime_live.timezones import zone_of

ENVIRONMENT_PREFIX: Final = "IME_LIVE_"

LOOPBACK: Final = "loopback"
"""Stands for the origins of all pages of this machine."""

# As browsers send it: RFC 6454, 6.2.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")


class AuthMode(StrEnum):
    """How clients prove who they are."""

    JWT = "jwt"
    NONE = "none"


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def option(
    default: Any,  # noqa: ANN401
    help: str,  # noqa: A002 - as every library of command lines calls it
    *,
    secret: bool = False,
    metavar: str = "",
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Any:  # noqa: ANN401 - a field of any type
    """Declare one option.

    Args:
        default: its value where none is given.
        help: a sentence, with the unit.
        secret: keeps its value out of all output.
        metavar: what the help shows for a value; else by the default's type.
        above: a number must be greater than this.
        least: a number must be this or greater.
        most: a number must be this or less.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "help": help,
            "secret": secret,
            "metavar": metavar,
            "above": above,
            "least": least,
            "most": most,
        },
    )


class _Checked:
    # Every settings class has this base last, so that each of them is checked when it is made.

    def __post_init__(self) -> None:
        """Refuse numbers that are out of their range.

        Raises:
            SettingsError: the text names the option and what it must be.
        """
        for each in fields(self):  # type: ignore[arg-type] # subclasses are dataclasses
            _check_number(each, getattr(self, each.name))


def _check_number(field: Field[Any], value: object) -> None:
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise SettingsError(f"{flag(field.name)} must be a number, not {value}")
    above, least, most = (field.metadata[name] for name in ("above", "least", "most"))
    if above is not None and value <= above:
        raise SettingsError(f"{flag(field.name)} must be above {above}")
    if least is not None and value < least:
        raise SettingsError(f"{flag(field.name)} must be {least} or more")
    if most is not None and value > most:
        raise SettingsError(f"{flag(field.name)} must be {most} or less")


@dataclass(frozen=True, kw_only=True)
class StoreSettings(_Checked):
    """Where Redis or Valkey is, and how its keys are named."""

    redis_url: str = option(
        "redis://127.0.0.1:6379",
        "Where Redis or Valkey is: redis://[user:password@]host:port[/db], rediss:// for TLS, "
        "unix:///path/to/socket, redis+sentinel://[user:password@]host:port,host:port/master[/db] "
        "or redis+cluster://[user:password@]host:port,host:port; with TLS, rediss+sentinel:// and "
        "rediss+cluster://. Quote the password (@ is %40).",
        secret=True,
        metavar="URL",
    )
    key_prefix: str = option("ime:", "What all keys and channels in Redis begin with.")
    redis_timeout: float = option(
        5.0,
        "Seconds to wait for an answer of Redis before the connection counts as broken.",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings(_Checked):
    """What is logged, and how."""

    log_level: LogLevel = option(LogLevel.INFO, "The least severe lines that are written.")
    log_format: LogFormat = option(LogFormat.TEXT, "How log lines are written.")


@dataclass(frozen=True, kw_only=True)
class JwtSettings(_Checked):
    """How tokens are checked."""

    jwt_secret: str = option("", "Shared secret of HS256 tokens, at least 32 bytes.", secret=True)
    jwt_public_key: str = option(
        "",
        "PEM file with the public key (RSA, EC P-256 or Ed25519) that tokens are signed with.",
        metavar="FILE",
    )
    jwks: str = option("", "JWKS file or URL with the issuer's public keys.", metavar="FILE|URL")
    jwt_audience: str = option("", "Accept only tokens for this audience (claim aud).")
    jwt_issuer: str = option("", "Accept only tokens of this issuer (claim iss).")
    jwt_leeway: float = option(
        0.0,
        "Seconds that the issuer's clock may differ from ours when times are checked.",
        least=0,
    )


@dataclass(frozen=True, kw_only=True)
class AuthSettings(JwtSettings):
    """Whether tokens are asked for, and how they are checked."""

    auth: AuthMode = option(
        AuthMode.JWT,
        "jwt, or none: no token is asked for. Only on a loopback address, where every program, "
        "and every web page in a browser, of this machine may connect then.",
    )

    _keys_needed = True

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to check tokens with."""
        return bool(self.jwt_secret or self.jwt_public_key or self.jwks)

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            SettingsError: tokens are asked for and nothing is there to check them with.
        """
        super().__post_init__()
        if self.auth is AuthMode.NONE:
            return
        if self._keys_needed and not self.has_keys:
            raise SettingsError(
                "no authentication is configured: give --jwt-secret, --jwt-public-key or --jwks "
                "(or --auth none on a loopback address)"
            )
        if self.jwt_secret and len(self.jwt_secret.encode()) < MIN_SECRET_BYTES:
            raise SettingsError(
                f"--jwt-secret is shorter than {MIN_SECRET_BYTES} bytes; HS256 needs as many "
                "(RFC 7518, 3.2)"
            )


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(StoreSettings, AuthSettings, LogSettings):
    """The gateway: where it listens, and what it allows."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", least=0, most=65_535)
    workers: int = option(1, "Processes that share the port; one uses one core.", above=0)
    root_path: str = option(
        "", "Path prefix of a proxy in front, which may strip it or pass it on."
    )
    docs: bool = option(
        True, "Show the interfaces to everybody: /docs, /openapi.json and /asyncapi.json."
    )
    public_url: str = option(
        "",
        "Where clients reach the gateway, as https://example.com/data-engine/ime, for "
        "/asyncapi.json; without it, the host that a request names.",
        metavar="URL",
    )
    timezone: str = option(
        "Asia/Tehran",
        "Zone whose wall clock the messages' timestamps show. One with daylight saving repeats "
        "an hour a year, and its timestamps do not grow then.",
    )
    max_contracts: int = option(
        1000, "Contracts that one connection, or one HTTP request, may ask for.", above=0
    )
    request_rate: float = option(
        100.0,
        "HTTP requests for data a second that one subject of tokens, or without one an address, "
        "may send for long, to each worker; five times as many at once. 0 sets no limit.",
        least=0,
    )
    cors_origins: str = option(
        "",
        "Origins of the web pages whose scripts may use the HTTP calls, as https://example.org, "
        "separated by commas; loopback for pages of this machine, on any port; * for all pages.",
        metavar="LIST",
    )
    strict_query: bool = option(
        False,
        "Refuse requests with a query parameter that no call knows; without it, it is ignored "
        "and logged.",
    )
    compression: bool = option(True, "Offer permessage-deflate to clients that ask for it.")
    ping_interval: float = option(20.0, "Seconds between two pings of a client.", above=0)
    ping_timeout: float = option(20.0, "Seconds within which a client answers a ping.", above=0)
    slow_client_timeout: float = option(
        60.0,
        "Seconds after which a client that takes no data at all is closed.",
        above=0,
    )
    send_buffer: int = option(
        65_536,
        "Bytes that the kernel may hold for a client (SO_SNDBUF); 0 leaves its default.",
        least=0,
    )
    unsent_limit: int = option(
        16_384,
        "Bytes of them that may wait unsent (TCP_NOTSENT_LOWAT); 0 leaves its default.",
        least=0,
    )
    max_client_message: int = option(
        4096, "Bytes of the largest message a client may send.", above=0
    )
    client_rate: float = option(
        10.0,
        "Frames a second that a client may send for long; five times as many at once.",
        above=0,
    )
    max_request: int = option(
        131_072,
        "Bytes of the largest request line and headers, and of the largest body.",
        above=0,
    )
    handshake_timeout: float = option(
        10.0,
        "Seconds within which a client sends its whole request.",
        above=0,
    )
    contracts_interval: float = option(
        25.0,
        "Seconds between two readings of the whole registry of contracts.",
        above=0,
    )
    status_interval: float = option(
        15.0,
        "Seconds between two status messages to a client that asked for them.",
        above=0,
    )
    shutdown_spread: float = option(
        3.0,
        "Seconds over which clients are closed when the process is told to stop.",
        least=0,
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            SettingsError: the text names the option and what is wrong with it.
        """
        super().__post_init__()
        if self.auth is AuthMode.NONE and not is_loopback(self.host):
            raise SettingsError(
                f"--auth none serves anyone, so it needs a loopback address, not {self.host}"
            )
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise SettingsError("--root-path begins with a slash and does not end with one")
        _check_public_url(self.public_url)
        self.zone  # noqa: B018 - raises for a zone that does not exist
        for origin in self.origins:
            if origin not in {"*", LOOPBACK} and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"{flag('cors_origins')}: {origin} is not an origin; one is a scheme, a host "
                    "and maybe a port, as https://example.org, without a path"
                )

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(each.strip() for each in self.cors_origins.split(",") if each.strip())

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


@dataclass(frozen=True, kw_only=True)
class HubSettings(_Checked):
    """How the exchange's hub is reached."""

    base_url: str = option(
        "https://cdn.ime.co.ir/realTimeServer/",
        "Where the exchange's hub is, or one that speaks as it does.",
        metavar="URL",
    )
    polling_url: str = option(
        "https://dataapi.ime.co.ir/api/",
        "Where the boards are polled while the hub stays away.",
        metavar="URL",
    )
    proxy: str = option(
        "",
        "Proxy on the way there: http://[user:password@]host:port or socks5://host:port. "
        "Without it HTTPS_PROXY and NO_PROXY of the environment count.",
        secret=True,
        metavar="URL",
    )
    user_agent: str = option(
        "", "What we tell the exchange we are; by default ime-live and its version."
    )
    transports: str = option(
        "webSockets,serverSentEvents,longPolling",
        "Transports of the hub that may be used, the best first.",
        metavar="LIST",
    )
    connect_timeout: float = option(
        10.0, "Seconds within which the exchange answers a request.", above=0
    )
    max_reconnect_delay: float = option(
        30.0, "Seconds between two tries at the most, after an ever longer random wait.", above=0
    )
    upgrade_after: float = option(
        600.0,
        "Seconds after which a better transport is tried again.",
        above=0,
    )
    polling_interval: float = option(
        2.0,
        "Seconds between two polls of the boards while the hub stays away; 0 never polls. There is "
        "no board of warehouse receipts.",
        least=0,
    )
    boards: str = option(
        "futures,options,cdc,gavahi",
        "Boards that are read: of futures, options, cdc, gavahi (warehouse receipts), sandoq "
        "(funds) and salaf.",
        metavar="LIST",
    )


@dataclass(frozen=True, kw_only=True)
class HoursSettings(_Checked):
    """When the exchange trades, in Tehran's time."""

    hours_futures: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00",
        "Sessions of futures: days and times of Tehran.",
        metavar="HOURS",
    )
    hours_options: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of options.", metavar="HOURS"
    )
    hours_certificates: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of deposit certificates.", metavar="HOURS"
    )
    official_holidays: bool = option(True, "No session on Iran's official holidays.")
    holidays: str = option(
        "",
        "More days without a session, Jalali or Gregorian: 1405-05-03, 2026-08-01; a range with "
        "two dots between its first and last day.",
        metavar="DAYS",
    )
    trading_days: str = option(
        "", "Days with a session all the same, although they are holidays.", metavar="DAYS"
    )
    stale_after: float = option(
        30.0, "Seconds without a board in a session after which a market is stale.", above=0
    )
    max_lag: float = option(
        10.0, "Seconds by which boards may come late before their markets are stale.", above=0
    )


@dataclass(frozen=True, kw_only=True)
class RecordSettings(_Checked):
    """How frames are recorded."""

    record_size: int = option(
        100_000_000,
        "Bytes of frames after which a recording goes on in a new file; it does so at midnight "
        "as well.",
        above=0,
    )
    record_keep: int = option(
        0, "Files of a recording that are kept; 0 keeps all of them.", least=0
    )


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(HubSettings, RecordSettings, LogSettings):
    """A recorder: from the exchange to files."""


@dataclass(frozen=True, kw_only=True)
class FeedSettings(StoreSettings, HubSettings, HoursSettings, RecordSettings, LogSettings):
    """The feed: from the exchange to the store."""

    bands: str = option(
        "SIL=0.05, SAF=0.05",
        "Allowed prices: a contract, or what its name begins with, and how far from the last "
        "settlement a price may go (0.05 is 5 %), or the lowest and highest price in rials: "
        "SAFOR01=380000..410000. The longest that fits counts; what is not named has no limit.",
        metavar="LIST",
    )
    record: str = option(
        "", "File to record the frames to as well, see `feed record`.", metavar="FILE"
    )


@dataclass(frozen=True, kw_only=True)
class UpSettings(GatewaySettings, FeedSettings):
    """Everything on one machine: Valkey, feed and gateway."""

    _keys_needed = False  # a secret is made and kept with the data

    data: str = option(
        "ime-live-data", "Folder that keeps the data; made if it is not there.", metavar="DIR"
    )


class DemoSource(StrEnum):
    """Where the demo's market comes from."""

    SYNTHETIC = "synthetic"
    REPLAY = "replay"


@dataclass(frozen=True, kw_only=True)
class DemoSettings(LogSettings):
    """The demo: a market of its own, on this machine only."""

    source: DemoSource = option(
        DemoSource.SYNTHETIC, "A made-up market, or a replay of --frames in a loop."
    )

    host: str = option("127.0.0.1", "Loopback address to listen on.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", least=0, most=65_535)
    seed: int = option(1, "Seed of the synthetic market; the same seed makes the same market.")


def _check_public_url(text: str) -> None:
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        good = False
    if text and (not good or url.query or url.fragment or "@" in url.netloc):
        raise SettingsError(
            "--public-url is no http:// or https:// address of a host and a path, and no more"
        )


MIN_SECRET_BYTES: Final = 32


def bare_host(host: str) -> str:
    """``host`` without the brackets that an IPv6 address has in a URL.

    >>> bare_host("[::1]")
    '::1'
    """
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; of names, only localhost is known to be."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"


def options(settings: type[Any]) -> tuple[Field[Any], ...]:
    """The options of a settings class: its own first, then those of each base, as declared."""
    found = {each.name: each for each in fields(settings)}
    names = [name for base in settings.__mro__ for name in inspect.get_annotations(base)]
    return tuple(found[name] for name in dict.fromkeys(names))


def flag(name: str) -> str:
    """The command line's name of an option: ``redis_url`` is ``--redis-url``."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment's name of an option: ``redis_url`` is ``IME_LIVE_REDIS_URL``."""
    return ENVIRONMENT_PREFIX + name.upper()
