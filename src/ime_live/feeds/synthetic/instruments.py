"""Instruments: the contracts of the synthetic market.

All of it is invented. Codes, Persian titles and contract sizes are the exchange's, from boards of
February 2022 (months of 1400 and 1401) and November 2024 (1403), and similar ones for 1405. So are
ids, except those from 900001 to 900999 and that of ``سكه0312پ01``, which are invented. Prices and
open interest have the size of those boards. Contracts of past months are still traded here, and
never expire: see `Instrument.contract_on`.
"""

from __future__ import annotations

from typing import Final

from ime_live.contracts import Market
from ime_live.feeds.synthetic.instrument import Underlying
from ime_live.feeds.synthetic.specifications import Derivative, certificate, future, options

# Mean seconds between two changes of a contract.
CONSTANT: Final = 0.6
BUSY: Final = 1.2
BRISK: Final = 3.0
QUIET: Final = 9.0
THIN: Final = 20.0

# The levels of three years: an old code keeps the prices it had.
_SAFFRON_1401: Final = Underlying("زعفران نگین", 330_000, 0.010, "SAF", "زعفران نگین")
_SAFFRON_1403: Final = Underlying("زعفران نگین", 800_000, 0.010, "SAF", "زعفران نگین")
_SAFFRON_1405: Final = Underlying("زعفران نگین", 2_400_000, 0.010, "SAF", "زعفران نگین")
_SILVER_1401: Final = Underlying("نقره", 177_500, 0.008, "SilverBar", "شمش نقره")
_SILVER_1405: Final = Underlying("نقره", 3_750_000, 0.008, "SilverBar", "شمش نقره")
_LOTUS_1401: Final = Underlying("صندوق طلا", 80_800, 0.007, "LG ETC", "طلا")
_LOTUS_1405: Final = Underlying("صندوق طلای لوتوس", 1_310_000, 0.007, "LG ETC", "طلا")
_KAHROBA_1403: Final = Underlying("صندوق طلای کهربا", 43_400, 0.007, "KA", "کهربا")
_KAHROBA_1405: Final = Underlying("صندوق طلای کهربا", 242_000, 0.007, "KA", "کهربا")
_GOLD_1403: Final = Underlying("شمش طلای خام 995", 57_300_000, 0.007, "GoldBar", "شمش طلا")
_GOLD_1405: Final = Underlying("شمش طلای خام 995", 215_000_000, 0.007, "GoldBar", "شمش طلا")
_COIN_1401: Final = Underlying("سکه طلا", 116_500_000, 0.007, "GC", "سکه طلا")
_COIN_1403: Final = Underlying("سکه طلا", 496_000_000, 0.007, "GC", "سکه طلا")
_COIN_1405: Final = Underlying("سکه طلا", 1_650_000_000, 0.007, "GC", "سکه طلا")
_COPPER_1405: Final = Underlying("مس کاتد", 22_200_000, 0.006, "CU", "مس کاتد")

_IRON_1401: Final = Underlying("کلوخه سنگ آهن", 1_358_000, 0.004)

# The boards showed ticks of 100 rials for all of 1401, all sizes, and the margins of 1401; ticks
# of GB, KB and KA, and later margins, are invented.
_SAF_1401: Final = Derivative(_SAFFRON_1401, 100, 100, 14_000_000)
_SAF_1403: Final = Derivative(_SAFFRON_1403, 100, 100, 24_000_000)
_SAF_1405: Final = Derivative(_SAFFRON_1405, 100, 100, 60_000_000)
_SIL_1401: Final = Derivative(_SILVER_1401, 100, 100, 4_700_000)
_SIL_1405: Final = Derivative(_SILVER_1405, 100, 1_000, 90_000_000)
_ETC_1401: Final = Derivative(_LOTUS_1401, 1_000, 100, 18_800_000)
_ETC_1405: Final = Derivative(_LOTUS_1405, 1_000, 100, 300_000_000)
_KB_1403: Final = Derivative(_KAHROBA_1403, 1_000, 10, 9_000_000)
_KB_1405: Final = Derivative(_KAHROBA_1405, 1_000, 10, 50_000_000)
_GB_1403: Final = Derivative(_GOLD_1403, 1, 10_000, 12_000_000)
_GB_1405: Final = Derivative(_GOLD_1405, 1, 10_000, 45_000_000)
_GC_1401: Final = Derivative(_COIN_1401, 1, 100)
_SF_1401: Final = Derivative(_SAFFRON_1401, 100, 100)
_KA_1405: Final = Derivative(_KAHROBA_1405, 1_000, 10)
_EXAMPLE_A: Final = Derivative(Underlying("نمونه الف", 1_000_000, 0.008), 10, 100, 2_000_000)
_EXAMPLE_B: Final = Derivative(Underlying("نمونه ب", 50_000, 0.008), 10, 10, 100_000)

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

_KA_LATER_STRIKES: Final = (
    ("230", 230_000, "900206", "900207"),
    ("250", 250_000, "900208", "900209"),
    ("270", 270_000, "900210", "900211"),
    ("290", 290_000, "900212", "900213"),
)

INSTRUMENTS: Final = (
    # The documentation's example programs ask for these two, by name and by id.
    future("ContractA", "12345", _EXAMPLE_A, 1.0, CONSTANT, 5_000, None),
    future("ContractB", "67890", _EXAMPLE_B, 1.0, CONSTANT, 8_000, None),
    future("ETCBA00", "193", _ETC_1401, 1.003, QUIET, 640, "2022-02-09"),
    future("SAFBA00", "197", _SAF_1401, 1.01, BRISK, 15_900, "2022-02-08"),
    future("SAFES00", "201", _SAF_1401, 1.06, BUSY, 20_800, "2022-03-08"),
    future("SAFOR01", "203", _SAF_1401, 1.18, BUSY, 17_700, "2022-05-08"),
    future("SILKH01", "204", _SIL_1401, 1.09, QUIET, 300, "2022-06-13"),
    future("GB30AB03", "280", _GB_1403, 1.004, BRISK, 2_700, "2024-11-20"),
    future("KBAZ03", "283", _KB_1403, 1.02, BRISK, 3_200, "2024-12-10"),
    future("SAFDY03", "288", _SAF_1403, 1.05, BRISK, 50_000, "2024-12-25"),
    future("SAFDY05", "900101", _SAF_1405, 1.03, BUSY, 31_000, "2026-12-30"),
    future("SAFES05", "900102", _SAF_1405, 1.07, BRISK, 12_500, "2027-03-02"),
    future("GB30AZ05", "900103", _GB_1405, 1.01, BUSY, 9_400, "2026-12-21"),
    future("GB30BA05", "900104", _GB_1405, 1.05, BUSY, 14_200, "2027-02-19"),
    future("ETCDY05", "900105", _ETC_1405, 1.03, BRISK, 2_100, "2027-01-06"),
    future("ETCFA06", "900106", _ETC_1405, 1.09, QUIET, 900, "2027-04-14"),
    future("KBAZ05", "900107", _KB_1405, 1.01, BUSY, 22_000, "2026-12-08"),
    future("KBES05", "900108", _KB_1405, 1.06, BRISK, 8_300, "2027-03-02"),
    future("SILDY05", "900109", _SIL_1405, 1.02, BUSY, 6_800, "2027-01-11"),
    future("SILBA05", "900110", _SIL_1405, 1.04, BRISK, 3_900, "2027-02-08"),
    # Factors and deviations of 1401 fit the settlement prices of 6 February 2022.
    *options("GCOR01", _GC_1401, 1.053, 0.12, THIN, "2022-05-17", _GC_STRIKES),
    *options("SFOR01", _SF_1401, 1.047, 0.30, THIN, "2022-05-15", _SF_STRIKES),
    *options("KASH05", _KA_1405, 1.01, 0.09, QUIET, "2026-09-15", _KA_STRIKES),
    *options("KADY05", _KA_1405, 1.05, 0.14, THIN, "2027-01-05", _KA_LATER_STRIKES),
    certificate(
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
    certificate(
        "CD1GOC0001",
        "42",
        "گواهی سپرده پیوسته تمام سکه بهار آزادی طرح جدید",
        _COIN_1405,
        tick=1_000,
        pace=BRISK,
        order_size=3,
        open_interest=41_000,
    ),
    certificate(
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
    certificate(
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
    certificate(
        "سكه0312پ01",
        "90000000000000301",
        "تمام سكه طرح جديد0312رفاه",
        _COIN_1403,
        factor=0.01,
        tick=1,
        pace=BRISK,
        order_size=700,
    ),
    certificate(
        "زعف0110پ05",
        "55282595340746533",
        "زعفران0110نگين زرين(پ)",
        _SAFFRON_1401,
        factor=1.01,
        tick=1,
        pace=QUIET,
        order_size=500,
    ),
    # The underlying of options, so that it has a price as well.
    certificate(
        "سكه0112پ01",
        "900302",
        "تمام سكه طرح جديد0112رفاه",
        _COIN_1401,
        tick=1_000,
        pace=QUIET,
        order_size=5,
    ),
    certificate(
        "کهربا",
        "900303",
        "واحد صندوق طلای کهربا",
        _KAHROBA_1405,
        tick=10,
        pace=BRISK,
        order_size=3_000,
        market=Market.FUND,
    ),
    certificate(
        "عسيرجان",
        "20395250619225219",
        "سلف موازي كلوخه سنگ آهن سيرجان",
        _IRON_1401,
        tick=1,
        pace=THIN,
        order_size=12_500,
        market=Market.PARALLEL_SALAF,
    ),
)
"""Every contract of the synthetic market: the two of the documentation, then the others."""
