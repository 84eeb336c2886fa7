"""Find the contracts that filters match: by market, by pattern and by underlying. No I/O.

A *filter* is a `ContractFilter`. A contract must match all fields of a filter, and one value of
each field: ``market=IMEOption&underlying=KA`` are the options of that underlying.
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
"""A name with this character is a pattern. No contract of the exchange has it in a name or id."""

MAX_PATTERNS: Final = 100
"""Maximum number of patterns of a request: each is compared with all contracts."""

ID: Final = "id:"
"""Prefix of an id in the place of a name, as in the patterns of tokens."""

NAME: Final = "name:"
"""Prefix of a pattern of names among patterns of ids."""


class FilterMatcher:
    """A filter, prepared for matching many contracts."""

    def __init__(self, contract_filter: ContractFilter) -> None:
        """Prepare a filter.

        Args:
            contract_filter: the filter; its markets must exist.
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
        """Return whether a contract is listed and matches all fields of the filter."""
        return (
            contract.listed
            and (not self._markets or contract.market in self._markets)
            and (not self._underlyings or not self._underlyings.isdisjoint(contract.underlyings))
            and (self._patterns is None or self._patterns.match(contract))
        )


def matching(
    filters: Iterable[FilterMatcher], registry: Registry, may_see: Callable[[Contract], bool]
) -> Mapping[str, tuple[Contract, By]]:
    """Return the contracts that filters match, in the order of their names.

    Args:
        filters: the filters.
        registry: the known contracts.
        may_see: returns whether the client's token covers a contract; other contracts do not match.

    Returns:
        Contract id → contract, and whether messages name it by name or by id, as the first filter
        that matches says.
    """
    filters = tuple(filters)
    matches = [
        (contract, by)
        for contract in registry
        if (by := next((each.by for each in filters if each.match(contract)), None)) is not None
        and may_see(contract)
    ]
    matches.sort(key=lambda match: (match[0].contract_name, match[0].contract_id))
    return {contract.contract_id: (contract, by) for contract, by in matches}


def present_name(contract: Contract, by: By, registry: Registry) -> str:
    """Return the id or the present name of a contract.

    If the name finds another contract, return the id with a prefix, such as ``id:12345``.

    >>> present_name(Contract(contract_id="1", contract_name="A"), By.ID, Registry())
    '1'
    """
    if by is By.ID:
        return contract.contract_id
    name = contract.contract_name
    try:
        namesake = registry.by_name(name)
    except UnknownContractError:
        return name
    return name if namesake.contract_id == contract.contract_id else ID + contract.contract_id


def references(
    matches: Mapping[str, tuple[Contract, By]],
    registry: Registry,
    named: Mapping[str, ContractRef],
) -> dict[str, ContractRef]:
    """Return references to the contracts that filters match, without those in ``named``.

    Args:
        matches: the contracts, from `matching`.
        registry: the known contracts.
        named: references to contracts that the client has named, by contract id; they are kept.
    """
    used_refs = set(named.values())
    refs: dict[str, ContractRef] = {}
    for contract_id, (contract, by) in matches.items():
        if contract_id not in named:
            ref = ContractRef.of(by, present_name(contract, by, registry))
            if ref in used_refs:
                # The client has used this name for another contract, which had it before.
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
    """Divide the contracts of a request into plain names and a filter.

    Args:
        by: whether ``names`` are names or ids.
        names: names or ids, and patterns of them.
        is_known: returns whether a contract has a name or id, which then is no pattern.
        markets: markets of the request.
        underlyings: underlyings of the request.

    Returns:
        The names without patterns, and the filter; None without patterns, markets and underlyings.
    """
    patterns = {name for name in names if WILDCARD in name and not is_known(by, name)}
    if not (patterns or markets or underlyings):
        return names, None
    contract_filter = ContractFilter.of(
        by.value, markets=markets, patterns=patterns, underlyings=underlyings
    )
    return [name for name in names if name not in patterns], contract_filter


def check_filters(filters: Iterable[ContractFilter]) -> None:
    """Check the number of patterns, which the time for matching depends on.

    Raises:
        RefusedError: 1008; there are more than `MAX_PATTERNS`.
    """
    patterns = sum(len(each.patterns) for each in filters)
    if patterns > MAX_PATTERNS:
        raise RefusedError(
            f"too many patterns: {patterns}, at most {MAX_PATTERNS}", kind="too many patterns"
        )
