"""Underlyings: the names of options' underlyings by the group codes of the exchange's board.

The board of options gives a code per row, `_CommodityGroup`, and no name. A code that is not in the
table stays the underlying's id, and its name is null until ``ime-live contracts import`` gives one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ime_live.feeds.boards.parsers import Row, optional_text

UNDERLYINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Named in the titles of the contracts in recorded frames of February 2022.
        "GC": "سکه طلا",
        "SAF": "زعفران نگین",
        # Named in the titles of the contracts on boards of November 2024, which were published.
        "CDC": "شمش طلا",
        # Symbols of the board of funds, as a public program of 1405 joins the two boards; the
        # names of goods are that program's.
        "KA": "کهربا",
        "AB": "آبان",
        "DN": "دنا",
        "NQ": "نقرابی",
        "LG ETC": "طلا",
        "AY": "عیار",
        "GZ": "گنج",
        "ZT": "زر",
        "ZR": "زرگر",
        "NZ": "نفیس",
        "DG": "درخشان",
        "GoldBar": "شمش طلا",
        "SilverBar": "شمش نقره",
        "CU": "مس کاتد",
    }
)
"""Code of the underlying on the board of options → its name: that of the goods, or the symbol of
the fund. Sources are in docs/decisions/0006-exchange-hub.md."""


def underlying_code(row: Row, field: str) -> str | None:
    """Read the code of an underlying, without blanks around it."""
    code = optional_text(row, field)
    return None if code is None else code.strip()


def underlying_name(row: Row, field: str) -> str | None:
    """Return the name of the underlying with the code in a field; None if it is not known."""
    return UNDERLYINGS.get(underlying_code(row, field) or "")
