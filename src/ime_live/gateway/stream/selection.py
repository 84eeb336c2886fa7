"""Change a stream's selection by a command, and answer the command. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence

import msgspec
from msgspec import UNSET, Struct

from ime_live.contracts import Contract, Market
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.query.contract_filter import check_filters, split_names
from ime_live.gateway.query.stream_query import (
    Contracts,
    StreamSelection,
    check_count,
    find,
    is_known,
)
from ime_live.messages import (
    Action,
    ContractFilter,
    ControlData,
    ControlFault,
    ControlRequest,
    NamedContracts,
)

_encode = msgspec.json.Encoder().encode


class SelectionChange(Struct, frozen=True):
    """The result of a command.

    Attributes:
        selection: the named contracts from now on: contract id → reference.
        filters: the filters from now on.
        added: ids of contracts that were added to ``selection``.
        removed: ids of contracts that were removed from ``selection``.
        faults: the parts of the command that could not be carried out.
    """

    selection: Mapping[str, ContractRef]
    filters: tuple[ContractFilter, ...] = ()
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    faults: Sequence[ControlFault] = ()


def change_selection(
    present: StreamSelection,
    request: ControlRequest,
    contracts: Contracts,
    may_see: Callable[[Contract], bool],
    limit: int,
    *,
    by: By = By.NAME,
    matching: Container[str] = (),
) -> SelectionChange:
    """Return the result of a command, without subscribing or sending anything.

    A fault of one contract does not affect the other contracts. A contract that is in the selection
    already keeps the name or id by which it was requested first.

    Args:
        present: the present selection.
        request: the command.
        contracts: the known contracts.
        may_see: returns whether the client's token covers a contract.
        limit: maximum number of contracts that a selection may name.
        by: how messages name the contracts of a filter without patterns.
        matching: ids of contracts that are in the stream because a filter matches them.
    """
    selection = present.named
    try:
        named, request_filters = _contracts_and_filters(request, contracts, by)
    except RefusedError as error:
        return _refused(present, error.reason)
    faults: list[ControlFault] = []
    revised = dict(selection)
    if request.action is Action.UNSUBSCRIBE:
        known = {(ref.by, ref.name): contract_id for contract_id, ref in selection.items()}
        for kind, name in named:
            try:
                # A name in the selection is valid even if the contract was delisted meanwhile.
                contract_id = known.get((kind, name)) or _find(kind, name, contracts).contract_id
            except RefusedError as error:
                faults.append(ControlFault(name, error.reason))
                continue
            if revised.pop(contract_id, None) is None and contract_id in matching:
                text = f"a filter matches this contract, so only the filter can be removed: {name}"
                faults.append(ControlFault(name, text))
        filters = tuple(each for each in present.filters if each not in request_filters)
        removed = [i for i in selection if i not in revised]
        return SelectionChange(revised, filters, (), removed, faults)
    for kind, name in named:
        try:
            contract = find(kind, name, contracts, may_see)
        except RefusedError as error:
            faults.append(ControlFault(name, error.reason))
        else:
            revised.setdefault(contract.contract_id, ContractRef.of(kind, name))
    filters = tuple(dict.fromkeys((*present.filters, *request_filters)))
    try:
        check_filters(filters)
        check_count(len(revised), limit)
    except RefusedError as error:
        return _refused(present, error.reason, faults)
    return SelectionChange(revised, filters, [i for i in revised if i not in selection], (), faults)


def _refused(
    present: StreamSelection, reason: str, faults: Sequence[ControlFault] = ()
) -> SelectionChange:
    return SelectionChange(
        present.named, present.filters, faults=[*faults, ControlFault(None, reason)]
    )


def _contracts_and_filters(
    request: ControlRequest, contracts: Contracts, by: By
) -> tuple[list[tuple[By, str]], list[ContractFilter]]:
    """Return the contracts that a command names, and its filters.

    Raises:
        RefusedError: a market does not exist, or an underlying is empty.
    """
    markets, underlyings = (
        _as_list("market", request.market),
        _as_list("underlying", request.underlying),
    )
    for market in markets:
        if market not in list(Market):
            raise RefusedError(f"no such market: {market}; there are {', '.join(Market)}")
    named: list[tuple[By, str]] = []
    filters: list[ContractFilter] = []
    names_by_kind = {
        By.NAME: [name.strip() for name in request.contract_names],
        By.ID: [str(contract_id).strip() for contract_id in request.contract_ids],
    }
    for kind, names in names_by_kind.items():
        plain, patterns = split_names(kind, names, lambda k, name: is_known(k, name, contracts))
        named += [(kind, name) for name in plain]
        if patterns is not None:
            filters.append(
                ContractFilter.of(
                    kind.value,
                    markets=markets,
                    patterns=patterns.patterns,
                    underlyings=underlyings,
                )
            )
    if (markets or underlyings) and not filters:
        kind = By(request.by or by)
        filters.append(ContractFilter.of(kind.value, markets=markets, underlyings=underlyings))
    return named, filters


def _as_list(name: str, value: str | tuple[str, ...]) -> list[str]:
    texts = [text.strip() for text in ((value,) if isinstance(value, str) else value)]
    if "" in texts:
        raise RefusedError(f"{name} must not be empty, got an empty text")
    return texts


def answer(
    selection: Mapping[str, ContractRef],
    faults: Sequence[ControlFault],
    *,
    request_id: str | int | None = None,
    action: str | None = None,
    filters: Sequence[ContractFilter] = (),
    matching: Iterable[ContractRef] = (),
    change: tuple[Iterable[ContractRef], Iterable[ContractRef]] | None = None,
) -> bytes:
    """Return the answer to a command: JSON of `ControlData`.

    Args:
        selection: the contracts that are named at present.
        faults: the parts of the command that could not be carried out.
        request_id: id of the command; None without one.
        action: action of the command; None if it could not be read.
        filters: the filters of the stream.
        matching: the contracts that a filter matches.
        change: added and removed contracts, for a message about listings.
    """
    named = names_of(selection.values())
    return _encode(
        ControlData(
            id=request_id,
            action=action,
            contract_names=named.contract_names,
            contract_ids=named.contract_ids,
            errors=list(faults),
            filters=list(filters) or UNSET,
            matching=names_of(matching) if filters else UNSET,
            added=UNSET if change is None else names_of(change[0]),
            removed=UNSET if change is None else names_of(change[1]),
        )
    )


def names_of(refs: Iterable[ContractRef]) -> NamedContracts:
    """Return the names and the ids of references, in the clients' spelling."""
    refs = tuple(refs)
    return NamedContracts(
        [ref.name for ref in refs if ref.by is By.NAME],
        [ref.name for ref in refs if ref.by is By.ID],
    )


def _find(by: By, name: str, contracts: Contracts) -> Contract:
    # A client may unsubscribe from a contract that its token does not cover.
    return find(by, name, contracts, lambda _: True)
