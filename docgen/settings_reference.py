"""Write docs/settings.md: the table of all settings, from `ime_live.settings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field
from enum import StrEnum
from typing import Any, Final

from ime_live.settings import (
    AuthSettings,
    BarsSettings,
    DemoSettings,
    DrainSettings,
    FeedSettings,
    GatewaySettings,
    HoursSettings,
    JwtSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    RecordSettings,
    SignalRHubSettings,
    StoreSettings,
    UpSettings,
    flag,
    options,
    variable,
)

PROGRAM: Final = "ime-live"

# In the order in which one needs them to set up a gateway. Each class stands for the options that
# it declares itself, without those of its bases.
SECTIONS: Final[tuple[tuple[str, type[Any], str], ...]] = (
    ("Gateway", GatewaySettings, "Its address, and the limits of its clients."),
    (
        "Limits",
        LimitSettings,
        "How many streams clients may open; see [operations.md](operations.md#limits).",
    ),
    (
        "Drain",
        DrainSettings,
        "How `drain` finds a running gateway; see [operations.md](operations.md#drain).",
    ),
    ("Redis or Valkey", StoreSettings, "Its address, and the names of its keys."),
    ("Authentication", AuthSettings, "Whether clients need a token."),
    (
        "Tokens",
        JwtSettings,
        (
            "How tokens are checked. `serve` needs a secret, a public key or a JWKS. Use several "
            "while you change from one to another. `token create` uses the secret, the audience "
            "and the issuer."
        ),
    ),
    (
        "Feed",
        FeedSettings,
        "Allowed prices, the recording of frames and metrics; see [feed.md](feed.md).",
    ),
    ("Exchange", SignalRHubSettings, "How the exchange is reached."),
    ("Trading hours", HoursSettings, "When the exchange trades, in Tehran's time."),
    ("Bars", BarsSettings, "How long bars are kept, and metrics; see [history.md](history.md)."),
    (
        "Metrics of feed and bars",
        MetricsSettings,
        "The address of their ports; see [operations.md](operations.md#metrics-of-feed-and-bars).",
    ),
    ("Recordings", RecordSettings, "How frames are recorded."),
    (
        "Running on one machine",
        UpSettings,
        "`up` also takes the options of the gateway and the feed.",
    ),
    ("Logs", LogSettings, "Lines on standard error."),
    ("Demo", DemoSettings, "A synthetic or recorded market, for this machine only."),
)


def settings(used: Mapping[str, set[str]]) -> str:
    """Return the document with the tables of all settings.

    Args:
        used: names of the options of each command.
    """
    lines = [
        "# Settings",
        "",
        "<!-- Generated from src/ime_live/settings by `make docs`. Do not edit. -->",
        "",
        (
            "Every setting is a flag of the commands that use it and an environment variable. A "
            "flag overrides the variable, and the variable overrides the default. `--env-file` "
            "reads variables from a file, which those of the environment override. `ime-live "
            "settings serve` shows the values in force and where each comes from. `--no-…` turns a "
            "switch off; its variable is `true` or `false`. Words are not case-sensitive. Sizes "
            "are in bytes, times in seconds. Commands warn about an unknown variable `IME_LIVE_…` "
            "when they start."
        ),
        "",
        (
            "Settings with ✓ in the column Reload take effect in a running program when it gets "
            "SIGHUP, see [operations.md](operations.md#reloading-settings); the others need a new "
            "start."
        ),
        "",
        (
            "Secrets are marked 🔒. They never appear in logs or errors. Pass them in the "
            "environment, since every user of a machine can read the flags of its processes."
        ),
    ]
    for title, settings_class, text in SECTIONS:
        own = own_options(settings_class)
        names = {option.name for option in own}
        by = [path for path, parameters in used.items() if names <= parameters]
        lines += ["", f"## {title}", "", text, "", f"Commands: {_listed(by)}.", ""]
        lines += ["| Flag | Environment variable | Default | Reload | Meaning |", "|---" * 5 + "|"]
        lines += [_row(option) for option in own]
    return "\n".join(lines) + "\n"


def own_options(settings_class: type[Any]) -> list[Field[Any]]:
    """Return the options that a class declares itself, without those of its bases."""
    inherited = {
        option.name
        for base in settings_class.__mro__[1:]
        if hasattr(base, "__dataclass_fields__")
        for option in options(base)
    }
    return [option for option in options(settings_class) if option.name not in inherited]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"[`{name}`](commands.md#{_anchor(name)})" for name in names)


def _anchor(name: str) -> str:
    return f"{PROGRAM} {name}".replace(" ", "-")


def _row(option: Field[Any]) -> str:
    meaning = option.metadata["help"]
    if option.metadata["secret"]:
        meaning = "🔒 " + meaning
    if isinstance(option.default, StrEnum):
        meaning += f" One of {', '.join(f'`{value}`' for value in type(option.default))}."
    cells = [
        f"`{flag(option.name)}`",
        f"`{variable(option.name)}`",
        _default(option),
        "✓" if option.metadata["reloadable"] else "",
        meaning,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(option: Field[Any]) -> str:
    match option.default:
        case "":
            return "–"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case float() as value if value.is_integer():
            return f"`{int(value)}`"
        case value:
            return f"`{value}`"
