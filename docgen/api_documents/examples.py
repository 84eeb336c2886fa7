"""One example message of each kind, for the API documents.

They are made from the types of `ime_live.messages`, so they change with the messages.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ime_live.contracts import Market
from ime_live.market import (
    SECTIONS,
    Aggregate,
    AllowedPriceRange,
    BestLimit,
    ContractInfo,
    Level,
    Payload,
    sections_of,
)
from ime_live.messages import (
    Action,
    ControlData,
    ControlFault,
    ControlMessage,
    ControlRequest,
    StatusData,
    StatusMessage,
    StreamMessage,
)
from ime_live.status import FeedState

_NAME: Final = "ContractA"
_ID: Final = "12345"
_TIME: Final = "2026-05-23T15:10:00.000000"

_PAYLOAD: Final = Payload(
    best_limit=BestLimit(
        first=Level(5, 999_100, 8, 999_900),
        second=Level(2, 999_000, 1, 1_000_000),
        third=Level(9, 998_700, 4, 1_000_300),
    ),
    aggregate=Aggregate(
        date="2026-05-23",
        time="15:10:00",
        trade_count=412,
        total_volume=1630,
        total_value=16_290_125_000,
        closing_price=999_393.5,
        last_price=999_100,
        low_price=991_000,
        high_price=1_004_800,
        open_price=1_001_000,
        previous_close=1_000_000,
    ),
    allowed_price_range=AllowedPriceRange(min_allowed_price=950_000, max_allowed_price=1_050_000),
    contract_info=ContractInfo(open_interest=4997, open_interest_changes=-3),
)

_WHOLE: Final = sections_of(_PAYLOAD, SECTIONS)

_MESSAGES: Final[dict[str, tuple[object, ...]]] = {
    "streamByName": (
        StreamMessage(contract_name=_NAME, timestamp=_TIME, data=_WHOLE),
        StreamMessage(
            contract_name=_NAME,
            timestamp=_TIME,
            skipped=3,
            data=sections_of(_PAYLOAD, ["BestLimit"]),
        ),
    ),
    "streamById": (StreamMessage(contract_id=_ID, timestamp=_TIME, data=_WHOLE),),
    "status": (
        StatusMessage(
            timestamp="2026-05-23T15:10:04.000000",
            data=StatusData(
                feed=FeedState.LIVE,
                since="2026-05-23T11:45:00.104000",
                last_board="2026-05-23T15:10:03.420000",
                current=True,
                markets={Market.FUTURES: FeedState.LIVE},
                contracts={_NAME: _TIME, "ContractB": None},
            ),
        ),
    ),
    "controlRequest": (
        ControlRequest(action=Action.SUBSCRIBE, contract_names=("ContractB",), snapshot=True, id=1),
        ControlRequest(action=Action.UNSUBSCRIBE, contract_ids=(_ID,), id="b"),
    ),
    "control": (
        ControlMessage(
            timestamp="2026-05-23T15:10:05.000000",
            data=ControlData(
                id=1,
                action=Action.SUBSCRIBE,
                contract_names=[_NAME, "ContractB"],
                contract_ids=[],
                errors=[ControlFault("XYZ", "unknown contract: XYZ")],
            ),
        ),
    ),
}

SPECIMENS: Final[dict[str, list[Any]]] = {
    name: [msgspec.to_builtins(message) for message in messages]
    for name, messages in _MESSAGES.items()
}
"""Kind of message → its examples, as in JSON."""
