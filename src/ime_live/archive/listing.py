"""Listing: the contracts to record, looked up by REST calls.

A recorder streams by id, so that a contract that is renamed stays the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from msgspec import Struct

from ime_live.client.rest.async_client import AsyncClient
from ime_live.contracts import Contract, Market
from ime_live.errors import SettingsError, UnknownContractError
from ime_live.gateway.query.contract_filter import NAME, WILDCARD, FilterMatcher
from ime_live.messages import ContractFilter
from ime_live.spelling import fold_name

_NOTHING: Final = (
    "at least one contract must be given, got none; name contracts, or use --market, --underlying "
    "or --all"
)


class RecordingSelection(Struct, frozen=True, kw_only=True, dict=True):
    """The contracts to record, as the command names them.

    Attributes:
        names: names and ids of contracts, which are always recorded, and patterns of names with
            ``*``.
        markets: markets of contracts.
        underlyings: names or ids of underlyings. A contract that is not named must match each of
            patterns, markets and underlyings that is not empty.
        all: whether to record all listed contracts that match the others.
    """

    names: tuple[str, ...] = ()
    markets: tuple[Market, ...] = ()
    underlyings: tuple[str, ...] = ()
    all: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty selection.

        Raises:
            SettingsError: no contract can match.
        """
        if not (self.names or self.filter):
            raise SettingsError(_NOTHING)

    @property
    def exact(self) -> list[str]:
        """The names and ids without the patterns, each once."""
        return [name for name in dict.fromkeys(self.names) if WILDCARD not in name]

    @cached_property
    def filter(self) -> ContractFilter | None:
        """The filter of the stream for contracts that are not named; None if there are none.

        Its patterns are by id, so messages have the ids of the contracts that it matches.
        """
        patterns = [NAME + name for name in self.names if WILDCARD in name]
        if not (patterns or self.all or self.markets or self.underlyings):
            return None
        return ContractFilter.of(
            "id",
            markets=self.markets,
            patterns=patterns or [WILDCARD],
            underlyings=self.underlyings,
        )

    @cached_property
    def _matcher(self) -> FilterMatcher | None:
        return None if self.filter is None else FilterMatcher(self.filter)

    def matches(self, contract: Contract) -> bool:
        """Return whether the filter matches a contract, by the rules of the gateway."""
        return self._matcher is not None and self._matcher.match(contract)

    def is_named(self, contract: Contract) -> bool:
        """Return whether the selection names this contract.

        Named contracts are recorded whatever their market, even if delisted.
        """
        names = map(fold_name, (contract.contract_id, *contract.names))
        return not set(map(fold_name, self.exact)).isdisjoint(names)


async def read_listing(
    client: AsyncClient, selection: RecordingSelection, known_ids: Iterable[str] = ()
) -> Mapping[str, Contract]:
    """Return the contracts to record by id, with their static data.

    Args:
        client: makes the calls.
        selection: the contracts to record.
        known_ids: ids of contracts that were found before. With them, an unknown name is left out.

    Raises:
        UnknownContractError: a name is unknown, or no contract matches now or matched before.
        AuthenticationError, ServiceError: as the client's calls.
    """
    markets = {
        contract.contract_id: contract
        for market in Market
        for contract in await client.search(market, "")
    }
    matching = {i: contract for i, contract in markets.items() if selection.matches(contract)}
    by_name = await _named(client, selection.exact)
    unknown = [name for name, contract in by_name.items() if contract is None]
    if unknown and not known_ids:
        raise UnknownContractError(f"unknown contract: {', '.join(unknown)}")
    for contract in by_name.values():
        if contract is not None:
            # The answer to a search has the market as well.
            matching[contract.contract_id] = markets.get(contract.contract_id, contract)
    if not matching and not known_ids:
        raise UnknownContractError(
            "no contract matches --market, --underlying and the patterns together"
        )
    return matching


async def _named(client: AsyncClient, names: Iterable[str]) -> dict[str, Contract | None]:
    contracts: dict[str, Contract | None] = {}
    words = list(names)
    if words:
        contracts = dict(zip(words, await client.contracts(words), strict=True))
    ids = [word for word, contract in contracts.items() if contract is None]
    if ids:
        contracts |= zip(ids, await client.contracts(contract_ids=ids), strict=True)
    return contracts
