"""SelectionChange: what a client asks for in flight, and what it is answered."""

from __future__ import annotations

from typing import Any

import msgspec

from ime_live.contracts import Contract
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.query.stream_query import StreamSelection
from ime_live.gateway.stream.selection import SelectionChange, answer, change_selection
from ime_live.messages import Action, ContractFilter, ControlData, ControlFault, ControlRequest
from ime_live.registry import Registry
from tests.support.rows import each_row

REGISTRY = Registry(
    [
        Contract(contract_id="1", contract_name="KASH01", aliases=("KASHOLD",)),
        Contract(contract_id="2", contract_name="سکه0312پ01"),
        Contract(contract_id="3", contract_name="SECRET"),
    ]
)
BY_NAME = ContractRef.of(By.NAME, "KASH01")
BEFORE = {"1": BY_NAME}


def ask(
    action: str,
    selection: dict[str, ContractRef] | None = None,
    limit: int = 10,
    filters: tuple[ContractFilter, ...] = (),
    matching: tuple[str, ...] = (),
    **fields: Any,  # noqa: ANN401 - any JSON
) -> SelectionChange:
    request = ControlRequest(action=Action(action), **fields)
    return change_selection(
        StreamSelection(BEFORE if selection is None else selection, filters),
        request,
        REGISTRY,
        lambda contract: contract.contract_name != "SECRET",
        limit,
        matching=matching,
    )


def test_subscribe_adds_by_name_and_by_id() -> None:
    change = ask("subscribe", contract_names=("سكه٠٣١٢پ٠١",), contract_ids=("1",))
    assert change.selection == BEFORE | {"2": ContractRef.of(By.NAME, "سكه٠٣١٢پ٠١")}
    assert (change.added, change.removed, change.faults) == (["2"], (), [])
    assert BEFORE == {"1": BY_NAME}


@each_row("contract_id", [2, "2", " 2 "])
def test_subscribe_takes_ids_as_texts_or_numbers(contract_id: str | int) -> None:
    change = ask("subscribe", contract_ids=(contract_id,))
    assert change.selection["2"] == ContractRef.of(By.ID, "2")


def test_subscribe_adds_the_rest_beside_an_unknown_contract() -> None:
    change = ask("subscribe", contract_names=("NOPE", "SECRET"), contract_ids=(2, 99))
    assert change.added == ["2"]
    assert change.faults == [
        ControlFault("NOPE", "unknown contract: NOPE"),
        ControlFault("SECRET", "contract not covered by the token: SECRET"),
        ControlFault("99", "unknown contract: 99"),
    ]


def test_subscribe_beyond_the_limit_adds_nothing() -> None:
    change = ask("subscribe", limit=1, contract_ids=(2, 99))
    assert change.selection is BEFORE
    assert (change.added, change.removed) == ((), ())
    assert change.faults[-1] == ControlFault(None, "too many contracts: 2, at most 1")


@each_row(
    "fields",
    [
        {"contract_names": ("KASH01",)},
        {"contract_names": ("KASHOLD",)},
        {"contract_ids": (1,)},
    ],
)
def test_unsubscribe_removes_by_any_name(fields: dict[str, Any]) -> None:
    change = ask("unsubscribe", {**BEFORE, "2": ContractRef.of(By.ID, "2")}, **fields)
    assert list(change.selection) == ["2"]
    assert (change.removed, change.faults) == (["1"], [])


def test_unsubscribe_removes_by_the_requested_name_even_if_it_is_gone() -> None:
    gone = {"77": ContractRef.of(By.NAME, "GONE")}
    change = ask("unsubscribe", gone, contract_names=("GONE", "NOPE"))
    assert change.removed == ["77"]
    assert change.faults == [ControlFault("NOPE", "unknown contract: NOPE")]


def test_unsubscribe_of_an_unselected_contract_changes_nothing() -> None:
    change = ask("unsubscribe", contract_ids=(2,))
    assert change.selection == BEFORE
    assert (change.removed, change.faults) == ([], [])


def test_answer_names_the_whole_selection_as_the_client_did() -> None:
    change = ask("subscribe", contract_names=("سكه٠٣١٢پ٠١",), contract_ids=(99,))
    text = answer(change.selection, change.faults, request_id="seven", action=Action.SUBSCRIBE)
    assert msgspec.json.decode(text, type=ControlData) == ControlData(
        id="seven",
        action="subscribe",
        contract_names=["KASH01", "سكه٠٣١٢پ٠١"],
        contract_ids=[],
        errors=[ControlFault("99", "unknown contract: 99")],
    )
    mixed = {"1": ContractRef.of(By.ID, "1"), "2": ContractRef.of(By.NAME, 'a "quoted" name')}
    control = msgspec.json.decode(answer(mixed, []), type=ControlData)
    assert (control.contract_names, control.contract_ids) == (['a "quoted" name'], ["1"])
    assert (control.id, control.action) == (None, None)
