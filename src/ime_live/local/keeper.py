"""Run a Valkey until standard input ends, then stop it and remove its folder.

A program of its own: ``python -m ime_live.local.keeper FOLDER ADDRESS COMMAND…``. Its standard
input is a pipe of the process that needs the Valkey, so it ends with that process, even if that is
killed. It imports the standard library only, as each start of an embedded Valkey waits for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Final

READY: Final = "ready"
"""Is printed when Valkey answers. Before it, there are only the reasons of a failure."""

_START_TIMEOUT: Final = 10.0  # seconds
_CHECK_INTERVAL: Final = 0.005
_ANSWER_TIMEOUT: Final = 1.0
_STOP_TIMEOUT: Final = 5.0  # it has no data to save
_REASONS: Final = 5  # lines of its log


def keep(folder: str, address: str, command: list[str]) -> str:
    """Run the command until standard input ends.

    Args:
        folder: removed at the end.
        address: port of 127.0.0.1 that Valkey listens on, or path of its Unix socket.
        command: the command, which writes its log to standard output.

    Returns:
        Why it does not run; empty if it ran.
    """
    log = os.path.join(folder, "valkey.log")  # noqa: PTH118 - pathlib's import takes longer
    try:
        with open(log, "wb") as output:  # noqa: PTH123
            valkey = subprocess.Popen(  # noqa: S603 - the command of `embedded`
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            deadline = time.monotonic() + _START_TIMEOUT
            while not _answers(address, valkey.pid):
                if valkey.poll() is not None:
                    return _reasons(log)
                if time.monotonic() > deadline:
                    return f"it does not answer within {_START_TIMEOUT:g} s"
                time.sleep(_CHECK_INTERVAL)
            print(READY, flush=True)
            sys.stdin.read()
        finally:
            _stop(valkey)
    except OSError as error:  # there is no such program, or no space for its log
        return str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ""


def _reasons(log: str) -> str:
    """Return the last warnings of Valkey's log without their time, or its last lines."""
    with open(log, errors="replace") as file:  # noqa: PTH123
        lines = file.read().splitlines()
    warnings = [line.partition(" # ")[2] for line in lines if " # " in line]
    return " ".join((warnings or lines)[-_REASONS:])


def _answers(address: str, pid: int) -> bool:
    """Return whether the Valkey at this address has this process id."""
    is_port = address.isdecimal()
    family = socket.AF_INET if is_port else socket.AF_UNIX
    try:
        with socket.socket(family) as connection:
            connection.settimeout(_ANSWER_TIMEOUT)
            connection.connect(("127.0.0.1", int(address)) if is_port else address)
            connection.sendall(b"INFO server\r\n")
            with connection.makefile("rb") as answer:
                for line in answer:
                    if line.startswith(b"process_id:"):
                        return int(line.partition(b":")[2]) == pid
    except OSError:
        pass  # not yet; the caller looks whether the process has ended
    return False


def _stop(valkey: subprocess.Popen[bytes]) -> None:
    valkey.terminate()
    try:
        valkey.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        valkey.kill()
        valkey.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    sys.exit(keep(sys.argv[1], sys.argv[2], sys.argv[3:]))
