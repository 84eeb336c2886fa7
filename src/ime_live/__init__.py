"""Live market data of the Iran Mercantile Exchange.

- `connect` streams market data from the service, for async and blocking programs.
- `AsyncClient` and `Client` make its REST calls.
- `Publisher` publishes market data to Redis or Valkey. It needs the extra ``server``:
  ``pip install "ime-live[server]"``.

Each name is imported on first use, so a program loads only what it needs, and the command
``ime-live`` can handle Ctrl-C from its first moment.
"""

from __future__ import annotations

from importlib import import_module

# As type checkers define it. Importing typing takes half of the time until Ctrl-C is handled.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ime_live.candles import Candle, Interval
    from ime_live.client.connecting import Connecting, QueueName, connect
    from ime_live.client.network.credentials import Token
    from ime_live.client.options import SectionName, SectionType
    from ime_live.client.protocol.message import ConnectionEvent, Message, Status
    from ime_live.client.protocol.selection import Selected
    from ime_live.client.rest.async_client import AsyncClient
    from ime_live.client.rest.client import Client
    from ime_live.client.rest.response import MarketInfo, OptionPair, Overview
    from ime_live.client.stream.blocking import BlockingStream
    from ime_live.client.stream.stream import Stream
    from ime_live.contracts import Contract, Market
    from ime_live.errors import (
        AuthenticationError,
        CloseCode,
        ContractError,
        ControlError,
        FeedError,
        FencedError,
        ImeLiveError,
        IncompleteError,
        PayloadError,
        RefusedError,
        ServiceError,
        SettingsError,
        StoreError,
        StoreSettingsError,
        UnknownContractError,
    )
    from ime_live.market import (
        Aggregate,
        AllowedPriceRange,
        BestLimit,
        ContractInfo,
        Level,
        Payload,
        PayloadSections,
    )
    from ime_live.market_json import read_payload
    from ime_live.publisher import Publisher, PublishResult
    from ime_live.status import FeedState

    __version__: str

__all__ = [
    "Aggregate",
    "AllowedPriceRange",
    "AsyncClient",
    "AuthenticationError",
    "BestLimit",
    "BlockingStream",
    "Candle",
    "Client",
    "CloseCode",
    "Connecting",
    "ConnectionEvent",
    "Contract",
    "ContractError",
    "ContractInfo",
    "ControlError",
    "FeedError",
    "FeedState",
    "FencedError",
    "ImeLiveError",
    "IncompleteError",
    "Interval",
    "Level",
    "Market",
    "MarketInfo",
    "Message",
    "OptionPair",
    "Overview",
    "Payload",
    "PayloadError",
    "PayloadSections",
    "PublishResult",
    "Publisher",
    "QueueName",
    "RefusedError",
    "SectionName",
    "SectionType",
    "Selected",
    "ServiceError",
    "SettingsError",
    "Status",
    "StoreError",
    "StoreSettingsError",
    "Stream",
    "Token",
    "UnknownContractError",
    "__version__",
    "connect",
    "read_payload",
]


_MODULES = {
    "Aggregate": "ime_live.market",
    "AllowedPriceRange": "ime_live.market",
    "AuthenticationError": "ime_live.errors",
    "BestLimit": "ime_live.market",
    "Candle": "ime_live.candles",
    "Interval": "ime_live.candles",
    "Client": "ime_live.client.rest.client",
    "BlockingStream": "ime_live.client.stream.blocking",
    "AsyncClient": "ime_live.client.rest.async_client",
    "CloseCode": "ime_live.errors",
    "Connecting": "ime_live.client.connecting",
    "ConnectionEvent": "ime_live.client.protocol.message",
    "Contract": "ime_live.contracts",
    "ContractError": "ime_live.errors",
    "ContractInfo": "ime_live.market",
    "ControlError": "ime_live.errors",
    "FeedError": "ime_live.errors",
    "FeedState": "ime_live.status",
    "FencedError": "ime_live.errors",
    "ImeLiveError": "ime_live.errors",
    "IncompleteError": "ime_live.errors",
    "Level": "ime_live.market",
    "Market": "ime_live.contracts",
    "Message": "ime_live.client.protocol.message",
    "PublishResult": "ime_live.publisher",
    "MarketInfo": "ime_live.client.rest.response",
    "OptionPair": "ime_live.client.rest.response",
    "Overview": "ime_live.client.rest.response",
    "PayloadSections": "ime_live.market",
    "Payload": "ime_live.market",
    "PayloadError": "ime_live.errors",
    "Publisher": "ime_live.publisher",
    "QueueName": "ime_live.client.connecting",
    "RefusedError": "ime_live.errors",
    "SectionName": "ime_live.client.options",
    "SectionType": "ime_live.client.options",
    "Selected": "ime_live.client.protocol.selection",
    "ServiceError": "ime_live.errors",
    "SettingsError": "ime_live.errors",
    "Status": "ime_live.client.protocol.message",
    "StoreError": "ime_live.errors",
    "StoreSettingsError": "ime_live.errors",
    "Stream": "ime_live.client.stream.stream",
    "Token": "ime_live.client.network.credentials",
    "UnknownContractError": "ime_live.errors",
    "connect": "ime_live.client.connecting",
    "read_payload": "ime_live.market_json",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("ime-live")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ime_live":
            raise  # a bug, not a missing package
        raise ImportError(
            f'{name} needs more packages ({error.name} is missing): pip install "ime-live[server]"',
            name=__name__,
        ) from error
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
