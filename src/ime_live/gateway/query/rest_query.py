"""Query: what somebody asks for in the query of a REST call.

A query string comes in; names and ids as they were sent, or a refusal that names what is wrong, go
out. Pure. It must not know which contracts there are.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from ime_live.contracts import Market
from ime_live.errors import RefusedError
from ime_live.gateway.query.stream_query import By

PARAMETERS: Final = {
    By.NAME: ("contract_names", "contract_name"),
    By.ID: ("contract_ids", "contract_id"),
}
"""The documented spelling, and the other one, which works as well."""

MARKET: Final = "market"
TEXT: Final = "Search_char"

_TOKEN: Final = "token"  # noqa: S105 - the name of a parameter
_MARKETS: Final = ", ".join(Market)


class Query:
    """The parameters of one request, read when they are asked for."""

    __slots__ = ("_pairs",)

    def __init__(self, query: str) -> None:
        """Take a query apart.

        Args:
            query: as sent, percent-encoded UTF-8.
        """
        self._pairs = parse_qsl(query, keep_blank_values=True)

    def unknown(self, *known: str) -> tuple[str, ...]:
        """The names of parameters that are none of ``known``, nor the token's."""
        names = dict.fromkeys(name for name, _ in self._pairs)
        return tuple(name for name in names if name != _TOKEN and name not in known)

    @property
    def token(self) -> str | None:
        """The token of ``?token=``, if there."""
        return self._last(_TOKEN) or None

    def contracts(self, by: By, limit: int) -> list[str]:
        """The contracts' names or ids as they were sent, in that order, repetitions included.

        Args:
            by: how they are named.
            limit: how many they may be.

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
        """The market to look in.

        Raises:
            RefusedError: none is named, or it is not one of the exchange's.
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
        """The text to look for; an empty one is in every name.

        Raises:
            RefusedError: there is none.
        """
        text = self._last(TEXT)
        if text is None:
            raise RefusedError(f"no text to look for: give it with {TEXT}=")
        return text

    def _last(self, name: str) -> str | None:
        return next((value for each, value in reversed(self._pairs) if each == name), None)
