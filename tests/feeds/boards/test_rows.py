"""Rows: the mapping of every kind, the traps of the SignalR hub's data, and the allowed range."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from ime_live.contracts import Contract, Market
from ime_live.feeds.boards.field_map import CALL, CDC, FUTURE, GAVAHI, PUT, FieldMap
from ime_live.feeds.boards.parsers import ParseError
from ime_live.feeds.boards.rows import DEFAULT_PRICE_LIMITS, PriceLimits, Quote, read_row
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Level, Payload
from tests.support.boards import Row, row, without
from tests.support.rows import each_row

DAY = date(2022, 2, 6)
NOTHING = Level(0, 0, 0, 0)
at = datetime.fromisoformat  # Tehran's wall clock, without offset


def quote(
    fields: FieldMap,
    made: Row,
    *,
    day: date | None = None,
    clock: datetime | None = None,
    price_limits: PriceLimits = DEFAULT_PRICE_LIMITS,
    latest: datetime | None = None,
) -> Quote:
    return read_row(made, fields, day=day, clock=clock, price_limits=price_limits, latest=latest)


# The mapping, one kind of row after the other


def test_row_of_a_future_is_read() -> None:
    assert quote(FUTURE, row("future")) == Quote(
        Contract(
            contract_id="901",
            contract_name="SAFMO02",
            market=Market.FUTURES,
            title="قرارداد آتی زعفران نگین تحویل مرداد ماه 1402",
            initial_margin=18_800_000,
            maintenance_margin=13_160_000,
            expiration_date=date(2023, 8, 20),
            csize=100,
            csize_unit="گرم",
            settlement_price=700_010.5,
            settlement_date=date(2023, 7, 31),
            today_settlement=699_738.0952,
            price_limit_rule="SAF=0.05",
        ),
        Payload(
            BestLimit(
                Level(3, 699_000, 2, 699_500),
                Level(5, 698_900, 4, 699_600),
                Level(8, 698_800, 6, 699_700),
            ),
            Aggregate(
                date="2023-08-01",
                time="13:20:09",
                trade_count=40,
                total_volume=55,
                total_value=3_846_150_500,
                closing_price=699_738.0952,
                last_price=699_200,
                low_price=698_000,
                high_price=702_500,
                open_price=701_000,
                previous_close=700_010.5,
            ),
            AllowedPriceRange(665_010, 735_011),  # 665,009.975 and 735,011.025
            ContractInfo(1234, -61),
        ),
    )


def test_row_of_a_strike_is_a_call_and_a_put() -> None:
    call, put = quote(CALL, row("strike")), quote(PUT, row("strike"))
    assert call == Quote(
        Contract(
            contract_id="1009001",
            contract_name="KASH02C250",
            market=Market.OPTION,
            title="قرارداد اختیار معامله خرید صندوق سررسید شهریور ماه 1402",
            initial_margin=23_300_000,
            expiration_date=date(2023, 9, 6),
            csize=1000,
            option_type="call",
            strike_price=250_000,
            required_margin=37_791_508,
            underlying_id="KA",
            underlying_name="کهربا",
            settlement_price=9100,
        ),
        Payload(
            BestLimit(Level(7, 9000, 9, 9400), Level(1, 8900, 0, 0), NOTHING),
            Aggregate(
                date="2023-08-01",
                time="13:01:02",
                trade_count=3,
                total_volume=12,
                total_value=110_500_000,
                closing_price=9250,
                last_price=9250,
                low_price=9050,
                high_price=9300,
                open_price=9050,
                previous_close=9100,
            ),
            AllowedPriceRange(1, 9_999_999_999),
            ContractInfo(51, 8),
        ),
    )
    # Untraded and without orders: nulls are 0, and its day begins at midnight.
    assert put.contract.contract_id == "1009002"
    assert (put.contract.option_type, put.contract.strike_price) == ("put", 250_000)
    assert put.payload == Payload(
        BestLimit(NOTHING, NOTHING, NOTHING),
        Aggregate("2023-08-01", "00:00:00", 0, 0, 0, 0, 0, 0, 0, 0, 1391),
        AllowedPriceRange(1, 9_999_999_999),
        ContractInfo(0, 0),
    )


def test_row_of_a_continuous_certificate_is_read() -> None:
    assert quote(CDC, row("certificate")) == Quote(
        Contract(
            contract_id="77",
            contract_name="CD1XYZ0001",
            market=Market.DEPOSIT_CERTIFICATE,
            title="گواهی سپرده پیوسته کالای آزمایشی",
            expiration_date=date(2032, 2, 20),
            settlement_price=5_773_016,
        ),
        Payload(
            BestLimit(
                Level(6, 5_780_000, 4, 5_790_000),
                Level(7, 5_779_000, 5, 5_791_000),
                Level(8, 5_778_000, 0, 0),
            ),
            Aggregate(
                date="2024-11-18",
                time="13:26:05",
                trade_count=31,
                total_volume=1200,
                total_value=6_943_210_750,
                closing_price=5_785_000,
                last_price=5_785_000,
                low_price=5_770_000,
                high_price=5_800_000,
                open_price=5_775_000,
                previous_close=5_773_016,
            ),
            AllowedPriceRange(1, 9_999_999_999),
            ContractInfo(125_000, -300),
        ),
    )


def test_row_of_a_warehouse_receipt_is_read() -> None:
    assert quote(GAVAHI, row("receipt"), day=DAY) == Quote(
        Contract(
            contract_id="98765432109876543",
            contract_name="سكه9912پ03",
            market=Market.DEPOSIT_CERTIFICATE,
            title="تمام سكه آزمايشي 9912",
        ),
        Payload(
            BestLimit(
                Level(300, 1_163_100, 200, 1_166_000),
                Level(400, 1_163_002, 201, 1_166_500),
                Level(500, 1_163_001, 600, 1_166_690),
            ),
            Aggregate(
                date="2022-02-06",
                time="13:25:51",
                trade_count=338,
                total_volume=95_600,
                total_value=110_501_114_200,
                closing_price=1_155_870,
                last_price=1_163_100,
                low_price=1_150_200,
                high_price=1_166_668,
                open_price=1_158_888,
                previous_close=1_162_025,
            ),
            AllowedPriceRange(1, 9_999_999_999),
            ContractInfo(0, 0),
        ),
    )


# Dates, times and other peculiarities of the rows


def test_timestamp_of_the_board_is_no_change_of_a_contract() -> None:
    before = quote(FUTURE, row("future"))
    assert quote(FUTURE, row("future", LastUpdate="2023-08-01T13:25:00")) == before


def test_levels_4_and_5_are_ignored() -> None:
    assert quote(FUTURE, without(row("future"), "BidVolume4", "AskPrice5")) == quote(
        FUTURE, row("future")
    )


def test_closing_price_is_the_first_field_with_a_value() -> None:
    def closing(**changes: object) -> float:
        return quote(FUTURE, row("future", **changes)).payload.aggregate.closing_price

    assert closing(ClosingPrice=5.0) == 5
    assert closing(ClosingPrice=0.0) == 699_738.0952
    assert closing(TodayLiveSettlement=None) == 699_200


def test_date_is_that_of_the_later_of_orders_and_trade() -> None:
    later = quote(FUTURE, row("future", LastTradedPriceTime="13:20:10.9")).payload.aggregate
    assert (later.date, later.time) == ("2023-08-01", "13:20:10")


def test_board_pushed_after_midnight_has_yesterdays_trade() -> None:
    pushed = row("future", LastUpdate="2023-08-02T00:10:00", LastTradedPriceTime="13:21:00")
    aggregate = quote(FUTURE, pushed).payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2023-08-01", "13:21:00")


def test_trade_of_yesterday_keeps_its_date_after_midnight_with_any_orders() -> None:
    for ordered in (None, "2023-08-02T00:05:00"):
        pushed = row(
            "future",
            LastUpdate="2023-08-02T01:00:00",
            LastTradedPriceTime="16:59:58",
            OrdersDateTime=ordered,
        )
        aggregate = quote(FUTURE, pushed).payload.aggregate
        traded = f"{aggregate.date}T{aggregate.time}"
        assert traded == (ordered or "2023-08-01T16:59:58")
    after_a_weekend = row(
        "future",
        LastUpdate="2023-08-05T01:00:00",
        LastTradedPriceTime="16:59:58",
        OrdersDateTime="2023-08-02T16:59:50",
    )
    assert quote(FUTURE, after_a_weekend).payload.aggregate.date == "2023-08-02"


# A receipt has times alone; its day is the caller's.


@each_row(
    ("now", "date"),
    [
        ("2022-02-06T13:25:52", "2022-02-06"),
        ("2022-02-06T13:25:41", "2022-02-06"),  # clocks differ
        ("2022-02-06T13:21:50", "2022-02-05"),
        ("2022-02-06T13:16:00", "2022-02-05"),
        ("2022-02-06T00:00:01", "2022-02-05"),
        ("2022-02-08T00:00:01", "2022-02-06"),  # the exchange has sent no other day since
    ],
)
def test_receipt_is_never_dated_later_than_now(now: str, date: str) -> None:
    receipt = row("receipt", Time="13:22:01", ModifyTime="13:25:51")
    aggregate = quote(GAVAHI, receipt, day=DAY, latest=at(now)).payload.aggregate
    assert (aggregate.date, aggregate.time) == (date, "13:25:51")


def test_receipt_of_today_keeps_its_day_beside_a_trade_of_yesterday() -> None:
    receipt = row("receipt", Time="14:59:59", ModifyTime="08:46:27")
    aggregate = quote(GAVAHI, receipt, day=DAY, latest=at("2022-02-06T08:46:30")).payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2022-02-06", "08:46:27")


def test_receipt_without_a_time_has_the_day_of_the_caller() -> None:
    receipt = row("receipt", Time="0", ModifyTime=None)
    aggregate = quote(GAVAHI, receipt, day=DAY, latest=at("2022-02-06T00:00:00")).payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2022-02-06", "00:00:00")


def test_future_keeps_the_date_of_its_own_timestamps() -> None:
    pushed = quote(FUTURE, row("future"), latest=at("2023-07-31T00:00:00"))
    assert pushed.payload.aggregate.date == "2023-08-01"


@each_row(
    ("changes", "clock", "time_of_day"),
    [
        ({"LastTradedPriceTime": "01:26:05"}, None, "13:26:05"),
        # All of its times, also the board's timestamp, were seen in this form.
        (
            {
                "LastTradedPriceTime": "01:26:05",
                "OrdersDateTime": "2024-11-18T01:25:59.653",
                "LastUpdate": "2024-11-18T01:26:07.3",
            },
            None,
            "13:26:05",
        ),
        ({"LastTradedPriceTime": "01:26:05"}, at("2024-11-18T13:26:08"), "13:26:05"),
        # 12:26 is the same on both clocks.
        ({"LastTradedPriceTime": "12:26:05", "OrdersDateTime": None}, None, "12:26:05"),
        # In the morning a time cannot be one of the afternoon, so it is one of the night.
        (
            {"LastTradedPriceTime": "", "OrdersDateTime": "2024-11-18T01:00:01"},
            at("2024-11-18T08:40:00"),
            "01:00:01",
        ),
    ],
)
def test_twelve_hour_clock_without_pm_is_corrected(
    changes: Row, clock: datetime | None, time_of_day: str
) -> None:
    aggregate = quote(CDC, row("certificate", **changes), clock=clock).payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2024-11-18", time_of_day)


def test_future_at_night_keeps_its_time() -> None:
    night = row("future", OrdersDateTime="2023-08-01T01:00:01", LastTradedPriceTime="")
    assert quote(FUTURE, night).payload.aggregate.time == "01:00:01"


def test_untraded_receipt_has_the_time_of_its_orders() -> None:
    untraded = row("receipt", Time="0", ModifyTime="08:46:27")
    assert quote(GAVAHI, untraded, day=DAY).payload.aggregate.time == "08:46:27"
    silent = row("receipt", Time="0", ModifyTime=None)
    assert quote(GAVAHI, silent, day=DAY).payload.aggregate.time == "00:00:00"


def test_strike_is_not_read_from_the_name() -> None:
    call = quote(CALL, row("strike", _CallContractCode="GCOR01C11000"))
    assert call.contract.strike_price == 250_000


def test_expiry_in_words_is_read_where_there_is_no_other() -> None:
    words = row("future", LastTradingDate=None, PesrsianLastTradingDate="سه شنبه ۱۷ اسفند ۱۴۰۰")
    assert quote(FUTURE, words).contract.expiration_date == date(2022, 3, 8)


def test_expired_contracts_are_marked() -> None:
    assert not quote(FUTURE, row("future")).expired
    assert quote(FUTURE, row("future", Expired=True)).expired


def test_missing_static_fields_are_none() -> None:
    bare = without(row("future"), "ContractSize", "InitialMargin", "LastTradingDate")
    contract = quote(FUTURE, bare | {"MaintenanceMargin": None}).contract
    assert (contract.csize, contract.initial_margin) == (None, None)
    assert (contract.maintenance_margin, contract.expiration_date) == (None, None)


# The allowed range


def allowed(made: Row, **options: Any) -> tuple[float, float]:  # noqa: ANN401
    reach = quote(FUTURE, made, **options).payload.allowed_price_range
    return reach.min_allowed_price, reach.max_allowed_price


OPEN = (1, 9_999_999_999)


def test_price_limits_are_rounded_inward() -> None:
    silver = row("future", ContractCode="SILMO02", LastSettlementPrice=699_999.0)
    assert allowed(silver) == (665_000, 734_998)  # 664,999.05 and 734,998.95


def test_price_limit_of_the_longest_matching_code_is_used() -> None:
    price_limits = {"S": Decimal("0.5"), "SAFMO": Decimal("0.04"), "SAFME": Decimal("0.1")}
    made = row("future", LastSettlementPrice=700_000.0)
    assert allowed(made, price_limits=price_limits) == (672_000, 728_000)
    assert allowed(made, price_limits={}) == OPEN


@each_row(
    "changes",
    [
        {"ContractCode": "ETCMO02"},
        {"LastSettlementPrice": 0.0},
        {"LastSettlementPriceDate": None},  # the first day: not settled yet
        {"HighTradedPrice": 735_012.0},  # its own trades prove the limits wrong
        {"LowTradedPrice": 665_009.0},
    ],
)
def test_allowed_range_is_open_without_known_price_limits(changes: Row) -> None:
    assert allowed(row("future", **changes)) == OPEN


# Fields that cannot be read


@each_row(
    ("field", "value"),
    [
        ("BidPrice1", -1.0),
        ("AskVolume3", 10**16),
        ("TradesValue", float("nan")),
        ("HighTradedPrice", float("inf")),
        ("OpenInterests", -1),
        ("ContractCode", ""),
        ("OrdersDateTime", "yesterday"),
        ("LastUpdate", "2022-02-06T13:26:05Z"),
    ],
)
def test_error_of_a_malformed_field_names_it(field: str, value: object) -> None:
    with pytest.raises(ParseError, match=f"^{field}: "):
        quote(FUTURE, row("future", **{field: value}))


@each_row(
    ("field", "value", "attribute"),
    [
        ("ContractDescription", True, "title"),
        ("ContractDescription", "x" * 501, "title"),
        ("LastTradingDate", "tomorrow", "expiration_date"),
        ("InitialMargin", "much", "initial_margin"),
        ("MaintenanceMargin", -1, "maintenance_margin"),
        ("ContractSize", [1, 2], "csize"),
    ],
)
def test_bad_static_field_loses_only_that_field(field: str, value: object, attribute: str) -> None:
    whole = quote(FUTURE, row("future"))
    read = quote(FUTURE, row("future", **{field: value}))
    assert getattr(read.contract, attribute) is None
    assert read.contract == replace(whole.contract, **{attribute: None})
    assert read.payload == whole.payload
    assert [each.partition(": ")[0] for each in read.lost] == [field]


def test_bad_flag_loses_only_that_flag() -> None:
    read = quote(FUTURE, row("future", Expired="perhaps"))
    assert (read.expired, read.lost) == (
        False,
        ("Expired: is neither true nor false, got 'perhaps'",),
    )


def test_strike_price_of_both_sides_may_be_lost() -> None:
    made = row("strike", _StrikePrice="high")
    for side in (CALL, PUT):
        assert quote(side, made).contract.strike_price is None
        assert quote(side, made).lost == ("_StrikePrice: is not a number, got 'high'",)


def test_contract_without_a_name_keeps_the_one_it_had() -> None:
    nameless = row("future", ContractCode=None)
    read = read_row(
        nameless, FUTURE, day=None, clock=None, price_limits={}, names={"901": "SAFMO02"}
    )
    assert (read.contract.contract_name, read.lost) == ("SAFMO02", ("ContractCode: is empty",))


@each_row("field", ["ContractID", "ContractCode", "BidVolume3", "TradesValue", "OrdersDateTime"])
def test_field_that_is_missing_is_not_0(field: str) -> None:
    with pytest.raises(ParseError, match=f"^{field}: is missing$"):
        quote(FUTURE, without(row("future"), field))


def test_receipt_without_timestamps_needs_a_day() -> None:
    silent = row("receipt", Time="0", ModifyTime=None)
    with pytest.raises(ParseError, match="Time: is empty, and the frame does not have a day"):
        quote(GAVAHI, silent)
