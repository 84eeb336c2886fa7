"""Requests for streams: paths, queries, spellings, limits, and the texts of refusals."""

from __future__ import annotations

from datetime import UTC
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.contracts import Contract
from ime_live.errors import MAX_REASON_BYTES, CloseCode, RefusedError
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.query.stream_query import (
    EVENTS_ROOT,
    STREAM_ROOT,
    StatusRequest,
    StreamRequest,
    check_length,
    endpoint_of,
    parse_query,
    read_request,
    read_status_request,
    select,
)
from ime_live.market import version_of
from ime_live.registry import Registry
from tests.support.rows import each_row

TEHRAN = ZoneInfo("Asia/Tehran")
MOMENT = version_of("2026-05-23T15:10:00", TEHRAN)

REGISTRY = Registry(
    [
        Contract(contract_id="12345", contract_name="ContractA"),
        Contract(contract_id="67890", contract_name="ContractB", aliases=("OldB",)),
        Contract(contract_id="312", contract_name="سکه0312پ01"),
    ]
)


def refusal(by: By, query: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_request(by, parse_query(by, query), TEHRAN)
    assert caught.value.code is CloseCode.POLICY_VIOLATION
    return caught.value


def named(query: str, by: By = By.NAME) -> tuple[str, ...]:
    return read_request(by, parse_query(by, query), TEHRAN).contracts


class TestPaths:
    @pytest.mark.parametrize("end", ["", "/"])
    @pytest.mark.parametrize("by", list(By))
    @pytest.mark.parametrize("root", ["", "/data-engine/ime"])
    def test_stream_paths_are_read(self, root: str, by: By, end: str) -> None:
        path = f"/live/data/websocket/contract/{by.value}{end}"
        assert endpoint_of(path, root) is by
        assert endpoint_of(root + path, root) is by

    def test_event_stream_paths_are_read(self) -> None:
        path = "/live/data/sse/contract/id"
        assert endpoint_of(path, "/prefix", EVENTS_ROOT) is By.ID
        assert endpoint_of("/prefix" + path + "/", "/prefix", EVENTS_ROOT) is By.ID
        assert endpoint_of(path, "/prefix", STREAM_ROOT) is None
        assert endpoint_of(STREAM_ROOT + "id", "", EVENTS_ROOT) is None

    def test_path_may_be_percent_encoded(self) -> None:
        assert endpoint_of("/live/data/websocket/contract/%6eame") is By.NAME
        assert endpoint_of("/%D8%B3/live/data/websocket/contract/id", "/س") is By.ID

    @each_row(
        "path",
        [
            "",
            "/",
            "/live/data/websocket/contract/",
            "/live/data/websocket/contract",
            "/live/data/websocket/contract/names",
            "/live/data/websocket/contract/NAME",
            "/live/data/websocket/contract/name//",
            "/live/data/websocket/contract/name/id",
            "/other/live/data/websocket/contract/name",
            "/prefix/prefix/live/data/websocket/contract/name",
            "live/data/websocket/contract/name",
        ],
    )
    def test_unknown_paths_are_no_streams(self, path: str) -> None:
        assert endpoint_of(path, "/prefix") is None


def options(query: str) -> DeliveryOptions:
    return read_request(By.NAME, parse_query(By.NAME, "contract_names=A&" + query), TEHRAN).options


class TestDeliveryParameters:
    def test_delivery_options_have_documented_defaults(self) -> None:
        assert options("") == DeliveryOptions()

    @each_row(
        "query",
        [
            "sections=Aggregate,BestLimit",
            "sections=BestLimit&sections=Aggregate",
            "sections=BestLimit,%20Aggregate,Aggregate",
        ],
    )
    def test_sections_parameter_is_read(self, query: str) -> None:
        assert options(query) == DeliveryOptions(sections=("BestLimit", "Aggregate"))

    def test_all_sections_equal_the_default_stream(self) -> None:
        query = "sections=ContractInfo,AllowedPriceRange,BestLimit,Aggregate"
        assert options(query) == DeliveryOptions()

    @each_row("section", ["bestlimit", "best-limit", "BestLimit,", ""])
    def test_unknown_section_is_refused(self, section: str) -> None:
        error = refusal(By.NAME, f"contract_names=A&sections={section}")
        assert error.reason.startswith("no such section: ")
        assert "there are BestLimit, Aggregate, AllowedPriceRange, ContractInfo" in error.reason
        assert error.kind == "bad sections"

    @each_row(("rate", "interval"), [("2", 0.5), ("0.1", 10), ("1e1", 0.1)])
    def test_max_rate_becomes_an_interval(self, rate: str, interval: float) -> None:
        assert options(f"max_rate={rate}") == DeliveryOptions(interval=interval)

    @each_row("rate", ["0", "-1", "nan", "inf", "fast", "", "0.001", "1e9"])
    def test_malformed_max_rate_is_refused(self, rate: str) -> None:
        error = refusal(By.NAME, f"contract_names=A&max_rate={rate}")
        assert error.reason == f"max_rate is not a number from 0.01 to 1000: {rate}"
        assert error.kind == "bad max_rate"

    def test_skipped_parameter_is_read_in_both_spellings(self) -> None:
        assert options("skipped=true") == DeliveryOptions(skips=True)
        assert options("meta=true") == DeliveryOptions(skips=True)  # its former name
        assert options("skipped=false") == DeliveryOptions()
        assert refusal(By.NAME, "contract_names=A&skipped=x").kind == "bad skipped"


class TestContracts:
    @each_row(
        ("by", "parameter"),
        [
            (By.NAME, "contract_names"),
            (By.NAME, "contract_name"),
            (By.ID, "contract_id"),
            (By.ID, "contract_ids"),
        ],
    )
    def test_repeated_contract_parameters_are_read(self, by: By, parameter: str) -> None:
        assert named(f"{parameter}=A&x=1&{parameter}=B", by) == ("A", "B")

    def test_both_contract_parameters_are_read_together(self) -> None:
        assert set(named("contract_name=B&contract_names=A&contract_names=B")) == {"A", "B"}

    def test_contract_name_is_read_as_utf8(self) -> None:
        name = "سكه0312پ01"
        assert named("contract_names=" + quote(name)) == (name,)
        assert named("contract_names=" + name) == (name,)
        assert named(urlencode({"contract_names": "a+b c&d"})) == ("a+b c&d",)

    def test_contract_name_that_is_not_utf8_is_unknown(self) -> None:
        assert named("contract_names=%D8%FF") == ("\ufffd\ufffd",)

    def test_duplicate_and_blank_contracts_are_dropped(self) -> None:
        query = "contract_names=A&contract_names=&contract_names=%20A%20&contract_names=%20"
        assert named(query) == ("A",)

    @each_row(
        "query",
        ["", "contract_names=", "contract_names", "contract_names=%20", "contract_id=1", "&&", "="],
    )
    def test_query_without_names_is_refused(self, query: str) -> None:
        error = refusal(By.NAME, query)
        assert error.reason == "no contract: name at least one with contract_names="
        assert error.kind == "no contract"

    def test_query_without_ids_is_refused(self) -> None:
        error = refusal(By.ID, "contract_names=A")
        assert error.reason == "no contract: name at least one with contract_id="


class TestSnapshotParameters:
    @each_row("text", ["true", "True", "TRUE", "1", "yes", "on"])
    def test_snapshot_true_asks_for_states(self, text: str) -> None:
        request = read_request(By.ID, parse_query(By.ID, f"contract_id=1&snapshot={text}"), TEHRAN)
        assert request == StreamRequest(By.ID, ("1",), newer_than=0)

    @each_row("text", ["false", "False", "0", "no", "off"])
    def test_snapshot_false_asks_for_no_states(self, text: str) -> None:
        request = read_request(By.ID, parse_query(By.ID, f"contract_id=1&snapshot={text}"), TEHRAN)
        assert request.newer_than is None

    def test_snapshot_and_since_are_off_by_default(self) -> None:
        assert read_request(By.ID, parse_query(By.ID, "contract_id=1"), TEHRAN).newer_than is None

    @each_row("text", ["maybe", "2", "truee", "", "%20"])
    def test_malformed_snapshot_is_refused(self, text: str) -> None:
        error = refusal(By.ID, f"contract_id=1&snapshot={text}")
        assert error.reason.startswith("snapshot is neither true nor false: ")
        assert error.kind == "bad snapshot"

    @each_row(
        "text",
        [
            "2026-05-23T15:10:00.000000",
            "2026-05-23T15:10:00",
            "2026-05-23T15:10",
            "2026-05-23%2015:10:00",
            "2026-05-23+15:10:00",
            "2026-05-23T15:10:00%2B03:30",
            "2026-05-23T15:10:00+03:30",  # a plus sign in a query is a space
            "2026-05-23T15:10:00.000000+03:30",
            "2026-05-23+15:10:00+03:30",
            "2026-05-23T11:40:00Z",
            "2026-05-23T11:40:00.000Z",
            "2026-05-23T06:40:00-05:00",
            "%202026-05-23T15:10:00%20",
        ],
    )
    def test_since_is_read_as_a_version(self, text: str) -> None:
        request = read_request(By.ID, parse_query(By.ID, f"contract_id=1&since={text}"), TEHRAN)
        assert request.newer_than == MOMENT

    def test_since_is_exact_to_the_microsecond(self) -> None:
        query = "contract_id=1&since=2026-05-23T15:10:00.000001"
        assert read_request(By.ID, parse_query(By.ID, query), TEHRAN).newer_than == MOMENT + 1
        assert (
            read_request(By.ID, parse_query(By.ID, query), UTC).newer_than
            == MOMENT + 1 + 12_600_000_000
        )

    def test_since_precedes_snapshot(self) -> None:
        query = "contract_id=1&since=2026-05-23T15:10:00&snapshot=true"
        assert read_request(By.ID, parse_query(By.ID, query), TEHRAN).newer_than == MOMENT

    @each_row(
        "text",
        [
            "",
            "%20",
            "yesterday",
            "2026-05-23",
            "2026-13-01T00:00:00",
            "2026-02-30T00:00:00",
            "2026-05-23T25:00:00",
            "1779536400",
            "2026-05-23T15:10:00+99:00",
            "2026-05-23T15:10:00ZZ",
            "2026-05-23T",
            "T15:10:00",
        ],
    )
    def test_malformed_since_is_refused(self, text: str) -> None:
        error = refusal(By.ID, f"contract_id=1&since={text}")
        assert error.reason.startswith("since is not an ISO 8601 time: ")
        assert error.kind == "bad since"

    @given(st.text())
    def test_any_query_is_read_or_refused(self, text: str) -> None:
        for query in (text, f"contract_id=1&since={text}", f"contract_id=1&snapshot={text}"):
            try:
                read_request(By.ID, parse_query(By.ID, query), TEHRAN)
            except RefusedError as error:
                assert len(error.reason.encode()) <= MAX_REASON_BYTES  # noqa: PT017


class TestStatusParameter:
    @each_row("text", ["true", "1", "YES", "on"])
    def test_status_true_asks_for_status_messages(self, text: str) -> None:
        request = read_request(By.ID, parse_query(By.ID, f"contract_id=1&status={text}"), TEHRAN)
        assert request == StreamRequest(By.ID, ("1",), status=True)

    @each_row("query", ["", "&status=false", "&status=true&status=0"])
    def test_status_is_off_by_default(self, query: str) -> None:
        assert (
            read_request(By.ID, parse_query(By.ID, "contract_id=1" + query), TEHRAN).status is False
        )

    @each_row("text", ["maybe", "", "2"])
    def test_malformed_status_is_refused(self, text: str) -> None:
        error = refusal(By.ID, f"contract_id=1&status={text}")
        assert error.reason == f"status is neither true nor false: {text}"
        assert error.kind == "bad status"

    def test_status_request_has_contracts_and_token(self) -> None:
        assert read_status_request("") == StatusRequest()
        query = (
            "contract_name=A&contract_ids=1&contract_names=B&contract_id=%202&token=t&x=y&x=z&amp;q"
        )
        assert read_status_request(query) == StatusRequest(
            ("B", "A"), ("1", "2"), "t", ("x", "amp;q")
        )
        assert read_status_request("contract_names=&contract_id=") == StatusRequest()


@each_row(
    ("query", "unknown"),
    [
        ("", ()),
        ("&contract_ids=2&snapshot=1&since=2026-05-23T15:10&status=0&skipped=0&token=x", ()),
        ("&max_rate=1&sections=Aggregate", ()),
        ("&amp;snapshot=true&amp%3Bstatus=1", ("amp;snapshot", "amp;status")),
        (
            "&Snapshot=true&contract_names=A&x=1&x=2&=3&y",
            ("Snapshot", "contract_names", "x", "", "y"),
        ),
    ],
)
def test_unknown_parameters_are_collected(query: str, unknown: tuple[str, ...]) -> None:
    assert parse_query(By.ID, "contract_id=1" + query).unknown == unknown


@each_row(("query", "token"), [("", None), ("&token=", None), ("&token=a.b-c_d", "a.b-c_d")])
def test_token_parameter_is_read(query: str, token: str | None) -> None:
    assert read_request(By.ID, parse_query(By.ID, "contract_id=1" + query), TEHRAN).token == token


class TestSelect:
    def select(
        self, *contracts: str, by: By = By.NAME, hidden: str = "", limit: int = 10
    ) -> dict[str, ContractRef]:
        request = StreamRequest(by, contracts)
        return dict(select(request, REGISTRY, lambda c: c.contract_id != hidden, limit).named)

    def refused(self, *contracts: str, hidden: str = "", limit: int = 10) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            self.select(*contracts, hidden=hidden, limit=limit)
        assert caught.value.code is CloseCode.POLICY_VIOLATION
        return caught.value

    def test_contracts_are_selected_by_name_and_by_id(self) -> None:
        assert self.select("ContractA") == {"12345": ContractRef.of(By.NAME, "ContractA")}
        assert self.select("12345", by=By.ID) == {"12345": ContractRef.of(By.ID, "12345")}

    def test_messages_name_the_contract_as_the_client_did(self) -> None:
        assert self.select("OldB") == {"67890": ContractRef.of(By.NAME, "OldB")}
        assert self.select("سكه۰۳۱۲پ۰۱") == {"312": ContractRef.of(By.NAME, "سكه۰۳۱۲پ۰۱")}

    def test_repeated_contract_keeps_its_first_spelling(self) -> None:
        selection = self.select("سكه0312پ01", "OldB", "سکه۰۳۱۲پ۰۱", "ContractB")
        assert selection == {
            "312": ContractRef.of(By.NAME, "سكه0312پ01"),
            "67890": ContractRef.of(By.NAME, "OldB"),
        }

    def test_limit_counts_contracts(self) -> None:
        assert len(self.select("ContractA", "ContractB", "OldB", limit=2)) == 2
        error = self.refused("ContractA", "ContractB", limit=1)
        assert (error.reason, error.kind) == (
            "too many contracts: 2, at most 1",
            "too many contracts",
        )

    def test_unknown_contract_is_refused(self) -> None:
        error = self.refused("ContractA", "XYZ")
        assert (error.reason, error.kind) == ("unknown contract: XYZ", "unknown contract")

    def test_id_is_not_accepted_as_a_name(self) -> None:
        assert self.refused("12345").reason == "unknown contract: 12345"

    def test_contract_outside_the_token_is_refused(self) -> None:
        error = self.refused("ContractA", "ContractB", hidden="67890")
        assert error.reason == "contract not covered by the token: ContractB"
        assert error.kind == "contract not covered"

    def test_close_reasons_are_cut_between_characters(self) -> None:
        reason = self.refused("س" * 200).reason
        assert reason == "unknown contract: " + "س" * 51 + "…"
        assert len(reason.encode()) == MAX_REASON_BYTES

    def test_close_reasons_have_no_control_characters(self) -> None:
        assert self.refused("a\r\nb\x00\u202ec").reason == "unknown contract: a??b??c"

    @given(st.text(min_size=1))
    def test_any_reason_fits_a_close_frame(self, name: str) -> None:
        reason = self.refused("?" + name.replace("*", "?")).reason
        assert len(reason.encode()) <= MAX_REASON_BYTES
        assert reason.isprintable()


def test_huge_query_is_refused_before_it_is_parsed() -> None:
    check_length("&".join(["contract_names=KASH"] * 300), limit=100)
    with pytest.raises(RefusedError) as caught:
        check_length("&".join(["contract_names=KASH"] * 301), limit=100)
    assert caught.value.reason == "too many contracts: 301 parameters, at most 100 contracts"
    assert caught.value.code == 1008
