"""Options: the arguments of a program are checked before anything is sent."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest

from ime_live import AsyncClient, Client, ConnectionEvent, Payload, connect
from ime_live.client.protocol.address import read_service
from ime_live.errors import ImeLiveError, SettingsError
from tests.support.rows import each_row

URL = "wss://example.org"


async def on_connection(_: ConnectionEvent) -> None:
    """A function that would have to be awaited."""


# An error must contain the rule and the value that breaks it.
RULE = re.compile(r"\b(must|cannot|is not|expected)\b")


@each_row(
    ("arguments", "text"),
    [
        ({"contract_names": []}, "at least one contract must be given, got none; pass"),
        ({"contract_names": "ContractA"}, "must be a list of names, got 'ContractA'"),
        ({"contract_names": [" "]}, "name must be a text that is not empty, got ' '"),
        ({"contract_names": [5]}, "name must be a text that is not empty, got 5"),
        ({"contract_ids": 5}, "must be a list of ids, got 5"),
        ({"contract_ids": [1.5]}, "id must be a whole number or a text .*, got 1.5"),
        ({"contract_ids": [True]}, "id must be a whole number or a text .*, got True"),
        ({"contract_names": ["A\ud800"]}, "UTF-8"),
        ({"contract_ids": ["1\udc80"]}, "UTF-8"),
        ({"queue": "newest"}, "queue must be one of latest, drop_oldest, block, got 'newest'"),
        ({"queue_size": 0}, "queue_size must be a whole number of at least 1, got 0"),
        ({"max_rate": 0}, "max_rate must be a number above 0 or None, got 0"),
        ({"open_timeout": float("inf")}, "open_timeout must be a number above 0, got inf"),
        ({"stale_after": float("nan")}, "stale_after must be a number above 0 or None, got nan"),
        ({"ping_timeout": -1}, "ping_timeout must be a number above 0, got -1"),
        ({"sections": ["Nonsense"]}, "must be one of BestLimit, .*, got 'Nonsense'"),
        ({"sections": [Payload]}, "must be one of BestLimit, .*, got <class"),
        ({"sections": "Aggregate"}, "sections must be a list of names, got 'Aggregate'"),
        ({"sections": []}, "sections must have at least one name, got none"),
        ({"since": "yesterday"}, "since must be a date and time in ISO 8601, got 'yesterday'"),
        ({"zone": "Asia/Nowhere"}, "'Asia/Nowhere' is not a time zone"),
        ({"token": ""}, "got ''; for no token, pass None and do not set IME_LIVE_TOKEN"),
        ({"token": "a\r\nb"}, "a token must be printable ASCII, got characters no header"),
        ({"token": 5}, "a token must be a text, a function that returns one, or None, got int"),
        ({"first_timeout": 0}, "first_timeout must be a number above 0 or None, got 0"),
        ({"on_connection": 5}, "on_connection must be a plain function .*, got 5"),
        ({"on_connection": on_connection}, "on_connection must be .*, got an async function"),
        ({"ssl": True}, "ssl must be an ssl.SSLContext or None, got bool"),
        ({"url": ["A"]}, r"must be a text, got list; pass contracts .* contract_names="),
    ],
)
def test_error_of_argument_says_rule_and_value(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as caught:
        connect(**({"url": URL, "contract_names": ["A"]} | arguments))
    assert isinstance(caught.value, ImeLiveError)
    assert RULE.search(str(caught.value))


@each_row(
    ("arguments", "text"),
    [
        ({"tries": 0}, "tries must be a whole number of at least 1, got 0"),
        ({"connect_timeout": 0}, "connect_timeout must be a number above 0, got 0"),
        ({"read_timeout": -2.5}, "read_timeout must be a number above 0, got -2.5"),
    ],
)
def test_error_of_rest_argument_says_rule_and_value(arguments: dict[str, Any], text: str) -> None:
    for make in (AsyncClient, Client):
        with pytest.raises(SettingsError, match=text):
            make(URL, **arguments)


async def test_error_of_rest_call_says_rule_and_value() -> None:
    client = AsyncClient(URL)
    with pytest.raises(SettingsError, match="at least one contract must be given, got none"):
        await client.snapshot()
    with pytest.raises(SettingsError, match=r"section must be one of Payload, .*, got <class 'int"):
        await client.snapshot(["A"], section=int)  # type: ignore[type-var] # as a program may
    with pytest.raises(SettingsError, match=r"market must be one of IMEFutures, .*, got 'Stocks'"):
        await client.search("Stocks", "x")


@each_row(
    ("proxy", "text"),
    [
        ("ftp://user:SECRET@host", "must begin with http://, https://, socks5h://"),
        ("foo://x", r"must begin with http://, .*, got 'foo://x'"),
        ("http://host:99999", r"valid host and port, got 'http://host:99999'"),
        ("http://a b", "valid host and port, got 'http://a b'"),
        ("http://host:0", r"valid host and port, got 'http://host:0'"),
        ("", r"must begin with http://, .*, got ''"),
        ("user:SECRET@host", "must begin with http://"),
        ("http://user:SECRET@", "must name a host"),
        ("http://user:SECRET@host:port", "valid host and port"),
        ("http://user:SECRET@a..b", "valid host and port"),
        ("http://user:SECRET@host/path", "must end with its host and port"),
        ("http://user:a@SECRET/w@host:3128", "quote user and password"),
        ("http://SECRET@host", "must have a password after its user"),
        (False, "proxy must be a URL, True or None, got bool"),
    ],
)
def test_malformed_proxy_is_refused(proxy: Any, text: str) -> None:  # noqa: ANN401 - any argument
    with pytest.raises(SettingsError, match=text) as caught:
        connect(URL, ["A"], proxy=proxy)
    assert "SECRET" not in str(caught.value)
    assert ", got " in str(caught.value)
    assert RULE.search(str(caught.value))
    assert caught.value.__cause__ is None


@each_row("proxy", ["http://u:p@host:3128/", "socks5h://host", "https://[::1]:1"])
def test_proxy_urls_are_read(proxy: str) -> None:
    assert connect(URL, ["A"], proxy=proxy)._options.proxy == proxy


def test_tls_context_for_an_address_without_tls_is_refused() -> None:
    context = ssl.create_default_context()
    for url in ("ws://h", "http://h"):
        with pytest.raises(
            SettingsError, match="ssl must be None for ws:// and http://, got an SSLContext"
        ):
            connect(url, ["A"], ssl=context)
        with pytest.raises(
            SettingsError, match="ssl must be None for ws:// and http://, got an SSLContext"
        ):
            AsyncClient(url, ssl=context)
    assert connect("https://h", ["A"], ssl=context)._options.ssl is context


async def test_address_and_token_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IME_LIVE_URL", " wss://example.org:8443/p ")
    monkeypatch.setenv("IME_LIVE_TOKEN", " abc\n")
    options = connect(contract_names=["A"])._options
    assert options.service == read_service("wss://example.org:8443/p")
    assert await options.credentials.headers() == {"Authorization": "Bearer abc"}
    assert repr(AsyncClient()) == "<AsyncClient example.org:8443>"
    # An argument takes precedence over the environment.
    options = connect("ws://h", ["A"], token="mine")._options
    assert options.service == read_service("ws://h")
    assert await options.credentials.headers() == {"Authorization": "Bearer mine"}


@pytest.mark.parametrize("value", [None, "", " "])
async def test_missing_address_is_an_error_and_missing_token_is_not(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IME_LIVE_URL", "IME_LIVE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(
        SettingsError, match=r"address must be given, got none; .* set IME_LIVE_URL"
    ):
        connect(contract_names=["A"])
    assert await connect("ws://h", ["A"])._options.credentials.headers() == {}


def test_malformed_address_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IME_LIVE_URL", "ws://me:SECRET@h")
    with pytest.raises(SettingsError, match=r"IME_LIVE_URL: .* must not have a user") as caught:
        connect(contract_names=["A"])
    assert "SECRET" not in str(caught.value)


def test_token_is_shown_nowhere() -> None:
    made = connect(URL, ["A"], token="SECRET")
    assert "SECRET" not in f"{made!r} {vars(made)!r}"


@each_row(
    "since", [datetime(2026, 5, 23, 11, 40, tzinfo=UTC), "2026-05-23T15:10:00", "2026-05-23 15:10"]
)
def test_since_is_sent_in_the_time_zone_of_the_gateway(since: datetime | str) -> None:
    assert connect(URL, ["A"], since=since)._options.since == "2026-05-23T15:10:00.000000"
