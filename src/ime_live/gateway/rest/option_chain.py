"""Arrange the options of an underlying by expiration and strike, call and put side by side. No I/O.

Strike, type and expiration are fields of the contracts; they are never parsed from names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec
from msgspec import Struct

from ime_live.contracts import OPTION_TYPES, Contract, Market
from ime_live.errors import PayloadError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.rest.bodies import Data, overview
from ime_live.gateway.upstream.sections import Sections
from ime_live.market import Number
from ime_live.registry import Registry

CALL, PUT = OPTION_TYPES


class StrikePair(Struct):
    """The call and the put of one strike and expiration; None for a missing one."""

    call: Contract | None = None
    put: Contract | None = None

    @property
    def either(self) -> Contract:
        """The call, or the put if there is no call."""
        contract = self.call or self.put
        if contract is None:
            raise ValueError("a pair must have a call or a put, got neither")
        return contract


def options_of(
    registry: Registry, identity: Identity, underlying: str, expiration: date | None
) -> list[Contract]:
    """Return the listed options of an underlying that a client may see.

    Args:
        registry: the known contracts.
        identity: identity of the client.
        underlying: id, name or title of the underlying, in any spelling.
        expiration: last trading day of the options; None for all.
    """
    return [
        each
        for each in registry.of_underlying(underlying)
        if each.market is Market.OPTION
        and each.listed
        and each.option_type in OPTION_TYPES
        and (expiration is None or each.expiration_date == expiration)
        and identity.may_see(each)
    ]


def pairs_of(options: Iterable[Contract]) -> list[StrikePair]:
    """Pair calls with puts, and sort the pairs by expiration and strike.

    Options with an unknown expiration or strike come last. A second call or put of the same strike
    begins a second pair.
    """
    pairs: dict[tuple[str | None, date | None, Number | None], list[StrikePair]] = {}
    for option in options:
        key = option.underlying_id, option.expiration_date, option.strike_price
        of_strike = pairs.setdefault(key, [])
        side = CALL if option.option_type == CALL else PUT
        pair = next((each for each in of_strike if getattr(each, side) is None), None)
        if pair is None:
            pair = StrikePair()
            of_strike.append(pair)
        setattr(pair, side, option)
    ordered = sorted(pairs, key=_sort_key)
    return [pair for key in ordered for pair in pairs[key]]


def _sort_key(
    key: tuple[str | None, date | None, Number | None],
) -> tuple[bool, date, str, bool, Number]:
    underlying, expiration, strike = key
    return (
        expiration is None,
        expiration or date.max,
        underlying or "",
        strike is None,
        strike or 0,
    )


def chain_data(
    pairs: Sequence[StrikePair], states: Mapping[str, Sections | PayloadError], today: date
) -> Data:
    """Return an option chain: a list of strikes, with the static fields and states of both sides.

    Args:
        pairs: the pairs in their order.
        states: last states by contract id; an error for a state that cannot be read.
        today: the date in Tehran.
    """
    unreadable: list[str] = []

    def side(contract: Contract | None) -> bytes:
        if contract is None:
            return b"null"
        state = states.get(contract.contract_id)
        if isinstance(state, PayloadError):
            unreadable.append(contract.contract_name)
            state = None
        return overview(contract, state, today, details=True)

    rows = [
        b'{"strikePrice":%b,"ExpirationDate":%b,"call":%b,"put":%b}'
        % (
            _encode(pair.either.strike_price),
            _encode(pair.either.expiration_date),
            side(pair.call),
            side(pair.put),
        )
        for pair in pairs
    ]
    options = [each for pair in pairs for each in (pair.call, pair.put) if each is not None]
    is_complete = all(option.contract_id in states for option in options) and not unreadable
    return Data(b"[%b]" % b",".join(rows), is_complete, tuple(unreadable))


_encode: Final = msgspec.json.Encoder().encode
