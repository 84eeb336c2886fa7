"""The socket of a port: addresses that cannot be bound."""

from __future__ import annotations

import re
import socket

import pytest

from ime_live.errors import SettingsError
from ime_live.process.listener import bind
from tests.support.rows import each_row


def test_port_in_use_is_named_in_one_line() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"):
            bind("127.0.0.1", port)


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match="cannot assign requested address"):
        bind("192.0.2.1", 8000)


@each_row("host", ["..", "a..b", "a" * 64, "no-such-host.invalid"])
def test_name_that_cannot_be_looked_up_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match=f"^--host {re.escape(host)} cannot be used: "):
        bind(host, 8000)


def test_refusal_names_the_settings_of_the_port() -> None:
    options = ("metrics_host", "feed_metrics_port")
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(SettingsError, match="give another --feed-metrics-port"):
            bind("127.0.0.1", port, options=options)


@each_row("host", ["127.0.0.1", "::1", "[::1]"])
def test_listener_is_bound_and_does_not_listen_yet(host: str) -> None:
    with bind(host, 0) as listener:
        assert listener.getsockname()[1] > 0
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not listener.getblocking()
