"""Read the path and query of a stream's request, and find its contracts. No I/O.

Refusals have the close code and the reason that are sent to the client.
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
    """Return the endpoint at a path: whether it names contracts by name or by id.

    Args:
        path: the path as requested, percent-encoded or not, without the query.
        root_path: prefix of a proxy, which may have removed it or not.
        root: `STREAM_ROOT` or `EVENTS_ROOT`.

    Returns:
        None if there is no stream at this path.
    """
    if path not in _ENDPOINTS:
        path = (unquote(path) if "%" in path else path).removesuffix("/")
    if path not in _ENDPOINTS:
        path = path.removeprefix(root_path)
    return _ENDPOINTS.get(path) if path.startswith(root) else None


class StreamRequest(Struct, frozen=True):
    """The request for a stream, as its query says.

    Attributes:
        by: whether contracts are named by name or by id.
        contracts: names or ids of contracts, or patterns of them, in the order sent, without
            repetitions.
        newer_than: version above which present states are sent at once; 0 to send all, None to
            send none.
        token: the token in ``?token=``; None without one.
        status: whether to send status messages.
        options: delivery options, except the format.
        markets: markets whose contracts are selected.
        underlyings: names or ids of underlyings whose contracts are selected.
    """

    by: By
    contracts: tuple[str, ...]
    newer_than: int | None = None
    token: str | None = None
    status: bool = False
    options: DeliveryOptions = DeliveryOptions()
    markets: tuple[str, ...] = ()
    underlyings: tuple[str, ...] = ()


_PARAMETERS_PER_CONTRACT: Final = 2
"""A client may name each contract twice, in two spellings."""

_OTHER_PARAMETERS: Final = 100

_BY: Final = {
    By.NAME: (Endpoint.STREAM_BY_NAME, "contract_names"),
    By.ID: (Endpoint.STREAM_BY_ID, "contract_id"),
}


def parse_query(by: By, text: str) -> Query:
    """Parse the query of a stream's request, percent-encoded UTF-8 as sent."""
    return Query.of(_BY[by][0], text)


def check_length(text: str, limit: int) -> None:
    """Check the length of a query before it is parsed, which may take milliseconds.

    Args:
        text: the query as sent.
        limit: maximum number of contracts of a stream.

    Raises:
        RefusedError: 1008; there are far more parameters than a stream may have contracts.
    """
    parameters = text.count("&") + 1
    if parameters > _PARAMETERS_PER_CONTRACT * limit + _OTHER_PARAMETERS:
        reason = f"too many contracts: {parameters} parameters, at most {limit} contracts"
        raise RefusedError(reason, kind=TOO_MANY_CONTRACTS)


def read_request(by: By, query: Query, zone: tzinfo) -> StreamRequest:
    """Read the query of a stream's request.

    Args:
        by: whether the request names contracts by name or by id.
        query: the query, from `parse_query`.
        zone: time zone of the timestamps, for ``since``.

    Raises:
        RefusedError: 1008; there is no contract and no filter, or a value cannot be read.
    """
    return query.cached(zone, partial(_read_request, by, query, zone))


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
            # All sections are the same as no selection, so clients share the bytes.
            sections=() if len(sections) == len(SECTIONS) else sections,
            interval=0.0 if rate is None else 1 / rate,
            skips=query["skipped"],
        ),
        query["market"] or (),
        query["underlying"] or (),
    )


class StatusRequest(Struct, frozen=True):
    """The request for a status report, as its query says.

    Attributes:
        names: names of contracts, as they were sent.
        ids: ids of contracts, as they were sent. Without names and ids, all contracts are reported.
        token: the token in ``?token=``; None without one.
        unknown: names of unknown parameters.
    """

    names: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    token: str | None = None
    unknown: tuple[str, ...] = ()


def read_status_request(query: str) -> StatusRequest:
    """Read the query of a request for a status report, percent-encoded UTF-8 as sent."""
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
        RefusedError: 1008; the text is not a timestamp.
    """
    try:
        return version_of(text, zone)
    except (ValueError, OverflowError):
        raise RefusedError(f"since is not an ISO 8601 time: {text}", kind="bad since") from None


class Contracts(Protocol):
    """Interface to the known contracts, as `Registry` has it."""

    def by_id(self, contract_id: str) -> Contract:
        """Return the contract with an id; raises UnknownContractError."""

    def by_name(self, name: str) -> Contract:
        """Return the contract with a name; raises UnknownContractError."""


class StreamSelection(Struct, frozen=True):
    """The selection of a request.

    Attributes:
        named: contracts that were named in the request: contract id → reference.
        filters: filters that select other contracts, now and later; empty for most clients.
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

    Messages repeat the client's spelling of a name, so that a program that looks up messages by
    name still works after a contract is renamed. If a request has two spellings of a contract,
    messages use the first.

    Args:
        request: the request.
        contracts: the known contracts.
        may_see: returns whether the client's token covers a contract.
        limit: maximum number of named contracts.

    Raises:
        RefusedError: 1008; a contract is unknown or not covered by the token, or there are too
            many contracts or patterns.
    """
    names, contract_filter = split_names(
        request.by,
        request.contracts,
        lambda by, name: is_known(by, name, contracts),
        markets=request.markets,
        underlyings=request.underlyings,
    )
    filters = () if contract_filter is None else (contract_filter,)
    check_filters(filters)
    selection: dict[str, ContractRef] = {}
    for name in names:
        contract = find(request.by, name, contracts, may_see)
        selection.setdefault(contract.contract_id, ContractRef.of(request.by, name))
    check_count(len(selection), limit)
    return StreamSelection(selection, filters)


def check_count(contracts: int, limit: int) -> None:
    """Check the number of contracts of a stream or a request.

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
"""Kind of refusal: a selection has too many contracts."""

UNKNOWN: Final = "unknown contract"
"""Kind of refusal: a contract does not exist."""

NOT_COVERED: Final = "contract not covered"
"""Kind of refusal: the token does not cover a contract."""


class ContractNotFoundError(RefusedError):
    """A requested contract does not exist.

    Attributes:
        by: whether it was requested by name or by id.
        name: the name or id, as it was sent.
    """

    def __init__(self, by: By, name: str) -> None:
        self.by = by
        self.name = name
        super().__init__(f"unknown contract: {name}", kind=UNKNOWN)


def find(by: By, name: str, contracts: Contracts, may_see: Callable[[Contract], bool]) -> Contract:
    """Return the contract that a client requests.

    Args:
        by: whether ``name`` is a name or an id.
        name: the name or id.
        contracts: the known contracts.
        may_see: returns whether the client's token covers a contract.

    Raises:
        ContractNotFoundError: 1008; the contract is unknown.
        RefusedError: 1008; the token does not cover the contract.
    """
    try:
        contract = contracts.by_name(name) if by is By.NAME else contracts.by_id(name)
    except UnknownContractError:
        raise ContractNotFoundError(by, name) from None
    if not may_see(contract):
        raise RefusedError(f"contract not covered by the token: {name}", kind=NOT_COVERED)
    return contract
