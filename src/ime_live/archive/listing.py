"""Listing: the contracts to record, looked up by REST calls.

A recorder streams by id, so that a contract that is renamed stays the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from ime_live.client.rest.async_client import AsyncClient
from ime_live.contracts import Contract, Market
from ime_live.errors import SettingsError, UnknownContractError
from ime_live.spelling import fold_name

WILDCARD: Final = "*"
"""Any letters, in a pattern of names or ids."""

_NOTHING: Final = (
    "at least one contract must be given, got none; name contracts, or use --market, --underlying "
    "or --all"
)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which contracts to record.

    Attributes:
        names: names and ids of contracts, which are recorded in any case, and patterns of names
            with ``*``.
        markets: markets of contracts.
        underlyings: names or ids of underlyings of contracts. Of patterns, markets and underlyings,
            each that is not empty must fit.
        all: all contracts of all markets, as far as the others fit.
    """

    names: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ()
    underlyings: tuple[str, ...] = ()
    all: bool = False

    def __post_init__(self) -> None:
        """Refuse to want nothing.

        Raises:
            SettingsError: no contract can match.
        """
        if not (self.exact or self.filters):
            raise SettingsError(_NOTHING)

    @property
    def exact(self) -> list[str]:
        """The names and ids that are no patterns, each once."""
        return [name for name in dict.fromkeys(self.names) if WILDCARD not in name]

    @property
    def patterns(self) -> list[str]:
        """The names that are patterns."""
        return [name for name in self.names if WILDCARD in name]

    @property
    def filters(self) -> bool:
        """Whether contracts are wanted that are not named one by one."""
        return bool(self.all or self.markets or self.underlyings or self.patterns)

    def matches(self, contract: Contract) -> bool:
        """Return whether a contract of a market is wanted, though it is not named."""
        return (
            self.filters
            and (not self.markets or contract.market in self.markets)
            and (not self.underlyings or _any_is(self.underlyings, contract.underlyings))
            and (not self.patterns or any(_fits(each, contract) for each in self.patterns))
        )

    def needs_naming(self, contract: Contract) -> bool:
        """Return whether a stream by markets and underlyings gets a contract by its id only.

        Such a stream leaves out contracts that are no longer listed.
        """
        named = _any_is(self.exact, (contract.contract_id, *contract.names))
        return named or not (contract.listed and self.matches(contract))


def _any_is(wanted: Iterable[str], names: Iterable[str]) -> bool:
    return bool(set(map(fold_name, wanted)) & set(map(fold_name, names)))


def _fits(pattern: str, contract: Contract) -> bool:
    parts = map(re.escape, fold_name(pattern).split(WILDCARD))
    return re.fullmatch(".*".join(parts), fold_name(contract.contract_name)) is not None


async def read_listing(
    client: AsyncClient, wanted: Wanted, known: Iterable[str] = ()
) -> Mapping[str, Contract]:
    """Return the contracts to record by id, with their static data.

    Args:
        client: makes the calls.
        wanted: which contracts.
        known: ids of contracts that were found before. A name that is no longer known is only left
            out then.

    Raises:
        UnknownContractError: a name is not known; or there is no contract at all, now or before.
        AuthenticationError, ServiceError: as the client's calls.
    """
    markets = {
        each.contract_id: each for market in Market for each in await client.search(market, "")
    }
    found = {i: each for i, each in markets.items() if wanted.matches(each)}
    by_name = await _named(client, wanted.exact)
    missing = [name for name, contract in by_name.items() if contract is None]
    if missing and not known:
        raise UnknownContractError(f"unknown contract: {', '.join(missing)}")
    for contract in by_name.values():
        if contract is not None:
            # The answer to a search tells the market as well.
            found[contract.contract_id] = markets.get(contract.contract_id, contract)
    if not found and not known:
        raise UnknownContractError(
            "no contract matches --market, --underlying and the patterns together"
        )
    return found


async def _named(client: AsyncClient, names: Iterable[str]) -> dict[str, Contract | None]:
    found: dict[str, Contract | None] = {}
    words = list(names)
    if words:
        found = dict(zip(words, await client.contracts(words), strict=True))
    ids = [word for word, contract in found.items() if contract is None]
    if ids:
        found |= zip(ids, await client.contracts(contract_ids=ids), strict=True)
    return found
