"""Selectors: the contracts and filters that a program names, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from ime_live.client.protocol.message import Key, Selector
from ime_live.contracts import Market
from ime_live.errors import SettingsError
from ime_live.messages import ContractFilter

Ids: TypeAlias = Iterable[str | int]
"""Contracts by id, and patterns of ids."""

Markets: TypeAlias = Iterable[Market | str]
"""Markets, as `Market` or by name."""

Underlying: TypeAlias = str | Iterable[str] | None
"""An underlying, or several, by name or id; None for any."""

_WILDCARD: Final = "*"


def selectors_of(
    contract_names: Iterable[str],
    contract_ids: Ids,
    markets: Markets = (),
    underlying: Underlying = None,
) -> list[Selector]:
    """Return the contracts and filters of a program, without duplicates and in order.

    A name or an id with a ``*`` is a pattern. Patterns, markets and underlyings make one filter, or
    two if there are patterns of names and of ids.

    Raises:
        SettingsError: an argument cannot be used; the text names it.
    """
    named = keys_of(contract_names, contract_ids)
    if not is_list(markets):
        raise SettingsError(f"markets must be a list of markets, got {markets!r}")
    market_names: list[str] = []
    for market in markets:
        if market not in list(Market):
            raise SettingsError(f"markets must be some of {', '.join(Market)}, got {market!r}")
        market_names.append(Market(market).value)
    underlyings: list[str] = []
    if underlying is not None and not isinstance(underlying, str) and not is_list(underlying):
        raise SettingsError(f"underlying must be a text or a list of texts, got {underlying!r}")
    for name in (underlying,) if isinstance(underlying, str) else underlying or ():
        if not isinstance(name, str) or not name.strip():
            raise SettingsError(
                f"an underlying must be a name or an id that is not empty, got {name!r}"
            )
        underlyings.append(name.strip())
    keys: list[Selector] = [key for key in named if _WILDCARD not in key[1]]
    patterns = [key for key in named if _WILDCARD in key[1]]
    kinds: tuple[Literal["name", "id"], ...] = ("name", "id")
    for by in kinds:
        words = [word for kind, word in patterns if kind == by]
        if words or (by == "name" and not patterns and (market_names or underlyings)):
            keys.append(
                ContractFilter.of(by, markets=market_names, patterns=words, underlyings=underlyings)
            )
    return keys


def keys_of(contract_names: Iterable[str], contract_ids: Ids) -> list[Key]:
    """Return the contracts of a program as keys, without duplicates and in order.

    Raises:
        SettingsError: one of them cannot be a name or an id.
    """
    if not is_list(contract_names):
        raise SettingsError(f"contract_names must be a list of names, got {contract_names!r}")
    if not is_list(contract_ids):
        raise SettingsError(f"contract_ids must be a list of ids, got {contract_ids!r}")
    keys: list[Key] = []
    for name in contract_names:
        if not isinstance(name, str) or not name.strip():
            raise SettingsError(f"a contract's name must be a text that is not empty, got {name!r}")
        keys.append(("name", name.strip()))
    for contract_id in contract_ids:
        if (
            not isinstance(contract_id, str | int)
            or isinstance(contract_id, bool)
            or not str(contract_id).strip()
        ):
            raise SettingsError(
                "a contract's id must be a whole number or a text that is not empty, "
                f"got {contract_id!r}"
            )
        keys.append(("id", str(contract_id).strip()))
    for _, text in keys:
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate, as from bytes that were decoded wrongly
            raise SettingsError(
                f"contracts must be given as text that UTF-8 can carry, got {text!r}"
            ) from None
    return list(dict.fromkeys(keys))


def is_list(value: object) -> bool:
    """Return whether an argument is a list of values. A single string is not."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)
