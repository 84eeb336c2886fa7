"""ResumePoint: over any breaks no state is missed and none comes twice."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ime_live.client.protocol.message import Key
from ime_live.client.protocol.resume_point import ResumePoint, Resumption
from tests.support.stream_messages import timestamp

A: Final[Key] = ("name", "A")
B: Final[Key] = ("name", "B")
CONTRACTS: Final[tuple[Key, ...]] = (A, B, ("id", "A"))


def test_first_connection_asks_as_the_program_does() -> None:
    assert ResumePoint(snapshot=True).resumption([A]) == Resumption(snapshot=True)
    assert ResumePoint(snapshot=False).resumption([A]) == Resumption()
    assert ResumePoint(snapshot=True, since=timestamp(5)).resumption([A]) == Resumption(
        since=timestamp(5)
    )


def test_reconnect_without_all_contracts_received_asks_for_snapshots() -> None:
    resume_point = ResumePoint(snapshot=False)
    resume_point.begin()
    assert resume_point.resumption([A, B]) == Resumption(snapshot=True)
    assert resume_point.take(A, timestamp(9))
    assert resume_point.resumption([A, B]) == Resumption(snapshot=True)
    assert resume_point.take(B, timestamp(4))
    # The smaller one: B may have changed between 4 and 9, and come later.
    assert resume_point.resumption([A, B]) == Resumption(since=timestamp(4))
    assert resume_point.resumption([A]) == Resumption(since=timestamp(9))


def test_since_of_an_earlier_run_counts_for_contracts_not_received_yet() -> None:
    resume_point = ResumePoint(snapshot=True, since=timestamp(5), keys=[A, B])
    resume_point.begin()
    assert resume_point.resumption([A, B]) == Resumption(since=timestamp(5))
    resume_point.take(A, timestamp(9))
    assert resume_point.resumption([A, B]) == Resumption(since=timestamp(5))
    resume_point.take(B, timestamp(7))
    assert resume_point.resumption([A, B]) == Resumption(since=timestamp(7))


def test_states_of_an_earlier_run_are_not_repeated_on_resume() -> None:
    resume_point = ResumePoint(snapshot=True, since=timestamp(5), keys=[A])
    assert [resume_point.take(A, timestamp(n)) for n in (4, 5, 6)] == [False, False, True]
    # Contracts that are added later have no timestamp, so their present states come.
    assert resume_point.take(B, timestamp(1))
    resume_point.begin()
    assert resume_point.resumption([A, ("id", "B")]) == Resumption(snapshot=True)
    # A contract that is removed and added again begins anew.
    resume_point.forget([A])
    assert resume_point.take(A, timestamp(3))


def test_snapshot_is_requested_unless_the_program_declines_it() -> None:
    assert ResumePoint(snapshot=True).wants_states
    assert ResumePoint(snapshot=False, since=timestamp(5)).wants_states
    resume_point = ResumePoint(snapshot=False)
    assert not resume_point.wants_states
    resume_point.begin()
    assert resume_point.wants_states


def test_resume_without_contracts_has_no_since() -> None:
    resume_point = ResumePoint(snapshot=False)
    resume_point.begin()
    assert resume_point.resumption([]) == Resumption(snapshot=True)


def test_resume_accepts_newer_states_only_per_contract() -> None:
    resume_point = ResumePoint(snapshot=True)
    assert [resume_point.take(A, timestamp(n)) for n in (3, 3, 2, 4)] == [True, False, False, True]
    assert resume_point.take(B, timestamp(1))
    resume_point.forget([A, ("id", "B")])
    assert resume_point.take(A, timestamp(1))
    assert not resume_point.take(B, timestamp(1))


# The events: a contract changes; the connection delivers a contract's newest state or, if it
# breaks, connects anew and delivers the requested states, in any order and maybe not all.
events = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(CONTRACTS)),
        st.tuples(st.just("deliver"), st.sampled_from(CONTRACTS)),
        st.tuples(st.just("break"), st.lists(st.sampled_from(CONTRACTS), unique=True)),
    ),
    max_size=40,
)


@given(events, st.booleans())
def test_resume_without_loss_or_duplicates_over_any_history(
    events: list[tuple[str, object]], snapshot: bool
) -> None:
    resume_point = ResumePoint(snapshot=snapshot)
    newest: dict[Key, int] = dict.fromkeys(CONTRACTS, 0)  # of the market; 0 is no state yet
    due: dict[Key, int] = {}  # the gateway has still to send these
    got: dict[Key, list[int]] = {key: [] for key in CONTRACTS}
    number = 0

    def connect() -> None:
        requested = resume_point.resumption(CONTRACTS)
        resume_point.begin()
        due.clear()
        due.update(
            (key, version)
            for key, version in newest.items()
            if version
            and (requested.snapshot or (requested.since and timestamp(version) > requested.since))
        )

    def deliver(key: Key) -> None:
        version = due.pop(key, None)
        if version is not None and resume_point.take(key, timestamp(version)):
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
        # Each connection delivers changes from its beginning on, so the newest state is there.
        assert (versions or [0])[-1] == newest[key]
