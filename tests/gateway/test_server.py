"""The port: what binding it refuses, and what connections inherit from it."""

from __future__ import annotations

import socket

import pytest

from ime_live.gateway.server import limit_connections
from ime_live.process.listener import bind
from ime_live.settings import AuthMode, GatewaySettings

SETTINGS = GatewaySettings(auth=AuthMode.NONE, send_buffer=40_000, unsent_limit=9_000)


def accepted(settings: GatewaySettings) -> tuple[int, int]:
    """The send buffer and the unsent limit of a connection to a port with these settings."""
    with bind("127.0.0.1", 0) as listener:
        limit_connections(listener, settings)
        listener.listen()
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            return (
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT),
            )


def test_send_buffer_has_the_size_of_the_settings() -> None:
    # Linux doubles the buffer, for its own bookkeeping (socket(7)).
    assert accepted(SETTINGS) == (2 * 40_000, 9_000)


def test_zero_keeps_the_system_defaults() -> None:
    settings = GatewaySettings(auth=AuthMode.NONE, send_buffer=0, unsent_limit=0)
    with socket.socket() as untouched:
        default = untouched.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    assert accepted(settings)[1] == default


@pytest.mark.parametrize(("unwritable", "seconds"), [(5.0, 6.5), (90.0, 90.0)])
def test_connection_without_acknowledgements_times_out(unwritable: float, seconds: float) -> None:
    settings = GatewaySettings(
        auth=AuthMode.NONE, ping_interval=2.5, ping_timeout=4.0, slow_client_timeout=unwritable
    )
    with bind("127.0.0.1", 0) as listener:
        limit_connections(listener, settings)
        listener.listen()
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert found == seconds * 1000
