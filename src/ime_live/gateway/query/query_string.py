"""Read the query string of a request, as the table of parameters has it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from ime_live.errors import RefusedError
from ime_live.gateway.query.parameters import Endpoint, Parameter, parameters_of
from ime_live.gateway.query.value_types import Names


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
    """The query of one request. A value is checked when it is read.

    >>> query = Query(Endpoint.SEARCH, "market=IMEOption&Search_char=KASH&page=2")
    >>> query["Search_char"], query.unknown
    ('KASH', ('page',))
    """

    __slots__ = ("_pairs", "_table", "_values")

    def __init__(self, endpoint: Endpoint, text: str) -> None:
        """Parse a query string.

        Args:
            endpoint: the endpoint of the request.
            text: as sent, percent-encoded UTF-8.
        """
        self._table = _TABLES[endpoint]
        self._pairs = parse_qsl(text, keep_blank_values=True)
        self._values: dict[str, list[tuple[str, str]]] = {}
        for pair in self._pairs:
            self._values.setdefault(pair[0], []).append(pair)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of parameters that the endpoint does not have."""
        known = self._table.known
        return tuple(name for name in self._values if name not in known)

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
