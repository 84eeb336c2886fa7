"""Select the static fields of a contract by its market, as the REST calls return them. No I/O.

Names, types and descriptions are those of `ime_live.contracts.Contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta, Struct

from ime_live.contracts import Contract, Market, days_left

_COMMON: Final = (
    *("contract_id", "contract_name", "title", "owner"),
    *("min_price_change_rate", "max_price_change_rate", "buy_commission", "sell_commission"),
    *("can_buy", "can_sell", "min_valid_buy_volume", "max_valid_buy_volume"),
    *("min_valid_sell_volume", "max_valid_sell_volume", "min_dealable_price"),
    *("min_dealable_count", "data_class"),
)
_DAYS: Final = "days_to_expiration"
_FUTURE: Final = (
    *("initial_margin", "maintenance_margin", "expiration_date", _DAYS, "csize"),
    *("exercise_fee_physical", "exercise_fee_cash", "exercise_sell_tax"),
    *("underlying_id", "underlying_title", "underlying_name"),
)
_OPTION: Final = ("option_type", "strike_price", "required_margin")
_UNDOCUMENTED: Final = (
    *("market", "aliases", "tick_size", "csize_unit", "price_limit_rule"),
    *("settlement_price", "settlement_date", "today_settlement", "expired", "delisted"),
)

# The only field that is computed.
_DaysLeft = Annotated[
    int | None,
    Meta(
        description="days from today, in Tehran's calendar, to the last trading day; 0 afterwards."
    ),
]


def _type(name: str, text: str, *attributes: str) -> type[Struct]:
    """Make the type of a market's static fields; unknown fields are null."""
    hints = get_type_hints(Contract) | {_DAYS: _DaysLeft}
    names = {each.name: each.encode_name for each in msgspec.structs.fields(Contract)}
    names[_DAYS] = "DaysToExpiration"
    fields = [(attribute, hints[attribute]) for attribute in attributes]
    return msgspec.defstruct(
        name,
        fields,
        frozen=True,
        rename=names.__getitem__,
        namespace={"__doc__": text, "__annotations__": dict(fields)},
        module=__name__,
    )


Static: Final = _type("Static", "A contract whose market is not known.", *_COMMON)
DepositCertificate: Final = _type(
    "DepositCertificate", "A deposit certificate.", *_COMMON, "storage_cost"
)
Fund: Final = _type("Fund", "A fund.", *_COMMON)
ParallelSalaf: Final = _type("ParallelSalaf", "A parallel salaf.", *_COMMON)
Future: Final = _type("Future", "A future.", *_COMMON, *_FUTURE)
Option: Final = _type("Option", "An option.", *_COMMON, *_FUTURE, *_OPTION)

Details: Final = _type(
    "Details",
    "All known static fields of a contract of any market.",
    *(*_COMMON, *_FUTURE, *_OPTION, "storage_cost", *_UNDOCUMENTED),
)

TYPES: Final[Mapping[Market | None, type[Struct]]] = {
    Market.FUTURES: Future,
    Market.OPTION: Option,
    Market.DEPOSIT_CERTIFICATE: DepositCertificate,
    Market.FUND: Fund,
    Market.PARALLEL_SALAF: ParallelSalaf,
    None: Static,
}
"""Market → type of its static fields; None for a contract whose market is not known."""

# By type: a getter of all attributes but the computed one, and the index of that one.
_GETTERS: Final = {
    kind: attrgetter(*(each for each in kind.__struct_fields__ if each != _DAYS))
    for kind in (*TYPES.values(), Details)
}
_DAYS_INDEX: Final = {
    kind: kind.__struct_fields__.index(_DAYS)
    for kind in (*TYPES.values(), Details)
    if _DAYS in kind.__struct_fields__
}
_encode = msgspec.json.Encoder().encode


def static_of(contract: Contract, today: date, *, details: bool = False) -> Struct:
    """Return the static fields of a contract.

    Args:
        contract: the contract.
        today: the date in Tehran.
        details: whether to return all fields, and not only the documented ones of the market.
    """
    kind = Details if details else TYPES[contract.market]
    values: tuple[Any, ...] = _GETTERS[kind](contract)
    index = _DAYS_INDEX.get(kind)
    if index is None:
        return kind(*values)
    days = days_left(contract.expiration_date, today)
    return kind(*values[:index], days, *values[index:])


@lru_cache(maxsize=1_000)  # the result changes at most once per day
def static_json(contract: Contract, today: date, *, details: bool = False) -> bytes:
    """Return the static fields of a contract as compact JSON; see `static_of`."""
    return _encode(static_of(contract, today, details=details))
