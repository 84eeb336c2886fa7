"""Options, addresses, tokens and pace: what a program gives is checked before anything is sent."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ime_live import AsyncClient, ConnectionEvent, connect
from ime_live.client.address import read_service
from ime_live.client.credentials import Credentials
from ime_live.client.pace import BURST, Pace
from ime_live.errors import ImeLiveError, SettingsError

URL = "wss://example.org"


async def on_connection(_: ConnectionEvent) -> None:
    """A function that would have to be awaited."""


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/live/data/websocket/contract/name"),
        ("http://127.0.0.1:8000/", "ws://127.0.0.1:8000/live/data/websocket/contract/name"),
        ("https://a.b/p/q", "wss://a.b/p/q/live/data/websocket/contract/name"),
        (
            "wss://a.b/p/live/data/websocket/contract/id",
            "wss://a.b/p/live/data/websocket/contract/name",
        ),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    service = read_service(url)
    assert service.stream([("name", "A&B")], [("since", "2026-05-23T15:10:00+03:30")]) == (
        f"{expected}?contract_names=A%26B&since=2026-05-23T15%3A10%3A00%2B03%3A30"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "ws://",
        "ws://host:port",
        "ws://host:SECRET",
        "ws://a..b",
        f"ws://{'a' * 64}.org",
        "ws://me:SECRET@example.org",
        "ws://example.org?token=SECRET",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(SettingsError, match="service's address") as caught:
        read_service(url)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"contract_names": []}, "name at least one contract"),
        ({"contract_names": "ContractA"}, "as a list"),
        ({"contract_names": [" "]}, "not ' '"),
        ({"contract_ids": [1.5]}, "not 1.5"),
        ({"contract_names": ["A\ud800"]}, "UTF-8"),
        ({"contract_ids": ["1\udc80"]}, "UTF-8"),
        ({"queue": "newest"}, "queue is latest, drop_oldest, block, not newest"),
        ({"queue_size": 0}, "queue_size is at least 1"),
        ({"max_rate": 0}, "max_rate is a number above 0, not 0"),
        ({"stale_after": float("nan")}, "stale_after is a number above 0"),
        ({"ping_timeout": -1}, "ping_timeout"),
        ({"sections": ["Nonsense"]}, "a section is one of BestLimit, .*, not Nonsense"),
        ({"sections": []}, "at least one section"),
        ({"since": "yesterday"}, "since is not an ISO 8601 time: yesterday"),
        ({"zone": "Asia/Nowhere"}, "Asia/Nowhere is not a time zone"),
        ({"token": ""}, "the token is empty"),
        ({"token": "a\r\nb"}, "no header can carry"),
        ({"token": 5}, "a token is a text, not int"),
        ({"first_timeout": 0}, "first_timeout is a number above 0"),
        ({"on_connection": 5}, "on_connection must be a plain function"),
        ({"on_connection": on_connection}, "on_connection must be a plain function"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext or None, not bool"),
        ({"url": ["A"]}, r"must be a text, not list; name contracts .* contract_names="),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as caught:
        connect(**({"url": URL, "contract_names": ["A"]} | arguments))
    assert isinstance(caught.value, ImeLiveError)


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        ("ftp://user:SECRET@host", "must begin with http://, https://, socks5h://"),
        ("user:SECRET@host", "must begin with http://"),
        ("http://user:SECRET@", "must name a host"),
        ("http://user:SECRET@host:port", "check host and port"),
        ("http://user:SECRET@a..b", "check host and port"),
        ("http://user:SECRET@host/path", "must end with its host and port"),
        ("http://user:a@SECRET/w@host:3128", "quote user and password"),
        ("http://SECRET@host", "must have a password after its user"),
        (False, "proxy is a URL, True or None"),
    ],
)
def test_what_is_no_proxy(proxy: Any, text: str) -> None:  # noqa: ANN401 - any argument
    with pytest.raises(SettingsError, match=text) as caught:
        connect(URL, ["A"], proxy=proxy)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("proxy", ["http://u:p@host:3128/", "socks5h://host", "https://[::1]:1"])
def test_proxies(proxy: str) -> None:
    assert connect(URL, ["A"], proxy=proxy)._options.proxy == proxy


def test_tls_context_for_an_address_without_tls() -> None:
    context = ssl.create_default_context()
    for url in ("ws://h", "http://h"):
        with pytest.raises(SettingsError, match="ssl is for wss:// and https://"):
            connect(url, ["A"], ssl=context)
        with pytest.raises(SettingsError, match="ssl is for wss:// and https://"):
            AsyncClient(url, ssl=context)
    assert connect("https://h", ["A"], ssl=context)._options.ssl is context


async def test_address_and_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IME_LIVE_URL", " wss://example.org:8443/p ")
    monkeypatch.setenv("IME_LIVE_TOKEN", " abc\n")
    options = connect(contract_names=["A"])._options
    assert options.service == read_service("wss://example.org:8443/p")
    assert await options.credentials.headers() == {"Authorization": "Bearer abc"}
    assert repr(AsyncClient()) == "<AsyncClient example.org:8443>"
    # What a program says goes before.
    options = connect("ws://h", ["A"], token="mine")._options
    assert options.service == read_service("ws://h")
    assert await options.credentials.headers() == {"Authorization": "Bearer mine"}


@pytest.mark.parametrize("value", [None, "", " "])
async def test_environment_without_address_and_token(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IME_LIVE_URL", "IME_LIVE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"address must be given, .* or be in IME_LIVE_URL"):
        connect(contract_names=["A"])
    assert await connect("ws://h", ["A"])._options.credentials.headers() == {}


def test_address_of_the_environment_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IME_LIVE_URL", "ws://me:SECRET@h")
    with pytest.raises(SettingsError, match=r"IME_LIVE_URL: .* without user") as caught:
        connect(contract_names=["A"])
    assert "SECRET" not in str(caught.value)


def test_the_token_is_shown_nowhere() -> None:
    made = connect(URL, ["A"], token="SECRET")
    assert "SECRET" not in f"{made!r} {vars(made)!r}"


@pytest.mark.parametrize(
    "since", [datetime(2026, 5, 23, 11, 40, tzinfo=UTC), "2026-05-23T15:10:00", "2026-05-23 15:10"]
)
def test_since_goes_over_the_wire_in_the_gateways_clock(since: datetime | str) -> None:
    assert connect(URL, ["A"], since=since)._options.since == "2026-05-23T15:10:00.000000"


async def test_a_token_is_asked_for_once_and_again_when_it_was_refused() -> None:
    made = iter("abcd")
    credentials = Credentials(lambda: next(made))
    assert await credentials.headers() == {"Authorization": "Bearer a"}
    assert await credentials.headers() == {"Authorization": "Bearer a"}
    assert credentials.refused()
    assert await credentials.headers() == {"Authorization": "Bearer b"}
    assert not credentials.refused()  # a new one that is no better
    credentials.accepted()
    assert credentials.refused()


async def test_tokens_from_async_functions_and_of_both_forms() -> None:
    async def fetch() -> str:
        return "bearer x"

    assert await Credentials(fetch).headers() == {"Authorization": "bearer x"}
    assert await Credentials(None).headers() == {}
    assert not Credentials("x").refused()


def test_the_pace_stays_within_what_the_gateway_allows() -> None:
    pace = Pace()
    assert [pace.wait(0.0) for _ in range(BURST)] == [0.0] * BURST
    now, sent = 0.0, []
    for _ in range(100):
        now += pace.wait(now)
        sent.append(now)
    assert all(late - early <= 1.0 + 1e-9 for early, late in zip(sent, sent[8:], strict=False))
    assert sent[99] - sent[0] == pytest.approx(99 / 8)
    later = timedelta(hours=1).total_seconds()
    assert [pace.wait(later) for _ in range(BURST)] == [0.0] * BURST
