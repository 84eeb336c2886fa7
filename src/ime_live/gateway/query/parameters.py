"""The table of query parameters, which `Query` and both API documents are made from.

To add a parameter, add an entry to `PARAMETERS`: then ``query["name"]`` of
`ime_live.gateway.query.query_string.Query` is its value, and the documents describe it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from ime_live.candles import Interval
from ime_live.contracts import Market
from ime_live.gateway.query.value_types import (
    Choice,
    Day,
    Moment,
    Names,
    Number,
    Schema,
    Secret,
    Switch,
    Text,
    Texts,
    ValueType,
    Words,
)
from ime_live.market import SECTIONS


class Endpoint(StrEnum):
    """A group of paths with the same parameters; the value is its name in the log."""

    STREAM_BY_NAME = "stream by name"
    STREAM_BY_ID = "stream by id"
    DATA_BY_NAME = "data by name"
    DATA_BY_ID = "data by id"
    CANDLES_BY_NAME = "candles by name"
    CANDLES_BY_ID = "candles by id"
    SEARCH = "search"
    OPTION_CHAIN = "option chain"
    MARKETS = "markets"
    STATUS = "/live/status"


class Parameter(Struct, frozen=True, kw_only=True):
    """A query parameter.

    Attributes:
        name: the documented name.
        type: type and limits of the value.
        endpoints: the endpoints with this parameter.
        description: meaning, for the documents.
        default: value in a request without the parameter.
        missing: reason of the refusal of a request without the parameter; empty if it is optional.
            The part before the colon is the kind of the refusal.
        instead: other parameters, one of which may replace this one.
        aliases: other names, which are documented as such.
        former: former names, which are accepted but not documented.
    """

    name: str
    type: ValueType
    endpoints: tuple[Endpoint, ...]
    description: str
    default: Any = None
    missing: str = ""
    instead: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """All accepted names, the documented name first."""
        return (self.name, *self.aliases, *self.former)

    def schema(self) -> Schema:
        """Return the schema of the value, with the default and without the description."""
        schema = self.type.schema()
        return schema if self.default is None else schema | {"default": self.default}


FILTERS: Final = ("market", "underlying")
"""Parameters that select contracts without their names."""


def _contracts(
    name: str, other: str, endpoint: Endpoint, names: Names, *, optional: bool = False
) -> Parameter:
    """Return the parameter for names or ids of contracts; deployed clients use both spellings."""
    return Parameter(
        name=name,
        type=names,
        endpoints=(endpoint,),
        description=f"{'Names' if 'name' in name else 'Ids'} of contracts, one per parameter."
        + (
            ""
            if optional
            else " A text with a `*` is a pattern: `GC*`. "
            "A request with `market` or `underlying` is also accepted without it."
        ),
        missing="" if optional else f"no contract: name at least one with {name}=",
        instead=() if optional else FILTERS,
        aliases=(other,),
    )


_CANDLES: Final = (Endpoint.CANDLES_BY_NAME, Endpoint.CANDLES_BY_ID)
_STREAMS: Final = (Endpoint.STREAM_BY_NAME, Endpoint.STREAM_BY_ID)

_FILTERED: Final = (*_STREAMS, Endpoint.DATA_BY_NAME, Endpoint.DATA_BY_ID, *_CANDLES)

_BY_NAME: Final = ("contract_names", "contract_name")
_BY_ID: Final = ("contract_ids", "contract_id")

_STREAM_NAME: Final[Schema] = {"type": "string", "minLength": 1}
_REST_NAME: Final[Schema] = {"type": "string", "pattern": r"\S"}
_ANY_NAMES: Final = Names({"type": "string"}, limited=False)

PARAMETERS: Final = (
    _contracts(*_BY_NAME, Endpoint.STREAM_BY_NAME, Names(_STREAM_NAME, "ContractA")),
    # Only here the service documents the singular.
    _contracts("contract_id", "contract_ids", Endpoint.STREAM_BY_ID, Names(_STREAM_NAME, "12345")),
    _contracts(*_BY_NAME, Endpoint.DATA_BY_NAME, Names(_REST_NAME, "ContractA", as_sent=True)),
    _contracts(*_BY_ID, Endpoint.DATA_BY_ID, Names(_REST_NAME, "12345", as_sent=True)),
    _contracts(*_BY_NAME, Endpoint.CANDLES_BY_NAME, Names(_REST_NAME, "ContractA", as_sent=True)),
    _contracts(*_BY_ID, Endpoint.CANDLES_BY_ID, Names(_REST_NAME, "12345", as_sent=True)),
    Parameter(
        name="interval",
        type=Choice(Interval),
        endpoints=_CANDLES,
        description="Length of a candle.",
        default=Interval.MINUTE,
    ),
    Parameter(
        name="from",
        type=Moment("2026-11-28"),
        endpoints=_CANDLES,
        description="Candles that begin at this date or time, or later; without an offset on "
        "Tehran's clock. Default: the day of `to`, else today.",
    ),
    Parameter(
        name="to",
        type=Moment("2026-11-28T12:30:00"),
        endpoints=_CANDLES,
        description="Candles that begin before this time; a date includes its whole day. Default: "
        "the end of today.",
    ),
    _contracts(*_BY_NAME, Endpoint.STATUS, _ANY_NAMES, optional=True),
    _contracts(*_BY_ID, Endpoint.STATUS, _ANY_NAMES, optional=True),
    Parameter(
        name="market",
        type=Words(tuple(Market), "market", example=(Market.OPTION,)),
        endpoints=_FILTERED,
        description="All contracts of these markets; on a stream also those that are listed "
        "later. With `underlying` or patterns, only those that match these, too.",
    ),
    Parameter(
        name="underlying",
        type=Texts("the name or the id of an underlying", "KA"),
        endpoints=_FILTERED,
        description="All contracts of these underlyings, by name or id; on a stream also those "
        "that are listed later. With `market` or patterns, only those that match these, too.",
    ),
    Parameter(
        name="snapshot",
        type=Switch(),
        endpoints=_STREAMS,
        description="Send the present state of each contract at once.",
        default=False,
    ),
    Parameter(
        name="since",
        type=Text("2026-05-23T15:10:00.000000"),
        endpoints=_STREAMS,
        description="Send at once the states that are newer than this `timestamp` of a message. "
        "It takes precedence over `snapshot`.",
    ),
    Parameter(
        name="status",
        type=Switch(),
        endpoints=_STREAMS,
        description="Also send status messages (channel `IME Status`): the state of the feed, and "
        "the timestamp that you should have for each contract.",
        default=False,
    ),
    Parameter(
        name="max_rate",
        type=Number(minimum=0.01, maximum=1000.0, example=2),
        endpoints=_STREAMS,
        description="Maximum number of messages per second and contract. A newer state replaces "
        "those that have not been sent; the last state is always sent.",
    ),
    Parameter(
        name="sections",
        type=Words(tuple(SECTIONS), "section", example=("BestLimit", "Aggregate")),
        endpoints=_STREAMS,
        description="Send only these sections in `data`, and only when one of them has changed. "
        "Separate them by commas, or use one parameter per section.",
    ),
    Parameter(
        name="skipped",
        type=Switch(),
        endpoints=_STREAMS,
        description="Add `skipped` to messages: the number of states of the contract that were "
        "left out before.",
        default=False,
        former=("meta",),  # until 0.3
    ),
    Parameter(
        name="market",
        type=Choice(Market),
        endpoints=(Endpoint.SEARCH,),
        description="Market to search.",
        missing=f"no market: name one of {', '.join(Market)} with market=",
    ),
    Parameter(
        name="Search_char",
        type=Text(),
        endpoints=(Endpoint.SEARCH,),
        description="Text that a present or former name, or the title, must contain. Upper and "
        "lower case differ. Without it the whole market is returned.",
        default="",
    ),
    Parameter(
        name="underlying",
        type=Text("GC", blank=False),
        endpoints=(Endpoint.OPTION_CHAIN,),
        description="Id, name or title of the underlying, in any spelling.",
        missing="no underlying: give its id or name with underlying=",
    ),
    Parameter(
        name="expiration",
        type=Day("2026-09-15"),
        endpoints=(Endpoint.OPTION_CHAIN,),
        description="Last trading day of the options (Gregorian). Without it all expirations are "
        "returned.",
    ),
    Parameter(
        name="details",
        type=Switch(),
        endpoints=(Endpoint.DATA_BY_NAME, Endpoint.DATA_BY_ID, Endpoint.SEARCH),
        description="Return all static fields that are known, beyond the documented ones: market, "
        "tick size, settlement, and so on.",
        default=False,
    ),
    Parameter(
        name="token",
        type=Secret(),
        endpoints=tuple(Endpoint),
        description="Token, for clients that cannot set a header. Proxies log query strings, so "
        "prefer a header.",
    ),
)


def parameters_of(endpoint: Endpoint) -> Mapping[str, Parameter]:
    """Return the parameters of an endpoint by their documented names, in the order of the table."""
    return {each.name: each for each in PARAMETERS if endpoint in each.endpoints}
