"""Live market data of the Iran Mercantile Exchange.

The names below are the public ones. Those of the client library are imported when they are used
first, so that a server does not carry them; so are `Publisher` and `Outcome`, which need the extra
``server``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ime_live.contracts import Contract, Market
from ime_live.errors import (
    AuthenticationError,
    CloseCode,
    ContractError,
    ControlError,
    FeedError,
    ImeLiveError,
    IncompleteError,
    PayloadError,
    RefusedError,
    ServiceError,
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
    Part,
    Payload,
    read_payload,
)
from ime_live.status import FeedState

if TYPE_CHECKING:
    from ime_live.client.blocking import BlockingClient, BlockingStream
    from ime_live.client.connecting import Connecting, QueueName, SectionName, connect
    from ime_live.client.credentials import Token
    from ime_live.client.message import ConnectionEvent, Message, Status
    from ime_live.client.rest import Client, Overview
    from ime_live.client.selection import Selected
    from ime_live.client.stream import Stream
    from ime_live.publisher import Outcome, Publisher

    __version__: str

__all__ = [
    "Aggregate",
    "AllowedPriceRange",
    "AuthenticationError",
    "BestLimit",
    "BlockingClient",
    "BlockingStream",
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
    "ImeLiveError",
    "IncompleteError",
    "Level",
    "Market",
    "Message",
    "Outcome",
    "Overview",
    "Part",
    "Payload",
    "PayloadError",
    "Publisher",
    "QueueName",
    "RefusedError",
    "SectionName",
    "Selected",
    "ServiceError",
    "SettingsError",
    "Status",
    "StoreError",
    "Stream",
    "Token",
    "UnknownContractError",
    "__version__",
    "connect",
    "read_payload",
]


_LATER = {
    "BlockingClient": "ime_live.client.blocking",
    "BlockingStream": "ime_live.client.blocking",
    "Client": "ime_live.client.rest",
    "Connecting": "ime_live.client.connecting",
    "ConnectionEvent": "ime_live.client.message",
    "Message": "ime_live.client.message",
    "Outcome": "ime_live.publisher",
    "Overview": "ime_live.client.rest",
    "Publisher": "ime_live.publisher",
    "QueueName": "ime_live.client.connecting",
    "SectionName": "ime_live.client.connecting",
    "Selected": "ime_live.client.selection",
    "Status": "ime_live.client.message",
    "Stream": "ime_live.client.stream",
    "Token": "ime_live.client.credentials",
    "connect": "ime_live.client.connecting",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("ime-live")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_LATER[name])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ime_live":
            raise  # a defect of ours, not a package that is missing
        raise ImportError(
            f'{name} needs more packages ({error.name} is missing): pip install "ime-live[server]"',
            name=__name__,
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
