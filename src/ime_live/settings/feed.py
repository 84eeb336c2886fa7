"""Settings of the feed: the exchange, its trading hours, and recordings."""

from __future__ import annotations

from dataclasses import dataclass

from ime_live.settings.log import LogSettings
from ime_live.settings.metrics import MetricsSettings
from ime_live.settings.option import Checked, option
from ime_live.settings.store import StoreSettings


@dataclass(frozen=True, kw_only=True)
class SignalRHubSettings(Checked):
    """Connections to the exchange."""

    base_url: str = option(
        "https://cdn.ime.co.ir/realTimeServer/",
        "URL of the exchange's SignalR hub, or of one with the same protocol.",
        metavar="URL",
    )
    polling_url: str = option(
        "https://dataapi.ime.co.ir/api/",
        "Base URL for polling the boards while the SignalR hub is unreachable.",
        metavar="URL",
        former="boards_url",
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
        "Transports for the SignalR hub in order of preference, separated by commas.",
        metavar="LIST",
    )
    connect_timeout: float = option(
        10.0, "Timeout for an answer of the exchange [seconds].", above=0
    )
    max_reconnect_delay: float = option(
        30.0,
        "Maximum wait between two attempts to connect [seconds]; waits are random and grow.",
        above=0,
        former="retry_limit",
    )
    upgrade_after: float = option(
        600.0,
        "Time after which a better transport is tried again [seconds].",
        above=0,
    )
    polling_interval: float = option(
        2.0,
        "Time between two polls of the boards while the SignalR hub is unreachable [seconds]; 0 "
        "disables polling. Warehouse receipts, funds and parallel salaf cannot be polled.",
        minimum=0,
        former="poll",
    )
    boards: str = option(
        "futures,options,cdc,gavahi,sandoq,salaf",
        "Boards to read, separated by commas: futures, options, cdc, gavahi (warehouse "
        "receipts), sandoq (funds) and salaf (parallel salaf).",
        metavar="LIST",
    )


@dataclass(frozen=True, kw_only=True)
class HoursSettings(Checked):
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
    hours_funds: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of funds.", metavar="HOURS"
    )
    hours_salaf: str = option(
        "sat-wed 11:45-17:00, thu 11:45-15:00", "Sessions of parallel salaf.", metavar="HOURS"
    )
    official_holidays: bool = option(
        True, "Treat Iran's official holidays as days without a session."
    )
    holidays: str = option(
        "",
        "Further days without a session, Jalali or Gregorian, separated by commas: 1405-05-03, "
        "2026-08-01, or a range with two dots between its first and last day.",
        metavar="DAYS",
    )
    trading_days: str = option(
        "", "Holidays on which the exchange trades, written as for --holidays.", metavar="DAYS"
    )
    stale_after: float = option(
        30.0, "Time without a board in a session after which a market is stale [seconds].", above=0
    )
    max_lag: float = option(
        10.0, "Delay of boards beyond which their markets are stale [seconds].", above=0
    )


@dataclass(frozen=True, kw_only=True)
class RecordSettings(Checked):
    """Files of a recording."""

    record_size: int = option(
        100_000_000,
        "Size of the frames after which a recording continues in a new file [bytes]; it also does "
        "so at midnight.",
        above=0,
    )
    record_keep: int = option(
        0, "Number of files to keep per recording; 0 keeps all of them.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class RecorderSettings(SignalRHubSettings, RecordSettings, LogSettings):
    """The recorder, which writes the exchange's frames to files."""


@dataclass(frozen=True, kw_only=True)
class FeedSettings(
    StoreSettings, SignalRHubSettings, HoursSettings, RecordSettings, MetricsSettings, LogSettings
):
    """The feed, which publishes the exchange's market data to the store."""

    price_limits: str = option(
        "SIL=0.05, SAF=0.05",
        "Price limits by prefix of a contract's name: a fraction of the last settlement price "
        "(0.05 is 5 %), or a range [rials] such as SAFOR01=380000..410000. The longest prefix "
        "applies; without a match there is no limit.",
        metavar="LIST",
        former="bands",
    )
    record: str = option(
        "",
        "File for recording the frames as well, as with `feed record`; empty records nothing.",
        metavar="FILE",
    )
    feed_metrics_port: int = option(
        0,
        "Port for /health, /ready and /metrics of the feed; 0 opens none.",
        minimum=0,
        maximum=65_535,
    )
