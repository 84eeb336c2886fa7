"""Every option once: its name, default, unit and help.

The fields of these classes are the table from which the flags of the command line, the variables of
the environment (`IME_LIVE_` and the field in capitals) and `docs/settings.md` are made. A program
that embeds the gateway creates the classes itself. Nothing here reads the environment.
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
"""Word for the origins of all pages of this machine."""

# As browsers send it: RFC 6454, 6.2.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")


class AuthMode(StrEnum):
    """How clients authenticate."""

    JWT = "jwt"
    NONE = "none"


class LogFormat(StrEnum):
    """Format of the log lines."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Least severe level that is logged."""

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
        default: value if none is given.
        help: a sentence or two: the thing, its unit, and the meaning of 0 or an empty text.
        secret: whether to keep the value out of all output.
        metavar: placeholder of the value in the help; empty takes it from the default's type.
        above: exclusive lower limit of a number; None for no limit.
        least: inclusive lower limit of a number; None for no limit.
        most: inclusive upper limit of a number; None for no limit.
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
    # The last base of every settings class, so that each is checked on creation.

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            SettingsError: a number is out of range; the text names the option.
        """
        for each in fields(self):  # type: ignore[arg-type] # subclasses are dataclasses
            _check_number(each, getattr(self, each.name))


def _check_number(field: Field[Any], value: object) -> None:
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise SettingsError(f"{flag(field.name)} must be a number, got {value}")
    above, least, most = (field.metadata[name] for name in ("above", "least", "most"))
    if above is not None and value <= above:
        raise SettingsError(f"{flag(field.name)} must be above {above}, got {value}")
    if least is not None and value < least:
        raise SettingsError(f"{flag(field.name)} must be {least} or more, got {value}")
    if most is not None and value > most:
        raise SettingsError(f"{flag(field.name)} must be {most} or less, got {value}")


@dataclass(frozen=True, kw_only=True)
class StoreSettings(_Checked):
    """Address of Redis or Valkey, and the names of its keys."""

    redis_url: str = option(
        "redis://127.0.0.1:6379",
        "Address of Redis or Valkey: redis://[user:password@]host:port[/db], rediss:// for TLS, "
        "unix:///path/to/socket, redis+sentinel://[user:password@]host:port,host:port/master[/db] "
        "or redis+cluster://[user:password@]host:port,host:port; with TLS, rediss+sentinel:// and "
        "rediss+cluster://. Quote the password (@ is %40).",
        secret=True,
        metavar="URL",
    )
    key_prefix: str = option("ime:", "Prefix of all keys and channels in Redis.")
    redis_timeout: float = option(
        5.0,
        "Timeout for an answer of Redis [seconds]; after it the connection counts as broken.",
        above=0,
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings(_Checked):
    """Level and format of the log."""

    log_level: LogLevel = option(LogLevel.INFO, "Least severe level that is logged.")
    log_format: LogFormat = option(LogFormat.TEXT, "Format of the log lines.")


@dataclass(frozen=True, kw_only=True)
class JwtSettings(_Checked):
    """Keys of tokens, and the claims that they must have."""

    jwt_secret: str = option(
        "",
        "Shared secret of HS256 tokens [at least 32 bytes]; empty accepts no such tokens.",
        secret=True,
    )
    jwt_public_key: str = option(
        "",
        "PEM file with the public key (RSA, EC P-256 or Ed25519) that verifies tokens; empty "
        "uses none.",
        metavar="FILE",
    )
    jwks: str = option(
        "", "JWKS file or URL with the issuer's public keys; empty uses none.", metavar="FILE|URL"
    )
    jwt_audience: str = option("", "Audience that tokens must have (claim aud); empty accepts any.")
    jwt_issuer: str = option("", "Issuer that tokens must have (claim iss); empty accepts any.")
    jwt_leeway: float = option(
        0.0,
        "Tolerance for the issuer's clock in the times of tokens [seconds]; 0 allows none.",
        least=0,
    )


@dataclass(frozen=True, kw_only=True)
class AuthSettings(JwtSettings):
    """Whether tokens are required, and how they are checked."""

    auth: AuthMode = option(
        AuthMode.JWT,
        "Authentication of clients: jwt requires a token, none does not. none works on a loopback "
        "address only; every program and web page of this machine can connect then.",
    )

    _keys_needed = True

    @property
    def has_keys(self) -> bool:
        """Whether there is a key to check tokens with."""
        return bool(self.jwt_secret or self.jwt_public_key or self.jwks)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            SettingsError: tokens are required but there is no key, or the secret is too short.
        """
        super().__post_init__()
        if self.auth is AuthMode.NONE:
            return
        if self._keys_needed and not self.has_keys:
            raise SettingsError(
                "authentication must have a key, got none: set --jwt-secret, --jwt-public-key or "
                "--jwks (or --auth none on a loopback address)"
            )
        size = len(self.jwt_secret.encode())
        if self.jwt_secret and size < MIN_SECRET_BYTES:
            raise SettingsError(
                f"--jwt-secret must have at least {MIN_SECRET_BYTES} bytes for HS256 (RFC 7518, "
                f"3.2), got {size}"
            )


@dataclass(frozen=True, kw_only=True)
class GatewaySettings(StoreSettings, AuthSettings, LogSettings):
    """The gateway: its address, its limits and its timeouts."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", least=0, most=65_535)
    workers: int = option(1, "Processes that share the port; each uses one core.", above=0)
    root_path: str = option(
        "",
        "Path prefix of a proxy in front, which may strip it or pass it on, as /data-engine/ime; "
        "empty without a prefix.",
    )
    docs: bool = option(
        True, "Serve the API documents without a token: /docs, /openapi.json and /asyncapi.json."
    )
    public_url: str = option(
        "",
        "Address of the gateway for clients, as https://example.com/data-engine/ime, shown in "
        "/asyncapi.json; empty takes the host of the request.",
        metavar="URL",
    )
    timezone: str = option(
        "Asia/Tehran",
        "Time zone of the messages' timestamps. A zone with daylight saving repeats an hour each "
        "year, in which timestamps do not grow.",
    )
    max_contracts: int = option(1000, "Most contracts per connection or HTTP request.", above=0)
    request_rate: float = option(
        100.0,
        "Requests for data per token subject, or per address without one, and worker [1/second]; "
        "five times as many at once. 0 sets no limit.",
        least=0,
    )
    cors_origins: str = option(
        "",
        "Origins of web pages that may use the HTTP calls (CORS), as https://example.org, "
        "separated by commas; loopback for pages of this machine, * for all, empty for none.",
        metavar="LIST",
    )
    strict_query: bool = option(
        False,
        "Refuse requests with unknown query parameters; otherwise they are ignored and logged.",
    )
    compression: bool = option(
        True, "Compress WebSocket messages (permessage-deflate) for clients that ask for it."
    )
    ping_interval: float = option(20.0, "Time between two pings to a client [seconds].", above=0)
    ping_timeout: float = option(
        20.0, "Timeout for a client's answer to a ping [seconds].", above=0
    )
    slow_client_timeout: float = option(
        60.0,
        "Time without any progress after which a slow client is closed [seconds].",
        above=0,
    )
    send_buffer: int = option(
        65_536,
        "Send buffer of the kernel per client [bytes] (SO_SNDBUF); 0 leaves its default.",
        least=0,
    )
    unsent_limit: int = option(
        16_384,
        "Unsent data in that buffer [bytes] (TCP_NOTSENT_LOWAT); 0 leaves the default.",
        least=0,
    )
    max_client_message: int = option(4096, "Largest message of a client [bytes].", above=0)
    client_rate: float = option(
        10.0,
        "Frames that a client may send [1/second]; five times as many at once.",
        above=0,
    )
    max_request: int = option(
        131_072,
        "Largest request line with headers, and largest body [bytes].",
        above=0,
    )
    handshake_timeout: float = option(
        10.0,
        "Timeout for a client's complete request [seconds].",
        above=0,
    )
    contracts_interval: float = option(
        25.0,
        "Time between two readings of all contracts from Redis [seconds].",
        above=0,
    )
    status_interval: float = option(
        15.0,
        "Longest time between two status messages to a client that asked for them [seconds].",
        above=0,
    )
    shutdown_spread: float = option(
        3.0,
        "Time over which the closing of clients is spread at shutdown [seconds]; 0 closes all at "
        "once.",
        least=0,
    )

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            SettingsError: the text names the option, what must hold and what was given.
        """
        super().__post_init__()
        if self.auth is AuthMode.NONE and not is_loopback(self.host):
            raise SettingsError(
                f"--host must be a loopback address with --auth none, got {self.host!r}"
            )
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise SettingsError(
                f"--root-path must start with '/' and not end with one, got {self.root_path!r}"
            )
        _check_public_url(self.public_url)
        self.zone  # noqa: B018 - raises if there is no such zone
        for origin in self.origins:
            if origin not in {"*", LOOPBACK} and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"{flag('cors_origins')} must have a scheme, a host and at most a port per "
                    f"origin, as https://example.org, got {origin!r}"
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
    """Connections to the exchange."""

    base_url: str = option(
        "https://cdn.ime.co.ir/realTimeServer/",
        "Address of the exchange's SignalR hub, or of one with the same protocol.",
        metavar="URL",
    )
    polling_url: str = option(
        "https://dataapi.ime.co.ir/api/",
        "Address where the boards are polled while the hub is away.",
        metavar="URL",
    )
    proxy: str = option(
        "",
        "Proxy to the exchange: http://[user:password@]host:port or socks5://host:port. Empty "
        "reads HTTPS_PROXY and NO_PROXY from the environment.",
        secret=True,
        metavar="URL",
    )
    user_agent: str = option(
        "", "User-Agent header for the exchange; empty sends ime-live and its version."
    )
    transports: str = option(
        "webSockets,serverSentEvents,longPolling",
        "Transports for the hub in order of preference, separated by commas.",
        metavar="LIST",
    )
    connect_timeout: float = option(
        10.0, "Timeout for an answer of the exchange [seconds].", above=0
    )
    max_reconnect_delay: float = option(
        30.0,
        "Longest wait between two attempts to connect [seconds]; the waits are random and grow.",
        above=0,
    )
    upgrade_after: float = option(
        600.0,
        "Time after which a better transport is tried again [seconds].",
        above=0,
    )
    polling_interval: float = option(
        2.0,
        "Time between two polls of the boards while the hub is away [seconds]; 0 never polls. "
        "Warehouse receipts cannot be polled.",
        least=0,
    )
    boards: str = option(
        "futures,options,cdc,gavahi",
        "Boards to read, separated by commas, of futures, options, cdc, gavahi (warehouse "
        "receipts), sandoq (funds) and salaf.",
        metavar="LIST",
    )


@dataclass(frozen=True, kw_only=True)
class HoursSettings(_Checked):
    """Trading hours of the exchange, in Tehran's time."""

    hours_futures: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00",
        "Sessions of futures: days and times in Tehran.",
        metavar="HOURS",
    )
    hours_options: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of options.", metavar="HOURS"
    )
    hours_certificates: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of deposit certificates.", metavar="HOURS"
    )
    official_holidays: bool = option(
        True, "Treat Iran's official holidays as days without a session."
    )
    holidays: str = option(
        "",
        "More days without a session, Jalali or Gregorian, separated by commas: 1405-05-03, "
        "2026-08-01, or a range with two dots between its first and last day.",
        metavar="DAYS",
    )
    trading_days: str = option(
        "", "Holidays with a session all the same, as for --holidays.", metavar="DAYS"
    )
    stale_after: float = option(
        30.0, "Time without a board in a session after which a market is stale [seconds].", above=0
    )
    max_lag: float = option(
        10.0, "Delay of boards beyond which their markets are stale [seconds].", above=0
    )


@dataclass(frozen=True, kw_only=True)
class RecordSettings(_Checked):
    """Files of a recording."""

    record_size: int = option(
        100_000_000,
        "Size of frames after which a recording continues in a new file [bytes], as it does at "
        "midnight.",
        above=0,
    )
    record_keep: int = option(
        0, "Number of files of a recording to keep; 0 keeps all of them.", least=0
    )


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(HubSettings, RecordSettings, LogSettings):
    """The recorder: from the exchange to files."""


@dataclass(frozen=True, kw_only=True)
class FeedSettings(StoreSettings, HubSettings, HoursSettings, RecordSettings, LogSettings):
    """The feed: from the exchange to the store."""

    bands: str = option(
        "SIL=0.05, SAF=0.05",
        "Allowed prices by the start of a contract's name: a fraction of the last settlement "
        "(0.05 is 5 %), or a range [rials] as SAFOR01=380000..410000. The longest start counts; "
        "without one there is no limit.",
        metavar="LIST",
    )
    record: str = option(
        "",
        "File in which to record the frames as well, as `feed record`; empty records none.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class UpSettings(GatewaySettings, FeedSettings):
    """Everything on one machine: Valkey, feed and gateway."""

    _keys_needed = False  # a secret is created and kept with the data

    data: str = option(
        "ime-live-data", "Folder for the data; it is created if necessary.", metavar="DIR"
    )


class DemoSource(StrEnum):
    """Sources of the demo's market."""

    SYNTHETIC = "synthetic"
    REPLAY = "replay"


@dataclass(frozen=True, kw_only=True)
class DemoSettings(LogSettings):
    """The demo: an invented market, on this machine only."""

    source: DemoSource = option(
        DemoSource.SYNTHETIC, "Market: synthetic is an invented one, replay repeats --frames."
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
        # Without the value, which may contain a password.
        raise SettingsError(
            "--public-url must be an http:// or https:// URL with a host and a path only; check "
            "for a user, a port, a query or a fragment"
        )


MIN_SECRET_BYTES: Final = 32


def bare_host(host: str) -> str:
    """Strip the brackets that an IPv6 address has in a URL.

    >>> bare_host("[::1]")
    '::1'
    """
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``, an address or ``localhost``."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"


def options(settings: type[Any]) -> tuple[Field[Any], ...]:
    """Return the options of a settings class: its own, then those of each base, as declared."""
    found = {each.name: each for each in fields(settings)}
    names = [name for base in settings.__mro__ for name in inspect.get_annotations(base)]
    return tuple(found[name] for name in dict.fromkeys(names))


def flag(name: str) -> str:
    """Return an option's flag of the command line: ``redis_url`` is ``--redis-url``."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return an option's variable of the environment: ``redis_url`` is ``IME_LIVE_REDIS_URL``."""
    return ENVIRONMENT_PREFIX + name.upper()
