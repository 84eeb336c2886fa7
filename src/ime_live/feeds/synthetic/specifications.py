"""Specifications: the terms of futures, options and certificates in the synthetic market.

They are those of the exchange's boards of 1401 and 1403: titles, volumes, limits and margins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from ime_live.contracts import Contract, Market
from ime_live.feeds.synthetic.instrument import CALL, PUT, Instrument, Underlying, option_price

MONTHS: Final = {
    "FA": "فروردین",
    "OR": "اردیبهشت",
    "KH": "خرداد",
    "TR": "تیر",
    "MO": "مرداد",
    "SH": "شهریور",
    "ME": "مهر",
    "AB": "آبان",
    "AZ": "آذر",
    "DY": "دی",
    "BA": "بهمن",
    "ES": "اسفند",
}
"""The months as codes spell them, and their names."""


def _month(code: str) -> str:
    # A code ends with the month and two digits of the year: SAFOR01 is of Ordibehesht 1401.
    return f"{MONTHS[code[-4:-2]]} ماه 14{code[-2:]}"


@dataclass(frozen=True, slots=True)
class Derivative:
    """Terms that the futures and options on one underlying share.

    Attributes:
        underlying: the asset.
        size: units of it per contract.
        tick: smallest change of the price, in rials.
        initial_margin: of futures, in rials.
    """

    underlying: Underlying
    size: int
    tick: int
    initial_margin: int = 0


# Saffron of 1401 traded 4.97 % above its previous close on 7 February 2022.
_PRICE_LIMIT: Final = 0.05


def future(
    name: str,
    contract_id: str,
    derivative: Derivative,
    factor: float,
    pace: float,
    open_interest: int,
    last_day: str | None,
) -> Instrument:
    """Return a future; without a last day it never expires. The pace is in seconds."""
    title = f"قرارداد آتی {derivative.underlying.title}"
    contract = Contract(
        contract_id=contract_id,
        contract_name=name,
        market=Market.FUTURES,
        title=f"{title} تحویل {_month(name)}" if last_day else title,
        can_buy=True,
        can_sell=True,
        min_valid_buy_volume=1,
        max_valid_buy_volume=25,
        min_valid_sell_volume=1,
        max_valid_sell_volume=25,
        min_price_change_rate=-_PRICE_LIMIT,
        max_price_change_rate=_PRICE_LIMIT,
        initial_margin=derivative.initial_margin,
        # 70 % on every future of the boards.
        maintenance_margin=derivative.initial_margin * 7 // 10,
        expiration_date=date.fromisoformat(last_day) if last_day else None,
        csize=derivative.size,
        underlying_id=derivative.underlying.code,
        underlying_name=derivative.underlying.name,
        underlying_title=derivative.underlying.title,
        tick_size=derivative.tick,
    )
    return Instrument(
        contract=contract,
        underlying=derivative.underlying,
        factor=factor,
        tick=derivative.tick,
        price_limit=_PRICE_LIMIT,
        spread=0.0006,
        pace=pace,
        trade_share=0.3,
        order_size=6,
        open_interest=open_interest,
    )


def _option(
    name: str,
    contract_id: str,
    option_type: str,
    strike: int,
    derivative: Derivative,
    factor: float,
    deviation: float,
    pace: float,
    last_day: str,
) -> Instrument:
    underlying, size = derivative.underlying, derivative.size
    forward = underlying.price * factor
    price = option_price(option_type, forward, strike, forward * deviation)
    # About a fifth of the value, as for coins in 1401; the required margin adds the price.
    margin = round(forward * size / 5 / 100_000) * 100_000
    side = "خرید" if option_type == CALL else "فروش"
    contract = Contract(
        contract_id=contract_id,
        contract_name=name,
        market=Market.OPTION,
        title=f"قرارداد اختیار معامله {side} {underlying.title} سررسید {_month(name[:6])}"
        f" با قیمت اعمال {strike:,} ریال".replace(",", "،"),
        can_buy=True,
        can_sell=True,
        min_valid_buy_volume=1,
        max_valid_buy_volume=25,
        min_valid_sell_volume=1,
        max_valid_sell_volume=25,
        expiration_date=date.fromisoformat(last_day),
        csize=size,
        underlying_id=underlying.code,
        underlying_name=underlying.name,
        underlying_title=underlying.title,
        tick_size=derivative.tick,
        option_type=option_type,
        strike_price=strike,
        initial_margin=margin,
        required_margin=margin + round(price) * size,
    )
    return Instrument(
        contract=contract,
        underlying=underlying,
        factor=factor,
        deviation=deviation,
        tick=derivative.tick,
        price_limit=None,
        spread=0.03,
        pace=pace,
        trade_share=0.12,
        order_size=4,
        open_interest=120,
    )


Strikes = tuple[tuple[str, int, str, str], ...]
"""For each strike: its code, its price in rials, and the ids of its call and its put. The number of
zeros that a code leaves out differs by product."""


def options(
    group: str,
    derivative: Derivative,
    factor: float,
    deviation: float,
    pace: float,
    last_day: str,
    strikes: Strikes,
) -> Iterator[Instrument]:
    """Yield the call and the put of each strike."""
    common = (derivative, factor, deviation, pace, last_day)
    for code, strike, call_id, put_id in strikes:
        yield _option(f"{group}C{code}", call_id, CALL, strike, *common)
        yield _option(f"{group}P{code}", put_id, PUT, strike, *common)


def certificate(
    name: str,
    contract_id: str,
    title: str,
    underlying: Underlying,
    *,
    factor: float = 1.0,
    tick: int,
    pace: float,
    order_size: int,
    open_interest: int = 0,
    aliases: tuple[str, ...] = (),
    market: Market = Market.DEPOSIT_CERTIFICATE,
) -> Instrument:
    """Return a deposit certificate, a fund or a parallel salaf, which trade alike."""
    # Their open interest is the goods in store; the board of warehouse receipts has none.
    contract = Contract(
        contract_id=contract_id,
        contract_name=name,
        market=market,
        title=title,
        aliases=aliases,
        tick_size=tick,
        can_buy=True,
        can_sell=True,
        min_price_change_rate=-_PRICE_LIMIT,
        max_price_change_rate=_PRICE_LIMIT,
    )
    return Instrument(
        contract=contract,
        underlying=underlying,
        factor=factor,
        tick=tick,
        price_limit=_PRICE_LIMIT,
        spread=0.0008,
        pace=pace,
        trade_share=0.3,
        order_size=order_size,
        open_interest=open_interest,
    )
