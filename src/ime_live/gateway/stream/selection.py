"""Change a stream's selection by a command, and answer the command. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.query.stream_query import Contracts, find
from ime_live.messages import Action, ControlData, ControlFault, ControlRequest

_encode = msgspec.json.Encoder().encode


class SelectionChange(Struct, frozen=True):
    """The result of a command.

    Attributes:
        selection: the new selection: contract id → how the client named it.
        added: contract ids that are new in it.
        removed: contract ids that are not in it any more.
        faults: what could not be done.
    """

    selection: Mapping[str, ContractRef]
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    faults: Sequence[ControlFault] = ()


def change_selection(
    selection: Mapping[str, ContractRef],
    request: ControlRequest,
    contracts: Contracts,
    may_see: Callable[[Contract], bool],
    limit: int,
) -> SelectionChange:
    """Return the result of a command, without subscribing or sending anything.

    A fault of one contract does not keep others from being added or removed. A contract that is
    there already keeps the name or id by which it was asked for first.

    Args:
        selection: the present one: contract id → how the client named it.
        request: the command.
        contracts: the known contracts.
        may_see: whether the client's token covers a contract.
        limit: number of contracts that a selection may have.
    """
    faults: list[ControlFault] = []
    revised = dict(selection)
    if request.action is Action.UNSUBSCRIBE:
        known = {(ref.by, ref.name): contract_id for contract_id, ref in selection.items()}
        for by, name in _named(request):
            try:
                # Its name or id in the selection works even if the contract is gone meanwhile.
                contract_id = known.get((by, name)) or _find(by, name, contracts).contract_id
            except RefusedError as error:
                faults.append(ControlFault(name, error.reason))
            else:
                revised.pop(contract_id, None)
        return SelectionChange(revised, (), [i for i in selection if i not in revised], faults)
    for by, name in _named(request):
        try:
            contract = find(by, name, contracts, may_see)
        except RefusedError as error:
            faults.append(ControlFault(name, error.reason))
        else:
            revised.setdefault(contract.contract_id, ContractRef.of(by, name))
    if len(revised) > limit:
        text = f"too many contracts: {len(revised)}, at most {limit}"
        return SelectionChange(selection, faults=[*faults, ControlFault(None, text)])
    return SelectionChange(revised, [i for i in revised if i not in selection], (), faults)


def answer(
    selection: Mapping[str, ContractRef],
    faults: Sequence[ControlFault],
    *,
    request_id: str | int | None = None,
    action: Action | None = None,
) -> bytes:
    """Return the answer to a command: JSON of `ControlData`.

    Args:
        selection: the present one.
        faults: what could not be done.
        request_id: id of the command, if it has one.
        action: the command's action; None if it could not be read.
    """
    refs = selection.values()
    return _encode(
        ControlData(
            id=request_id,
            action=action,
            contract_names=[ref.name for ref in refs if ref.by is By.NAME],
            contract_ids=[ref.name for ref in refs if ref.by is By.ID],
            errors=list(faults),
        )
    )


def _named(request: ControlRequest) -> Iterator[tuple[By, str]]:
    for name in request.contract_names:
        yield By.NAME, name.strip()
    for contract_id in request.contract_ids:
        yield By.ID, str(contract_id).strip()


def _find(by: By, name: str, contracts: Contracts) -> Contract:
    # Unsubscribing needs no permission to see the contract.
    return find(by, name, contracts, lambda _: True)
