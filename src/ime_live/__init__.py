"""Live market data of the Iran Mercantile Exchange.

The names below are the public ones. `Publisher` and `Outcome` need the extra ``server`` and are
imported when they are used first, so that a program that only reads the stream does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ime_live.contracts import Contract, Market
from ime_live.errors import (
    AuthenticationError,
    CloseCode,
    ContractError,
    ControlError,
    FeedError,
    ImeLiveError,
    PayloadError,
    RefusedError,
    SettingsError,
    StoreError,
    UnknownContractError,
)
from ime_live.market import (
    Aggregate,
    AllowedPriceRange,
    BestLimit,
    ContractInfo,
    Level,
    Payload,
    read_payload,
)

if TYPE_CHECKING:
    from ime_live.publisher import Outcome, Publisher

    __version__: str

__all__ = [
    "Aggregate",
    "AllowedPriceRange",
    "AuthenticationError",
    "BestLimit",
    "CloseCode",
    "Contract",
    "ContractError",
    "ContractInfo",
    "ControlError",
    "FeedError",
    "ImeLiveError",
    "Level",
    "Market",
    "Outcome",
    "Payload",
    "PayloadError",
    "Publisher",
    "RefusedError",
    "SettingsError",
    "StoreError",
    "UnknownContractError",
    "__version__",
    "read_payload",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("ime-live")
    if name not in {"Publisher", "Outcome"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ime_live import publisher
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ime_live":
            raise  # a defect of ours, not a package that is missing
        raise ImportError(
            f'{name} needs more packages ({error.name} is missing): pip install "ime-live[server]"',
            name=__name__,
        ) from error
    return getattr(publisher, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
