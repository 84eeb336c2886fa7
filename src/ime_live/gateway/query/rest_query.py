"""Read the query parameters of a REST call. No I/O.

Contracts are not looked up here: names and ids are returned as they were sent.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from ime_live.contracts import Market
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By

PARAMETERS: Final = {
    By.NAME: ("contract_names", "contract_name"),
    By.ID: ("contract_ids", "contract_id"),
}
"""The documented parameter, and the other spelling, which works as well."""

MARKET: Final = "market"
TEXT: Final = "Search_char"

_TOKEN: Final = "token"  # noqa: S105 - the name of a parameter
_MARKETS: Final = ", ".join(Market)


class Query:
    """The query parameters of one request, checked when they are read."""

    __slots__ = ("_pairs",)

    def __init__(self, query: str) -> None:
        """Parse a query.

        Args:
            query: as sent, percent-encoded UTF-8.
        """
        self._pairs = parse_qsl(query, keep_blank_values=True)

    def unknown(self, *known: str) -> tuple[str, ...]:
        """Return the names of parameters other than ``known`` and the token."""
        names = dict.fromkeys(name for name, _ in self._pairs)
        return tuple(name for name in names if name != _TOKEN and name not in known)

    @property
    def token(self) -> str | None:
        """The token in ``?token=``, if any."""
        return self._last(_TOKEN) or None

    def contracts(self, by: By, limit: int) -> list[str]:
        """Return the contracts' names or ids as they were sent, in that order, with repetitions.

        Args:
            by: how they are named.
            limit: how many there may be.

        Raises:
            RefusedError: there is none, or there are too many.
        """
        spellings = PARAMETERS[by]
        found = [value for name, value in self._pairs if name in spellings and value.strip()]
        if not found:
            raise RefusedError(
                f"no contract: name at least one with {spellings[0]}=", kind="no contract"
            )
        if len(found) > limit:
            raise RefusedError(
                f"too many contracts: {len(found)}, at most {limit}", kind="too many contracts"
            )
        return found

    def market(self) -> Market:
        """Return the market to search.

        Raises:
            RefusedError: it is missing, or not one of the exchange's.
        """
        name = self._last(MARKET)
        if name is None:
            raise RefusedError(f"no market: name one of {_MARKETS} with {MARKET}=")
        try:
            return Market(name)
        except ValueError:
            raise RefusedError(
                f"{MARKET} is one of {_MARKETS}, not {name}", kind="unknown market"
            ) from None

    def text(self) -> str:
        """Return the text to search for; an empty one matches every name.

        Raises:
            RefusedError: it is missing.
        """
        text = self._last(TEXT)
        if text is None:
            raise RefusedError(f"no text to look for: give it with {TEXT}=")
        return text

    def _last(self, name: str) -> str | None:
        return next((value for each, value in reversed(self._pairs) if each == name), None)
