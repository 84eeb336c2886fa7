"""Read the query string of a request, as the table of parameters has it. No I/O."""

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
"""Characters of a query that is kept; it takes some ten times as many bytes, so all take 3 MB."""


class _Table:
    """The parameters of an endpoint, prepared for reading: streams of many clients begin at once.

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
    """The query of a request. A value is checked when it is read, and then kept.

    >>> query = Query(Endpoint.SEARCH, "market=IMEOption&Search_char=KASH&page=2")
    >>> query["Search_char"], query.unknown
    ('KASH', ('page',))
    """

    __slots__ = ("_pairs", "_results", "_table", "_values", "unknown")

    def __init__(self, endpoint: Endpoint, text: str) -> None:
        """Parse a query string.

        Args:
            endpoint: the endpoint of the request.
            text: as sent, percent-encoded UTF-8.
        """
        self._table = _TABLES[endpoint]
        self._pairs = _pairs_of(text)
        self._values: dict[str, list[tuple[str, str]]] = {}
        for pair in self._pairs:
            self._values.setdefault(pair[0], []).append(pair)
        known = self._table.known
        self.unknown = tuple(name for name in self._values if name not in known)
        """The names of parameters that the endpoint does not have."""
        self._results: dict[object, Any] = {}

    @classmethod
    def of(cls, endpoint: Endpoint, text: str) -> Query:
        """Return the query of a request, perhaps that of an equal request before it.

        Clients of one kind ask the same again and again. A query with a token is not kept, nor one
        with an unknown name, which may be a misspelt token.
        """
        query = _queries.get((endpoint, text))
        if query is None:
            query = cls(endpoint, text)
            is_kept = len(text) <= _MAX_LENGTH and not query.unknown and "token" not in query
            if is_kept:
                if len(_queries) >= _MAX_QUERIES:
                    del _queries[next(iter(_queries))]
                _queries[endpoint, text] = query
        return query

    def __contains__(self, name: object) -> bool:
        """Return whether a parameter was sent, by its documented name."""
        return name in self._values

    def once(self, key: object, read: Callable[[], ResultT]) -> ResultT:
        """Return what ``read`` makes of the query, which it does once; ``key`` stands for it."""
        try:
            result: ResultT = self._results[key]
        except KeyError:
            result = self._results[key] = read()
        return result

    @property
    def token(self) -> str | None:
        """The token in ``?token=``, if any."""
        token: str | None = self["token"]
        return token

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the parameter's type
        """Return the value of a parameter of the endpoint, or its default.

        Raises:
            RefusedError: 1008; the value is wrong, or missing and required.
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
    """As `urllib.parse.parse_qsl` with blank values, in a quarter of its time."""
    pairs = [part.partition("=") for part in text.split("&") if part]
    if "%" not in text and "+" not in text:
        return [(name, value) for name, _, value in pairs]
    return [(_decoded(name), _decoded(value)) for name, _, value in pairs]


def _decoded(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text) if "%" in text else text


_queries: Final[dict[tuple[Endpoint, str], Query]] = {}
"""Those that are kept, the oldest first."""
