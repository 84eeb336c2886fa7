"""SignalR: answers and frames that are read, and the faults that malformed ones have."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.errors import FeedError, SettingsError
from ime_live.feeds.ime.signalr import (
    MAX_SECONDS,
    Envelope,
    Negotiation,
    TransportName,
    read_envelope,
    read_negotiation,
    read_start,
    read_transports,
)
from tests.support.rows import each_row

JSON = "application/json; charset=UTF-8"
WS, SSE, LP = TransportName
HUB = "https://hub.example/realTimeServer/"
TOKEN = "++//a b&="
CURSOR = "d-96D92DB6-B,7C|g,0|h,2"

NEGOTIATED: dict[str, Any] = {
    "Url": "/realTimeServer",
    "ConnectionToken": TOKEN,
    "ConnectionId": "c0ffee",
    "KeepAliveTimeout": 21.0,
    "DisconnectTimeout": 31.0,
    "ConnectionTimeout": 111.0,
    "TryWebSockets": False,
    "ProtocolVersion": "2.1",
    "TransportConnectTimeout": 6.0,
    "LongPollDelay": 0.5,
}


def negotiated(**changes: Any) -> bytes:  # noqa: ANN401 - any JSON, also bad one
    return json.dumps(NEGOTIATED | changes).encode()


class TestTransportNames:
    def test_transports_are_read_from_a_list(self) -> None:
        assert read_transports("longPolling, websockets,") == (LP, WS)

    @each_row("names", ["", " , ", "webSockets,pigeon", "webSockets,webSockets"])
    def test_malformed_transports_are_refused(self, names: str) -> None:
        with pytest.raises(SettingsError, match="--transports"):
            read_transports(names)


class TestNegotiation:
    def test_negotiation_has_all_fields(self) -> None:
        assert read_negotiation(negotiated(), JSON) == Negotiation(
            connection_token=TOKEN,
            connection_id="c0ffee",
            keep_alive_timeout=21.0,
            disconnect_timeout=31.0,
            transport_connect_timeout=6.0,
            connection_timeout=111.0,
            long_poll_delay=0.5,
            try_web_sockets=False,
            protocol_version="2.1",
            url="/realTimeServer",
        )

    def test_negotiation_needs_only_the_token(self) -> None:
        said = read_negotiation(b'{"ConnectionToken":"t"}', JSON)
        assert (said.keep_alive_timeout, said.try_web_sockets) == (20.0, True)

    def test_hub_may_have_no_keep_alives(self) -> None:
        for none in (None, 0):
            said = read_negotiation(negotiated(KeepAliveTimeout=none), JSON)
            assert said.keep_alive_timeout is None

    def test_negotiation_with_a_redirect_is_read(self) -> None:
        answer = b'{"ProtocolVersion":"2.0","RedirectUrl":"https://a/b?c=d","AccessToken":"secret"}'
        nulls = negotiated(
            **dict.fromkeys(("ConnectionToken", "ConnectionId", "Url", "Error")),
            RedirectUrl="https://a/b?c=d",
            AccessToken="secret",
        )
        for each in (answer, nulls):
            said = read_negotiation(each, JSON)
            assert (said.redirect_url, said.access_token) == ("https://a/b?c=d", "secret")

    def test_numbers_may_be_texts(self) -> None:
        said = read_negotiation(negotiated(KeepAliveTimeout="20", TryWebSockets="true"), JSON)
        assert (said.keep_alive_timeout, said.try_web_sockets) == (20.0, True)

    def test_negotiated_times_are_limited(self) -> None:
        said = read_negotiation(
            negotiated(DisconnectTimeout=1e12, LongPollDelay=-1, TransportConnectTimeout=0), JSON
        )
        assert said.disconnect_timeout == MAX_SECONDS
        assert said.long_poll_delay == 0
        assert said.transport_connect_timeout == 5.0

    @each_row(
        ("answer", "kind", "words"),
        [
            (b"<!DOCTYPE html><title>\n No\n way &amp; </title>", "text/html", "HTML .*“No way &”"),
            (
                b" <html><style>p{}</style><p>Sorry, <b>no",
                JSON,
                "HTML instead of JSON: “Sorry, no”",
            ),
            (b"<html><script>x<", JSON, "HTML instead of JSON$"),
            (b"{}", "text/html", "HTML instead of JSON"),
            (b"{}", "image/png", "image/png instead of JSON"),
            (b"Service Unavailable", "text/plain", "text/plain .*“Service Unavailable”"),
            (b"oops", "", "something else instead of JSON: “oops”"),
            (b"", JSON, "empty"),
            (b" \n", JSON, "empty"),
            (negotiated()[:40], JSON, "truncated JSON"),
            (b'{"ConnectionToken":}', JSON, "broken JSON"),
            (b"[]", JSON, "Expected `object`"),
            (b"{}", JSON, "ConnectionToken"),
            (negotiated(ConnectionToken=""), JSON, "ConnectionToken is empty"),
            (negotiated(ConnectionToken=None), JSON, "ConnectionToken"),
            (negotiated(KeepAliveTimeout="soon"), JSON, "KeepAliveTimeout"),
            (b'{"Error":"No, not today."}', JSON, "^the SignalR hub refuses: No, not today.$"),
            (negotiated(Error="no", RedirectUrl="/x"), JSON, "^the SignalR hub refuses: no$"),
            (b'{"Error":{"a":1}}', JSON, "^the SignalR hub refuses: "),
            (b'{"RedirectUrl":5}', JSON, "RedirectUrl"),
        ],
    )
    def test_malformed_negotiation_names_the_field(
        self, answer: bytes, kind: str, words: str
    ) -> None:
        with pytest.raises(FeedError, match=words) as caught:
            read_negotiation(answer, kind)
        assert TOKEN not in str(caught.value)


class TestStart:
    def test_start_answer_is_accepted(self) -> None:
        read_start(b'{"Response":"started"}', JSON)

    @each_row(
        ("answer", "words"),
        [
            (b'{"Response":"no"}', "'no', not 'started'"),
            (b"{}", "not 'started'"),
            (b'{"Response":1}', "Response"),
            (b"<h1>502 Bad Gateway</h1>", "HTML instead of JSON: “502 Bad Gateway”"),
        ],
    )
    def test_other_start_answer_is_refused(self, answer: bytes, words: str) -> None:
        with pytest.raises(FeedError, match=words):
            read_start(answer, JSON)


class TestEnvelope:
    @each_row(
        ("frame", "envelope"),
        [
            ("{}", Envelope()),
            ('{"C":"a","S":1,"M":[]}', Envelope(cursor="a", initialised=True)),
            ('{"C":"a","M":[{"H":"h"}]}', Envelope(cursor="a", messages=True)),
            ('{"C":"a","G":"g","M":[]}', Envelope(cursor="a", groups="g")),
            ('{"C":"a","M":[],"L":1500}', Envelope(cursor="a", delay=1.5)),
            ('{"C":"a","T":1}', Envelope(cursor="a", moved=True)),
            ('{"C":"a","D":1}', Envelope(cursor="a", ended=True)),
            ('{"M":null,"I":"0","R":5}', Envelope()),
            ('{"C":5,"G":6,"L":"1500"}', Envelope(cursor="5", groups="6", delay=1.5)),
            # Malformed messages are no fault of the connection.
            ('{"C":"a","M":5}', Envelope(cursor="a", messages=True)),
            ('{"C":"a","M":{"M":"m"},"x":NaN}', Envelope(cursor="a", messages=True)),
            ('{"C":"a","M":[ \r\n ]}', Envelope(cursor="a")),
            ('{"C":"a","M":[{"A":[1e400]}]}', Envelope(cursor="a", messages=True)),
            # A fault that loses one row must not end a connection.
            ('{"C":"a","M":[{"A":[NaN,1e400]}]}', Envelope(cursor="a", messages=True)),
        ],
    )
    def test_frame_has_messages_cursor_and_flags(self, frame: str, envelope: Envelope) -> None:
        assert read_envelope(frame.encode()) == envelope

    def test_delay_of_a_frame_is_limited(self) -> None:
        assert read_envelope(b'{"L":1e15}').delay == MAX_SECONDS
        assert read_envelope(b'{"L":-5}').delay == 0

    @each_row(
        ("frame", "words"),
        [
            (b'{"C":"a","M":[{"H":"h","A":[[{"x', "truncated JSON"),
            (b'{"C":"a","M":[NaN,', "truncated JSON"),
            (b'{"C":"a","M":}', "broken JSON"),
            (b"[1]", "not what was expected|not a JSON object"),
            (b"null", "null"),
            (b'{"C":[5]}', r"\$\.C"),
            (b'{"L":"soon"}', r"\$\.L"),
            (b"\xff\xfe", "instead of JSON"),
            (b"", "empty"),
            (b"<html>", "HTML instead of JSON"),
        ],
    )
    def test_malformed_frame_is_refused(self, frame: bytes, words: str) -> None:
        with pytest.raises(FeedError, match=words):
            read_envelope(frame)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_names = st.sampled_from([*NEGOTIATED, "Response", *"CGLSDTM"])
_objects = st.dictionaries(_names, _json).map(lambda each: json.dumps(each).encode())
_cut = st.tuples(_objects, st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
_answers = (
    st.binary() | _objects | _cut | st.text().map(lambda t: f"<html>{t}".encode("utf-8", "replace"))
)
_kinds = st.sampled_from([JSON, "", "text/html", "text/plain"]) | st.text()


@given(answer=_answers, kind=_kinds)
@example(answer=b'{"ConnectionToken":"\\ud800"}', kind=JSON)
@example(answer=b'{"C":"\\ud800","x":NaN}', kind=JSON)
@example(answer=b"[" * 100_000, kind=JSON)
@example(answer=b'{"M":' + b"[" * 100_000, kind=JSON)
@example(answer=b"1" * 5000, kind=JSON)
@example(answer=b'{"L":' + b"1" * 5000 + b"}", kind=JSON)
@example(answer=b'{"L":NaN}', kind=JSON)
def test_any_text_is_a_frame_or_a_feed_error(answer: bytes, kind: str) -> None:
    texts: list[str] = []
    values: list[object] = []
    for read in (read_negotiation, read_start, read_envelope):
        try:
            said = read(answer, kind)
        except FeedError as error:
            texts.append(str(error))
        else:
            if said is not None:
                values += msgspec.structs.astuple(said)
    assert all(text.isprintable() and len(text) < 300 for text in texts)
    assert all(0 <= value <= MAX_SECONDS for value in values if isinstance(value, float))
