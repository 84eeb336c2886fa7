"""The checker finds each broken invariant in made-up histories, and nothing in good ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chaos.checker import ClientChecker, ClientOptions, Invariant, Violation
from chaos.states import payload_of
from chaos.timeline import Held, Sample, Stored, Timeline

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

    def settled(self, at: int, **versions: int) -> History:
        """A fault is over; the store has these versions, by contract."""
        self.checker.settled(
            at, {i.removeprefix("c"): Stored(v, payload_of(1)) for i, v in versions.items()}
        )
        return self

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
    assert History(RESUMING).got("1", 10, 1).back().got("1", 11, 1).broken == [Invariant.CHANGED]


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
    assert history.broken == []
    assert history.got("1", 13, 20).broken == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_once_when_the_store_lost_data() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.checker.store_loses_data()
    assert history.back().got("1", 11, 1).broken == []
    assert history.back().got("1", 12, 1).broken == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_when_the_loss_came_after_the_state() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.checker.store_loses_data()
    assert history.got("1", 11, 2).back().got("1", 12, 2).broken == []
    assert history.back().got("1", 13, 2).broken == [Invariant.CHANGED]


def test_equal_state_after_a_resume_is_found_once_the_store_has_the_same_version_again() -> None:
    history = History(RESUMING).got("1", 10, 1).got("2", 10, 1)
    history.checker.store_loses_data()
    history.settled(11, c1=10, c2=10).settled(
        30 * S, c1=10, c2=12
    )  # contract 2 got a new version in the store, and was not sent
    assert history.back().got("2", 12, 1).broken == []
    assert history.got("1", 12, 1).broken == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_while_it_may_not_be_confirmed_yet() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.checker.store_loses_data()
    history.settled(1 * S, c1=10).settled(5 * S, c1=10)
    assert history.back().got("1", 12, 1).broken == []


def test_equal_state_after_a_resume_is_found_when_a_later_fault_lost_nothing() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.settled(30 * S, c1=12)
    assert history.back().got("1", 12, 1).broken == [Invariant.CHANGED]


def test_equal_state_after_a_resume_passes_once_for_a_contract_that_was_moved() -> None:
    history = History(RESUMING).got("1", 10, 1).got("2", 10, 1)
    history.checker.may_repeat(10, "1")
    assert history.back().got("1", 11, 1).broken == []
    assert history.got("2", 11, 1).broken == [Invariant.CHANGED]
    assert history.back().got("1", 12, 1).broken == [Invariant.CHANGED] * 2


def test_equal_state_on_one_connection_is_found_when_the_store_lost_data() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.checker.store_loses_data()
    assert history.got("1", 11, 1).broken == [Invariant.CHANGED]


# -- growth over a whole history ------------------------------------------------------------


@pytest.mark.parametrize("version", [9, 10])
def test_state_that_since_excludes_is_found(version: int) -> None:
    history = History(RESUMING).got("1", 10, 1).got("2", 20, 1).back(since=10)
    assert history.got("1", version, 2).broken == [Invariant.GROWS]


def test_state_that_since_excludes_is_found_also_when_the_store_lost_data() -> None:
    history = History(RESUMING).got("1", 10, 1)
    history.checker.store_loses_data()
    assert history.back(since=10).got("1", 9, 2).broken == [Invariant.GROWS]


@pytest.mark.parametrize("options", [SNAPSHOT, PLAIN, RESUMING])
def test_gateway_that_goes_back_is_found_over_a_reconnection(options: ClientOptions) -> None:
    history = History(options).got("1", 10, 1).got("1", 12, 2)
    assert history.back(gateway="gateway 1").got("1", 11, 3).broken == [Invariant.GROWS]


def test_gateway_that_goes_back_is_found_over_other_connections() -> None:
    history = History().got("1", 12, 2).back(gateway="gateway 2").got("1", 11, 1)
    assert history.broken == []  # it may not have heard of the newest one yet
    assert history.back(gateway="gateway 1").got("1", 11, 1).broken == [Invariant.GROWS]


def test_gateway_may_go_back_when_the_store_did() -> None:
    history = History().got("1", 12, 2)
    history.checker.store_loses_data()
    assert history.back(gateway="gateway 1").got("1", 11, 1).broken == []
    assert history.settled(11, c1=11).back(gateway="gateway 1").got("1", 11, 1).broken == []
    assert history.back(gateway="gateway 1").got("1", 10, 3).broken == [Invariant.GROWS]


@pytest.mark.parametrize("options", [SNAPSHOT, RESUMING])
def test_other_state_of_a_known_version_is_found_over_a_reconnection(
    options: ClientOptions,
) -> None:
    history = History(options).got("1", 12, 2).back()
    assert history.got("1", 12, 3).broken == [Invariant.GROWS]


def test_other_state_of_a_known_version_passes_when_the_store_lost_data() -> None:
    history = History(RESUMING).got("1", 12, 2)
    history.checker.store_loses_data()
    assert history.back().got("1", 12, 3).broken == []


def test_blind_client_may_have_resumed_at_any_time() -> None:
    options = ClientOptions(("1",), resumes=True, blind=True)
    assert History(options).got("1", 10, 1).got("1", 11, 1).broken == [Invariant.CHANGED]
    assert History(options).got("1", 10, 20).got("1", 11, 20).broken == []


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
    history: History, samples: Timeline | None = None, version: int = 10, **numbers: int
) -> list[str]:
    newest = {i.removeprefix("c"): Stored(version, payload_of(n)) for i, n in numbers.items()}
    found = history.checker.missing(newest, samples or Timeline())
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


@pytest.mark.parametrize(
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
def test_plain_client_must_hold_what_has_changed_since_it_connected(
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


def test_plain_client_must_follow_a_store_that_went_back_behind_its_message() -> None:
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
    history.checker.check_claims(samples)
    return history.broken


def test_claim_of_an_equal_store_passes() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (5, 1), (10, 1))) == []


def test_claim_of_a_store_that_differs_for_long_is_found_once() -> None:
    history = History(ClientOptions(("1",), snapshot=True)).got("1", 1 * S, 1).said(9 * S, c1=1 * S)
    assert claimed(history, timeline((1, 1), (3, 2), (6, 2), (10, 2))) == [Invariant.CURRENT]
    assert claimed(history, timeline((10, 2))) == [Invariant.CURRENT]  # each is looked at once


@pytest.mark.parametrize(
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


def test_claim_of_a_store_that_went_back_is_found() -> None:
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


@pytest.mark.parametrize(
    "options",
    [
        ClientOptions(("1",), snapshot=True),  # slow, for example
        ClientOptions(("1",), resumes=True),  # of events
        ClientOptions(("1",), resumes=True, blind=True),  # the library
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


@pytest.mark.parametrize(("max_rate", "at", "version"), [(4.0, 10, 2), (4.0, 9, 0), (0.0, 9, 2)])
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
