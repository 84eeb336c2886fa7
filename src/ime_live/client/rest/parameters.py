"""Query parameters of the REST calls, from the arguments of a program. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Final, TypeAlias

from ime_live.candles import MAX_DAYS, Interval
from ime_live.client.options import NO_CONTRACT
from ime_live.client.protocol.address import filter_pairs, first_fitting
from ime_live.client.protocol.message import Selector
from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Market
from ime_live.errors import SettingsError
from ime_live.messages import ContractFilter
from ime_live.settings.rule import TEXT
from ime_live.timezones import zone_of_tehran

Pairs: TypeAlias = Sequence[tuple[str, str]]
"""Names and values of parameters."""

DETAILS: Final = (("details", "true"),)
"""Parameter that adds the static fields beyond the documented ones."""

_PARAMETERS: Final = {"name": "contract_names", "id": "contract_ids"}


def market_of(market: Market | str) -> Market:
    """Return a market that is given as a `Market` or by its name.

    Raises:
        SettingsError: there is no such market.
    """
    if market in list(Market):
        return Market(market)
    raise SettingsError(f"market must be one of {', '.join(Market)}, got {market!r}")


def candle_pairs(
    interval: Interval | str, start: date | str | None, end: date | str | None
) -> Pairs:
    """Return the parameters of a call for candles; see `AsyncClient.candles`.

    Raises:
        SettingsError: one of them cannot be used.
    """
    if interval not in list(Interval):
        raise SettingsError(f"interval must be one of {', '.join(Interval)}, got {interval!r}")
    pairs = [("interval", Interval(interval).value)]
    for name, parameter, moment in (("start", "from", start), ("end", "to", end)):
        if isinstance(moment, date):  # a datetime is one
            pairs.append((parameter, moment.isoformat()))
        elif isinstance(moment, str):
            pairs.append((parameter, moment))
        elif moment is not None:
            raise SettingsError(
                f"{name} must be a date, a time or a text in ISO 8601, got {moment!r}"
            )
    return pairs


def candle_contracts(start: date | str | None, end: date | str | None) -> int:
    """Return the maximum number of contracts in one call for candles; at least one.

    Args:
        start: as in `AsyncClient.candles`.
        end: as in `AsyncClient.candles`.
    """
    if start is None:
        return MAX_DAYS  # one day
    first = _day_of(start)
    last = SYSTEM_CLOCK.local(zone_of_tehran()).date() if end is None else _day_of(end)
    if first is None or last is None:
        return MAX_DAYS  # the service refuses it
    # A time with an offset may be on the day before or after in Tehran.
    offsets = sum(_has_offset(moment) for moment in (start, end))
    return max(1, MAX_DAYS // max(1, (last - first).days + 1 + offsets))


def _day_of(moment: date | str) -> date | None:
    try:
        return date.fromisoformat(str(moment).strip()[: len("2026-11-28")])
    except ValueError:
        return None


def _has_offset(moment: date | str | None) -> bool:
    with suppress(ValueError):
        moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return isinstance(moment, datetime) and moment.tzinfo is not None
    return False


def chain_pairs(underlying: str, expiration: date | str | None) -> Pairs:
    """Return the parameters of a call for an option chain; see `AsyncClient.option_chain`.

    Raises:
        SettingsError: one of them cannot be used.
    """
    TEXT.check("underlying", underlying)
    if not underlying.strip():
        raise SettingsError(f"underlying must not be empty, got {underlying!r}")
    if expiration is None:
        return [("underlying", underlying)]
    return [("underlying", underlying), ("expiration", _day("expiration", expiration))]


def _day(name: str, day: object) -> str:
    if isinstance(day, date) and not isinstance(day, datetime):
        return day.isoformat()
    if isinstance(day, str):
        with suppress(ValueError):
            return date.fromisoformat(day.strip()).isoformat()
    raise SettingsError(f"{name} must be a date, or a text as YYYY-MM-DD (Gregorian), got {day!r}")


def divide_into_calls(
    selectors: Sequence[Selector], more: Pairs = (), most: int | None = None
) -> Iterator[tuple[str, list[str], Pairs]]:
    """Divide a selection into calls.

    Args:
        selectors: the selection.
        more: parameters that each call has as well.
        most: most contracts in a call; None if only the length of its URL limits them.

    Yields:
        Whether the contracts are by ``name`` or ``id``, their names or ids, and the parameters of
        the call. A call with a filter names no contracts.
    """
    if not selectors:
        raise SettingsError(NO_CONTRACT)
    remaining = [selector for selector in selectors if not isinstance(selector, ContractFilter)]
    while remaining:
        fitting = set(first_fitting(remaining))
        keys = [key for key in remaining if key in fitting][:most]
        fitting = set(keys)
        by, words = keys[0][0], [word for _, word in keys]
        yield by, words, [*((_PARAMETERS[by], word) for word in words), *more]
        remaining = [key for key in remaining if key not in fitting]
    for selector in selectors:
        if isinstance(selector, ContractFilter):
            yield selector.by, [], [*filter_pairs(selector, _PARAMETERS[selector.by]), *more]
