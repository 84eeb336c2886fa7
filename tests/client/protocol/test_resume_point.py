"""Position: over any breaks no state is missed and none comes twice."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ime_live.client.protocol.message import Key
from ime_live.client.protocol.resume_point import Position, Resumption
from tests.client.texts import stamp

A: Final[Key] = ("name", "A")
B: Final[Key] = ("name", "B")
CONTRACTS: Final[tuple[Key, ...]] = (A, B, ("id", "A"))


def test_the_first_connection_asks_as_the_program_does() -> None:
    assert Position(snapshot=True).resumption([A]) == Resumption(snapshot=True)
    assert Position(snapshot=False).resumption([A]) == Resumption()
    assert Position(snapshot=True, since=stamp(5)).resumption([A]) == Resumption(since=stamp(5))


def test_after_a_break_all_is_asked_for_until_each_contract_has_come() -> None:
    position = Position(snapshot=False)
    position.begin()
    assert position.resumption([A, B]) == Resumption(snapshot=True)
    assert position.take(A, stamp(9))
    assert position.resumption([A, B]) == Resumption(snapshot=True)
    assert position.take(B, stamp(4))
    # The smaller one: B may have changed between 4 and 9, and come later.
    assert position.resumption([A, B]) == Resumption(since=stamp(4))
    assert position.resumption([A]) == Resumption(since=stamp(9))


def test_an_earlier_run_counts_where_nothing_has_come_yet() -> None:
    position = Position(snapshot=True, since=stamp(5), keys=[A, B])
    position.begin()
    assert position.resumption([A, B]) == Resumption(since=stamp(5))
    position.take(A, stamp(9))
    assert position.resumption([A, B]) == Resumption(since=stamp(5))
    position.take(B, stamp(7))
    assert position.resumption([A, B]) == Resumption(since=stamp(7))


def test_what_an_earlier_run_has_received_does_not_come_again() -> None:
    position = Position(snapshot=True, since=stamp(5), keys=[A])
    assert [position.take(A, stamp(n)) for n in (4, 5, 6)] == [False, False, True]
    # Of what is added later it knows nothing: its present state comes, however old.
    assert position.take(B, stamp(1))
    position.begin()
    assert position.resumption([A, ("id", "B")]) == Resumption(snapshot=True)
    # And what is removed and added again begins anew.
    position.forget([A])
    assert position.take(A, stamp(3))


def test_states_are_wanted_unless_the_program_begins_without() -> None:
    assert Position(snapshot=True).wants_states
    assert Position(snapshot=False, since=stamp(5)).wants_states
    position = Position(snapshot=False)
    assert not position.wants_states
    position.begin()
    assert position.wants_states


def test_without_contracts_there_is_no_time_to_resume_from() -> None:
    position = Position(snapshot=False)
    position.begin()
    assert position.resumption([]) == Resumption(snapshot=True)


def test_only_what_is_newer_is_taken_each_contract_for_itself() -> None:
    position = Position(snapshot=True)
    assert [position.take(A, stamp(n)) for n in (3, 3, 2, 4)] == [True, False, False, True]
    assert position.take(B, stamp(1))
    position.forget([A, ("id", "B")])
    assert position.take(A, stamp(1))
    assert not position.take(B, stamp(1))


# What happens: a contract changes; the connection delivers a contract's newest state or, if it
# breaks, connects anew and delivers what was asked for, in any order and maybe not to its end.
events = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(CONTRACTS)),
        st.tuples(st.just("deliver"), st.sampled_from(CONTRACTS)),
        st.tuples(st.just("break"), st.lists(st.sampled_from(CONTRACTS), unique=True)),
    ),
    max_size=40,
)


@given(events, st.booleans())
def test_any_history(events: list[tuple[str, object]], snapshot: bool) -> None:
    position = Position(snapshot=snapshot)
    newest: dict[Key, int] = dict.fromkeys(CONTRACTS, 0)  # of the market; 0 is no state yet
    due: dict[Key, int] = {}  # what the gateway has still to send on this connection
    got: dict[Key, list[int]] = {key: [] for key in CONTRACTS}
    number = 0

    def connect() -> None:
        asked = position.resumption(CONTRACTS)
        position.begin()
        due.clear()
        due.update(
            (key, version)
            for key, version in newest.items()
            if version and (asked.snapshot or (asked.since and stamp(version) > asked.since))
        )

    def deliver(key: Key) -> None:
        version = due.pop(key, None)
        if version is not None and position.take(key, stamp(version)):
            got[key].append(version)

    connect()
    for kind, what in events:
        if kind == "change":
            assert isinstance(what, tuple)
            number += 1
            newest[what] = due[what] = number
        elif kind == "deliver":
            assert isinstance(what, tuple)
            deliver(what)
        else:
            connect()
            assert isinstance(what, list)
            for key in what:
                deliver(key)
    connect()
    for key in CONTRACTS:
        deliver(key)
    for key, versions in got.items():
        assert versions == sorted(set(versions)), "a version has come twice, or too late"
        # Every connection was good for changes from its beginning on, so the newest is there.
        assert (versions or [0])[-1] == newest[key]
