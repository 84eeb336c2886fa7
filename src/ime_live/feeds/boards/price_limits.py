"""Price limits and boards: parse the feed's options that are lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from ime_live.errors import SettingsError
from ime_live.feeds.boards.rows import PriceLimits
from ime_live.settings import flag
from ime_live.spelling import fold

BOARDS_BY_NAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "futures": "updateFutureMarketsInfo",
        "options": "updateMarketsInfo",
        "cdc": "updateCDCMarketsInfo",
        "gavahi": "updateGavahiMarketsInfo",
        "sandoq": "updateSandoqMarketsInfo",
        "salaf": "updateSalafMarketsInfo",
    }
)
"""The names of boards in `--boards` → the SignalR hub's methods."""


def read_boards(text: str) -> frozenset[str]:
    """Read `--boards`: names, separated by commas.

    Raises:
        SettingsError: there is no such board, or none is named.
    """
    names = [name.lower() for name in re.split(r"[\s,،]+", text) if name]
    for name in names:
        if name not in BOARDS_BY_NAME:
            raise SettingsError(
                f"{flag('boards')} must be some of {', '.join(BOARDS_BY_NAME)}, got {name!r}"
            )
    if not names:
        raise SettingsError(f"{flag('boards')} must name at least one board, got none")
    return frozenset(BOARDS_BY_NAME[name] for name in names)


def read_price_limits(text: str) -> PriceLimits:
    """Read `--price-limits`: ``SIL=0.05, SAFOR01=380000..410000``.

    Raises:
        SettingsError: a part is neither a fraction below 1 nor a range of prices, or a name is
            given twice.
    """
    price_limits: dict[str, Decimal | tuple[int, int]] = {}
    for part in re.split("[,،]", fold(text)):
        if not part.strip():
            continue
        name, _, value = (word.strip() for word in part.partition("="))
        if not name:
            raise SettingsError(
                f"{flag('price_limits')} must name a contract before each =, got {part.strip()!r}"
            )
        if name in price_limits:
            raise SettingsError(
                f"{flag('price_limits')} must have each name once, got {name} twice"
            )
        price_limits[name] = _limit(value, part.strip())
    return MappingProxyType(price_limits)


def _limit(text: str, part: str) -> Decimal | tuple[int, int]:
    if match := re.fullmatch(r"(\d{1,15})\.\.(\d{1,15})", text, re.ASCII):
        lowest, highest = map(int, match.groups())
        if 0 < lowest <= highest:
            return lowest, highest
    elif re.fullmatch(r"0?\.\d{1,9}", text, re.ASCII) and Decimal(text) > 0:
        return Decimal(text)
    raise SettingsError(
        f"{flag('price_limits')} must give each name a fraction, such as SIL=0.05, or a range of "
        f"prices, such as SAFOR01=380000..410000, got {part!r}"
    )
