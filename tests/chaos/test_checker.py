"""The checker finds each broken invariant in made-up histories, and nothing in good ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chaos.checker import ClientChecker, ClientOptions
from chaos.invariants import Invariant, Violation
from chaos.states import payload_of
from chaos.timeline import Held, Sample, Stored, Timeline
from tests.support.rows import each_row

S = 1_000_000  # microseconds in a second

SNAPSHOT = ClientOptions(("1", "2"), snapshot=True)
PLAIN = ClientOptions(("1", "2"))
RESUMING = ClientOptions(("1", "2"), resumes=True)


class History:
    """A history in short calls; `broken` lists the invariants that it broke."""

    def __init__(self, options: ClientOptions = SNAPSHOT) -> None:
        self.violations: list[Violation] = []
        self.checker = ClientChecker("client", options, self.violations.append)
        self.checker.opened(0, "gateway 1")

    @property
    def broken(self) -> list[Invariant]:
        return [violation.invariant for violation in self.violations]

    def got(self, contract_id: str, version: int, number: int, *sections: str) -> History:
        data = payload_of(number)
        if sections:
            data = {section: data[section] for section in sections}
        self.checker.state(version, contract_id, version, data)
        return self

    def back(
        self,
        at: int = 0,
        *,
        expected: bool = True,
        gateway: str = "gateway 2",
        since: int | None = None,
    ) -> History:
        self.checker.closed(at, "1006", expected=expected)
        self.checker.opened(at, gateway, since)
        return self

    def checked(self, samples: Timeline | None = None) -> list[Invariant]:
        """A fault is over; the store had these samples, or what proves no loss."""
        self.checker.check(samples or stored((0, 1, "a"), (99, 99 * S, "a")))
        return self.broken

    def said(self, at: int, *, current: bool = True, **named: int) -> History:
        self.checker.status(
            at, at, {i.removeprefix("c"): version for i, version in named.items()}, current=current
        )
        return self


def timeline(*samples: tuple[int, Any]) -> Timeline:
    """Samples of contract 1: (second, state's number); None for no state, "?" for no answer."""
    made = Timeline()
    for second, number in samples:
        states: dict[str, Stored | None] = {"2": None}
        if number != "?":
            stored = None if number is None else Stored(number * S, payload_of(number))
            states["1"] = stored
        made.add(Sample(second * S, second * S, states))
    return made


def stored(*samples: tuple[float, int, str]) -> Timeline:
    """Samples of contracts 1 and 2, the same of both: (second, version, history).

    Version 0 is no state, and "?" as history no answer.
    """
    made = Timeline()
    for second, version, history in samples:
        state = Stored(version, payload_of(1), history) if version else None
        states = {} if history == "?" else {"1": state, "2": state}
        made.add(Sample(int(second * S), int(second * S), states))
    return made


# -- timestamps and states ------------------------------------------------------------------


def test_growing_timestamps_and_changed_states_pass() -> None:
    history = History().got("1", 10, 1).got("2", 5, 1).got("1", 11, 2).got("1", 12, 1)
    assert history.broken == []


@pytest.mark.parametrize("version", [9, 10])
def test_timestamp_that_does_not_grow_is_found(version: int) -> None:
    assert History().got("1", 10, 1).got("1", version, 2).broken == [Invariant.GROWS]


def test_equal_state_twice_in_a_row_is_found() -> None:
    assert History().got("1", 10, 1).got("1", 11, 1).broken == [Invariant.CHANGED]


def test_equal_numbers_in_two_spellings_are_an_equal_state() -> None:
    history = History().got("1", 10, 1)
    history.checker.state(11, "1", 11, payload_of(1, as_float=True))
    assert history.broken == [Invariant.CHANGED]


def test_equal_section_twice_in_a_row_is_found() -> None:
    options = ClientOptions(("1",), snapshot=True, sections=("ContractInfo",))
    history = History(options).got("1", 10, 1, "ContractInfo")
    assert history.got("1", 11, 2, "ContractInfo").broken == [Invariant.CHANGED]


def test_snapshot_after_a_reconnection_may_repeat_a_state() -> None:
    assert History().got("1", 10, 1).back().got("1", 10, 1).broken == []


def test_contract_that_was_not_asked_for_is_found() -> None:
    assert History().got("3", 10, 1).broken == [Invariant.NAMED]


# -- resuming -------------------------------------------------------------------------------


def test_equal_state_after_a_resume_is_found() -> None:
    history = History(RESUMING).got("1", 10, 1).back().got("1", 11, 1)
    assert history.checked() == [Invariant.CHANGED]
    assert history.checked() == [Invariant.CHANGED]  # each event is checked once


def test_state_that_is_not_newer_is_dropped_after_a_resume() -> None:
    history = History(RESUMING).got("1", 10, 1).got("2", 5, 1).back()
    history.got("1", 10, 1)  # since= names the older state, of the other contract
    assert history.got("1", 11, 2).broken == []
    assert history.checker.held["1"].version == 11


def test_older_and_same_state_are_dropped_after_a_resume() -> None:
    history = History(RESUMING).got("1", 10, 3).back()
    assert history.got("1", 9, 2).got("1", 10, 3).broken == []
    assert history.checker.held["1"].version == 10


def test_state_that_the_market_returned_to_passes_after_a_resume() -> None:
    history = History(RESUMING).got("1", 10, 20).back().got("1", 12, 20)
    assert history.checked() == []
    assert history.got("1", 13, 20).broken == [Invariant.CHANGED]


def repeated(*versions: int, options: ClientOptions = RESUMING, contract_id: str = "1") -> History:
    """A client that receives the same state at each of these seconds, on a connection each."""
    first, *others = versions
    history = History(options).got(contract_id, first * S, 1)
    for version in others:
        history.back(version * S).got(contract_id, version * S, 1)
    return history


@each_row(
    "samples",
    [
        [(2, 1, "a"), (4, 4, "b")],  # sampled before the state comes again
        [(2, 1, "a"), (7, 6, "b")],  # and afterwards
        [(2, 1, "a"), (7, 1, "a"), (8, 6, "b")],  # the deposed server was asked once more
        [(2, 1, "a"), (3, 0, "?"), (8, 6, "b")],  # no server answered
        [(2, 1, "a"), (3, 0, "b"), (8, 6, "b")],  # back empty
        [(1, 1, "a"), (4, 4, "b"), (8, 6, "b")],  # the client held what was lost
    ],
)
def test_equal_state_after_a_resume_passes_in_another_history(
    samples: Sequence[tuple[int, int, str]],
) -> None:
    history = repeated(2, 6)
    assert history.broken == []
    assert history.checked(stored(*((at, n * S, name) for at, n, name in samples))) == []


@each_row(
    "samples",
    [
        [(1, 1, "a"), (3, 2, "a"), (7, 6, "a")],  # the same history
        [(1, 1, "a"), (3, 2, "a"), (4, 0, "a"), (7, 6, "a")],  # deleted by nobody of ours
        [(1, 1, "a"), (3, 2, "a"), (4, 1, "a"), (7, 6, "a")],  # gone back within a history
        [(1, 1, "a"), (3, 3, "a"), (4, 1, "a"), (7, 6, "a")],
        [(1, 1, "a"), (3, 2, "b"), (7, 6, "b")],  # it had come in the new history
        [(1, 1, "a"), (7, 6, "a"), (8, 8, "b")],  # it came again before the new history
        [(1, 1, "a"), (3, 2, ""), (7, 6, "b")],  # publishers take that for the same history
        [(7, 6, "b")],
    ],
)
def test_equal_state_after_a_resume_is_found_without_another_history(
    samples: Sequence[tuple[int, int, str]],
) -> None:
    made = stored(*((at, n * S, name) for at, n, name in samples))
    assert repeated(2, 6).checked(made) == [Invariant.CHANGED]


def test_equal_state_from_a_deposed_server_passes_for_two_seconds() -> None:
    made = stored((1, 1 * S, "a"), (2, 1 * S + 1, "b"), (9, 9 * S, "b"))
    assert repeated(4, 6).checked(made) == []
    assert repeated(5, 6).checked(made) == [Invariant.CHANGED]


def test_equal_state_of_another_contract_is_found_when_one_has_another_history() -> None:
    made = Timeline()
    for at, name in ((1, "a"), (7, "b")):
        state = Stored(at * S, payload_of(1))
        changed = Stored(at * S, payload_of(1), name)
        made.add(Sample(at * S, at * S, {"1": changed, "2": state}))
    assert repeated(2, 6).checked(made) == []
    assert repeated(2, 6, contract_id="2").checked(made) == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_once_per_history() -> None:
    once = stored((2, 2 * S, "a"), (5, 5 * S, "b"), (99, 99 * S, "b"))
    assert repeated(2, 4, 6).checked(once) == [Invariant.CHANGED]
    twice = stored((2, 2 * S, "a"), (5, 4 * S, "b"), (99, 99 * S, "c"))
    assert repeated(2, 4, 6).checked(twice) == []


def test_equal_state_that_comes_shortly_before_its_sample_waits_for_it() -> None:
    history = repeated(2, 6)
    made = stored((2, 2 * S, "a"), (5, 5 * S, "a"))
    assert history.checked(made) == []
    made.add(Sample(7 * S, 7 * S, {"2": None}))  # the contract's server does not answer
    assert history.checked(made) == []
    made.add(Sample(8 * S, 8 * S, {"1": Stored(6 * S, payload_of(1), "b")}))
    assert history.checked(made) == []
    assert repeated(2, 6).checked(made) == []
    history = repeated(2, 6)
    assert history.checked(stored((2, 2 * S, "a"), (5, 5 * S, "a"))) == []
    assert history.checked() == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_once_when_the_store_was_emptied_in_between() -> None:
    made = stored((2, 2 * S, "a"), (7, 6 * S, "a"))
    made.emptied(4 * S, 5 * S, ["1"])
    assert repeated(2, 6).checked(made) == []
    assert repeated(2, 6, contract_id="2").checked(made) == [Invariant.CHANGED]
    made = stored((2, 2 * S, "a"), (99, 99 * S, "a"))
    made.emptied(4 * S, 5 * S, ["1"])
    assert repeated(2, 6, 7).checked(made) == [Invariant.CHANGED]
    assert repeated(2, 3).checked(made) == [Invariant.CHANGED]
    assert repeated(6, 7).checked(made) == [Invariant.CHANGED]


def test_equal_state_on_one_connection_is_found_in_another_history() -> None:
    history = History(RESUMING).got("1", 2 * S, 1).got("1", 6 * S, 1)
    assert history.checked(stored((2, 2 * S, "a"), (7, 6 * S, "b"))) == [Invariant.CHANGED]


# -- growth over a whole history ------------------------------------------------------------


@pytest.mark.parametrize("version", [9, 10])
def test_state_that_since_excludes_is_found(version: int) -> None:
    history = History(RESUMING).got("1", 10, 1).got("2", 20, 1).back(since=10)
    assert history.got("1", version, 2).broken == [Invariant.GROWS]


def test_state_that_since_excludes_is_found_also_in_another_history() -> None:
    history = History(RESUMING).got("1", 10, 1).back(since=10).got("1", 9, 2)
    assert history.checked(stored((0, 10, "a"), (1, 9, "b"))) == [Invariant.GROWS]


@each_row("options", [SNAPSHOT, PLAIN, RESUMING])
def test_gateway_that_goes_back_is_found_over_a_reconnection(options: ClientOptions) -> None:
    history = History(options).got("1", 10, 1).got("1", 12, 2)
    assert history.back(gateway="gateway 1").got("1", 11, 3).checked() == [Invariant.GROWS]


def test_gateway_that_goes_back_is_found_over_other_connections() -> None:
    history = History().got("1", 12, 2).back(gateway="gateway 2").got("1", 11, 1)
    assert history.checked() == []  # it may not have heard of the newest one yet
    assert history.back(gateway="gateway 1").got("1", 11, 1).checked() == [Invariant.GROWS]
    assert history.back(gateway="gateway 1").got("1", 11, 1).checked() == [Invariant.GROWS] * 2


def gone_back() -> History:
    """A client whom a gateway has sent version 4 (s), and then, at 6 s, version 2."""
    history = History().got("1", 4 * S, 2).back(gateway="gateway 1")
    history.checker.state(6 * S, "1", 2 * S, payload_of(1))
    return history


@pytest.mark.parametrize(
    "samples",
    [
        [(3, 2, "a"), (5, 2, "a"), (9, 9, "a")],  # the store has gone back
        [(3, 2, "a"), (5, 4, "a"), (9, 9, "b")],  # it may have, in between
    ],
)
def test_gateway_may_go_back_when_the_store_did(samples: Sequence[tuple[int, int, str]]) -> None:
    made = stored(*((at, n * S, name) for at, n, name in samples))
    assert gone_back().checked(made) == []


@each_row(
    "samples",
    [
        [(3, 2, "a"), (5, 4, "a"), (9, 9, "a")],
        [(3, 2, "a"), (5, 0, "a"), (9, 9, "a")],  # an emptied store has no older state
        [(3, 2, "a"), (7, 4, "a"), (9, 9, "b")],  # another history, but later
        [(0, 1, "a"), (1, 1, "b"), (9, 9, "b")],  # or long before
        [(3, 2, "a"), (5, 4, "b"), (9, 9, "b")],  # in the new history it had sent it
    ],
)
def test_gateway_that_goes_back_is_found_when_the_store_did_not(
    samples: Sequence[tuple[int, int, str]],
) -> None:
    made = stored(*((at, n * S, name) for at, n, name in samples))
    made.emptied(5 * S, 5 * S, ["1"])
    assert gone_back().checked(made) == [Invariant.GROWS]


@pytest.mark.parametrize("options", [SNAPSHOT, RESUMING])
def test_other_state_of_a_known_version_is_found_over_a_reconnection(
    options: ClientOptions,
) -> None:
    history = History(options).got("1", 12, 2).back()
    assert history.got("1", 12, 3).checked() == [Invariant.GROWS]


def test_other_state_of_a_known_version_passes_in_another_history() -> None:
    history = History(RESUMING).got("1", 12, 2).back().got("1", 12, 3)
    assert history.checked(stored((0, 11, "a"), (1, 13, "b"))) == []


def test_blind_client_may_have_resumed_at_any_time() -> None:
    options = ClientOptions(("1",), resumes=True, blind=True)
    assert History(options).got("1", 10, 1).got("1", 11, 1).checked() == [Invariant.CHANGED]
    assert History(options).got("1", 10, 20).got("1", 11, 20).checked() == []


# -- connections ----------------------------------------------------------------------------


def test_unexpected_close_is_found() -> None:
    assert History().back().broken == []
    assert History().back(expected=False).broken == [Invariant.CONNECTED]


def test_refusal_is_found_without_a_fault() -> None:
    history = History()
    history.checker.refused(5, "1013", expected=True)
    assert history.broken == []
    assert not history.checker.connected
    history.checker.refused(6, "1013", expected=False)
    assert history.broken == [Invariant.CONNECTED]


# -- the newest -----------------------------------------------------------------------------


def missing(
    history: History,
    samples: Timeline | None = None,
    version: int = 10,
    moved: int = 0,
    **numbers: int,
) -> list[str]:
    newest = {i.removeprefix("c"): Stored(version, payload_of(n)) for i, n in numbers.items()}
    found = history.checker.missing(newest, samples or Timeline(), {"1": moved})
    return [violation.contract for violation in found]


def test_contract_without_its_newest_state_is_found() -> None:
    history = History().got("1", 10, 1).got("2", 10, 1)
    assert missing(history, c1=1, c2=1) == []
    assert missing(history, c1=1, c2=2) == ["2"]
    assert missing(History().got("1", 10, 1), c1=1, c2=1) == ["2"]


def test_state_newer_than_the_store_is_not_the_newest() -> None:
    assert missing(History().got("1", 20, 2).got("2", 10, 1), c1=1, c2=1) == ["1"]


def test_equal_state_with_another_timestamp_is_the_newest() -> None:
    assert missing(History().got("1", 7, 1).got("2", 8, 1), c1=1, c2=1) == []


def test_sections_are_compared_with_the_same_sections() -> None:
    options = ClientOptions(("1",), snapshot=True, sections=("ContractInfo",))
    history = History(options).got("1", 10, 1, "ContractInfo")
    assert missing(history, c1=2) == []  # another state, but not in this section
    assert missing(history, c1=60) == ["1"]


@each_row(
    ("samples", "version", "due"),
    [
        ([(1, 10), (3, 10), (5, 20)], 5, True),
        ([(1, 10), (3, 20), (5, 30), (6, 20)], 6, True),
        ([(1, 10), (3, 10), (5, 20)], 4, False),  # published before it connected
        ([(1, 10), (3, 20), (5, 20)], 5, False),  # equal in another version
        ([(1, 10), (3, 20), (5, None), (6, 20)], 6, False),  # lost, and published again
        ([(1, 10), (3, 20), (5, 10), (6, 20)], 6, False),  # gone back, and published again
    ],
)
def test_plain_client_must_hold_changes_since_it_connected(
    samples: Sequence[tuple[int, int | None]], version: int, due: bool
) -> None:
    made = Timeline()
    for second, number in samples:
        stored = None if number is None else Stored(second * S, payload_of(number))
        made.add(Sample(second * S, second * S, {"1": stored}))
    history = History(PLAIN).got("1", 2 * S, 1).back(at=4 * S)
    assert missing(history, made, version * S, c1=20) == (["1"] if due else [])
    resuming = History(RESUMING).got("1", 2 * S, 1).back(at=4 * S)
    assert missing(resuming, made, version * S, c1=20) == ["1"]


def test_plain_client_is_owed_nothing_that_came_just_before_it_connected() -> None:
    made = Timeline()  # published at 3.9 s, and sampled first at 4.1 s; lost, and published again
    for at, version, number in ((37, 10, 10), (41, 39, 20), (60, 60, 20)):
        stored = Stored(version * S // 10, payload_of(number))
        made.add(Sample(at * S // 10, at * S // 10, {"1": stored}))
    history = History(PLAIN).got("1", 2 * S, 1).back(at=4 * S)
    assert missing(history, made, 6 * S, c1=20) == []


@each_row(
    ("moved", "histories", "due"),
    [
        (3, "ab", False),  # the gateway may have had it from the server that was deposed
        (3, "aa", True),
        (5, "ab", True),  # the market came into it while the client was connected
        (3, "a", True),
    ],
)
def test_plain_client_is_owed_nothing_that_the_market_had_before_in_another_history(
    moved: int, histories: str, due: bool
) -> None:
    made = Timeline()
    for at, number, name in zip((2, 6), (10, 20), histories.ljust(2), strict=True):
        state = Stored(at * S, payload_of(number), name.strip())
        made.add(Sample(at * S, at * S, {"1": state}))
    history = History(PLAIN).got("1", 2 * S, 10).back(at=4 * S)
    assert missing(history, made, 6 * S, moved * S, c1=20) == (["1"] if due else [])
    # A client must follow messages of this connection; after a resume or snapshot, every state.
    history = History(PLAIN).back(at=4 * S).got("1", 5 * S, 10)
    assert missing(history, made, 6 * S, moved * S, c1=20) == ["1"]
    for options in (RESUMING, SNAPSHOT):
        history = History(options).got("1", 2 * S, 10).back(at=4 * S).got("2", 4 * S, 1)
        assert missing(history, made, 6 * S, moved * S, c1=20) == ["1"]


def test_plain_client_is_owed_a_state_when_the_history_changed_before_the_market_did() -> None:
    made = Timeline()
    for at, number, name in ((2, 10, "a"), (3, 10, "b"), (12, 20, "b")):
        made.add(Sample(at * S, at * S, {"1": Stored(at * S, payload_of(number), name)}))
    history = History(PLAIN).got("1", 2 * S, 10).back(at=10 * S)
    assert missing(history, made, 12 * S, 9 * S, c1=20) == ["1"]


def test_plain_client_must_follow_a_store_reverted_behind_its_message() -> None:
    history = History(PLAIN).back(at=4 * S).got("1", 5 * S, 2)
    assert missing(history, timeline((6, 1)), c1=1) == ["1"]


# -- status ---------------------------------------------------------------------------------


def test_status_must_name_the_last_message() -> None:
    history = History().got("1", 10, 1)
    assert history.said(11, c1=10).broken == []
    assert history.said(11, c1=9).broken == [Invariant.NAMED]
    assert history.said(11, c1=10, c2=3).broken == [Invariant.NAMED] * 2


def test_status_after_a_reconnection_must_name_its_messages() -> None:
    history = History().got("1", 10, 1).back()
    assert history.said(11, c1=10).broken == [Invariant.NAMED]


def claimed(history: History, samples: Timeline) -> list[Invariant]:
    history.checker.check(samples)
    return history.broken


def test_claim_of_an_equal_store_passes() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (5, 1), (10, 1))) == []


def test_claim_of_a_store_that_differs_for_long_is_found_once() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]
    assert claimed(history, timeline((10, 2))) == [Invariant.CURRENT]  # each event is checked once


@each_row(
    "samples",
    [
        [(1, 1), (8, 2), (10, 2)],  # for one second only
        [(1, 1), (3, 2), (6, 2), (10, 1)],  # it may have become equal before
        [(1, 1), (3, 2), (6, 2)],  # nothing is known after it
        [(1, 1), (3, 2), (6, "?"), (8, 2), (10, 2)],  # nothing is known shortly before
        [(1, 1), (3, "?"), (10, "?")],
        [(3, None), (6, 0), (8, 2), (10, 2)],  # between two samples it had just this state
    ],
)
def test_claim_that_may_be_true_passes(samples: Sequence[tuple[int, Any]]) -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline(*samples)) == []


def test_claim_of_a_reverted_store_is_found() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 5 * S, 5).said(9 * S, c1=5 * S)
    assert claimed(history, timeline((5, 5), (6, 4), (7, 4), (10, 4))) == [Invariant.CURRENT]


def test_claim_of_an_empty_store_is_found() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 5 * S, 5).said(9 * S, c1=5 * S)
    assert claimed(history, timeline((5, 5), (6, None), (7, None), (10, None))) == [
        Invariant.CURRENT
    ]


def test_claim_passes_shortly_after_the_state_arrived() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 8 * S, 8).said(9 * S, c1=8 * S)
    assert claimed(history, timeline((3, 2), (6, 2), (8, 2), (10, 2))) == []


def test_claim_without_a_state_is_found_after_a_snapshot_only() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).said(9 * S)
    assert claimed(history, timeline((3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]
    plain = History(ClientOptions(("1",))).said(9 * S)
    assert (
        claimed(plain, timeline((3, 2), (6, 2), (10, 2))) == []
    )  # that state is older than the connection


def test_claim_after_the_last_sample_is_looked_at_later() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2))) == []
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]


def test_claim_to_a_client_that_lags_behind_is_found_however_often_its_states_change() -> None:
    history = History(ClientOptions(("1",), snapshot=True))
    for second in range(1, 9):  # each state comes four seconds late
        held = payload_of(second)
        history.checker.state((second + 4) * S, "1", second * S, held)
    history.said(12 * S + 1, c1=8 * S)
    samples = timeline(*((second, second) for second in range(1, 15)))
    assert claimed(history, samples) == [Invariant.CURRENT]


def test_claim_to_a_client_that_follows_quickly_passes() -> None:
    history = History(ClientOptions(("1",), snapshot=True))
    for second in range(1, 9):
        history.checker.state(second * S + 1, "1", second * S, payload_of(second))
    history.said(8 * S + 2, c1=8 * S)
    assert claimed(history, timeline(*((second, second) for second in range(1, 11)))) == []


@each_row(
    "options",
    [
        ClientOptions(("1",), snapshot=True),  # a slow client
        ClientOptions(("1",), resumes=True),  # a client of events
        ClientOptions(("1",), resumes=True, blind=True),  # the client library
    ],
)
def test_claim_to_any_kind_of_client_is_found(options: ClientOptions) -> None:
    history = History(options)
    history.checker.state(8 * S, "1", 1 * S, payload_of(1))  # received late
    history.said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]


def test_claim_of_a_state_that_comes_late_passes_if_the_store_had_it_just_now() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1)
    history.checker.state(10 * S, "1", 8 * S, payload_of(8))
    history.said(9 * S, c1=8 * S)
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (8, 8), (10, 9))) == []


def test_claim_passes_while_a_max_rate_holds_the_stored_state_back() -> None:
    history = History(ClientOptions(("1",), snapshot=True, max_rate=4.0)).got("1", 1 * S, 1)
    history.said(9 * S, c1=1 * S)
    history.checker.state(9 * S + S // 4, "1", 2 * S, payload_of(2))
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == []


@each_row(("max_rate", "at", "version"), [(4.0, 10, 2), (4.0, 9, 0), (0.0, 9, 2)])
def test_claim_is_found_if_no_max_rate_holds_the_stored_state_back(
    max_rate: float, at: int, version: int
) -> None:
    options = ClientOptions(("1",), snapshot=True, max_rate=max_rate)
    history = History(options).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    if version:
        history.checker.state(at * S, "1", version * S, payload_of(version))
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]


def test_claim_without_a_state_is_found_after_a_resume() -> None:
    history = History(ClientOptions(("1",), resumes=True)).said(9 * S)
    assert claimed(history, timeline((3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]


def test_checker_keeps_the_last_claim() -> None:
    history = History().said(5, current=False)
    assert history.checker.current_at == 0
    assert history.said(6).checker.current_at == 6
    assert isinstance(history.got("1", 7, 1).checker.held["1"], Held)
