"""Every option once: its name, default, unit and help.

The fields of these classes are the table. From it come the command line's flags, the
environment's names (`IME_LIVE_` and the field in capitals) and `docs/settings.md`; a program
that embeds the gateway fills in the classes itself. Nothing here reads the environment.
"""

from __future__ import annotations

import inspect
import ipaddress
import math
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ime_live.errors import SettingsError

ENVIRONMENT_PREFIX: Final = "IME_LIVE_"


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
        "or unix:///path/to/socket.",
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

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            SettingsError: tokens are asked for and nothing is there to check them with.
        """
        super().__post_init__()
        if self.auth is AuthMode.NONE:
            return
        if not (self.jwt_secret or self.jwt_public_key or self.jwks):
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
    timezone: str = option(
        "Asia/Tehran",
        "Zone whose wall clock the messages' timestamps show. One with daylight saving repeats "
        "an hour a year, and its timestamps do not grow then.",
    )
    max_contracts: int = option(1000, "Contracts that one connection may ask for.", above=0)
    compression: bool = option(True, "Offer permessage-deflate to clients that ask for it.")
    ping_interval: float = option(20.0, "Seconds between two pings of a client.", above=0)
    ping_timeout: float = option(20.0, "Seconds within which a client answers a ping.", above=0)
    unwritable_timeout: float = option(
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
        "Messages a second that a client may send for long; five times as many at once.",
        above=0,
    )
    max_request: int = option(
        131_072,
        "Bytes of the largest request line and headers; a longer one is a 431.",
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
    drain: float = option(
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
        self.zone  # noqa: B018 - raises for a zone that does not exist

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of `timezone`.

        Raises:
            SettingsError: the tz database has no such zone.
        """
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SettingsError(f"--timezone {self.timezone} is not a time zone") from error


@dataclass(frozen=True, kw_only=True)
class DemoSettings(LogSettings):
    """The demo: a market of its own, on this machine only."""

    host: str = option("127.0.0.1", "Loopback address to listen on.")
    port: int = option(8000, "Port to listen on; 0 takes a free one.", least=0, most=65_535)
    seed: int = option(1, "Seed of the synthetic market; the same seed makes the same market.")


MIN_SECRET_BYTES: Final = 32


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; of names, only localhost is known to be."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
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
