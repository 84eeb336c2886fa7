"""Ingest: what is registered and published of frames, what is marked, what is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from ime_live.contracts import Contract, Market
from ime_live.errors import PayloadError, StoreError
from ime_live.feeds.boards.newest import DELISTED_AFTER
from ime_live.feeds.pipeline.ingest import FrameRefusal, Ingest
from ime_live.market import Payload
from ime_live.publisher import PublishResult
from tests.support import boards
from tests.support.board_frames import read_frame

BOARD = "updateFutureMarketsInfo"


def frame(*rows: Any) -> bytes:  # noqa: ANN401 - any JSON
    return json.dumps({"C": "c", "M": [{"H": "marketsHub", "M": BOARD, "A": [rows]}]}).encode()


def row(contract_id: int = 901, name: str | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    own = {"ContractID": contract_id, "ContractCode": name or f"X{contract_id}"}
    return boards.row("future", **{**own, **fields})


class Passed:
    """Takes what an ingest passes on; fails as it is told."""

    def __init__(self) -> None:
        self.contracts: list[Contract] = []
        self.states: list[tuple[str, Payload]] = []
        self.calls = 0
        self.away = False
        self.refused: set[str] = set()
        self.unregistered: set[str] = set()

    async def register(self, contracts: Sequence[Contract]) -> set[str]:
        self.contracts += contracts
        return self.unregistered

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[PublishResult]:
        self.calls += 1
        if self.away:
            raise StoreError("away")
        given = list(payloads)
        self.states += [(i, payload) for i, payload in given if i not in self.refused]
        return [
            PublishResult(i, error=PayloadError("no"))
            if i in self.refused
            else PublishResult(i, 1, True)
            for i, _ in given
        ]


@pytest.fixture
def passed() -> Passed:
    return Passed()


@pytest.fixture
def ingest(passed: Passed) -> Ingest:
    return Ingest(passed, passed.register)


async def take(ingest: Ingest, *rows: Any) -> FrameRefusal:  # noqa: ANN401 - any JSON
    return await ingest.take(read_frame(frame(*rows)))


async def test_changes_are_published_in_one_call_per_frame(ingest: Ingest, passed: Passed) -> None:
    await take(ingest, row(1), row(2), row(3))
    await take(ingest, row(1), row(2, LastTradedPrice=700_100.0), row(3))

    assert [i for i, _ in passed.states] == ["1", "2", "3", "2"]
    assert passed.calls == 2
    assert ingest.totals.published == 4
    assert ingest.totals.unchanged == 2


async def test_timestamp_of_the_whole_board_is_no_change_of_a_contract(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(1))
    await take(ingest, row(1, LastUpdate="2023-07-31T15:59:59"))

    assert len(passed.states) == 1


async def test_contracts_are_registered_on_sight_and_when_they_change(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(1), row(2))
    await take(ingest, row(1), row(2))
    await take(ingest, row(1, "Renamed"), row(2))

    assert [(c.contract_id, c.contract_name) for c in passed.contracts] == [
        ("1", "X1"),
        ("2", "X2"),
        ("1", "Renamed"),
    ]
    assert {c.board for c in passed.contracts} == {BOARD}


async def test_settlement_of_today_is_registered_with_confirmations_only(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(TodayLiveSettlement=100.5))
    await take(ingest, row(TodayLiveSettlement=101.5))
    assert [each.today_settlement for each in passed.contracts] == [100.5]
    await ingest.confirm(1.0)
    assert [each.today_settlement for each in passed.contracts] == [100.5, 101.5]


async def test_expired_contracts_are_marked(ingest: Ingest, passed: Passed) -> None:
    await take(ingest, row(1, Expired=True))

    assert passed.contracts[0].expired


async def test_contract_that_vanishes_is_marked_and_its_return_too(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(1), row(2))
    for _ in range(DELISTED_AFTER - 1):
        await take(ingest, row(2))
    assert not any(c.delisted for c in passed.contracts)

    await take(ingest, row(2))
    assert passed.contracts[-1] == replace(passed.contracts[0], delisted=True)
    assert [i for i, _ in passed.states] == ["1", "2"]  # its last state stays

    known = len(passed.contracts)
    await take(ingest, row(2))
    assert len(passed.contracts) == known  # marked once

    await take(ingest, row(1), row(2))
    assert passed.contracts[-1] == passed.contracts[0]


async def test_contract_known_from_before_can_vanish_too(ingest: Ingest, passed: Passed) -> None:
    ingest.restore(
        [
            Contract(contract_id="7", contract_name="Old", market=Market.FUTURES, board=BOARD),
            Contract(contract_id="8", contract_name="Other", board="updateCDCMarketsInfo"),
            Contract(contract_id="9", contract_name="ByHand", market=Market.FUTURES),
        ]
    )
    for _ in range(DELISTED_AFTER):
        await take(ingest, row(1))

    assert [c.contract_id for c in passed.contracts if c.delisted] == ["7"]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="an empty board, as on holidays"),
        pytest.param([row(2), row(1, LastTradedPrice="?")], id="its row cannot be read"),
        pytest.param([row(2), "?"], id="a row without an id"),
        pytest.param(None, id="no board at all"),
    ],
)
async def test_incomplete_boards_mark_no_contract_as_gone(
    ingest: Ingest, passed: Passed, rows: list[Any] | None
) -> None:
    await take(ingest, row(1), row(2))
    for _ in range(2 * DELISTED_AFTER):
        if rows is None:
            await ingest.take(read_frame(b'{"C":"c","M":[]}'))
        else:
            await take(ingest, *rows)

    assert not any(c.delisted for c in passed.contracts)


async def test_short_absence_is_forgotten(ingest: Ingest, passed: Passed) -> None:
    for _ in range(3):
        await take(ingest, row(1), row(2))
        for _ in range(DELISTED_AFTER - 1):
            await take(ingest, row(2))

    assert not any(c.delisted for c in passed.contracts)


async def test_bad_row_loses_only_itself_and_is_reported_with_its_content(
    ingest: Ingest, passed: Passed
) -> None:
    bad = row(1, BidPrice1=-5)
    refusal = await take(ingest, bad, row(2))

    assert [i for i, _ in passed.states] == ["2"]
    assert len(refusal) == 1
    assert refusal.errors[0].row == bad
    assert "BidPrice1" in str(refusal)
    assert ingest.totals.refused == 1


async def test_refused_state_is_tried_again_with_the_next_board(
    ingest: Ingest, passed: Passed
) -> None:
    passed.refused = {"1"}
    refusal = await take(ingest, row(1), row(2))
    assert [outcome.contract_id for outcome in refusal.outcomes] == ["1"]

    passed.refused = set()
    assert not await take(ingest, row(1), row(2))
    assert [i for i, _ in passed.states] == ["2", "1"]


async def test_outage_causes_everything_to_be_published_again(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(1), row(2))
    passed.away = True
    with pytest.raises(StoreError):
        await take(ingest, row(1, LastTradedPrice=1.0), row(2))
    passed.away = False
    await take(ingest, row(1), row(2))

    assert [i for i, _ in passed.states] == ["1", "2", "1", "2"]
    assert [c.contract_id for c in passed.contracts] == ["1", "2", "1", "2"]


async def take_boards(ingest: Ingest, *boards: list[Any]) -> FrameRefusal:
    messages = [{"H": "marketsHub", "M": BOARD, "A": [rows]} for rows in boards]
    return await ingest.take(read_frame({"C": "c", "M": messages}))


def prices(passed: Passed) -> list[tuple[str, float]]:
    return [(i, payload.aggregate.last_price) for i, payload in passed.states]


async def test_last_board_of_a_frame_is_published(ingest: Ingest, passed: Passed) -> None:
    one, two = row(1, LastTradedPrice=1.0), row(1, LastTradedPrice=2.0)
    await take(ingest, one)
    for _ in range(3):  # and does not alternate
        await take_boards(ingest, [two], [one])
    assert prices(passed) == [("1", 1)]
    await take_boards(ingest, [one], [two])
    await take_boards(ingest, [two, one], [one, two])
    assert prices(passed) == [("1", 1), ("1", 2)]


async def test_last_record_of_a_frame_is_registered(ingest: Ingest, passed: Passed) -> None:
    await take_boards(ingest, [row(1)])
    for _ in range(3):
        await take_boards(ingest, [row(1, "Renamed")], [row(1)])
    assert [c.contract_name for c in passed.contracts] == ["X1"]


async def test_every_row_is_counted_once(ingest: Ingest, passed: Passed) -> None:
    passed.refused = {"3"}
    one, two = row(1, LastTradedPrice=1.0), row(1, LastTradedPrice=2.0)
    await take_boards(ingest, [one, row(2), row(3)], [two, row(2), row(3), row(4, BidPrice1=-5)])
    await take_boards(ingest, [two, row(2)])
    totals = ingest.totals
    assert totals.rows == 9
    assert (totals.published, totals.unchanged, totals.refused) == (2, 5, 2)


async def test_forget_publishes_the_newest_board_of_each_kind_once(
    ingest: Ingest, passed: Passed
) -> None:
    for price in (17.0, 1.0, 2.0):
        await take(ingest, row(1, LastTradedPrice=price), row(2))
    passed.states.clear()
    passed.contracts.clear()
    ingest.forget()
    await ingest.publish_changes()
    assert prices(passed) == [("1", 2), ("2", 699_200)]
    assert [c.contract_id for c in passed.contracts] == ["1", "2"]


async def test_noted_frames_are_published_later_with_the_newest_states_only(
    ingest: Ingest, passed: Passed
) -> None:
    for price in (1.0, 2.0):
        ingest.note(read_frame(frame(row(1, LastTradedPrice=price))))
    assert not passed.states
    await ingest.publish_changes()
    await ingest.publish_changes()
    assert prices(passed) == [("1", 2)]


@pytest.mark.parametrize("count", [1, 7, 50, 120])
async def test_confirm_publishes_every_state_once_a_round(
    ingest: Ingest, passed: Passed, count: int
) -> None:
    await take(ingest, *(row(n) for n in range(1, count + 1)))
    passed.states.clear()
    passed.contracts.clear()
    for _ in range(64):
        await ingest.confirm(1 / 64)
    ids = [str(n) for n in range(1, count + 1)]
    assert sorted(i for i, _ in passed.states) == sorted(ids)
    assert sorted(c.contract_id for c in passed.contracts) == sorted(ids)


async def test_confirm_follows_the_newest_boards(ingest: Ingest, passed: Passed) -> None:
    await take(ingest, row(1), row(2))
    await ingest.confirm(0.5)
    await take(ingest, row(2, LastTradedPrice=5.0), row(3))
    passed.states.clear()
    for _ in range(4):
        await ingest.confirm(0.5)
    assert {i for i, _ in passed.states} == {"2", "3"}
    assert ("2", 5.0) in prices(passed)


async def test_confirm_reports_published_states_missing_in_the_store(
    ingest: Ingest, passed: Passed
) -> None:
    passed.refused = {"3"}
    await take(ingest, row(1), row(2), row(3))
    ingest.note(read_frame(frame(row(1, LastTradedPrice=5.0), row(2), row(3))))
    # The store of these tests answers that each state is a change.
    refused, restored = await ingest.confirm(1)
    assert [outcome.contract_id for outcome in refused] == ["3"]
    assert restored == ["2"]


async def test_outage_while_confirming_publishes_everything_again(
    ingest: Ingest, passed: Passed
) -> None:
    await take(ingest, row(1), row(2))
    passed.away = True
    with pytest.raises(StoreError):
        await ingest.confirm(1)
    passed.away = False
    passed.states.clear()
    await ingest.publish_changes()
    assert [i for i, _ in passed.states] == ["1", "2"]


async def test_contract_that_could_not_be_registered_publishes_nothing(
    ingest: Ingest, passed: Passed
) -> None:
    passed.unregistered = {"2"}
    refusal = await take(ingest, row(1), row(2))
    assert [i for i, _ in passed.states] == ["1"]
    assert [each.contract_id for each in refusal.outcomes] == ["2"]
    assert ingest.totals.refused == 1
    # It is not tried again with each board, but when it changes.
    await take(ingest, row(1), row(2))
    assert [each.contract_id for each in passed.contracts] == ["1", "2"]
    passed.unregistered = set()
    await take(ingest, row(1), row(2, name="X3"))
    assert [i for i, _ in passed.states] == ["1", "2"]


async def test_contract_that_can_be_registered_later_publishes_then(
    ingest: Ingest, passed: Passed
) -> None:
    passed.unregistered = {"2"}
    await take(ingest, row(1), row(2))
    await ingest.confirm(1)
    assert [i for i, _ in passed.states] == ["1", "1"]
    passed.unregistered = set()
    refused, _ = await ingest.confirm(1)
    assert refused == ()
    assert [i for i, _ in passed.states] == ["1", "1", "1", "2"]
