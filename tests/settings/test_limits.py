"""Settings of the limits on streams: lists of proxies and of origins."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import LimitSettings
from tests.support.rows import each_row


def test_trusted_proxies_are_read_as_networks() -> None:
    settings = LimitSettings(trusted_proxies=" 10.0.0.1/8, unix,2001:db8::1 ,none,")
    assert settings.proxies == (ip_network("10.0.0.0/8"), ip_network("2001:db8::1"))
    assert LimitSettings().proxies == ()


@each_row("proxy", ["my-proxy", "10.0.0", "10.0.0.1:80", "10.0.0.0/33", "*"])
def test_proxy_that_is_no_network_is_refused(proxy: str) -> None:
    with pytest.raises(SettingsError) as refused:
        LimitSettings(trusted_proxies=f"10.0.0.1, {proxy}")
    assert str(refused.value) == (
        "--trusted-proxies must have an address or a network per proxy, as 10.0.0.0/8, or unix or "
        f"none, got {proxy!r}"
    )


@pytest.mark.parametrize("origins", ["", " , "])
def test_empty_list_of_stream_origins_is_refused(origins: str) -> None:
    with pytest.raises(SettingsError, match="--stream-origins must have an origin"):
        LimitSettings(stream_origins=origins)


@each_row("origin", ["example.org", "https://example.org/", "null"])
def test_malformed_stream_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match=f"--stream-origins must have .*, got {origin!r}"):
        LimitSettings(stream_origins=f"loopback, {origin}")
