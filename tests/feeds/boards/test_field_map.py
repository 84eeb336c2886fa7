"""Field map: the fields that it names are in the rows of each board."""

from __future__ import annotations

from collections.abc import Iterator

from ime_live.contracts import Contract, Market
from ime_live.feeds.boards.field_map import BOARDS, MARKETS, METHODS, PUSHED_AT, ROW_IDS, FieldMap
from tests.support.boards import row
from tests.support.rows import each_row

KINDS = {
    "updateFutureMarketsInfo": "future",
    "updateMarketsInfo": "strike",
    "updateCDCMarketsInfo": "certificate",
    "updateGavahiMarketsInfo": "receipt",
    "updateSandoqMarketsInfo": "receipt",
    "updateSalafMarketsInfo": "receipt",
}


def fields_of(field_map: FieldMap) -> Iterator[str]:
    """Every field that a row must have."""
    for level in field_map.levels:
        yield from level
    yield from field_map.times
    for name in (
        *("contract_id", "name", "trade_count", "total_volume", "total_value", "open_price"),
        *("high_price", "low_price", "last_price", "previous_close"),
        *("open_interest", "open_interest_changes", "settled_on"),
    ):
        if field := getattr(field_map, name):
            yield field


@each_row("method", BOARDS)
def test_required_fields_of_a_board_are_in_its_rows(method: str) -> None:
    made = row(KINDS[method])
    for side in BOARDS[method]:
        missing = [[field for field in fields_of(each) if field not in made] for each in side]
        assert [] in missing, missing  # in one of its spellings
        assert any(field in made for each in side for field in each.closing)


def test_static_fields_are_attributes_of_a_contract() -> None:
    maps = [each for sides in BOARDS.values() for side in sides for each in side]
    named = {attribute for each in maps for attribute, _, _ in each.static}
    assert named <= set(Contract.__struct_fields__)


def test_boards_serve_all_markets() -> None:
    assert set(MARKETS.values()) == set(Market)
    assert MARKETS["updateMarketsInfo"] is Market.OPTION


def test_option_row_has_a_call_and_a_put_in_two_spellings() -> None:
    sides = BOARDS["updateMarketsInfo"]
    assert [[each.option_type for each in side] for side in sides] == [["call"] * 2, ["put"] * 2]
    ids = {"_CallContractID", "CallContractID", "_PutContractID", "PutContractID"}
    assert ROW_IDS["updateMarketsInfo"] == ids


def test_methods_are_found_in_lower_case() -> None:
    assert METHODS["updatefuturemarketsinfo"] == "updateFutureMarketsInfo"
    assert METHODS["updatefuturedatetime"] == "updateFutureDateTime"
    assert METHODS.keys() >= {method.lower() for method in BOARDS}


def test_boards_hosted_by_tsetmc_have_no_timestamp_of_their_push() -> None:
    assert set(PUSHED_AT) == {
        *("updateFutureMarketsInfo", "updateMarketsInfo", "updateCDCMarketsInfo"),
    }
