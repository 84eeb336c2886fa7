"""Market data: versions as timestamps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.market import sections_of, timestamp_of, version_of
from ime_live.market_json import read_payload
from tests.support.rows import each_row

Factory = Callable[..., dict[str, Any]]
TEHRAN = ZoneInfo("Asia/Tehran")
NOW = 1_780_000_000_000_000

# Since September 2022 Iran's clocks are not changed any more.
SINCE_2023 = st.integers(1_672_531_200_000_000, 4_102_444_800_000_000)


class TestTimestamps:
    def test_timestamp_has_the_documented_form(self) -> None:
        version = 1_779_536_400_000_000
        assert timestamp_of(version, UTC) == "2026-05-23T11:40:00.000000"
        assert timestamp_of(version + 7, TEHRAN) == "2026-05-23T15:10:00.000007"

    @given(SINCE_2023)
    def test_tehran_is_three_and_a_half_hours_ahead_all_year(self, version: int) -> None:
        shifted = timestamp_of(version + 12_600_000_000, UTC)
        assert timestamp_of(version, TEHRAN) == shifted

    @pytest.mark.parametrize("zone", [TEHRAN, UTC, timezone(timedelta(hours=-5, minutes=-30))])
    @given(version=SINCE_2023)
    def test_timestamp_of_a_version_is_read_back(self, zone: tzinfo, version: int) -> None:
        text = timestamp_of(version, zone)
        assert len(text) == len("2026-05-23T15:10:00.000000")
        assert version_of(text, zone) == version

    @given(st.lists(SINCE_2023, min_size=2, max_size=2, unique=True))
    def test_timestamps_sort_like_their_versions(self, versions: list[int]) -> None:
        first, second = sorted(versions)
        assert timestamp_of(first, TEHRAN) < timestamp_of(second, TEHRAN)

    @given(SINCE_2023)
    def test_offset_precedes_the_zone_of_the_gateway(self, version: int) -> None:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=version)
        for zone in (UTC, TEHRAN, timezone(timedelta(hours=9))):
            assert version_of(moment.astimezone(zone).isoformat(), TEHRAN) == version

    @each_row("text", ["", " ", "T", "2026-05-23", "15:10", "2026-05-23T15:10:61"])
    def test_malformed_timestamp_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".+"):
            version_of(text, TEHRAN)


# -- how long it may be --------------------------------------------------------------------


class TestRows:
    def test_row_of_a_payload_is_flat(self, payload: Factory) -> None:
        state = read_payload(payload())
        row = state.to_dict()
        assert row["sell_price_3"] == state.best_limit["3"].sell_price
        assert row["last_price"] == state.aggregate.last_price
        assert row["max_allowed_price"] == state.allowed_price_range.max_allowed_price
        assert row["open_interest"] == state.contract_info.open_interest
        assert len(row) == 12 + 11 + 2 + 2

    def test_row_of_some_sections_has_only_their_values(self, payload: Factory) -> None:
        some = sections_of(read_payload(payload()), ["ContractInfo"])
        assert set(some.to_dict()) == {"open_interest", "open_interest_changes"}
