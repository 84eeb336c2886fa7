"""Instruments: the contracts of the synthetic market.

All of it is invented. Codes, Persian titles and contract sizes are the exchange's, from boards of
February 2022 (months of 1400 and 1401) and November 2024 (1403), and similar ones for 1405. So are
ids, except those from 900001 to 900999 and that of ``سكه0312پ01``, which are invented. Prices and
open interest have the size of those boards. Codes of past months trade here as ever, and never
expire: see `Listing.contract_on`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ime_live.contracts import Contract, Market
from ime_live.feeds.synthetic.listing import CALL, PUT, Listing, Underlying, option_price

# Mean seconds between two changes of a contract.
CONSTANT: Final = 0.6
BUSY: Final = 1.2
BRISK: Final = 3.0
QUIET: Final = 9.0
THIN: Final = 20.0

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
    # "SAFOR01" is of Ordibehesht 1401: a code ends with the month and two digits of the year.
    return f"{MONTHS[code[-4:-2]]} ماه 14{code[-2:]}"


@dataclass(frozen=True, slots=True)
class _Derivative:
    # What the futures and options on one underlying share: contract size, tick in rials, and for
    # futures the initial margin in rials.
    underlying: Underlying
    size: int
    tick: int
    initial_margin: int = 0


# Saffron of 1401 traded 4.97 % above its previous close on 7 February 2022.
_BAND: Final = 0.05


def _future(
    name: str,
    contract_id: str,
    derivative: _Derivative,
    factor: float,
    pace: float,
    open_interest: int,
    last_day: str | None,
) -> Listing:
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
        min_price_change_rate=-_BAND,
        max_price_change_rate=_BAND,
        initial_margin=derivative.initial_margin,
        # 70 % on every future of the boards.
        maintenance_margin=derivative.initial_margin * 7 // 10,
        expiration_date=last_day,
        csize=derivative.size,
        underlying_id=derivative.underlying.contract_id,
        underlying_name=derivative.underlying.contract_name,
        underlying_title=derivative.underlying.title,
    )
    return Listing(
        contract=contract,
        underlying=derivative.underlying,
        factor=factor,
        tick=derivative.tick,
        band=_BAND,
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
    derivative: _Derivative,
    factor: float,
    deviation: float,
    pace: float,
    last_day: str,
) -> Listing:
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
        expiration_date=last_day,
        csize=size,
        underlying_id=underlying.contract_id,
        underlying_name=underlying.contract_name,
        underlying_title=underlying.title,
        option_type=option_type,
        strike_price=strike,
        initial_margin=margin,
        required_margin=margin + round(price) * size,
    )
    return Listing(
        contract=contract,
        underlying=underlying,
        factor=factor,
        deviation=deviation,
        tick=derivative.tick,
        band=None,
        spread=0.03,
        pace=pace,
        trade_share=0.12,
        order_size=4,
        open_interest=120,
    )


# Of each strike: its code, rials, the ids of its call and of its put. The codes leave out other
# numbers of zeros for each product.
_Strikes = tuple[tuple[str, int, str, str], ...]


def _options(
    group: str,
    derivative: _Derivative,
    factor: float,
    deviation: float,
    pace: float,
    last_day: str,
    strikes: _Strikes,
) -> Iterator[Listing]:
    common = (derivative, factor, deviation, pace, last_day)
    for code, strike, call_id, put_id in strikes:
        yield _option(f"{group}C{code}", call_id, CALL, strike, *common)
        yield _option(f"{group}P{code}", put_id, PUT, strike, *common)


def _certificate(
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
) -> Listing:
    # Their open interest is the goods in store; the board of warehouse receipts has none.
    contract = Contract(
        contract_id=contract_id,
        contract_name=name,
        market=Market.DEPOSIT_CERTIFICATE,
        title=title,
        aliases=aliases,
        can_buy=True,
        can_sell=True,
        min_price_change_rate=-_BAND,
        max_price_change_rate=_BAND,
    )
    return Listing(
        contract=contract,
        underlying=underlying,
        factor=factor,
        tick=tick,
        band=_BAND,
        spread=0.0008,
        pace=pace,
        trade_share=0.3,
        order_size=order_size,
        open_interest=open_interest,
    )


# The levels of three years: an old code keeps the prices it had.
_SAFFRON_1401: Final = Underlying("زعفران نگین", 330_000, 0.010, "55282595340746533", "زعف0110پ05")
_SAFFRON_1403: Final = Underlying("زعفران نگین", 800_000, 0.010)
_SAFFRON_1405: Final = Underlying("زعفران نگین", 2_400_000, 0.010)
_SILVER_1401: Final = Underlying("نقره", 177_500, 0.008)
_SILVER_1405: Final = Underlying("نقره", 3_750_000, 0.008, "43", "SilverBar")
_LOTUS_1401: Final = Underlying("صندوق طلا", 80_800, 0.007)
_LOTUS_1405: Final = Underlying("صندوق طلای لوتوس", 1_310_000, 0.007)
_KAHROBA_1403: Final = Underlying("صندوق طلای کهربا", 43_400, 0.007)
_KAHROBA_1405: Final = Underlying("صندوق طلای کهربا", 242_000, 0.007, "900303", "کهربا")
_GOLD_1403: Final = Underlying("شمش طلای خام 995", 57_300_000, 0.007)
_GOLD_1405: Final = Underlying("شمش طلای خام 995", 215_000_000, 0.007, "41", "GoldBar")
_COIN_1401: Final = Underlying("سکه طلا", 116_500_000, 0.007, "900302", "سكه0112پ01")
_COIN_1403: Final = Underlying("سکه طلا", 496_000_000, 0.007)
_COIN_1405: Final = Underlying("سکه طلا", 1_650_000_000, 0.007)
_COPPER_1405: Final = Underlying("مس کاتد", 22_200_000, 0.006, "900301", "CopperCthd")

# The boards showed ticks of 100 rials for all of 1401, all sizes, and the margins of 1401; ticks
# of GB, KB and KA, and later margins, are invented.
_SAF_1401: Final = _Derivative(_SAFFRON_1401, 100, 100, 14_000_000)
_SAF_1403: Final = _Derivative(_SAFFRON_1403, 100, 100, 24_000_000)
_SAF_1405: Final = _Derivative(_SAFFRON_1405, 100, 100, 60_000_000)
_SIL_1401: Final = _Derivative(_SILVER_1401, 100, 100, 4_700_000)
_SIL_1405: Final = _Derivative(_SILVER_1405, 100, 1_000, 90_000_000)
_ETC_1401: Final = _Derivative(_LOTUS_1401, 1_000, 100, 18_800_000)
_ETC_1405: Final = _Derivative(_LOTUS_1405, 1_000, 100, 300_000_000)
_KB_1403: Final = _Derivative(_KAHROBA_1403, 1_000, 10, 9_000_000)
_KB_1405: Final = _Derivative(_KAHROBA_1405, 1_000, 10, 50_000_000)
_GB_1403: Final = _Derivative(_GOLD_1403, 1, 10_000, 12_000_000)
_GB_1405: Final = _Derivative(_GOLD_1405, 1, 10_000, 45_000_000)
_GC_1401: Final = _Derivative(_COIN_1401, 1, 100)
_SF_1401: Final = _Derivative(_SAFFRON_1401, 100, 100)
_KA_1405: Final = _Derivative(_KAHROBA_1405, 1_000, 10)
_EXAMPLE_A: Final = _Derivative(Underlying("نمونه الف", 1_000_000, 0.008), 10, 100, 2_000_000)
_EXAMPLE_B: Final = _Derivative(Underlying("نمونه ب", 50_000, 0.008), 10, 10, 100_000)

_GC_STRIKES: Final = (
    ("11000", 110_000_000, "1000463", "1000466"),
    ("12000", 120_000_000, "1000464", "1000467"),
    ("13000", 130_000_000, "1000465", "1000468"),
)
_SF_STRIKES: Final = (
    ("34", 340_000, "1000469", "1000474"),
    ("36", 360_000, "1000471", "1000472"),
)
_KA_STRIKES: Final = (
    ("230", 230_000, "900201", "900202"),
    ("250", 250_000, "1002045", "900203"),
    ("270", 270_000, "900204", "900205"),
)

LISTINGS: Final = (
    # The documentation's example programs ask for these two, by name and by id.
    _future("ContractA", "12345", _EXAMPLE_A, 1.0, CONSTANT, 5_000, None),
    _future("ContractB", "67890", _EXAMPLE_B, 1.0, CONSTANT, 8_000, None),
    _future("ETCBA00", "193", _ETC_1401, 1.003, QUIET, 640, "2022-02-09"),
    _future("SAFBA00", "197", _SAF_1401, 1.01, BRISK, 15_900, "2022-02-08"),
    _future("SAFES00", "201", _SAF_1401, 1.06, BUSY, 20_800, "2022-03-08"),
    _future("SAFOR01", "203", _SAF_1401, 1.18, BUSY, 17_700, "2022-05-08"),
    _future("SILKH01", "204", _SIL_1401, 1.09, QUIET, 300, "2022-06-13"),
    _future("GB30AB03", "280", _GB_1403, 1.004, BRISK, 2_700, "2024-11-20"),
    _future("KBAZ03", "283", _KB_1403, 1.02, BRISK, 3_200, "2024-12-10"),
    _future("SAFDY03", "288", _SAF_1403, 1.05, BRISK, 50_000, "2024-12-25"),
    _future("SAFDY05", "900101", _SAF_1405, 1.03, BUSY, 31_000, "2026-12-30"),
    _future("SAFES05", "900102", _SAF_1405, 1.07, BRISK, 12_500, "2027-03-02"),
    _future("GB30AZ05", "900103", _GB_1405, 1.01, BUSY, 9_400, "2026-12-21"),
    _future("GB30BA05", "900104", _GB_1405, 1.05, BUSY, 14_200, "2027-02-19"),
    _future("ETCDY05", "900105", _ETC_1405, 1.03, BRISK, 2_100, "2027-01-06"),
    _future("ETCFA06", "900106", _ETC_1405, 1.09, QUIET, 900, "2027-04-14"),
    _future("KBAZ05", "900107", _KB_1405, 1.01, BUSY, 22_000, "2026-12-08"),
    _future("KBES05", "900108", _KB_1405, 1.06, BRISK, 8_300, "2027-03-02"),
    _future("SILDY05", "900109", _SIL_1405, 1.02, BUSY, 6_800, "2027-01-11"),
    _future("SILBA05", "900110", _SIL_1405, 1.04, BRISK, 3_900, "2027-02-08"),
    # Factors and deviations of 1401 fit the settlement prices of 6 February 2022.
    *_options("GCOR01", _GC_1401, 1.053, 0.12, THIN, "2022-05-17", _GC_STRIKES),
    *_options("SFOR01", _SF_1401, 1.047, 0.30, THIN, "2022-05-15", _SF_STRIKES),
    *_options("KASH05", _KA_1405, 1.01, 0.09, QUIET, "2026-09-15", _KA_STRIKES),
    _certificate(
        "GoldBar",
        "41",
        "گواهی سپرده پیوسته شمش طلای +995",
        _GOLD_1405,
        factor=0.1,
        tick=100,
        pace=BUSY,
        order_size=400,
        open_interest=160_000,
        aliases=("CD1GOB0001",),
    ),
    _certificate(
        "CD1GOC0001",
        "42",
        "گواهی سپرده پیوسته تمام سکه بهار آزادی طرح جدید",
        _COIN_1405,
        tick=1_000,
        pace=BRISK,
        order_size=3,
        open_interest=41_000,
    ),
    _certificate(
        "SilverBar",
        "43",
        "گواهی سپرده پیوسته شمش نقره 999.9",
        _SILVER_1405,
        tick=100,
        pace=BUSY,
        order_size=250,
        open_interest=900_000,
        aliases=("CD1SIB0001",),
    ),
    _certificate(
        "CopperCthd",
        "900301",
        "گواهی سپرده پیوسته مس کاتد",
        _COPPER_1405,
        tick=100,
        pace=QUIET,
        order_size=60,
        open_interest=75_000,
        aliases=("CD1COP0001",),
    ),
    _certificate(
        "سكه0312پ01",
        "90000000000000301",
        "تمام سكه طرح جديد0312رفاه",
        _COIN_1403,
        factor=0.01,
        tick=1,
        pace=BRISK,
        order_size=700,
    ),
    _certificate(
        "زعف0110پ05",
        "55282595340746533",
        "زعفران0110نگين زرين(پ)",
        _SAFFRON_1401,
        factor=1.01,
        tick=1,
        pace=QUIET,
        order_size=500,
    ),
    # What options are on, so that their underlying has a price as well.
    _certificate(
        "سكه0112پ01",
        "900302",
        "تمام سكه طرح جديد0112رفاه",
        _COIN_1401,
        tick=1_000,
        pace=QUIET,
        order_size=5,
    ),
    _certificate(
        "کهربا",
        "900303",
        "واحد صندوق طلای کهربا",
        _KAHROBA_1405,
        tick=10,
        pace=BRISK,
        order_size=3_000,
    ),
)
"""Every contract of the synthetic market: the two of the documentation, then the others."""
