"""Read the path and query of a stream's request, and find its contracts. No I/O.

A refusal is raised with the close code and reason that the client gets.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import tzinfo
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import RefusedError, UnknownContractError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.market import SECTIONS, version_of

STREAM_ROOT: Final = "/live/data/websocket/contract/"
EVENTS_ROOT: Final = "/live/data/sse/contract/"


_ENDPOINTS: Final = {root + by.value: by for root in (STREAM_ROOT, EVENTS_ROOT) for by in By}

# Deployed clients use the singular and the plural on both endpoints.
_PARAMETERS: Final = {
    By.NAME: ("contract_names", "contract_name"),
    By.ID: ("contract_id", "contract_ids"),
}

_TOKEN: Final = "token"  # noqa: S105 - the name of a parameter
_OPT_INS: Final = ("snapshot", "since", "status", "max_rate", "sections", "skipped", _TOKEN)

_OLD_SKIPPED: Final = "meta"
"""Old name of `skipped`, accepted until 0.3."""

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})

MIN_RATE: Final = 0.01
MAX_RATE: Final = 1000.0
"""Limits of `max_rate`, in messages per second and contract."""


def endpoint_of(path: str, root_path: str = "", root: str = STREAM_ROOT) -> By | None:
    """Return which stream ``path`` is, None if it is not one.

    Args:
        path: as requested, percent-encoded or not, without the query.
        root_path: prefix of a proxy in front, which may have stripped it or passed it on.
        root: `STREAM_ROOT` or `EVENTS_ROOT`.
    """
    if path not in _ENDPOINTS:
        path = unquote(path).removesuffix("/")
    if path not in _ENDPOINTS:
        path = path.removeprefix(root_path)
    return _ENDPOINTS.get(path) if path.startswith(root) else None


class StreamRequest(Struct, frozen=True):
    """The query of a stream's request.

    Attributes:
        by: how the contracts are named.
        contracts: their names or ids as they were sent, in that order, without repetitions.
        newer_than: send at once the states with a version above this; 0 for all of them, None
            for none.
        token: the token in ``?token=``, if any.
        status: whether to send messages with the state of the feed as well.
        options: delivery options, except the format.
    """

    by: By
    contracts: tuple[str, ...]
    newer_than: int | None = None
    token: str | None = None
    status: bool = False
    options: DeliveryOptions = DeliveryOptions()


def unknown_parameters(by: By, query: str) -> tuple[str, ...]:
    """Return the names of parameters that no stream has, even if other values are invalid."""
    values = parse_qs(query, keep_blank_values=True)
    return _unknown(values, {*_PARAMETERS[by], *_OPT_INS, _OLD_SKIPPED})


def read_request(by: By, query: str, zone: tzinfo) -> StreamRequest:
    """Read the query of a stream's request.

    Args:
        by: the endpoint.
        query: as sent, percent-encoded UTF-8.
        zone: time zone of the timestamps, for ``since``.

    Raises:
        RefusedError: 1008; no contract is named, or a value cannot be read.
    """
    values = parse_qs(query, keep_blank_values=True)
    contracts = _read_contracts(by, values)
    if not contracts:
        raise RefusedError(
            f"no contract: name at least one with {_PARAMETERS[by][0]}=", kind="no contract"
        )
    newer_than = 0 if _read_switch("snapshot", values) else None
    if "since" in values:
        newer_than = read_since(values["since"][-1], zone)
    return StreamRequest(
        by,
        contracts,
        newer_than,
        _read_token(values),
        _read_switch("status", values),
        DeliveryOptions(
            sections=_read_sections(values.get("sections", ())),
            interval=_read_interval(values["max_rate"][-1]) if "max_rate" in values else 0.0,
            skips=_read_switch("skipped", values) or _read_switch(_OLD_SKIPPED, values),
        ),
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
    values = parse_qs(query, keep_blank_values=True)
    return StatusRequest(
        _read_contracts(By.NAME, values),
        _read_contracts(By.ID, values),
        _read_token(values),
        _unknown(values, {*_PARAMETERS[By.NAME], *_PARAMETERS[By.ID], _TOKEN}),
    )


def _unknown(values: Mapping[str, object], known: Container[str]) -> tuple[str, ...]:
    return tuple(name for name in values if name not in known)


def _read_contracts(by: By, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    contracts = (
        name.strip()
        for parameter in _PARAMETERS[by]
        for name in values.get(parameter, ())
        if name.strip()
    )
    return tuple(dict.fromkeys(contracts))


def _read_token(values: Mapping[str, Sequence[str]]) -> str | None:
    return values.get(_TOKEN, [""])[-1] or None


def _read_switch(name: str, values: Mapping[str, Sequence[str]]) -> bool:
    text = values.get(name, ("false",))[-1]
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise RefusedError(f"{name} is neither true nor false: {text}", kind=f"bad {name}")


def read_since(text: str, zone: tzinfo) -> int:
    """Return the version of a message's timestamp.

    Raises:
        RefusedError: 1008; it is not a timestamp.
    """
    try:
        return version_of(text, zone)
    except (ValueError, OverflowError):
        raise RefusedError(f"since is not an ISO 8601 time: {text}", kind="bad since") from None


def _read_sections(values: Sequence[str]) -> tuple[str, ...]:
    named = {section.strip() for value in values for section in value.split(",")}
    if unknown := sorted(named - SECTIONS.keys()):
        raise RefusedError(
            f"no such section: {unknown[0] or 'none is named'}; there are {', '.join(SECTIONS)}",
            kind="bad sections",
        )
    # In the documented order, so that clients that ask for the same sections share their bytes.
    sections = tuple(section for section in SECTIONS if section in named)
    return () if len(sections) == len(SECTIONS) else sections


def _read_interval(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_RATE <= rate <= MAX_RATE:
        raise RefusedError(
            f"max_rate is not a number from {MIN_RATE:g} to {MAX_RATE:g}: {text}",
            kind="bad max_rate",
        )
    return 1 / rate


class Contracts(Protocol):
    """Finds contracts by id or name."""

    def by_id(self, contract_id: str) -> Contract:
        """Find one by its id, or raise UnknownContractError."""

    def by_name(self, name: str) -> Contract:
        """Find one by its name, or raise UnknownContractError."""


def select(
    request: StreamRequest,
    contracts: Contracts,
    may_see: Callable[[Contract], bool],
    limit: int,
) -> Mapping[str, ContractRef]:
    """Return the selection of a request: contract id → how the client named it.

    A message names its contract as the client did, so that a program that looks messages up by
    name still works when a contract is renamed. Of two spellings of one contract, the first
    counts.

    Raises:
        RefusedError: 1008; a contract is unknown or not covered by the token, or there are too
            many.
    """
    selection: dict[str, ContractRef] = {}
    for name in request.contracts:
        contract = find(request.by, name, contracts, may_see)
        selection.setdefault(contract.contract_id, ContractRef.of(request.by, name))
    if len(selection) > limit:
        raise RefusedError(
            f"too many contracts: {len(selection)}, at most {limit}", kind="too many contracts"
        )
    return selection


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
