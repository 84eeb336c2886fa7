"""Settings that do not fit Redis: a command ends at its start with one sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Result, environment
from tests.support.gateways import Gateway
from tests.support.servers import PATIENCE, Server, free_port

SERVE = ("serve", "--auth", "none", "--port", "0")
EXCHANGE = ("--base-url", "http://127.0.0.1:1/", "--polling-url", "http://127.0.0.1:1/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey with two databases."""
    with Server(tmp_path_factory.mktemp("server"), "--databases", "2", "--save", "") as made:
        yield made


@pytest.fixture
def env() -> dict[str, str]:
    """Without a URL."""
    return environment()


@pytest.mark.parametrize(
    "command",
    [
        SERVE,
        (*SERVE, "--workers", "2"),
        ("feed", "ime", *EXCHANGE),
        ("feed", "replay", "frames"),
        ("publish", "-"),
        ("publish", "frames"),
    ],
)
def test_command_ends_when_redis_refuses_the_login(
    ime_live: Callable[..., Result], server: Server, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "frames").touch()
    done = ime_live(*command, IME_LIVE_REDIS_URL=f"redis://nobody:secret@{server.address}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"ime-live: Redis at {server.address} refused the login: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


@pytest.mark.parametrize("command", [(*SERVE, "--workers", "2"), ("publish", "frames")])
def test_malformed_redis_url_ends_a_command(
    ime_live: Callable[..., Result], tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "frames").touch()
    done = ime_live(*command, IME_LIVE_REDIS_URL="redis://:secret/word@host")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "ime-live: --redis-url must have no unquoted /, ? or @ in user or password: quote the "
        "password (/ is %2F, ? is %3F, @ is %40), got redis://***\n"
    )


def test_pipe_that_waits_for_redis_ends_when_it_refuses(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    port = free_port()
    process = start("publish", "-", IME_LIVE_REDIS_URL=f"redis://nobody:secret@127.0.0.1:{port}")
    assert process.stderr is not None
    assert "refused the connection; waiting until Redis answers" in process.stderr.readline()
    with Server(tmp_path / "late", "--save", "", port=port):
        assert process.stderr.readline().startswith(
            f"ime-live: Redis at 127.0.0.1:{port} refused the login: "
        )
        assert process.wait(PATIENCE) == 2


async def test_gateway_that_was_served_waits_for_a_login_that_is_refused(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    with Server(tmp_path / "server", "--save", "") as server:
        client: Any = server.client
        gateway = Gateway(tmp_path / "gateway", server.url).when_ready()
        try:
            client.config_set("requirepass", "secret")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda: gateway.events("connection to Redis lost"), PATIENCE)
            client.config_set("requirepass", "")
            await eventually(lambda: gateway.events("Redis is back"), PATIENCE)
        finally:
            gateway.end()
