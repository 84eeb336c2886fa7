"""Read the path and query of a stream's request, and find its contracts. No I/O.

A refusal is raised with the close code and reason that the client gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import partial
from typing import Final, Protocol
from urllib.parse import unquote

from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import RefusedError, UnknownContractError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.query.contract_filter import check_filters, split_names
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.market import SECTIONS, version_of
from ime_live.messages import ContractFilter

STREAM_ROOT: Final = "/live/data/websocket/contract/"
EVENTS_ROOT: Final = "/live/data/sse/contract/"


_ENDPOINTS: Final = {root + by.value: by for root in (STREAM_ROOT, EVENTS_ROOT) for by in By}


def endpoint_of(path: str, root_path: str = "", root: str = STREAM_ROOT) -> By | None:
    """Return the stream at ``path``; None if there is none.

    Args:
        path: as requested, percent-encoded or not, without the query.
        root_path: prefix of a proxy in front, which may have stripped it or passed it on.
        root: `STREAM_ROOT` or `EVENTS_ROOT`.
    """
    if path not in _ENDPOINTS:
        path = (unquote(path) if "%" in path else path).removesuffix("/")
    if path not in _ENDPOINTS:
        path = path.removeprefix(root_path)
    return _ENDPOINTS.get(path) if path.startswith(root) else None


class StreamRequest(Struct, frozen=True):
    """The query of a stream's request.

    Attributes:
        by: how the contracts are named.
        contracts: their names or ids as they were sent, in that order, without repetitions; or
            patterns of them.
        newer_than: send at once the states with a version above this; 0 for all of them, None
            for none.
        token: the token in ``?token=``, if any.
        status: whether to send messages with the state of the feed as well.
        options: delivery options, except the format.
        markets: markets whose contracts are chosen.
        underlyings: names or ids of underlyings whose contracts are chosen.
    """

    by: By
    contracts: tuple[str, ...]
    newer_than: int | None = None
    token: str | None = None
    status: bool = False
    options: DeliveryOptions = DeliveryOptions()
    markets: tuple[str, ...] = ()
    underlyings: tuple[str, ...] = ()


_PER_CONTRACT: Final = 2
_OTHERS: Final = 100
"""Parameters beside contracts. Contracts may be named twice, in two spellings."""

_BY: Final = {
    By.NAME: (Endpoint.STREAM_BY_NAME, "contract_names"),
    By.ID: (Endpoint.STREAM_BY_ID, "contract_id"),
}


def parse_query(by: By, text: str) -> Query:
    """Return the query of a stream's request; ``text`` is percent-encoded UTF-8, as sent."""
    return Query.of(_BY[by][0], text)


def check_length(text: str, limit: int) -> None:
    """Check that a query may be parsed, since that of a huge one takes milliseconds.

    Args:
        text: as sent.
        limit: number of contracts that a stream may have.

    Raises:
        RefusedError: 1008; there are far more parameters than a stream may have contracts.
    """
    parameters = text.count("&") + 1
    if parameters > _PER_CONTRACT * limit + _OTHERS:
        reason = f"too many contracts: {parameters} parameters, at most {limit} contracts"
        raise RefusedError(reason, kind=TOO_MANY_CONTRACTS)


def read_request(by: By, query: Query, zone: tzinfo) -> StreamRequest:
    """Read the query of a stream's request.

    Args:
        by: the endpoint.
        query: from `parse_query`.
        zone: time zone of the timestamps, for ``since``.

    Raises:
        RefusedError: 1008; no contract is named or filtered, or a value cannot be read.
    """
    return query.once(zone, partial(_read_request, by, query, zone))


def _read_request(by: By, query: Query, zone: tzinfo) -> StreamRequest:
    contracts = query[_BY[by][1]] or ()
    newer_than = 0 if query["snapshot"] else None
    since = query["since"]
    if since is not None:
        newer_than = read_since(since, zone)
    status = query["status"]
    sections = query["sections"] or ()
    rate = query["max_rate"]
    return StreamRequest(
        by,
        contracts,
        newer_than,
        query.token,
        status,
        DeliveryOptions(
            # Clients that name all sections share the bytes of those that name none.
            sections=() if len(sections) == len(SECTIONS) else sections,
            interval=0.0 if rate is None else 1 / rate,
            skips=query["skipped"],
        ),
        query["market"] or (),
        query["underlying"] or (),
    )


class StatusRequest(Struct, frozen=True):
    """The query of a request for the status report.

    Attributes:
        names: names of contracts, as they were sent.
        ids: ids of contracts, as they were sent; all contracts are meant if none is named.
        token: the token in ``?token=``, if any.
        unknown: names of parameters that the call does not have.
    """

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    token: str | None = None
    unknown: tuple[str, ...] = ()


def read_status_request(query: str) -> StatusRequest:
    """Read the query of a request for the status report: percent-encoded UTF-8, as sent."""
    values = Query(Endpoint.STATUS, query)
    return StatusRequest(
        values["contract_names"] or (),
        values["contract_ids"] or (),
        values.token,
        values.unknown,
    )


def read_since(text: str, zone: tzinfo) -> int:
    """Return the version of a message's timestamp.

    Raises:
        RefusedError: 1008; it is not a timestamp.
    """
    try:
        return version_of(text, zone)
    except (ValueError, OverflowError):
        raise RefusedError(f"since is not an ISO 8601 time: {text}", kind="bad since") from None


class Contracts(Protocol):
    """Finds contracts by id or name."""

    def by_id(self, contract_id: str) -> Contract:
        """Find one by its id, or raise UnknownContractError."""

    def by_name(self, name: str) -> Contract:
        """Find one by its name, or raise UnknownContractError."""


class StreamSelection(Struct, frozen=True):
    """The selection that a request asks for.

    Attributes:
        named: contract id → how the client named it.
        filters: what else is selected, at present and later; empty for most clients.
    """

    named: Mapping[str, ContractRef]
    filters: tuple[ContractFilter, ...] = ()


def select(
    request: StreamRequest,
    contracts: Contracts,
    may_see: Callable[[Contract], bool],
    limit: int,
) -> StreamSelection:
    """Return the selection of a request.

    A message names its contract as the client did, so that a program that looks messages up by
    name still works when a contract is renamed. Of two spellings of one contract, the first
    counts.

    Raises:
        RefusedError: 1008; a contract is unknown or not covered by the token, or there are too
            many contracts or patterns.
    """
    names, chosen = split_names(
        request.by,
        request.contracts,
        lambda by, name: is_known(by, name, contracts),
        markets=request.markets,
        underlyings=request.underlyings,
    )
    filters = () if chosen is None else (chosen,)
    check_filters(filters)
    selection: dict[str, ContractRef] = {}
    for name in names:
        contract = find(request.by, name, contracts, may_see)
        selection.setdefault(contract.contract_id, ContractRef.of(request.by, name))
    check_count(len(selection), limit)
    return StreamSelection(selection, filters)


def check_count(contracts: int, limit: int) -> None:
    """Check the number of a stream's contracts.

    Raises:
        RefusedError: 1008; there are more than the limit.
    """
    if contracts > limit:
        raise RefusedError(
            f"too many contracts: {contracts}, at most {limit}", kind=TOO_MANY_CONTRACTS
        )


def is_known(by: By, name: str, contracts: Contracts) -> bool:
    """Return whether a contract has this name or id."""
    try:
        find(by, name, contracts, lambda _: True)
    except ContractNotFoundError:
        return False
    return True


TOO_MANY_CONTRACTS: Final = "too many contracts"
"""Kind of the refusal of a selection that is too large."""

UNKNOWN: Final = "unknown contract"
NOT_COVERED: Final = "contract not covered"
"""Kinds of refusals: a contract is unknown, or not covered by the token."""


class ContractNotFoundError(RefusedError):
    """A client asks for a contract that does not exist.

    Attributes:
        by: how it was asked for.
        name: the name, or the id, as it was sent.
    """

    def __init__(self, by: By, name: str) -> None:
        self.by = by
        self.name = name
        super().__init__(f"unknown contract: {name}", kind=UNKNOWN)


def find(by: By, name: str, contracts: Contracts, may_see: Callable[[Contract], bool]) -> Contract:
    """Find one contract for a client.

    Raises:
        ContractNotFoundError: 1008; it is unknown.
        RefusedError: 1008; it is not covered by the token.
    """
    try:
        contract = contracts.by_name(name) if by is By.NAME else contracts.by_id(name)
    except UnknownContractError:
        raise ContractNotFoundError(by, name) from None
    if not may_see(contract):
        raise RefusedError(f"contract not covered by the token: {name}", kind=NOT_COVERED)
    return contract
