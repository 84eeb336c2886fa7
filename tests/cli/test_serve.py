"""`ime-live serve`: wrong settings, ports in use, signals and workers."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import free_port

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

SECRET = "made up for the tests, 32 bytes "


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], "authentication must have a key, got none: set --jwt-secret, --jwt-public-key"),
        (
            ["--auth", "none", "--host", "0.0.0.0"],  # noqa: S104
            "--host must be a loopback address with --auth none, got '0.0.0.0'",
        ),
        (["--jwt-secret", "geheim"], "--jwt-secret must have at least 32 bytes"),
        (
            ["--jwt-public-key", "nothing.pem"],
            "--jwt-public-key nothing.pem cannot be read: no such file",
        ),
        (["--auth", "none", "--redis-url", "http://u:geheim@h"], "--redis-url must begin with one"),
    ],
)
def test_serve_refuses_wrong_settings(ime_live: Run, options: list[str], error: str) -> None:
    done = ime_live("serve", *options)
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"ime-live: {error}")
    assert "geheim" not in done.stderr


def test_serve_on_a_used_port_is_one_line(ime_live: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = ime_live("serve", "--auth", "none", "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"ime-live: cannot listen on 127.0.0.1:{port}: address already in use; "
        "stop the other program, or give another --port\n"
    )


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_serve_stops_at_a_signal(start: Start, number: signal.Signals, workers: str) -> None:
    process = start(
        *(
            "serve",
            "--port",
            "0",
            "--shutdown-spread",
            "0",
            "--workers",
            workers,
            "--log-format",
            "json",
        ),
        IME_LIVE_JWT_SECRET=SECRET,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if sum(each["event"] == "contracts loaded" for each in lines) == int(workers):
            break
    [listening] = [each for each in lines if each["event"] == "listening"]
    url = f"http://127.0.0.1:{listening['port']}/health"
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.status == 200
    process.send_signal(number)
    _, rest = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert SECRET not in json.dumps(lines) + rest


def test_serve_without_standard_files_stops_with_status_0(env: dict[str, str]) -> None:
    port = free_port()
    command = (
        sys.executable,
        "-m",
        "ime_live",
        "serve",
        "--port",
        str(port),
        "--shutdown-spread",
        "0",
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
        env=env | {"IME_LIVE_JWT_SECRET": SECRET},
    ) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=15):
                        break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.02)
            process.terminate()
            assert process.wait(30) == 0  # it was aborted
        finally:
            process.kill()


@pytest.mark.thorough
@pytest.mark.parametrize(("blocks", "reason"), [(0, "no usable temporary"), (8, "file too large")])
def test_several_workers_need_room_for_their_metrics(
    env: dict[str, str], blocks: int, reason: str
) -> None:
    command = (sys.executable, "-m", "ime_live", "serve", "--port", "0", "--workers", "2")
    done = subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *command],
        env=env | {"IME_LIVE_JWT_SECRET": SECRET, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    [error] = done.stderr.splitlines()
    assert error.startswith("ime-live: --workers 2 needs 512 KiB for files of metrics in the ")
    assert reason in error


@pytest.mark.thorough
def test_workers_that_cannot_start_end_the_command(env: dict[str, str], tmp_path: Path) -> None:
    """As when the room for their metrics is gone by then, whatever the reason."""
    # Python runs this file in each process that it starts: the workers, but not the command.
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing as m, resource, sys\n"
        "if '--multiprocessing-fork' in sys.orig_argv:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    )
    command = (sys.executable, "-m", "ime_live", "serve", "--port", "0", "--workers", "2")
    done = subprocess.run(  # noqa: S603 - our own command
        command,
        # Modules that changed meanwhile would be compiled into files cut off, to stay there.
        env=env
        | {"IME_LIVE_JWT_SECRET": SECRET, "PYTHONPATH": str(tmp_path)}
        | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert done.stderr.splitlines()[-1] == "ime-live: a worker cannot start; see above"


def test_check_says_whether_a_gateway_could_start(ime_live: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:  # its port may be in use
        port = str(other.getsockname()[1])
        good = ime_live("serve", "--check", "--port", port, IME_LIVE_JWT_SECRET=SECRET)
    assert (good.returncode, good.stdout) == (0, "a gateway can start with these settings\n")
    no_key = ime_live("serve", "--check")
    assert (no_key.returncode, no_key.stdout) == (2, "")
    nowhere = {"IME_LIVE_REDIS_URL": "redis://127.0.0.1:1"}
    no_redis = ime_live("serve", "--check", "--auth", "none", **nowhere)
    assert (no_redis.returncode, no_redis.stdout) == (1, "")
    assert no_redis.stderr == "ime-live: Redis at 127.0.0.1:1 refused the connection\n"
