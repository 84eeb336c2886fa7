"""Arrange the options of an underlying by expiration and strike, call and put side by side. No I/O.

Strike, type and expiration are those of the contracts' records, never read from their names.
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
        """The call if there is one, else the put."""
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
        identity: the client.
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
    """Pair calls with puts, by expiration and strike.

    Options whose expiration or strike is not known come last. A second call or put of a strike
    makes a second pair.
    """
    pairs: dict[tuple[str | None, date | None, Number | None], list[StrikePair]] = {}
    for option in options:
        key = option.underlying_id, option.expiration_date, option.strike_price
        same = pairs.setdefault(key, [])
        side = CALL if option.option_type == CALL else PUT
        pair = next((each for each in same if getattr(each, side) is None), None)
        if pair is None:
            pair = StrikePair()
            same.append(pair)
        setattr(pair, side, option)
    ordered = sorted(pairs, key=_place)
    return [pair for key in ordered for pair in pairs[key]]


def _place(
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
    """Return a chain: a list of strikes, with the static fields and the state of both sides.

    Args:
        pairs: the pairs in their order.
        states: last states by id, of those options that have one; an error if unreadable.
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
    present = [each for pair in pairs for each in (pair.call, pair.put) if each is not None]
    whole = all(each.contract_id in states for each in present) and not unreadable
    return Data(b"[%b]" % b",".join(rows), whole, tuple(unreadable))


_encode: Final = msgspec.json.Encoder().encode
