"""Read the query string of a request by the table of query parameters. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from ime_live.errors import RefusedError
from ime_live.gateway.query.parameters import Endpoint, Parameter, parameters_of
from ime_live.gateway.query.value_types import Names

ResultT = TypeVar("ResultT")

_MAX_QUERIES: Final = 500
_MAX_LENGTH: Final = 512
"""Longest query that is cached [characters]. It takes about ten times as many bytes of memory, so
the whole cache takes up to 3 MB."""


class _Table:
    """The parameters of an endpoint, prepared once, because many streams may begin at once.

    Attributes:
        known: all accepted names.
        entries: parameters and their spellings, by documented name.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        table = parameters_of(endpoint)
        self.entries: Mapping[str, tuple[Parameter, tuple[str, ...]]] = {
            name: (each, each.spellings) for name, each in table.items()
        }
        self.known = frozenset(name for _, names in self.entries.values() for name in names)


_TABLES: Final[Mapping[Endpoint, _Table]] = {endpoint: _Table(endpoint) for endpoint in Endpoint}


class Query:
    """The query string of a request. A value is checked at its first use, and then cached.

    >>> query = Query(Endpoint.SEARCH, "market=IMEOption&Search_char=KASH&page=2")
    >>> query["Search_char"], query.unknown
    ('KASH', ('page',))
    """

    __slots__ = ("_pairs", "_results", "_table", "_values", "unknown")

    def __init__(self, endpoint: Endpoint, text: str) -> None:
        """Parse a query string.

        Args:
            endpoint: the endpoint of the request.
            text: the query string as sent, percent-encoded UTF-8.
        """
        self._table = _TABLES[endpoint]
        self._pairs = _pairs_of(text)
        self._values: dict[str, list[tuple[str, str]]] = {}
        for pair in self._pairs:
            self._values.setdefault(pair[0], []).append(pair)
        known = self._table.known
        self.unknown = tuple(name for name in self._values if name not in known)
        """Names of parameters that the endpoint does not have."""
        self._results: dict[object, Any] = {}

    @classmethod
    def of(cls, endpoint: Endpoint, text: str) -> Query:
        """Return the query of a request, from a cache if an equal request came before.

        Clients of the same kind send equal requests. A query with a token is not cached, nor one
        with an unknown parameter, which may be a misspelt token.
        """
        query = _queries.get((endpoint, text))
        if query is None:
            query = cls(endpoint, text)
            if len(text) <= _MAX_LENGTH and not query.unknown and "token" not in query:
                if len(_queries) >= _MAX_QUERIES:
                    del _queries[next(iter(_queries))]
                _queries[endpoint, text] = query
        return query

    def __contains__(self, name: object) -> bool:
        """Return whether a parameter was sent with this name."""
        return name in self._values

    def cached(self, key: object, read: Callable[[], ResultT]) -> ResultT:
        """Return the result of ``read()``, which is called once per query and key."""
        try:
            result: ResultT = self._results[key]
        except KeyError:
            result = self._results[key] = read()
        return result

    @property
    def token(self) -> str | None:
        """The token in ``?token=``; None without one."""
        token: str | None = self["token"]
        return token

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the parameter's type
        """Return the value of a parameter of the endpoint, or its default.

        Raises:
            RefusedError: 1008; the value is wrong, or a required parameter is missing.
        """
        results = self._results
        if name not in results:
            results[name] = self._read(name)
        return results[name]

    def _read(self, name: str) -> Any:  # noqa: ANN401 - the parameter's type
        parameter, spellings = self._table.entries[name]
        values = self._values
        if len(spellings) == 1:
            pairs = values.get(name)
        elif isinstance(parameter.type, Names) and parameter.type.as_sent:
            pairs = [pair for pair in self._pairs if pair[0] in spellings]
        else:
            pairs = [pair for each in spellings if each in values for pair in values[each]]
        if pairs:
            value = parameter.type.read(pairs)
            if value is not None:
                return value
        if parameter.missing and not any(each in values for each in parameter.instead):
            raise RefusedError(parameter.missing, kind=parameter.missing.partition(":")[0])
        return parameter.default


def _pairs_of(text: str) -> list[tuple[str, str]]:
    """Return names and values like `urllib.parse.parse_qsl` with blank values, but much faster."""
    pairs = [part.partition("=") for part in text.split("&") if part]
    if "%" not in text and "+" not in text:
        return [(name, value) for name, _, value in pairs]
    return [(_decoded(name), _decoded(value)) for name, _, value in pairs]


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text) if "%" in text else text


_queries: Final[dict[tuple[Endpoint, str], Query]] = {}
"""The cached queries, the oldest first."""
