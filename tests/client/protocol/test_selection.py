"""Selection: what is asked for, answered and asked for again, over every break."""

from __future__ import annotations

from typing import Final

import pytest

from ime_live.client.protocol.address import first_fitting
from ime_live.client.protocol.command import Change
from ime_live.client.protocol.message import Key
from ime_live.client.protocol.selection import Selection
from ime_live.errors import ServiceError, UnknownContractError
from ime_live.messages import Action, ControlData, ControlFault, ControlRequest

A: Final[Key] = ("name", "A")
B: Final[Key] = ("name", "B")
C: Final[Key] = ("name", "C")
ID: Final[Key] = ("id", "7")


def adding(*keys: Key, snapshot: bool = True) -> Change:
    return Change(Action.SUBSCRIBE, keys, snapshot=snapshot)


def removing(*keys: Key) -> Change:
    return Change(Action.UNSUBSCRIBE, keys, snapshot=True)


def answer(request: ControlRequest | None, *held: Key, **faults: str | None) -> ControlData:
    """The gateway's answer, when it holds these contracts and has faults with those."""
    assert request is not None
    return ControlData(
        id=request.id,
        action=request.action,
        contract_names=[word for by, word in held if by == "name"],
        contract_ids=[word for by, word in held if by == "id"],
        errors=[ControlFault(name, f"unknown contract: {name}") for name in faults],
    )


def test_change_is_sent_and_completes_with_its_answer() -> None:
    selection = Selection([A])
    assert selection.open().keys == [A]
    assert selection.next_request() is None
    change = adding(B, ID, snapshot=False)
    selection.add(change)
    request = selection.next_request()
    assert request is not None
    assert (request.contract_names, request.contract_ids) == (("B",), ("7",))
    assert request.snapshot is False
    assert list(selection.selectors) == [A]
    assert change.unanswered
    assert selection.take_answer(answer(request, A, B, ID)) == ([], None)
    assert change.done
    assert change.error() is None
    assert selection.selectors == (A, B, ID)
    assert selection.contracts.contract_ids == ("7",)


def test_unsubscribed_contract_is_removed() -> None:
    selection = Selection([A, B])
    selection.open()
    selection.add(removing(A))
    request = selection.next_request()
    assert request is not None
    assert request.snapshot is None
    assert selection.take_answer(answer(request, B)) == ([A], None)
    assert selection.selectors == (B,)


def test_unknown_contract_is_reported_and_the_rest_subscribed() -> None:
    selection = Selection([A])
    selection.open()
    change = adding(B, C)
    selection.add(change)
    selection.take_answer(answer(selection.next_request(), A, C, B="?"))
    assert selection.selectors == (A, C)
    with pytest.raises(UnknownContractError, match=r"^unknown contract: B$"):
        raise change.error() or AssertionError


def test_unanswered_subscribe_is_sent_again_with_a_snapshot() -> None:
    selection = Selection([A])
    selection.open()
    change = adding(B, snapshot=False)
    selection.add(change)
    first = selection.next_request()
    assert first is not None
    # The connection breaks, so it is unknown whether the command was carried out.
    assert selection.open().keys == [A]
    assert selection.take_answer(answer(first, A, B)) == ([], None)  # of the old connection
    assert change.unanswered
    second = selection.next_request()
    assert second is not None
    assert (second.contract_names, second.snapshot) == (("B",), True)
    selection.take_answer(answer(second, A, B))
    assert change.done
    assert selection.open().keys == [A, B]


def test_unsent_subscribe_is_sent_after_the_reconnect_as_requested() -> None:
    selection = Selection([A])
    selection.add(adding(B, snapshot=False))
    selection.open()
    request = selection.next_request()
    assert request is not None
    assert request.snapshot is False
    assert selection.next_request() is None


def test_contract_unsubscribed_during_an_outage_is_not_requested_again() -> None:
    selection = Selection([A, B])
    change = removing(A)
    selection.add(change)
    opening = selection.open()
    assert (opening.keys, opening.removed) == ([B], [A])
    assert change.done
    assert selection.next_request() is None
    assert selection.selectors == (B,)


def test_empty_selection_has_no_connection_until_a_contract_is_added() -> None:
    selection = Selection([A])
    selection.add(removing(A))
    assert selection.open().keys == []
    change = adding(B, C)
    selection.add(change)
    assert selection.open().keys == [B, C]
    # The gateway does not know one of them: that is for whoever added it.
    assert selection.handle_refusal("unknown contract: B")
    assert change.unanswered
    assert selection.open().keys == [C]
    selection.take_answer(answer(selection.next_request(), C))
    assert change.done
    assert isinstance(change.error(), UnknownContractError)
    assert selection.selectors == (C,)


def test_unprintable_name_raises_in_the_call_that_adds_it() -> None:
    selection = Selection([A])
    selection.add(removing(A))
    selection.open()
    change = adding(("name", "می\u200cخواهم"))
    selection.add(change)
    selection.open()
    assert selection.handle_refusal("unknown contract: می?خواهم")
    assert isinstance(change.error(), UnknownContractError)


def test_contract_that_became_unknown_ends_the_stream() -> None:
    selection = Selection([A, B])
    selection.open()
    assert not selection.handle_refusal("unknown contract: B")


def test_contracts_beyond_the_length_of_a_url_are_subscribed_by_command() -> None:
    long: list[Key] = [("name", f"سكه{n:04}" * 3) for n in range(150)]
    selection = Selection([*long, ID])
    first = selection.open().keys
    assert first == first_fitting(long)
    assert 0 < len(first) < len(long)
    change = adding(A)
    selection.add(change)
    requested: list[Key] = []
    while (request := selection.next_request()) is not None:
        assert len(request.to_json()) <= 4096
        names: list[Key] = [("name", word) for word in request.contract_names]
        ids: list[Key] = [("id", str(word)) for word in request.contract_ids]
        requested += [*names, *ids]
        assert request.snapshot is True
        assert selection.take_answer(answer(request, *first, *requested)) == ([], None)
        # A partial answer does not make the selection smaller.
        assert set(selection.selectors) >= {*long, ID}
    assert [*first, *requested] == [*long, ID, A]
    assert change.done
    assert set(selection.selectors) == {*long, ID, A}
    # A contract that was known and is not any more ends the stream.
    selection.open()
    request = selection.next_request()
    _, error = selection.take_answer(answer(request, *long, **{long[-1][1]: None}))
    assert isinstance(error, UnknownContractError)


@pytest.mark.parametrize("snapshot", [False, True])
def test_contracts_subscribed_by_command_begin_as_the_program_wants(snapshot: bool) -> None:
    selection = Selection([A, ID])
    selection.open(snapshot=snapshot)
    request = selection.next_request()
    assert request is not None
    assert request.snapshot is snapshot


def test_contract_by_name_and_by_id_is_selected_once() -> None:
    selection = Selection([A, B, ID])
    assert selection.open().keys == [A, B]
    # The gateway has it by name already.
    assert selection.take_answer(answer(selection.next_request(), A, B)) == ([ID], None)
    assert selection.selectors == (A, B)
    selection.open()
    assert selection.next_request() is None


def test_commands_stay_below_the_size_limit_with_names_of_any_characters() -> None:
    for letter in ("x", "س", '"', "\x01", "😀"):
        selection = Selection([A])
        selection.open()
        selection.add(adding(*(("name", letter * 100 + str(n)) for n in range(40))))
        while (request := selection.next_request()) is not None:
            assert len(request.to_json()) <= 4096


def test_end_of_the_stream_fails_all_waiting_changes() -> None:
    selection = Selection([A])
    changes = [adding(B), removing(A)]
    for change in changes:
        selection.add(change)
    error = ServiceError("the stream cannot be changed: it has ended")
    selection.fail(error)
    assert [change.error() for change in changes] == [error, error]
    assert selection.next_request() is None


def test_missing_answer_fails_the_change_and_a_late_one_counts() -> None:
    selection = Selection([A])
    selection.open()
    change = adding(B)
    selection.add(change)
    request = selection.next_request()
    assert request is not None
    error = ServiceError("no answer")
    assert selection.expire(request.id, error) is None
    assert change.error() is error
    assert not selection.unsettled
    # The answer may come late, after the gateway has carried the command out.
    assert selection.take_answer(answer(request, A, B)) == ([], None)
    assert selection.selectors == (A, B)
    assert selection.expire(request.id, error) is None
    assert change.error() is error


def test_overdue_change_is_not_sent_again() -> None:
    selection = Selection([A])
    selection.open()
    selection.add(adding(B))
    request = selection.next_request()
    assert request is not None
    selection.expire(request.id, ServiceError("no answer"))
    selection.open()
    assert selection.next_request() is None
    # An answer of an old connection tells nothing about the new one.
    assert selection.take_answer(answer(request, A, B)) == ([], None)
    assert selection.selectors == (A,)
