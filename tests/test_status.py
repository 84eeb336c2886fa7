"""The feed's status: what can be read as one, and what cannot."""

from __future__ import annotations

import msgspec
import pytest

from ime_live.contracts import Market
from ime_live.errors import FeedError
from ime_live.status import FeedState, FeedStatus, MarketStatus, read_status
from tests.support.rows import each_row

NOW = 1_780_000_000_000_000
STATUS = FeedStatus(
    FeedState.LIVE,
    since=NOW - 5,
    last_board=NOW - 3,
    markets={Market.FUTURES: MarketStatus(FeedState.LIVE, NOW - 3, 5, NOW + 1000)},
    written=NOW,
)


def test_status_is_read_as_it_was_written() -> None:
    assert read_status(STATUS.to_json()) == STATUS


def test_unknown_market_of_a_newer_feed_is_left_out() -> None:
    raw = STATUS.to_json().replace(b'"markets":{', b'"markets":{"IMEOfNextYear":{"state":"live"},')
    assert read_status(raw) == STATUS
    assert type(read_status(raw)) is FeedStatus


def test_unknown_state_of_a_newer_feed_is_stale_and_loses_nothing_else() -> None:
    raw = STATUS.to_json().replace(b'"live"', b'"halted"')
    market = msgspec.structs.replace(STATUS.markets[Market.FUTURES], state=FeedState.STALE)
    assert read_status(raw) == msgspec.structs.replace(
        STATUS, state=FeedState.STALE, markets={Market.FUTURES: market}
    )


@each_row("raw", [b"", b"{", b"{}", b"[]", b'{"state":1,"since":1}', b"\xff"])
def test_malformed_status_is_refused(raw: bytes) -> None:
    with pytest.raises(FeedError, match=r"^not a feed's status: "):
        read_status(raw)


@pytest.mark.parametrize("moment", [-1, 10**18])
@pytest.mark.parametrize("field", ["since", "last_board", "written"])
def test_time_that_no_clock_shows_is_refused(field: str, moment: int) -> None:
    market = MarketStatus(FeedState.LIVE, until=moment)
    for status in (
        msgspec.structs.replace(STATUS, **{field: moment}),
        msgspec.structs.replace(STATUS, markets={Market.FUTURES: market}),
    ):
        with pytest.raises(FeedError, match=f"{moment} is not a time in microseconds"):
            read_status(status.to_json())
