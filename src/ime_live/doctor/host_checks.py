"""Host checks: this machine, and the settings of a gateway on it."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from ime_live.clock import SYSTEM_CLOCK
from ime_live.doctor.check import Check, Finding, failed, ok, warning
from ime_live.errors import system_reason
from ime_live.gateway.auth.keys import keyring_from
from ime_live.settings import AuthMode, DoctorSettings, bare_host
from ime_live.timezones import TEHRAN, zone_of

_FILES: Final = 10_000
"""Open files below which a busy gateway is short of them: each client takes one."""

_ANSWER: Final = 1.0  # seconds; a gateway of this machine answers in a few milliseconds

_RELEASED: Final = 1_767_225_600
"""2026-01-01 in seconds since the epoch: a clock before it is wrong."""


async def program(_: DoctorSettings) -> list[Finding]:
    """Which versions are these?"""
    from ime_live.gateway.stream.fanout import IMPLEMENTATION

    python = ".".join(map(str, sys.version_info[:3]))
    text = f"ime-live {version('ime-live')}, Python {python}, {sys.platform}"
    if IMPLEMENTATION == "c":
        return [ok(f"{text}, fan-out in C")]
    return [
        warning(f"{text}, fan-out in Python", "install a wheel, or a C compiler before installing")
    ]


async def settings_hold(settings: DoctorSettings) -> list[Finding]:
    """Would a gateway accept the settings?"""
    problems = settings.problems()
    return [failed(problem, "see docs/settings.md") for problem in problems] or [
        ok("a gateway accepts them")
    ]


async def tokens(settings: DoctorSettings) -> list[Finding]:
    """Can tokens be checked?"""
    if settings.auth is AuthMode.NONE:
        return [warning("not required", "for others than this machine, use --auth jwt")]
    keyring = keyring_from(settings)
    await keyring.start()
    try:
        keys = len(keyring.keys)
    finally:
        await keyring.aclose()
    if not keys:
        remedy = "see whether the JWKS can be read"
        return [failed("there is no key to check them with", remedy)]
    findings = [ok(f"checked with {keys} key{'s' if keys > 1 else ''}")]
    if not settings.jwt_audience and not settings.jwt_issuer and settings.jwks:
        findings.append(
            warning(
                "tokens of this issuer for other services are accepted as well",
                "set --jwt-audience",
            )
        )
    return findings


async def clock(_: DoctorSettings) -> list[Finding]:
    """Is the clock plausible, and does the time zone have Tehran's last change?"""
    findings = []
    if SYSTEM_CLOCK.time() < _RELEASED:
        findings.append(failed("the clock is years behind", "synchronise it, as by chrony"))
    zone_of(TEHRAN)  # raises, and says what to do
    try:
        origin = f", tzdata {version('tzdata')}"
    except ImportError:
        origin = ""
    return [*findings, ok(f"Tehran is at UTC+03:30 all year, as it must be{origin}")]


async def files(_: DoctorSettings) -> list[Finding]:
    """How many clients can a process have?"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return [ok("the number of open files is not limited")]
    text = f"{soft:,} files may be open, so about {max(0, soft - 100):,} clients per process"
    if soft >= _FILES:
        return [ok(text)]
    able = "" if hard in (soft, resource.RLIM_INFINITY) else f"; at most {hard:,} without root"
    return [warning(text, f"ulimit -n 65536, or LimitNOFILE=65536 in a systemd unit{able}")]


async def port(settings: DoctorSettings) -> list[Finding]:
    """Can a gateway listen?"""
    host, number = bare_host(settings.host), settings.port
    place = f"{settings.host} port {number}"
    if not number:
        return [ok("a free port will be chosen")]
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except PermissionError:
        return [
            failed(f"no permission to listen on {place}", "use a port from 1024 on, and a proxy")
        ]
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of a name is empty or too long
        if await _is_gateway(host, number):
            return [ok(f"a gateway listens on {place} already")]
        return [
            failed(
                f"cannot listen on {place}: {system_reason(error)}", "give another --host or --port"
            )
        ]
    return [ok(f"{place} is free")]


async def _is_gateway(host: str, number: int) -> bool:
    with suppress(OSError, UnicodeError, TimeoutError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(host or "127.0.0.1", number)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = await reader.read(4096)
            finally:
                writer.transport.abort()
            return b" 200 " in answer.partition(b"\r\n")[0]
    return False


HOST_CHECKS: Final[Sequence[Check[DoctorSettings]]] = (
    Check("program", program),
    Check("settings", settings_hold),
    Check("tokens", tokens, needs="settings"),
    Check("clock", clock),
    Check("files", files),
    Check("port", port),
)
"""The checks of this machine."""
