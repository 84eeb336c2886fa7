"""Listing: the contracts to record, looked up by REST calls.

A recorder streams by id, so that a contract that is renamed stays the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from ime_live.client.rest.async_client import AsyncClient
from ime_live.contracts import Contract, Market
from ime_live.errors import SettingsError, UnknownContractError
from ime_live.spelling import fold_name

_NOTHING: Final = (
    "at least one contract must be given, got none; name contracts, or use --market, --underlying "
    "or --all"
)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which contracts to record: those that any of these names.

    Attributes:
        names: names or ids of contracts.
        markets: markets, with all their contracts.
        underlyings: names or ids of underlyings, with all contracts on them.
        all: all contracts of all markets.
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
        if not (self.names or self.markets or self.underlyings or self.all):
            raise SettingsError(_NOTHING)

    def matches(self, contract: Contract) -> bool:
        """Return whether a contract of a market is wanted, apart from `names`."""
        if self.all or contract.market in self.markets:
            return True
        of = {
            fold_name(each) for each in (contract.underlying_id, contract.underlying_name) if each
        }
        return any(fold_name(each) in of for each in self.underlyings)


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
    by_name = await _named(client, wanted.names)
    missing = [name for name, contract in by_name.items() if contract is None]
    if missing and not known:
        raise UnknownContractError(f"unknown contract: {', '.join(missing)}")
    for contract in by_name.values():
        if contract is not None:
            # The answer to a search tells the market as well.
            found[contract.contract_id] = markets.get(contract.contract_id, contract)
    if not found and not known:
        raise UnknownContractError("no contract matches --market, --underlying or --all")
    return found


async def _named(client: AsyncClient, names: Iterable[str]) -> dict[str, Contract | None]:
    found: dict[str, Contract | None] = {}
    words = list(dict.fromkeys(names))
    if words:
        found = dict(zip(words, await client.contracts(words), strict=True))
    ids = [word for word, contract in found.items() if contract is None]
    if ids:
        found |= zip(ids, await client.contracts(contract_ids=ids), strict=True)
    return found
