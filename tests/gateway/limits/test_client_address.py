"""The address of a client behind proxies, whatever the client writes into the header."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from ime_live.gateway.limits.client_address import ClientAddresses, group_of
from ime_live.settings import LimitSettings
from tests.support.rows import each_row

PROXY = ("10.0.0.1", 5000)
BEHIND = ClientAddresses.from_settings(LimitSettings(trusted_proxies="10.0.0.0/8, fd00::/8, unix"))


@each_row(
    ("peer", "forwarded", "found"),
    [
        (PROXY, b"203.0.113.7", "203.0.113.7"),
        (PROXY, b"203.0.113.7, 10.2.3.4", "203.0.113.7"),
        (PROXY, b"198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (PROXY, b"10.9.9.9, 10.2.3.4", "10.9.9.9"),
        (PROXY, b"203.0.113.7:5000", "203.0.113.7"),
        (PROXY, b'"[2001:db8::1]:443"', "2001:db8::1"),
        (PROXY, b"2001:db8::1", "2001:db8::1"),
        (PROXY, b"::ffff:203.0.113.7", "203.0.113.7"),
        (PROXY, b"fe80::1%eth0", "fe80::1"),
        (PROXY, None, "10.0.0.1"),
        (PROXY, b"", "10.0.0.1"),
        (PROXY, b"unknown", "10.0.0.1"),
        (PROXY, b"203.0.113.7, _hidden", "10.0.0.1"),
        (PROXY, b"203.0.113.7, garbage, 10.2.3.4", "10.2.3.4"),
        (PROXY, b",,,", "10.0.0.1"),
        (PROXY, b"\xff\xfe, 1.2.3", "10.0.0.1"),
        (PROXY, b"9" * 100_000, "10.0.0.1"),
        (("::ffff:10.0.0.1", 5000, 0, 0), b"203.0.113.7", "203.0.113.7"),
        (("fd00::1", 5000, 0, 0), b"203.0.113.7", "203.0.113.7"),
        (("203.0.113.9", 5000), b"198.51.100.1", "203.0.113.9"),  # spoofed: it is no proxy
        ("/run/gateway.sock", b"203.0.113.7", "203.0.113.7"),
        ("", b"203.0.113.7", "203.0.113.7"),
        (None, None, None),
    ],
)
def test_find_takes_the_last_address_that_is_no_proxy(
    peer: object, forwarded: bytes | None, found: str | None
) -> None:
    assert BEHIND.find(peer, forwarded) == found


def test_find_without_known_proxies_finds_no_address() -> None:
    unknown = ClientAddresses.from_settings(LimitSettings())
    assert unknown.find(PROXY, b"203.0.113.7") is None


def test_find_with_no_proxy_ignores_the_header() -> None:
    direct = ClientAddresses.from_settings(LimitSettings(trusted_proxies="none"))
    assert direct.find(("203.0.113.9", 1), b"198.51.100.1") == "203.0.113.9"
    assert direct.find("/run/gateway.sock", b"198.51.100.1") is None


def test_find_of_ten_thousand_entries_looks_at_a_few() -> None:
    header = b", ".join([b"10.1.1.1"] * 10_000)
    started = time.process_time()
    for _ in range(100):
        assert BEHIND.find(PROXY, header) == "10.1.1.1"
    assert time.process_time() - started < 1.0


@given(st.binary(max_size=200))
def test_find_never_raises(header: bytes) -> None:
    found = BEHIND.find(PROXY, header)
    assert found is not None
    assert group_of(found)


@each_row(
    ("address", "group"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::2", "2001:db8:1:2::/64"),
    ],
)
def test_group_of_an_address(address: str, group: str) -> None:
    assert group_of(address) == group
