"""Find the contracts that filters match: by market, by pattern and by underlying. No I/O.

A *filter* is a `ContractFilter`. Its parts narrow each other, and the values of one part are
alternatives: ``market=IMEOption&underlying=KA`` are the options of that underlying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from ime_live.contracts import Contract, Market
from ime_live.errors import RefusedError, UnknownContractError
from ime_live.gateway.auth.patterns import Patterns
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.messages import ContractFilter
from ime_live.registry import Registry
from ime_live.spelling import fold_name

WILDCARD: Final = "*"
"""Makes a pattern of a name. No contract of the exchange has it in its name or id."""

MAX_PATTERNS: Final = 100
"""Patterns of a stream or a request: all contracts are matched with each of them."""

ID: Final = "id:"
"""Before an id that stands in the place of a name, as in the patterns of tokens."""

NAME: Final = "name:"
"""Before a pattern of names that stands among those of ids."""


class FilterMatcher:
    """A filter, prepared for matching many contracts."""

    def __init__(self, contract_filter: ContractFilter) -> None:
        """Prepare a filter.

        Args:
            contract_filter: the filter; its markets exist.
        """
        self.by = By(contract_filter.by)
        self._markets = frozenset(map(Market, contract_filter.markets))
        patterns: Iterable[str] = contract_filter.patterns
        if self.by is By.ID:
            patterns = [
                each.removeprefix(NAME) if each.startswith(NAME) else ID + each for each in patterns
            ]
        self._patterns = Patterns(patterns) if patterns else None
        self._underlyings = frozenset(map(fold_name, contract_filter.underlyings))

    def match(self, contract: Contract) -> bool:
        """Return whether a contract is listed and fits every part of the filter."""
        return (
            contract.listed
            and (not self._markets or contract.market in self._markets)
            and (not self._underlyings or not self._underlyings.isdisjoint(contract.underlyings))
            and (self._patterns is None or self._patterns.match(contract))
        )


def matching(
    filters: Iterable[FilterMatcher], registry: Registry, may_see: Callable[[Contract], bool]
) -> Mapping[str, tuple[Contract, By]]:
    """Return the contracts that filters match: contract id → contract, and how it is named.

    Of two filters that match a contract, the first one counts.

    Args:
        filters: the filters.
        registry: the known contracts.
        may_see: whether the client's token covers a contract; others do not match.
    """
    filters = tuple(filters)
    found = [
        (contract, by)
        for contract in registry
        if (by := next((each.by for each in filters if each.match(contract)), None)) is not None
        and may_see(contract)
    ]
    found.sort(key=lambda each: (each[0].contract_name, each[0].contract_id))
    return {contract.contract_id: (contract, by) for contract, by in found}


def present_name(contract: Contract, by: By, registry: Registry) -> str:
    """Return the id or the present name of a contract; ``id:12345`` if another one has that name.

    >>> present_name(Contract(contract_id="1", contract_name="A"), By.ID, Registry())
    '1'
    """
    if by is By.ID:
        return contract.contract_id
    name = contract.contract_name
    try:
        found = registry.by_name(name)
    except UnknownContractError:
        return name
    return name if found.contract_id == contract.contract_id else ID + contract.contract_id


def references(
    found: Mapping[str, tuple[Contract, By]],
    registry: Registry,
    named: Mapping[str, ContractRef],
) -> dict[str, ContractRef]:
    """Return how messages name the contracts that filters match, without those in ``named``.

    Args:
        found: from `matching`.
        registry: the known contracts.
        named: contracts that the client has named, which keep their names: contract id → name.
    """
    taken = set(named.values())
    refs: dict[str, ContractRef] = {}
    for contract_id, (contract, by) in found.items():
        if contract_id not in named:
            ref = ContractRef.of(by, present_name(contract, by, registry))
            if ref in taken:
                # The client has named another contract so, by a name that this one has now.
                ref = ContractRef.of(by, ID + contract_id)
            refs[contract_id] = ref
    return refs


def split_names(
    by: By,
    names: Sequence[str],
    is_known: Callable[[By, str], bool],
    *,
    markets: Sequence[str] = (),
    underlyings: Sequence[str] = (),
) -> tuple[Sequence[str], ContractFilter | None]:
    """Divide what a request asks for into the contracts that it names, and its filter if any.

    Args:
        by: whether ``names`` are names or ids.
        names: names or ids, and patterns of them.
        is_known: whether a contract has this name or id, which then is no pattern.
        markets: markets of the request.
        underlyings: underlyings of the request.
    """
    patterns = {name for name in names if WILDCARD in name and not is_known(by, name)}
    if not (patterns or markets or underlyings):
        return names, None
    chosen = ContractFilter.of(
        by.value, markets=markets, patterns=patterns, underlyings=underlyings
    )
    return [name for name in names if name not in patterns], chosen


def check_filters(filters: Iterable[ContractFilter]) -> None:
    """Check that matching filters takes little time.

    Raises:
        RefusedError: 1008; they have too many patterns.
    """
    patterns = sum(len(each.patterns) for each in filters)
    if patterns > MAX_PATTERNS:
        raise RefusedError(
            f"too many patterns: {patterns}, at most {MAX_PATTERNS}", kind="too many patterns"
        )
