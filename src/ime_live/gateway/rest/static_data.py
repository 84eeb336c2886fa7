"""Select the static fields of a contract by its market, as the REST calls return them. No I/O.

Names and types are those of `ime_live.contracts.Contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from operator import attrgetter
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta, Struct

from ime_live.contracts import Contract, Market

# Attributes of a contract, and their descriptions.
_EVERY: Final = {
    "contract_id": "Its id.",
    "contract_name": "Its name, the current one.",
    "title": "Its title in Persian.",
    "owner": "Its owner, as the source names it.",
    "min_price_change_rate": "Smallest change of the price in a day, as a fraction.",
    "max_price_change_rate": "Greatest change of the price in a day, as a fraction.",
    "buy_commission": "Commission of a buyer, as a fraction: 0.0025 is 0.25 %.",
    "sell_commission": "Commission of a seller, as a fraction.",
    "can_buy": "Whether orders to buy are taken.",
    "can_sell": "Whether orders to sell are taken.",
    "min_valid_buy_volume": "The smallest order to buy.",
    "max_valid_buy_volume": "The largest order to buy.",
    "min_valid_sell_volume": "The smallest order to sell.",
    "max_valid_sell_volume": "The largest order to sell.",
    "min_dealable_price": "Smallest price that can be dealt at, in rials.",
    "min_dealable_count": "Smallest quantity that can be dealt.",
    "data_class": "How the source classifies it.",
}
_CERTIFICATE: Final = {"storage_cost": "Cost of storage, in rials."}
_FUTURE: Final = {
    "initial_margin": "Initial margin, in rials.",
    "maintenance_margin": "Maintenance margin, in rials.",
    "expiration_date": "The last trading day, YYYY-MM-DD (Gregorian).",
    "days_to_expiration": "Days from today, by Tehran's calendar, until then; 0 afterwards.",
    "csize": "Units of the underlying in one contract.",
    "exercise_fee_physical": "Fee of a physical delivery, in rials.",
    "exercise_fee_cash": "Fee of a cash settlement, in rials.",
    "exercise_sell_tax": "Tax of a sale by delivery, in rials.",
    "underlying_id": "Id or ISIN of the underlying.",
    "underlying_title": "Title of the underlying.",
    "underlying_name": "Name or symbol of the underlying.",
}
_OPTION: Final = {
    "option_type": "`call` or `put`.",
    "strike_price": "Strike price, in rials.",
    "required_margin": "Margin that is required now, in rials.",
}

_DAYS: Final = "days_to_expiration"
_FIRST_YEAR: Final = 1900


def _type(name: str, text: str, *tables: Mapping[str, str]) -> type[Struct]:
    """Make the type of a market's static fields; fields that are not known are null."""
    hints = get_type_hints(Contract) | {_DAYS: int | None}
    names = {each.name: each.encode_name for each in msgspec.structs.fields(Contract)}
    names[_DAYS] = "DaysToExpiration"
    fields = [
        (attribute, Annotated[hints[attribute], Meta(description=what)])
        for table in tables
        for attribute, what in table.items()
    ]
    return msgspec.defstruct(
        name,
        fields,
        frozen=True,
        rename=names.__getitem__,
        namespace={"__doc__": text, "__annotations__": dict(fields)},
        module=__name__,
    )


Static: Final = _type("Static", "A contract of no market that is known.", _EVERY)
DepositCertificate: Final = _type(
    "DepositCertificate", "A deposit certificate.", _EVERY, _CERTIFICATE
)
Future: Final = _type("Future", "A future.", _EVERY, _FUTURE)
Option: Final = _type("Option", "An option.", _EVERY, _FUTURE, _OPTION)

TYPES: Final[Mapping[Market | None, type[Struct]]] = {
    Market.FUTURES: Future,
    Market.OPTION: Option,
    Market.DEPOSIT_CERTIFICATE: DepositCertificate,
    None: Static,
}
"""Market → type of its static fields; None for a contract whose market is not known."""

# Per type: a getter of all attributes but the computed one, and the place of that one.
_VALUES: Final = {
    kind: attrgetter(*(each for each in kind.__struct_fields__ if each != _DAYS))
    for kind in TYPES.values()
}
_PLACE: Final = {
    kind: kind.__struct_fields__.index(_DAYS)
    for kind in TYPES.values()
    if _DAYS in kind.__struct_fields__
}
_encode = msgspec.json.Encoder().encode


def static_of(contract: Contract, today: date) -> Struct:
    """Return the static fields of a contract.

    Args:
        contract: its record.
        today: the date in Tehran.
    """
    kind = TYPES[contract.market]
    values: tuple[Any, ...] = _VALUES[kind](contract)
    place = _PLACE.get(kind)
    if place is None:
        return kind(*values)
    left = days_left(contract.expiration_date, today)
    return kind(*values[:place], left, *values[place:])


def static_json(contract: Contract, today: date) -> bytes:
    """Return the static fields of a contract as compact JSON."""
    return _encode(static_of(contract, today))


def days_left(expiration_date: str | None, today: date) -> int | None:
    """Return the days until a contract expires; 0 once it has, None if the date is not known.

    It is never negative: programs that divide by it or take its root would fail, and the date
    says the same.
    """
    if expiration_date is None:
        return None
    try:
        last = date.fromisoformat(expiration_date)
    except ValueError:
        return None
    # A year such as 1405 is a Jalali one, which was imported without conversion.
    return max(0, (last - today).days) if last.year >= _FIRST_YEAR else None
